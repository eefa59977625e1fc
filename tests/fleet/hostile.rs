//! Values that are no rules: each is told with its place, and the rules in force stay.

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{figures::say, wait};

use super::server::{LIMIT, Middle, PREFIX, Server};

const GOOD: &str = "schema = 1\n[[rule]]\nid = \"a\"\naction = \"accept\"\n";

#[test]
fn what_is_no_ruleset_is_told_and_leaves_the_old_one() -> Result<()> {
    let middle = Middle::new()?;
    let etcd = middle.etcd(1)?;
    let key = format!("{PREFIX}/rules.toml");
    etcd.put(&key, GOOD.as_bytes())?;
    let mut server = Server::new(&middle, "web", &etcd.place(PREFIX), &[])?;
    server.foobar.start()?;
    let hash = server.hash()?;
    let before = anonymous_memory(server.foobar.pid()?)?;
    let noise: Vec<u8> =
        (0..1_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (value, said) in [
        (
            &b"schema = 1\n[[rule]]\nid = \"a\"\naction = \"perhaps\"\n"[..],
            "etcd:/foobar/web/rules.toml:4:10",
        ),
        (b"schema = 1\nrule = [", "rules.toml:2"),
        (b"schema = 1\n# \xff\xfe\n", "byte 13 (line 2) is not UTF-8"),
        (&noise, "is not UTF-8"),
        (b"\0\0\0\0", "rules.toml:1"),
        (b"schema = 1\n[sets.a]\nfile = \"../secret\"\n", "no such key"),
        (b"schema = 1\n[sets.a]\nfile = \"members/web\"\n", "no such key"),
        (b"", "says nothing"),
    ] {
        etcd.put(&key, value)?;
        let fleet = server
            .wait_until(said, |fleet| fleet["invalid"].as_str().is_some_and(|why| why.contains(said)))?;
        ensure!(fleet["connected"] == true && server.hash()? == hash);
    }
    ensure!(server.metric("foobar_fleet_refused")? > 0.9);
    // Nothing at all is no wish for no rules.
    etcd.ctl(&["del", &key])?;
    server.wait_until("no rules are told", |fleet| {
        fleet["invalid"].as_str().is_some_and(|why| why.contains("etcd has no rules"))
    })?;
    // A key that is none, and a thousand of them.
    etcd.put(&key, GOOD.replace("\"a\"", "\"b\"").as_bytes())?;
    server.wait_until("good rules are in force", |fleet| fleet["invalid"].is_null())?;
    ensure!(server.hash()? != hash && server.metric("foobar_fleet_refused")? < 0.1);
    let many: Vec<String> = (0..100).map(|number| format!("put {PREFIX}/many/{number} 1")).collect();
    let many = many.join("\n");
    for part in 0..11 {
        etcd.transact(&format!("{}\n", many.replace("/many/", &format!("/many/{part}-"))))?;
    }
    server.wait_until("many keys are told", |fleet| {
        fleet["invalid"].as_str().is_some_and(|why| why.contains("more than 1024 keys"))
    })?;
    etcd.ctl(&["del", "--prefix", &format!("{PREFIX}/many/")])?;

    // A megabyte that is right is a ruleset.
    let large = format!("{GOOD}{}", "# a megabyte of this\n".repeat(50_000));
    let revision = etcd.put(&key, large.as_bytes())?;
    server.wait_until("the large one is in force", |fleet| {
        fleet["decision"]["revision"] == revision && fleet["invalid"].is_null()
    })?;
    let after = anonymous_memory(server.foobar.pid()?)?;
    say(&format!("memory of its own at the start: {before} KiB, after all of that: {after} KiB"));
    // Members that tell nonsense are told so.
    etcd.put(&format!("{PREFIX}/members/liar"), b"\x1b[2J{\xff")?;
    let mut command = server.network.server.command(foobar_tests::binary::foobar()?);
    command.args(["fleet", "status", "--etcd", &etcd.place(PREFIX)]);
    wait::until("it is shown", LIMIT, || {
        let output = command.output()?;
        let text = foobar_tests::command::stdout(&output);
        Ok(output.status.code() == Some(3) && text.contains("liar") && !text.contains('\x1b'))
    })
}

/// In KiB, without what is mapped of the binary.
fn anonymous_memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}
