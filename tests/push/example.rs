//! The example of `packaging/`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{authority::Authority, command::stderr};

use crate::{Pushing, stand_in::StandIn};

#[test]
fn the_example_does_what_it_says() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/push.toml");
    let example = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut pushing = Pushing::prepare(&example)?;
    let path = pushing.foobar.folder().join("push.toml").display().to_string();
    let check = |expected: i32| {
        let output = pushing.foobar.command_without_control(&["push", "check", &path])?;
        ensure!(output.status.code() == Some(expected), "{expected} expected: {}", stderr(&output));
        Ok(stderr(&output))
    };
    let said = check(2)?;
    ensure!(said.contains("sumo.url: No such file"), "{said}");
    let authority = Authority::new("authority")?;
    for (name, text) in [
        ("sumo.url", "https://collectors.example/receiver/v1/http/abc".to_owned()),
        ("center.password", "secret".to_owned()),
        ("authority.pem", fs::read_to_string(&authority.certificate)?),
        ("collector.token", "token".to_owned()),
    ] {
        pushing.foobar.write(name, &text)?;
    }
    assert_eq!(check(0)?, "");
    // The same, with what is to be taken away on this machine.
    let stand_ins = [8001, 8002, 8003].map(|port| StandIn::start(&pushing.network.server, port));
    let [sumo, center, collector] = stand_ins;
    let (sumo, center, collector) = (sumo?, center?, collector?);
    pushing.foobar.write("sumo.url", &sumo.url("/receiver/v1/http/abc"))?;
    let mut local = example
        .replace("https://prometheus.foobar.com:9090", &center.url(""))
        .replace("https://collector.foobar.com:4318", &collector.url(""))
        .replace("ca_file = \"authority.pem\"\n", "");
    for interval in ["\"60s\"", "\"15s\"", "\"30s\""] {
        local = local.replace(&format!("interval = {interval}"), "interval = \"1s\"");
    }
    pushing.write(&local)?;
    pushing.foobar.start()?;
    for (stand_in, content_type) in [
        (&sumo, "application/vnd.sumologic.prometheus"),
        (&center, "application/x-protobuf"),
        (&collector, "application/x-protobuf"),
    ] {
        let requests = stand_in.wait_for(1)?;
        assert_eq!(requests[0].header("content-type"), content_type);
    }
    assert_eq!(center.requests()[0].line, "POST /api/v1/write HTTP/1.1");
    assert_eq!(center.requests()[0].header("x-prometheus-remote-write-version"), "0.1.0");
    let requests = collector.wait_for(2)?;
    for line in ["POST /v1/metrics HTTP/1.1", "POST /v1/logs HTTP/1.1"] {
        ensure!(requests.iter().any(|request| request.line == line), "{line}");
    }
    Ok(())
}
