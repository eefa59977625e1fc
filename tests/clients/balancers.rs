//! Balancers that speak for themselves: health checks, and those that send no headers at all.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    binary,
    daemon::Foobar,
    network::{CLIENT_V4, Network, SERVER, SERVER_V4},
    wait,
    web_server::WebServer,
};

use super::haproxy::{CLIENTS, Fleet, RULES, WEB};

#[test]
fn health_checks_of_haproxy_are_never_charged() -> Result<()> {
    let rule = "[[rule]]\nid = \"opened\"\naction = \"accept\"\nstate = \"new\"\nprotocol = \"tcp\"\n\
                limit = { rate = \"1/d\", burst = 3, per = \"client\" }\nover = { ban = \"10m\" }\n";
    // In both versions of the header, which say UNKNOWN and LOCAL.
    for option in ["send-proxy", "send-proxy-v2"] {
        let option = format!("{option} check check-send-proxy inter 50ms");
        let fleet = Fleet::new(&format!("{RULES}{rule}"), "native", &SERVER_V4.to_string(), &option)?;
        let web = fleet.web_server()?;
        let connections = || {
            fleet
                .foobar
                .scrape()
                .map(|metrics| metrics.count("foobar_connections_total", &[("port", &WEB.to_string())]))
        };
        wait::until("thirty checks have been made", Duration::from_secs(20), || Ok(connections()? >= 30))?;
        ensure!(fleet.bans()?.is_empty(), "{option}: {:?}", fleet.bans()?);
        // The limit holds, of clients.
        let [first, second] = CLIENTS;
        for number in 0..5 {
            ensure!(fleet.is_served(first, WEB)? == (number < 3), "{option}: connection {number}");
        }
        ensure!(fleet.is_served(second, WEB)?, "{option}: the other client");
        let bans = fleet.bans()?;
        ensure!(bans == [(first.to_owned(), true)], "{option}: {bans:?}");
        drop(web);
    }
    Ok(())
}

/// A rule that bans by source, after what else there is to say.
fn by_source(more: &str) -> String {
    format!(
        "schema = 1\n{more}[[service]]\nname = \"web\"\nport = \"tcp/{WEB}\"\nprotocol = \"http1\"\n\
         [[rule]]\nid = \"opened\"\naction = \"accept\"\nprotocol = \"tcp\"\ndestination_port = {WEB}\n\
         tcp_flags = {{ set = [\"syn\"], clear = [\"ack\"] }}\nlimit = {{ rate = \"1/d\", burst = 30, per = \"source\" }}\n\
         over = {{ ban = \"10m\" }}\n"
    )
}

fn connect(network: &Network, connections: usize) -> Result<Vec<TcpStream>> {
    let address = SocketAddr::new(SERVER_V4.into(), WEB);
    let open = || Ok(TcpStream::connect_timeout(&address, Duration::from_secs(2))?);
    network.client.enter(|| (0..connections).map(|_| open()).collect())
}

#[test]
fn one_source_with_all_connections_is_told_before_it_is_banned() -> Result<()> {
    let network = Network::new()?;
    let _web = WebServer::start(&network.server, &[WEB])?;
    let balancer = CLIENT_V4.to_string();
    // Built before: nginx waits a minute for what clients ask.
    binary::foobar()?;
    let held = connect(&network, 25)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], &by_source(""))?;
    foobar.start()?;
    wait::until("it is told", Duration::from_secs(10), || {
        Ok(foobar.status()?["few_sources"].as_array().is_some_and(|all| all.len() == 1))
    })?;
    let status = foobar.status()?;
    let few = &status["few_sources"][0];
    ensure!(few["sources"][0] == balancer && few["rule"] == "opened" && few["connections"] == 25, "{few}");
    let shown = foobar.succeed(&["status"])?;
    ensure!(shown.contains("WARNING: rule opened bans by source") && shown.contains(&balancer), "{shown}");
    ensure!(foobar.log()?.matches("bans by source").count() == 1, "{}", foobar.log()?);
    foobar.kill()?;

    // Once it is named, nothing is said, and nothing happens to it.
    foobar.write_rules(&by_source(&format!(
        "[peers]\nlb = \"{balancer}\"\n[failsafe]\nnever_ban = [\"peers.lb\"]\n"
    )))?;
    foobar.start()?;
    let more = connect(&network, 50)?;
    let status = foobar.status()?;
    ensure!(status["few_sources"].as_array().context("a list")?.is_empty(), "{status}");
    ensure!(foobar.succeed(&["bans", "--json"])?.trim() == "[]");
    drop((held, more));
    Ok(())
}
