//! etcd by TLS with certificates of clients, and users who may do little.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Result, ensure};
use foobar_tests::{
    authority::Authority,
    command::stderr,
    etcd::{Certificates, Etcd},
};

use super::server::{Middle, PREFIX, Server};

const GOOD: &str = "schema = 1\n[[rule]]\nid = \"a\"\naction = \"accept\"\n";

#[test]
fn certificates_are_shown_and_asked_for() -> Result<()> {
    let authority = Authority::new("etcd-ca")?;
    let middle = Middle::new()?;
    middle.namespace.ip("addr add 10.0.0.1/32 dev lo\n")?;
    let both = authority.sign(
        &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "subjectAltName=IP:10.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
        "2",
    )?;
    let client = authority.client("DNS:foobar")?;
    let certificates = Certificates {
        ca: authority.certificate.clone(),
        server: [both.certificate, both.key],
        client: [client.certificate.clone(), client.key.clone()],
    };
    let etcd = Etcd::start_tls(&middle.namespace, "10.0.0.1", 1, certificates)?;
    etcd.put(&format!("{PREFIX}/rules.toml"), GOOD.as_bytes())?;
    let path = |path: &std::path::Path| path.display().to_string();
    let (ca, certificate, key) = (path(&authority.certificate), path(&client.certificate), path(&client.key));
    let place = etcd.place(PREFIX);
    let flags = ["--etcd-ca", &ca, "--etcd-certificate", &certificate, "--etcd-key", &key];
    let mut server = Server::new(&middle, "web", &place, &flags)?;
    server.foobar.start()?;
    let revision = etcd.put(&format!("{PREFIX}/rules.toml"), GOOD.replace("\"a\"", "\"b\"").as_bytes())?;
    server.wait_until("the change is in force", |fleet| {
        fleet["decision"]["revision"] == revision && fleet["untold"].is_null()
    })?;
    let show = |flags: &[&str]| -> Result<_> {
        let mut command = server.network.server.command(foobar_tests::binary::foobar()?);
        Ok(command.args(["fleet", "status", "--etcd", &place]).args(flags).output()?)
    };
    ensure!(show(&flags)?.status.code() == Some(0));
    // Without a certificate of ours, and with an authority that has not signed theirs.
    let other = Authority::new("other")?;
    let other = path(&other.certificate);
    for (flags, code) in [
        (&flags[..2], 1),
        (&["--etcd-ca", other.as_str(), "--etcd-certificate", &certificate, "--etcd-key", &key][..], 1),
        (&[][..], 2),
        (&flags[..4], 2),
    ] {
        let output = show(flags)?;
        ensure!(output.status.code() == Some(code), "{flags:?}: {}", stderr(&output));
    }
    Ok(())
}

#[test]
fn who_may_only_read_follows_and_says_that_the_others_are_not_told() -> Result<()> {
    let middle = Middle::new()?;
    let mut etcd = middle.etcd(1)?;
    etcd.put(&format!("{PREFIX}/rules.toml"), GOOD.as_bytes())?;
    for arguments in [
        &["user", "add", "root:root-secret"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", &format!("{PREFIX}/"), &format!("{PREFIX}0")],
        &["user", "add", "foobar:reader-secret"],
        &["user", "grant-role", "foobar", "reader"],
        &["auth", "enable"],
    ] {
        etcd.ctl(arguments)?;
    }
    etcd.log_in("root:root-secret");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("user");
    let write = |text: &str| -> Result<()> {
        fs::write(&path, text)?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?)
    };
    write("foobar:reader-secret\n")?;
    let user_file = path.display().to_string();
    let mut server = Server::new(&middle, "web", &etcd.place(PREFIX), &["--etcd-user-file", &user_file])?;
    server.foobar.start()?;
    // Also after the tokens are void.
    etcd.ctl(&["auth", "disable"])?;
    etcd.ctl(&["auth", "enable"])?;
    let revision = etcd.put(&format!("{PREFIX}/rules.toml"), GOOD.replace("\"a\"", "\"b\"").as_bytes())?;
    server.wait_until("the change is in force", |fleet| {
        fleet["decision"]["revision"] == revision
            && fleet["untold"].as_str().is_some_and(|why| why.contains("permission denied"))
    })?;
    let log = server.foobar.log()?;
    // Once, and once more if they were told in the moment when everybody could write.
    ensure!((1..=2).contains(&log.matches("the others are not told").count()), "{log}");
    ensure!(!log.contains("secret") && !server.foobar.succeed(&["status", "--json"])?.contains("secret"));

    write("foobar:wrong-secret\n")?;
    let mut command = server.network.server.command(foobar_tests::binary::foobar()?);
    let output = command
        .args(["fleet", "status", "--etcd", &etcd.place(PREFIX), "--etcd-user-file", &user_file])
        .output()?;
    ensure!(output.status.code() == Some(1), "{}", stderr(&output));
    ensure!(
        stderr(&output).contains("log in to etcd as foobar") && !stderr(&output).contains("wrong-secret")
    );
    Ok(())
}
