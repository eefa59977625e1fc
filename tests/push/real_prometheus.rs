//! A real Prometheus, which scrapes and is written to.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    authority::Authority,
    command::succeed,
    daemon::LISTEN as METRICS,
    frames::{Family, tcp_syn},
    network::CLIENT,
    prometheus::{Prometheus, ask},
    sender::PacketSocket,
    tap::settle,
    wait,
};
use serde_json::Value;

use crate::{Pushing, changes_by_itself};

const RECEIVER: &str = "--web.enable-remote-write-receiver";

fn target(lines: &str) -> String {
    format!("[[target]]\nname = \"center\"\nkind = \"remote-write\"\ninterval = \"1s\"\n{lines}\n")
}

/// The series of a job, without what Prometheus adds, with their values.
fn series(pushing: &Pushing, job: &str) -> Result<BTreeMap<String, String>> {
    let answer = ask(&pushing.network.server, &format!("/api/v1/query?query=%7Bjob=%22{job}%22%7D"))?;
    let mut found = BTreeMap::new();
    for one in answer["data"]["result"].as_array().with_context(|| format!("no result: {answer}"))? {
        let mut labels: BTreeMap<String, Value> = serde_json::from_value(one["metric"].clone())?;
        labels.remove("job");
        labels.remove("instance");
        let name = labels["__name__"].as_str().context("no name")?.to_owned();
        if name.starts_with("foobar_") && !changes_by_itself(&name) {
            let value = one["value"][1].as_str().context("no value")?.to_owned();
            found.insert(format!("{labels:?}"), value);
        }
    }
    Ok(found)
}

#[test]
fn scraping_and_writing_give_the_same_series() -> Result<()> {
    let mut pushing = Pushing::prepare(&target("url = \"http://127.0.0.1:9090/api/v1/write\""))?;
    let job = format!("- job_name: scraped\n  static_configs:\n  - targets: [\"{METRICS}\"]\n");
    let prometheus = Prometheus::start_with(&pushing.network.server, &job, &[RECEIVER])?;
    pushing.foobar.start()?;
    pushing.network.introduce()?;
    PacketSocket::new(&pushing.network.client, CLIENT)?.send_times(&tcp_syn(Family::V4, 80)?, 17)?;
    settle();
    prometheus.wait_until(&pushing.network.server, "scraped", "up")?;
    let mut both = (BTreeMap::new(), BTreeMap::new());
    let waited = wait::until("both are the same", std::time::Duration::from_secs(30), || {
        both = (series(&pushing, "scraped")?, series(&pushing, "foobar")?);
        let hits =
            both.0.iter().find(|(labels, _)| labels.contains("rule_hits")).map(|(_, value)| value.as_str());
        Ok(both.0 == both.1 && hits == Some("17"))
    });
    waited.with_context(|| {
        let (scraped, written) = &both;
        let odd: Vec<_> =
            scraped.iter().filter(|(labels, value)| written.get(*labels) != Some(*value)).collect();
        let more: Vec<_> = written.keys().filter(|labels| !scraped.contains_key(*labels)).collect();
        format!("scraped and not written: {odd:?}\nwritten and not scraped: {more:?}")
    })?;
    ensure!(both.0.len() > 100, "{} series", both.0.len());
    let target = pushing.wait_until_empty("center")?;
    assert_eq!(target["lost"], serde_json::json!({}));
    // A series that is gone is told to be, so that no old value lasts for five minutes.
    let without = crate::RULES.split("[[rule]]").next().context("no rules")?;
    pushing.foobar.apply(without)?;
    wait::until("the rule is gone at once", std::time::Duration::from_secs(20), || {
        Ok(!series(&pushing, "foobar")?.keys().any(|labels| labels.contains("rule_hits")))
    })
}

#[test]
fn tls_and_passwords_open_the_door_and_nothing_else_does() -> Result<()> {
    let authority = Authority::new("authority")?;
    let stranger = Authority::new("stranger")?;
    let server = authority.server(&["127.0.0.1"])?;
    let mut pushing = Pushing::prepare("")?;
    let hash = succeed(Command::new("perl").args([
        "-e",
        "print crypt($ARGV[0], $ARGV[1])",
        "sesame-of-prometheus",
        "$2b$04$abcdefghijklmnopqrstuu",
    ]))?;
    let web = pushing.foobar.write(
        "web.yml",
        &format!(
            "tls_server_config: {{ cert_file: {}, key_file: {} }}\nbasic_auth_users: {{ foobar: {hash} }}\n",
            server.certificate.display(),
            server.key.display()
        ),
    )?;
    let web = format!("--web.config.file={}", web.display());
    // It answers only to those who know the password, also when it is asked whether it is ready.
    let _prometheus = Prometheus::start_guarded(&pushing.network.server, &[RECEIVER, &web])?;
    pushing.foobar.write("right", "sesame-of-prometheus\n")?;
    pushing.foobar.write("wrong", "semase-of-prometheus\n")?;
    let path = pushing.foobar.folder().join("push.toml");
    let write = |authority: &Authority, password: &str| {
        fs::write(
            &path,
            target(&format!(
                "url = \"https://127.0.0.1:9090/api/v1/write\"\nca_file = \"{}\"\n\
             basic_auth = {{ user = \"foobar\", password_file = \"{password}\" }}",
                authority.certificate.display()
            )),
        )
    };
    write(&authority, "right")?;
    let test = |what: &str| {
        let path = path.display().to_string();
        let output = pushing.foobar.command_without_control(&["push", "test", &path])?;
        let said =
            format!("{}{}", foobar_tests::command::stdout(&output), foobar_tests::command::stderr(&output));
        ensure!(!said.contains("-of-prometheus"), "{said}");
        ensure!(said.contains(what), "{what:?} expected: {said}");
        Ok(output.status.code())
    };
    assert_eq!(test("took it: 204 No Content")?, Some(0));
    write(&authority, "wrong")?;
    assert_eq!(test("401 Unauthorized")?, Some(1));
    // A certificate that is right, but for another name: Prometheus reads it anew for each connection.
    write(&authority, "right")?;
    let kept = [fs::read(&server.certificate)?, fs::read(&server.key)?];
    let other = authority.server(&["192.0.2.9"])?;
    fs::copy(&other.certificate, &server.certificate)?;
    fs::copy(&other.key, &server.key)?;
    assert_eq!(test("not valid for name")?, Some(1));
    fs::write(&server.certificate, &kept[0])?;
    fs::write(&server.key, &kept[1])?;
    write(&stranger, "right")?;
    assert_eq!(test("`ca_file` names the authority")?, Some(1));

    // Of a daemon that does not trust it, nothing arrives, and nothing is lost; when the file is mended, all of it does.
    pushing.foobar.start()?;
    let target =
        pushing.wait_for("center", "two failures", |target| target["failures"]["tls"].as_u64() >= Some(2))?;
    assert_eq!(target["points"], 0);
    ensure!(
        target["problem"].as_str().is_some_and(|problem| problem.contains("TLS with https://127.0.0.1:9090"))
    );
    let log = pushing.foobar.log()?;
    ensure!(log.matches("the target center is away").count() == 1, "{log}");
    write(&authority, "right")?;
    let target = pushing.wait_for("center", "it arrives", |target| target["points"].as_u64() > Some(0))?;
    assert_eq!(target["lost"], serde_json::json!({}));
    assert_eq!(target["problem"], Value::Null);
    ensure!(pushing.foobar.log()?.contains("the push file was read anew: targets center"));
    for secret in ["sesame-of-prometheus", &fs::read_to_string(&server.key)?] {
        ensure!(!pushing.foobar.log()?.contains(secret));
    }
    Ok(())
}
