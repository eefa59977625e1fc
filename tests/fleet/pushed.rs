//! Rules that the command line puts into etcd.

use std::{fs, path::PathBuf, process::Output, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::{
    fleet::{access::EtcdAccess, push::Present},
    rules::bundle::Bundle,
};
use foobar_tests::{
    command::{stderr, stdout},
    etcd::Etcd,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime;

use super::server::{Middle, PREFIX, Server, closed, open};

const SETS: &str = "schema = 1\n[sets.bad]\nfile = \"sets/bad.txt\"\n";

/// Files to push.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::new()?;
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, text)?;
        }
        Ok(Self(folder))
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_path_buf()
    }
}

fn fleet(middle: &Middle, etcd: &Etcd, command: &str, files: &Files, options: &[&str]) -> Result<Output> {
    let mut run = middle.namespace.command(foobar_tests::binary::foobar()?);
    run.args(["fleet", command, "--etcd", &etcd.place(PREFIX)]).arg(files.path()).args(options);
    Ok(run.output()?)
}

/// All keys but those of members.
fn keys(etcd: &Etcd) -> Result<Vec<String>> {
    let list = etcd.ctl(&["get", "--prefix", "--keys-only", PREFIX])?;
    Ok(list
        .lines()
        .filter(|line| !line.is_empty() && !line.contains("/members/"))
        .map(str::to_owned)
        .collect())
}

fn revision(etcd: &Etcd) -> Result<i64> {
    let answer: Value = serde_json::from_str(&etcd.ctl(&["get", "-w", "json", "nothing"])?)?;
    answer["header"]["revision"].as_i64().context("no revision")
}

#[test]
fn what_is_pushed_is_all_that_etcd_has_and_all_members_have_it() -> Result<()> {
    let middle = Middle::new()?;
    let etcd = middle.etcd(1)?;
    let rules = open("");
    let first =
        Files::new(&[("10-sets.toml", SETS), ("20-rules.toml", &rules), ("sets/bad.txt", "192.0.2.77\n")])?;
    let before = revision(&etcd)?;
    let diff = fleet(&middle, &etcd, "diff", &first, &[])?;
    ensure!(diff.status.success() && stdout(&diff).contains("www"), "{}{}", stdout(&diff), stderr(&diff));
    ensure!(revision(&etcd)? == before, "a look has changed something");
    let pushed = fleet(&middle, &etcd, "push", &first, &["--wait", "0s"])?;
    ensure!(pushed.status.success(), "{}", stderr(&pushed));
    ensure!(revision(&etcd)? == before + 1, "more than one change");
    let of_prefix =
        |names: &[&str]| -> Vec<String> { names.iter().map(|name| format!("{PREFIX}/{name}")).collect() };
    ensure!(keys(&etcd)? == of_prefix(&["10-sets.toml", "20-rules.toml", "sets/bad.txt"]));
    // Nobody is there to wait for.
    let alone = fleet(&middle, &etcd, "push", &first, &["--wait", "1s"])?;
    ensure!(alone.status.code() == Some(3) && stdout(&alone).contains("no member"), "{}", stdout(&alone));

    let mut servers = Vec::new();
    for name in ["web-1", "web-2"] {
        let mut server = Server::new(&middle, name, &etcd.place(PREFIX), &[])?;
        server.foobar.start()?;
        servers.push(server);
    }
    etcd.put(&format!("{PREFIX}/notes.txt"), b"of somebody else")?;
    let sets = SETS.replace("bad.txt", "worse.txt");
    let second = Files::new(&[
        ("10-sets.toml", &sets),
        ("30-rules.toml", &rules),
        ("sets/worse.txt", "192.0.2.78\n"),
    ])?;
    let pushed = fleet(&middle, &etcd, "push", &second, &["--json"])?;
    let report: Value = serde_json::from_str(&stdout(&pushed)).with_context(|| stderr(&pushed))?;
    ensure!(pushed.status.success() && report["in_force"] == true, "{report:#}");
    let members = report["members"].as_array().context("members")?;
    ensure!(members.len() == 2 && members.iter().all(|told| told["state"] == "in-force"), "{report:#}");
    ensure!(
        keys(&etcd)? == of_prefix(&["10-sets.toml", "30-rules.toml", "notes.txt", "sets/worse.txt"]),
        "{:?}",
        keys(&etcd)?
    );
    for server in &servers {
        ensure!(server.hash()? == report["hash"], "{} has others", server.name);
        ensure!(server.foobar.succeed(&["set", "show", "bad"])?.contains("192.0.2.78"));
    }
    let same = fleet(&middle, &etcd, "diff", &second, &["--json"])?;
    let same: Value = serde_json::from_str(&stdout(&same))?;
    ensure!(same["rules"]["added"] == Value::Array(Vec::new()), "{same:#}");
    // The same rules once more are no change for anybody.
    let pushed = fleet(&middle, &etcd, "push", &second, &[])?;
    ensure!(pushed.status.success() && stdout(&pushed).contains("in force"), "{}", stdout(&pushed));

    // With a mistake in the files nothing is written.
    let before = revision(&etcd)?;
    for (name, text, said) in [
        ("rules.toml", "schema = 1\n[[rule]]\nid = \"a\"\naction = \"drip\"\n", "drip"),
        ("rules.toml", "schema = 1\n[sets.bad]\nfile = \"sets/none.txt\"\n", "none.txt"),
        ("rules.toml", "schema = 1\n[sets.bad]\nfile = \"members/web-1\"\n", "members/"),
    ] {
        let wrong = Files::new(&[(name, text), ("members/web-1", "192.0.2.1\n")])?;
        let refused = fleet(&middle, &etcd, "push", &wrong, &[])?;
        ensure!(refused.status.code() == Some(2) && stderr(&refused).contains(said), "{}", stderr(&refused));
    }
    // Servers may take what is only almost right, and it is put there as it is.
    let almost = Files::new(&[("10-sets.toml", SETS), ("sets/bad.txt", "192.0.2.77/24\n")])?;
    let refused = fleet(&middle, &etcd, "diff", &almost, &[])?;
    ensure!(refused.status.code() == Some(2), "{}", stderr(&refused));
    ensure!(fleet(&middle, &etcd, "diff", &almost, &["--lenient"])?.status.success());
    // Nor is more written than etcd takes.
    let addresses = (0_u32..200_000).map(|number| format!("{}\n", std::net::Ipv4Addr::from(number)));
    let many = addresses.collect::<Vec<_>>().concat();
    let large = Files::new(&[("10-sets.toml", SETS), ("sets/bad.txt", &many)])?;
    let refused = fleet(&middle, &etcd, "push", &large, &[])?;
    ensure!(
        refused.status.code() == Some(1) && stderr(&refused).contains("--max-request-bytes"),
        "{}",
        stderr(&refused)
    );
    ensure!(revision(&etcd)? == before, "something was written");
    Ok(())
}

#[test]
fn two_who_push_at_the_same_time_do_not_mix() -> Result<()> {
    let middle = Middle::new()?;
    let etcd = middle.etcd(1)?;
    etcd.put(&format!("{PREFIX}/rules.toml"), open("").as_bytes())?;
    let place = Arc::new(etcd.place(PREFIX).parse().map_err(anyhow::Error::msg)?);
    let keys = Arc::new(EtcdAccess::default().open(false)?);
    middle.namespace.enter(|| {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        for key in
            [format!("{PREFIX}/rules.toml"), format!("{PREFIX}/sets/new.txt"), format!("{PREFIX}/aaa.toml")]
        {
            let present = runtime.block_on(Present::look(Arc::clone(&place), Arc::clone(&keys)))?;
            etcd.put(&key, open("# of another\n").as_bytes())?;
            let written = runtime.block_on(present.write(&Bundle::of_text("rules.toml", &closed(""))));
            let error = format!("{:#}", written.err().context("it was written")?);
            ensure!(error.contains("at the same time"), "{error}");
        }
        // The same rules, as if an answer had got lost.
        let present = runtime.block_on(Present::look(Arc::clone(&place), Arc::clone(&keys)))?;
        etcd.ctl(&["del", &format!("{PREFIX}/aaa.toml")])?;
        let last = etcd.put(&format!("{PREFIX}/rules.toml"), closed("").as_bytes())?;
        ensure!(runtime.block_on(present.write(&Bundle::of_text("rules.toml", &closed(""))))? == last);
        // What members tell of themselves is no hindrance, nor are others' prefixes.
        let present = runtime.block_on(Present::look(place, keys))?;
        etcd.put(&format!("{PREFIX}/members/web-9"), b"{}")?;
        etcd.put(&format!("{PREFIX}-other/rules.toml"), b"")?;
        runtime.block_on(present.write(&Bundle::of_text("rules.toml", &closed("")))).map(drop)
    })?;
    ensure!(etcd.ctl(&["get", "--print-value-only", &format!("{PREFIX}/rules.toml")])?.contains("drop"));
    Ok(())
}

#[test]
fn who_takes_them_back_is_told() -> Result<()> {
    let guard = "[guard]\nwithin = \"8s\"\n";
    let middle = Middle::new()?;
    let etcd = middle.etcd(1)?;
    etcd.put(&format!("{PREFIX}/rules.toml"), open(guard).as_bytes())?;
    let mut server = Server::new(&middle, "web-1", &etcd.place(PREFIX), &[])?;
    server.foobar.start()?;
    server.busy();
    server.settle()?;
    let mistake = Files::new(&[("rules.toml", &closed(guard))])?;
    let pushed = fleet(&middle, &etcd, "push", &mistake, &[])?;
    let said = stdout(&pushed);
    ensure!(pushed.status.code() == Some(3), "{said}{}", stderr(&pushed));
    ensure!(said.contains("web-1  REFUSED: service www (tcp/443) fell from "), "{said}");
    ensure!(server.answers(), "the rules before are not back");
    Ok(())
}
