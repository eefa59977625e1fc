//! Passwords, with and without TLS, and what answers say.

use anyhow::{Result, ensure};

use crate::{PLAIN_URL, Served, TLS, URL, check_served, check_status, users};

#[test]
fn nothing_is_told_without_the_password() -> Result<()> {
    let text = format!("{TLS}{}", users(&[("alice", "secret"), ("bob", "pa:ss word")])?);
    let served = Served::start(&text)?;
    for path in ["metrics", "healthz", "readyz", "", "none", "metrics/../healthz"] {
        let url = format!("https://192.0.2.1:9477/{path}");
        for login in ["alice:wrong", "alice:", "mallory:secret", "bob:secret", ":"] {
            let fetched = served.curl().logged_in(login).get(&url)?;
            check_status(&fetched, 401)?;
            ensure!(fetched.text.to_lowercase().contains("www-authenticate: basic"), "{fetched:?}");
            ensure!(!fetched.text.contains("ready") && !fetched.text.contains("alive"), "{fetched:?}");
        }
        for header in ["Bearer YWxpY2U6c2VjcmV0", "Basic ?", "Basic", "Digest username=alice"] {
            let fetched = served.curl().with(&["--header", &format!("Authorization: {header}")]).get(&url)?;
            check_status(&fetched, 401)?;
        }
        let nobody = served.curl().get(&url)?;
        check_status(&nobody, 401)?;
    }
    for login in ["alice:secret", "bob:pa:ss word"] {
        // Twice: checked, and remembered.
        for _ in 0..2 {
            check_served(&served.curl().logged_in(login).get(URL)?)?;
        }
        let fetched = served.curl().logged_in(login).get("https://192.0.2.1:9477/none")?;
        check_status(&fetched, 404)?;
    }
    Ok(())
}

#[test]
fn passwords_in_the_clear_work_and_are_warned_of() -> Result<()> {
    let served = Served::start(&users(&[("alice", "secret")])?)?;
    check_served(&served.curl().logged_in("alice:secret").get(PLAIN_URL)?)?;
    check_status(&served.curl().get(PLAIN_URL)?, 401)?;
    let log = served.foobar.log()?;
    ensure!(log.contains("basic_auth_users without tls_server_config"), "{log}");
    ensure!(log.contains("serving metrics on http://192.0.2.1:9477/metrics"), "{log}");
    ensure!(!log.contains("$2b$"), "no hash gets into the log: {log}");
    Ok(())
}

#[test]
fn every_answer_has_the_headers_that_are_asked_for() -> Result<()> {
    let headers = [
        ("Content-Security-Policy", "default-src 'none'"),
        ("Strict-Transport-Security", "max-age=31536000"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "deny"),
        ("X-XSS-Protection", "1; mode=block"),
    ];
    let lines = headers.map(|(name, value)| format!("    {name}: \"{value}\"\n")).concat();
    let users = users(&[("alice", "secret")])?;
    let served =
        Served::start(&format!("{TLS}{users}http_server_config:\n  http2: true\n  headers:\n{lines}"))?;
    for (login, path, status) in
        [("alice:secret", "metrics", 200), ("alice:secret", "none", 404), ("a:b", "metrics", 401)]
    {
        let fetched = served
            .curl()
            .logged_in(login)
            .with(&["--http2"])
            .get(&format!("https://192.0.2.1:9477/{path}"))?;
        ensure!(fetched.status == status, "{fetched:?}");
        ensure!(fetched.text.starts_with("HTTP/1.1 "), "{fetched:?}");
        for (name, value) in headers {
            let line = format!("{}: {value}\r\n", name.to_lowercase());
            ensure!(fetched.text.contains(&line), "{line} is missing: {fetched:?}");
        }
    }
    Ok(())
}

#[test]
fn a_rate_is_kept() -> Result<()> {
    let served = Served::start(&format!("{TLS}rate_limit:\n  interval: 1h\n  burst: 3\n"))?;
    let statuses = (0..5).map(|_| Ok(served.curl().get(URL)?.status)).collect::<Result<Vec<_>>>()?;
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    Ok(())
}
