//! Changes of many keys, of set files, and those that came while nobody looked.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::server::{Middle, PREFIX, Server};

#[test]
fn keys_are_read_as_a_folder_is() -> Result<()> {
    let middle = Middle::new()?;
    let etcd = middle.etcd(1)?;
    let files = [
        ("20-rules.toml", "schema = 1\n[[rule]]\nid = \"a\"\naction = \"drop\"\nsource = [\"@bad\"]\n"),
        ("10-sets.toml", "schema = 1\n[sets.bad]\nfile = \"sets/bad.txt\"\n"),
        ("sets/bad.txt", "192.0.2.77\n"),
        ("notes.txt", "no rules"),
        (".hidden.toml", "no rules"),
        ("more/deep.toml", "no rules"),
    ];
    let mut server = Server::new(&middle, "web", &etcd.place(PREFIX), &[])?;
    let folder = server.foobar.folder().join("rules");
    for (name, text) in files {
        etcd.put(&format!("{PREFIX}/{name}"), text.as_bytes())?;
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
    }
    // Of somebody else, whose prefix begins alike.
    etcd.put(&format!("{PREFIX}-other/rules.toml"), b"no rules")?;
    server.foobar.start()?;
    let diff = server.foobar.succeed(&["rules", "diff", &folder.display().to_string()])?;
    ensure!(diff.contains("same") || diff.contains("nothing"), "{diff}");

    // A set file alone, one after the other.
    etcd.put(&format!("{PREFIX}/sets/bad.txt"), b"192.0.2.77\n192.0.2.78\n")?;
    let revision =
        etcd.put(&format!("{PREFIX}/20-rules.toml"), files[0].1.replace("\"a\"", "\"b\"").as_bytes())?;
    server.wait_until("the change is in force", |fleet| fleet["decision"]["revision"] == revision)?;
    ensure!(server.foobar.succeed(&["set", "show", "bad"])?.contains("192.0.2.78"));

    // What happens while the daemon does not look, and is compacted away, is seen all the same.
    server.foobar.signal(Signal::SIGSTOP)?;
    etcd.put(&format!("{PREFIX}/sets/bad.txt"), b"192.0.2.79\n")?;
    etcd.put("/other", b"1")?;
    let last = etcd.put(&format!("{PREFIX}/sets/bad.txt"), b"192.0.2.80\n")?;
    etcd.ctl(&["compact", &last.to_string()])?;
    server.foobar.signal(Signal::SIGCONT)?;
    server.wait_until("the change is in force", |fleet| fleet["decision"]["revision"] == last)?;
    ensure!(server.foobar.succeed(&["set", "show", "bad"])?.contains("192.0.2.80"));

    // Two keys in one step.
    etcd.transact(&format!("put {PREFIX}/sets/bad.txt \"192.0.2.81\"\ndel {PREFIX}/notes.txt\n"))?;
    server
        .wait_until("the change is in force", |fleet| fleet["decision"]["revision"].as_i64() > Some(last))?;
    // What somebody has taken back on one server stays so there, until SIGHUP or another change.
    let newest = server.hash()?;
    server.foobar.succeed(&["rules", "rollback"])?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(server.hash()? != newest && server.fleet()?["decision"]["refused"].is_string());
    server.foobar.signal(Signal::SIGHUP)?;
    server.wait_for(&newest)?;
    ensure!(server.fleet()?["decision"]["refused"].is_null());
    let metrics = server.foobar.scrape()?;
    let revision = server.fleet()?["revision"].as_i64().context("revision")?;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let revision = revision as f64;
    for name in ["foobar_fleet_revision", "foobar_fleet_ruleset_revision"] {
        ensure!((metrics.value(name, &[])? - revision).abs() < 0.1, "{name}");
    }
    Ok(())
}
