//! When certificates expire, as a real openssl shows them.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    authority::{Authority, Signed},
    command::succeed,
    daemon::Foobar,
    haproxy::wait_for_listener,
    namespace::Namespace,
    network::{Network, SERVER},
    wait,
};
use nix::sys::signal::Signal;

/// `openssl s_server`; it ends when this is dropped.
struct Shown(Child);

impl Shown {
    fn start(namespace: &Namespace, port: u16, signed: &Signed, more: &[&str]) -> Result<Self> {
        let mut command = namespace.command("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "openssl", "s_server", "-quiet", "-www", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("-cert")
            .arg(&signed.certificate)
            .arg("-key")
            .arg(&signed.key)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut shown = Self(command.spawn().context("start openssl")?);
        wait_for_listener(namespace, port, &mut shown.0)?;
        Ok(shown)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// When a certificate expires, as openssl reads it, in seconds since 1970.
fn end_of(signed: &Signed) -> Result<f64> {
    let text = succeed(
        Command::new("openssl").args(["x509", "-noout", "-enddate", "-in"]).arg(&signed.certificate),
    )?;
    let date = text.trim().strip_prefix("notAfter=").context("no notAfter")?.to_owned();
    Ok(succeed(Command::new("date").args(["--date", &date, "+%s"]))?.trim().parse()?)
}

#[test]
fn each_is_seen_as_clients_see_it() -> Result<()> {
    let authority = Authority::new("authority")?;
    let extensions = "subjectAltName=DNS:www.foobar.com\nextendedKeyUsage=serverAuth\n";
    let kind = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let long = authority.sign(kind, extensions, "90")?;
    let short = authority.sign(kind, extensions, "5")?;
    let network = Network::new()?;
    let _newest = Shown::start(&network.server, 8443, &long, &["-tls1_3"])?;
    // With one more certificate, which ends first.
    let chain = authority.certificate.display().to_string();
    let _older = Shown::start(&network.server, 8444, &long, &["-tls1_2", "-cert_chain", &chain])?;
    let renewed = Shown::start(&network.server, 8445, &short, &[])?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?.with_options(&[
        "--certificate",
        "www.foobar.com@127.0.0.1:8443",
        "--certificate",
        "chain.foobar.com@127.0.0.1:8444",
        "--certificate",
        "old.foobar.com@127.0.0.1:8445",
        "--certificate",
        "none.foobar.com@127.0.0.1:8446",
    ]);
    foobar.start()?;
    let not_after = |name: &str| {
        foobar.scrape()?.value("foobar_certificate_not_after_timestamp_seconds", &[("name", name)])
    };
    let is_seen = |name: &str| {
        Ok::<_, anyhow::Error>(foobar.scrape()?.value("foobar_certificate_seen", &[("name", name)])? > 0.5)
    };
    wait::until("all were looked at", Duration::from_secs(30), || {
        Ok(foobar.scrape()?.select("foobar_certificate_seen", &[]).count() == 4)
    })?;
    let is = |name: &str, end: f64| {
        let told = not_after(name)?;
        ensure!((told - end).abs() < 0.5, "{name} ends {end}, told was {told}");
        ensure!(is_seen(name)?, "{name}");
        Ok(())
    };
    is("www.foobar.com", end_of(&long)?)?;
    let authority_end = Signed { certificate: authority.certificate.clone(), key: long.key.clone() };
    is("chain.foobar.com", end_of(&authority_end)?)?;
    is("old.foobar.com", end_of(&short)?)?;
    ensure!(!is_seen("none.foobar.com")? && not_after("none.foobar.com").is_err());
    let shown = foobar.succeed(&["status"])?;
    ensure!(
        shown.contains("none.foobar.com@127.0.0.1:8446  NOT SEEN: connect: Connection refused"),
        "{shown}"
    );
    ensure!(foobar.log()?.contains("look at the certificate of none.foobar.com@127.0.0.1:8446: connect"));
    // One that was renewed is seen after SIGHUP, and one that is gone leaves what was known.
    drop(renewed);
    foobar.signal(Signal::SIGHUP)?;
    wait::until("it is not seen", Duration::from_secs(30), || Ok(!is_seen("old.foobar.com")?))?;
    ensure!((not_after("old.foobar.com")? - end_of(&short)?).abs() < 0.5);
    let _renewed = Shown::start(&network.server, 8445, &long, &[])?;
    foobar.signal(Signal::SIGHUP)?;
    wait::until("it is seen", Duration::from_secs(30), || is_seen("old.foobar.com"))?;
    is("old.foobar.com", end_of(&long)?)
}
