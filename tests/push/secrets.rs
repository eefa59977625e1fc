//! Secrets go to the target and nowhere else.

use std::fs;

use anyhow::{Result, ensure};
use foobar_tests::{
    command::{stderr, stdout},
    wait,
};

use crate::{
    Pushing,
    stand_in::{Answer, StandIn},
};

const SECRETS: [&str; 4] = ["t0ken-of-target", "ZaVnC4dhaV1-of-sumo", "passw0rd-of-user", "key-of-tenant"];

#[test]
fn secrets_are_not_in_logs_status_metrics_or_errors_even_if_the_target_repeats_them() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    // It says back all that it was told, first so that it is refused, then so that it is tried again.
    let stand_in = StandIn::with(&pushing.network.server, 8001, |number, request| {
        let status = ["400 Bad Request", "503 Service Unavailable"][number % 2];
        Answer(status, vec![], format!("{} {:?}", request.line, request.headers).into_bytes())
    })?;
    for (name, secret) in [
        ("token", SECRETS[0].to_owned()),
        ("url", stand_in.url(&format!("/receiver/v1/http/{}", SECRETS[1]))),
        ("password", SECRETS[2].to_owned()),
        ("key", SECRETS[3].to_owned()),
    ] {
        pushing.foobar.write(name, &secret)?;
    }
    let target = |name: &str, lines: &str| {
        format!(
            "[[target]]\nname = \"{name}\"\nkind = \"otlp\"\nurl_file = \"url\"\ninterval = \"1s\"\n{lines}\n"
        )
    };
    let path = pushing.write(&format!(
        "{}{}",
        target("bearer", "token_file = \"token\"\nheader_files = { x-key = \"key\" }"),
        target("basic", "basic_auth = { user = \"u\", password_file = \"password\" }"),
    ))?;
    pushing.foobar = pushing.foobar.with_options(&["--log", "trace"]);
    pushing.foobar.start()?;
    for name in ["bearer", "basic"] {
        pushing.wait_for(name, "it has failed", |target| {
            target["lost"]["refused"].is_u64() && target["failures"]["status"].is_u64()
        })?;
    }
    wait::until("it is told", std::time::Duration::from_secs(10), || {
        Ok(pushing.foobar.log()?.contains("refuses points"))
    })?;
    let path = path.display().to_string();
    let mut shown = vec![
        pushing.foobar.log()?,
        pushing.foobar.succeed(&["status"])?,
        pushing.foobar.succeed(&["status", "--json"])?,
        pushing.foobar.get("/metrics")?.body,
    ];
    for words in [["push", "check", &path], ["push", "test", &path]] {
        let output = pushing.foobar.command_without_control(&words)?;
        shown.extend([stdout(&output), stderr(&output)]);
    }
    // Neither are they in what waits on the disk.
    let spool = pushing.foobar.state_path().join("push");
    for name in ["bearer", "basic"] {
        for file in fs::read_dir(spool.join(name))? {
            // It may have been sent in the meantime.
            shown.extend(fs::read(file?.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    let basic = "dTpwYXNzdzByZC1vZi11c2Vy";
    for text in &shown {
        for secret in SECRETS.into_iter().chain([basic]) {
            ensure!(!text.contains(secret), "{secret} in {text}");
        }
    }
    ensure!(shown[0].contains("(secret)"), "{}", shown[0]);
    // And they did arrive.
    let requests = stand_in.requests();
    let mut authorizations: Vec<&str> =
        requests.iter().map(|request| request.header("authorization")).collect();
    authorizations.sort_unstable();
    authorizations.dedup();
    assert_eq!(authorizations, [format!("Basic {basic}"), format!("Bearer {}", SECRETS[0])]);
    ensure!(requests.iter().all(|request| request.line.contains(SECRETS[1])));
    ensure!(requests.iter().any(|request| request.header("x-key") == SECRETS[3]));
    let mode = fs::metadata(spool.join("basic"))?.permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    Ok(())
}
