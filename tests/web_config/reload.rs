//! What changes while foobar runs.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{authority::Authority, metrics::Metrics, wait};
use nix::sys::signal::Signal;

use crate::{PLAIN_URL, Served, TLS, URL, check_refused, check_served, check_status, users};

/// The metric that tells whether the file is in force.
const METRIC: &str = "foobar_web_config_reload_success";

/// How often something stands in the log.
fn said(served: &Served, words: &str) -> Result<usize> {
    Ok(served.foobar.log()?.matches(words).count())
}

/// Whether a scrape says that the file is in force.
fn is_in_force(text: &str) -> Result<bool> {
    let body = text.split_once("\r\n\r\n").context("no body")?.1;
    Ok(Metrics::parse(body)?.value(METRIC, &[])? > 0.5)
}

#[test]
fn a_new_certificate_is_shown_to_the_next_connection() -> Result<()> {
    let served = Served::start(TLS)?;
    check_served(&served.curl().get(URL)?)?;
    let new_authority = Authority::new("new")?;
    let new_curl = || served.curl().trusting(&new_authority.certificate);
    check_refused(&new_curl().get(URL)?, &["SSL certificate problem"])?;
    let new = new_authority.server(&["192.0.2.1"])?;
    // The key first, as some do: until the certificate follows, the old pair is served.
    fs::copy(&new.key, &served.server.key)?;
    check_served(&served.curl().get(URL)?)?;
    fs::copy(&new.certificate, &served.server.certificate)?;
    check_served(&new_curl().get(URL)?)?;
    check_refused(&served.curl().get(URL)?, &["SSL certificate problem"])?;
    // By renaming, as others do; and a link that leads elsewhere.
    let other = served.authority.server(&["192.0.2.1"])?;
    fs::rename(&other.certificate, &served.server.certificate)?;
    fs::rename(&other.key, &served.server.key)?;
    check_served(&served.curl().get(URL)?)?;
    for (to, from) in [(&served.server.key, &new.key), (&served.server.certificate, &new.certificate)] {
        fs::remove_file(to)?;
        std::os::unix::fs::symlink(from, to)?;
    }
    check_served(&new_curl().get(URL)?)?;
    assert_eq!(served.facts()?["error"], serde_json::Value::Null);
    Ok(())
}

#[test]
fn a_broken_file_leaves_the_old_one_in_force_and_is_told_once() -> Result<()> {
    let users = users(&[("alice", "secret")])?;
    let served = Served::start(&format!("{TLS}{users}"))?;
    let fetch = || served.curl().logged_in("alice:secret").get(URL);
    let fetched = fetch()?;
    check_served(&fetched)?;
    ensure!(is_in_force(&fetched.text)?);
    for (number, (broken, why)) in [
        ("tls_server_config: [\n", "web.yml:"),
        ("tls_server_config:\n  cert_files: x\n", "web.yml:2:3: "),
        ("tls_server_config:\n  cert_file: none.pem\n  key_file: <key>\n", "none.pem"),
        ("basic_auth_users:\n  alice: secret\n", "web.yml:2:10: "),
        // It is no error to say nothing, but then the metrics would be anybody's.
        ("", "--insecure-listen"),
    ]
    .into_iter()
    .enumerate()
    {
        served.write(broken)?;
        for _ in 0..3 {
            let fetched = fetch()?;
            check_served(&fetched)?;
            ensure!(!is_in_force(&fetched.text)?, "{broken}");
        }
        check_status(&served.curl().get(URL)?, 401)?;
        assert_eq!(said(&served, "cannot be used, the one before stays in force")?, number + 1, "{broken}");
        let error = served.facts()?["error"].as_str().context("no error in status --json")?.to_owned();
        ensure!(error.contains(why), "{why:?} expected: {error}");
        ensure!(served.foobar.log()?.contains(&error), "{error}");
        let shown = served.foobar.succeed(&["status"])?;
        ensure!(shown.contains("NOT READ") && shown.contains(&error), "{shown}");
        ensure!(shown.contains("metrics  https://192.0.2.1:9477/metrics"), "{shown}");
    }
    fs::remove_file(served.foobar.folder().join("web.yml"))?;
    check_served(&fetch()?)?;
    ensure!(served.facts()?["error"].as_str().is_some_and(|error| error.contains("No such file")));
    served.write(&format!("{TLS}{users}"))?;
    let fetched = fetch()?;
    ensure!(is_in_force(&fetched.text)?);
    let shown = served.foobar.succeed(&["status"])?;
    ensure!(shown.contains("TLS, passwords, as ") && !shown.contains("NOT READ"), "{shown}");
    Ok(())
}

#[test]
fn what_is_taken_away_no_longer_opens_the_door() -> Result<()> {
    let served = Served::start(&format!("{TLS}{}", users(&[("alice", "secret"), ("bob", "sesame")])?))?;
    let fetch = |login: &str| served.curl().logged_in(login).get(URL);
    check_served(&fetch("alice:secret")?)?;
    check_served(&fetch("bob:sesame")?)?;
    // Passwords that were right and are remembered are forgotten.
    served.write(&format!("{TLS}{}", users(&[("alice", "changed")])?))?;
    for login in ["alice:secret", "bob:sesame"] {
        check_status(&fetch(login)?, 401)?;
    }
    check_served(&fetch("alice:changed")?)?;
    // So is an authority that was right for somebody.
    let client = served.authority.client("DNS:prometheus")?;
    served
        .write(&format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: <ca>\n"))?;
    let curl = served.curl().identified(&client);
    check_served(&curl.get(URL)?)?;
    let stranger = Authority::new("stranger")?;
    served.write(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {}\n",
        stranger.certificate.display()
    ))?;
    check_refused(&curl.get(URL)?, &["alert"])?;
    // TLS itself can go as well.
    served.write(&users(&[("alice", "secret")])?)?;
    check_served(&served.curl().logged_in("alice:secret").get(PLAIN_URL)?)?;
    Ok(())
}

#[test]
fn a_signal_and_a_question_for_the_status_have_it_read_too() -> Result<()> {
    let served = Served::start(TLS)?;
    served.write(&format!("{TLS}basic_auth_users: 1\n"))?;
    ensure!(served.facts()?["error"].is_string(), "asking for the status looks at the file");
    let before = said(&served, "cannot be used")?;
    assert_eq!(before, 1);
    served.foobar.signal(Signal::SIGHUP)?;
    wait::until("the file is read again", Duration::from_secs(10), || {
        Ok(said(&served, "cannot be used")? == before + 1)
    })?;
    served.write(TLS)?;
    served.foobar.signal(Signal::SIGHUP)?;
    wait::until("the file is in force", Duration::from_secs(10), || {
        Ok(said(&served, "the web configuration was read anew: TLS")? > 0)
    })?;
    assert_eq!(served.facts()?["error"], serde_json::Value::Null);
    check_served(&served.curl().get(URL)?)
}
