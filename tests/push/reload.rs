//! A push file that changes while foobar runs.

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{Pushing, stand_in::StandIn, sumo};

const METRIC: &str = "foobar_push_config_reload_success";

#[test]
fn a_change_is_picked_up_and_a_broken_file_leaves_the_old_one_in_force() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let first = StandIn::start(&pushing.network.server, 8001)?;
    let second = StandIn::start(&pushing.network.server, 8002)?;
    pushing.foobar.write("token", "first-token")?;
    let lines = "series = [\"foobar_up\"]\ntoken_file = \"token\"";
    pushing.write(&sumo(&first, lines))?;
    pushing.foobar.start()?;
    let requests = first.wait_for(1)?;
    assert_eq!(requests[0].header("authorization"), "Bearer first-token");
    // Another token in the same file.
    pushing.foobar.write("token", "second-token")?;
    foobar_tests::wait::until("the new token is used", Duration::from_secs(10), || {
        Ok(first.requests().last().context("no request")?.header("authorization") == "Bearer second-token")
    })?;
    let sent = pushing.target("sumo")?["points"].as_u64();
    for (broken, why) in [
        ("[[target]\n", "push.toml:1:"),
        ("[[target]]\nname = \"x\"\n", "push.toml:1:1: missing field `kind`"),
        (&sumo(&first, "token_file = \"none\"") as &str, "No such file"),
    ] {
        pushing.write(broken)?;
        foobar_tests::wait::until("it is told", Duration::from_secs(10), || {
            let error = pushing.foobar.status()?["push"]["error"].as_str().unwrap_or_default().to_owned();
            Ok(error.contains(why))
        })
        .with_context(|| format!("{broken}: {}", pushing.foobar.log().unwrap_or_default()))?;
        ensure!(pushing.foobar.scrape()?.value(METRIC, &[])? < 0.5);
        let shown = pushing.foobar.succeed(&["status"])?;
        ensure!(shown.contains("NOT READ") && shown.contains(why), "{shown}");
        let before = first.requests().len();
        first.wait_for(before + 1)?;
    }
    let log = pushing.foobar.log()?;
    assert_eq!(
        log.matches("the push file cannot be used, the one before stays in force").count(),
        3,
        "{log}"
    );
    // Elsewhere, and counts go on.
    pushing.write(&sumo(&second, "series = [\"foobar_up\"]"))?;
    let requests = second.wait_for(1)?;
    assert_eq!(requests[0].header("authorization"), "");
    ensure!(pushing.foobar.scrape()?.value(METRIC, &[])? > 0.5);
    ensure!(pushing.target("sumo")?["points"].as_u64() > sent);
    // Nobody any more.
    pushing.write("")?;
    foobar_tests::wait::until("no target is left", Duration::from_secs(10), || {
        Ok(pushing.foobar.status()?["push"]["targets"] == serde_json::json!([]))
    })?;
    let before = second.requests().len();
    sleep(Duration::from_secs(2));
    ensure!(second.requests().len() <= before + 1);
    ensure!(pushing.foobar.is_running()?);
    fs::remove_file(pushing.foobar.folder().join("push.toml"))?;
    foobar_tests::wait::until("it is told", Duration::from_secs(10), || {
        Ok(pushing.foobar.status()?["push"]["error"].is_string())
    })
}

#[test]
fn a_file_that_cannot_be_used_at_the_start_is_an_error_that_changes_nothing() -> Result<()> {
    let pushing = Pushing::prepare("[[target]]\nname = \"x\"\n")?;
    let output = pushing.foobar.run_to_end()?;
    let said = foobar_tests::command::stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    ensure!(said.contains("push.toml:1:1: missing field `kind`"), "{said}");
    assert_eq!(pushing.network.xdp_program()?, None);
    Ok(())
}
