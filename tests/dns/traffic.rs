//! Real packets. A name server that is asked by dig: what is counted is what was asked, and what the server counts itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_tests::{
    command::succeed,
    daemon::Foobar,
    figures::say,
    frames::Family,
    metrics::{Metrics, Sample},
    name_server::NameServer,
    namespace::Namespace,
    network::{CLIENT_V4, Network, SERVER, SERVER_V4, SERVER_V6},
    tap::settle,
};
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

/// What is asked: a name, a type, the response code, and how often.
const QUESTIONS: [(&str, &str, &str, usize); 11] = [
    ("www.foobar.com", "A", "noerror", 40),
    ("www.foobar.com", "AAAA", "noerror", 30),
    ("www.foobar.com", "HTTPS", "noerror", 5),
    ("www.foobar.com", "SRV", "noerror", 2),
    ("foobar.com", "MX", "noerror", 7),
    ("foobar.com", "NS", "noerror", 3),
    ("foobar.com", "SOA", "noerror", 4),
    ("nothing.foobar.com", "A", "nxdomain", 11),
    ("www.foobar.org", "A", "refused", 6),
    ("1.2.0.192.in-addr.arpa", "PTR", "refused", 3),
    // Over UDP in two fragments.
    ("large.foobar.com", "TXT", "noerror", 5),
];

#[test]
fn what_is_counted_is_what_was_asked_and_what_the_server_counts() -> Result<()> {
    let network = Network::new()?;
    let server = NameServer::start(&network.server, [SERVER_V4.into(), SERVER_V6.into()])?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], super::RULES)?;
    foobar.start()?;
    for family in Family::BOTH {
        for transport in ["udp", "tcp"] {
            let before = foobar.scrape()?;
            dig(
                &network.client,
                family,
                &["+bufsize=4096", if transport == "tcp" { "+tcp" } else { "+notcp" }],
                &questions(),
            )?;
            settle();
            compare(&before, &foobar.scrape()?, transport)
                .with_context(|| format!("{transport} over {family:?}"))?;
        }
    }
    // Of large answers over UDP, all but the first fragment have no port.
    let fragments = foobar
        .scrape()?
        .count("foobar_packets_total", &[("direction", "out"), ("port", "other"), ("l4", "udp")]);
    ensure!(fragments >= 10, "{fragments} fragments");
    // All on one connection, while no daemon runs and after another one has started.
    let before = foobar.scrape()?;
    foobar.kill()?;
    dig(&network.client, Family::V4, &["+tcp", "+keepopen"], &questions())?;
    foobar.start()?;
    settle();
    compare(&before, &foobar.scrape()?, "tcp").context("on one connection, without a daemon")?;
    // What does not fit is asked for again over TCP.
    let before = foobar.scrape()?;
    dig(&network.client, Family::V6, &["+noedns"], &["large.foobar.com TXT"])?;
    settle();
    let metrics = foobar.scrape()?;
    let truncated = [("l4", "udp")];
    ensure!(grown(&before, &metrics, "foobar_dns_truncated_answers_total", &truncated) == 1);
    for l4 in ["udp", "tcp"] {
        let labels = [("l4", l4), ("qtype", "TXT")];
        ensure!(grown(&before, &metrics, "foobar_dns_queries_total", &labels) == 1, "{l4}");
    }
    // Four clients at a time; the server's own numbers tell what that came to.
    let (client, questions) = (&network.client, questions());
    thread::scope(|scope| {
        let ask = |family, options: &'static [&str]| {
            let questions = &questions;
            scope.spawn(move || dig(client, family, options, questions))
        };
        let clients = Family::BOTH
            .map(|family| [ask(family, &["+bufsize=4096", "+notcp"]), ask(family, &["+tcp", "+keepopen"])]);
        clients
            .into_iter()
            .flatten()
            .try_for_each(|client| client.join().map_err(|_payload| anyhow!("a client panicked"))?)
    })?;
    settle();
    let metrics = foobar.scrape()?;

    for name in ["unanswered_queries", "unasked_answers_total", "repeated_queries_total"] {
        let count = metrics.count(&format!("foobar_dns_{name}"), &[]);
        ensure!(count == 0, "{name}: {count}");
    }
    let lost = metrics.count("foobar_l7_framing_lost_total", &[]);
    ensure!(lost == 0, "{lost} losses");
    // Two services have the same number.
    let series: BTreeSet<String> = metrics.samples().iter().map(Sample::series).collect();
    ensure!(series.len() == metrics.samples().len(), "a series is told twice");
    let statistics = server.statistics(&network.server)?;
    let told = |key: &str| statistics.get(key).copied().unwrap_or(0);
    let all = metrics.count("foobar_dns_queries_total", &[]);
    ensure!(all == told("num.queries"), "{all} queries, the server says {}", told("num.queries"));
    for query_type in ["A", "AAAA", "HTTPS", "MX", "NS", "PTR", "SOA", "TXT"] {
        let count = metrics.count("foobar_dns_queries_total", &[("qtype", query_type)]);
        let told = told(&format!("num.type.{query_type}"));
        ensure!(count == told, "{count} queries for {query_type}, the server says {told}");
    }
    for code in ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "yxdomain"] {
        let count = metrics.count("foobar_dns_answers_total", &[("rcode", code)]);
        let told = told(&format!("num.rcode.{}", code.to_uppercase()));
        ensure!(count == told, "{count} answers with {code}, the server says {told}");
    }
    for (l4, keys) in [("udp", ["num.udp", "num.udp6"]), ("tcp", ["num.tcp", "num.tcp6"])] {
        let count = metrics.count("foobar_dns_queries_total", &[("l4", l4)]);
        let told: u64 = keys.into_iter().map(told).sum();
        ensure!(count == told, "{count} queries over {l4}, the server says {told}");
    }
    let status = foobar.status()?;
    for service in status["services"].as_array().context("services of a status")? {
        let count = metrics
            .count("foobar_dns_queries_total", &[("l4", &service["port"].as_str().unwrap_or("")[..3])]);
        ensure!(service["what"] == "queries" && service["total"] == count, "{service}");
    }
    say(&format!("{all} queries, over UDP and TCP, IPv4 and IPv6, as the server counted them"));
    Ok(())
}

/// A query that nobody answers, and an answer that takes long.
#[test]
fn what_is_not_answered_is_told() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], super::RULES)?;
    foobar.start()?;
    // Nobody listens.
    let mut command = network.client.command("dig");
    command.args(["+tries=1", "+time=1", &format!("@{SERVER_V4}"), "www.foobar.com", "A"]);
    command.output().context("run dig")?;
    settle();
    let metrics = foobar.scrape()?;
    ensure!(metrics.count("foobar_dns_queries_total", &[("l4", "udp"), ("qtype", "A")]) == 1);
    ensure!(metrics.count("foobar_dns_unanswered_queries", &[("l4", "udp")]) == 1);
    ensure!(metrics.count("foobar_dns_answers_total", &[]) == 0);
    Ok(())
}

/// Datagrams that a server sends in one piece, to be cut by the card or the driver.
#[test]
fn what_is_still_to_be_cut_is_declared() -> Result<()> {
    let network = Network::new()?;
    // Without checksums to be filled in later, the kernel cuts them before anybody sees them.
    succeed(network.server.command("ethtool").args(["-K", SERVER, "tx", "on"]))?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], super::RULES)?;
    foobar.start()?;
    let answer = super::Said::query(7, 1).answer(0).bytes();
    let socket = network.server.enter(|| Ok(UdpSocket::bind((SERVER_V4, 53))?))?;
    for (times, segment) in [(1, 0), (3, i32::try_from(answer.len())?)] {
        setsockopt(&socket, UdpGsoSegment, &segment)?;
        socket.send_to(&answer.repeat(times), (CLIENT_V4, 40_000))?;
    }
    settle();
    let metrics = foobar.scrape()?;
    let answers = metrics.count("foobar_dns_answers_total", &[("l4", "udp")]);
    let lost = metrics.count("foobar_l7_framing_lost_total", &[("reason", "internal")]);
    let bytes = metrics.count("foobar_l7_bytes_total", &[("state", "lost")]);
    ensure!(answers == 1 && lost == 1, "{answers} answers, {lost} losses");
    ensure!(bytes == 3 * answer.len() as u64, "{bytes} bytes");
    Ok(())
}

/// Whether the metrics grew by one round of questions over a transport, all of them answered, and nothing else did.
fn compare(before: &Metrics, after: &Metrics, transport: &str) -> Result<()> {
    let (mut types, mut codes) = (BTreeMap::new(), BTreeMap::new());
    for (_, query_type, code, times) in QUESTIONS {
        let label = if query_type == "SRV" { "other" } else { query_type };
        *types.entry(label).or_insert(0) += times as u64;
        *codes.entry(code).or_insert(0) += times as u64;
    }
    for l4 in ["udp", "tcp"] {
        let expected = |count: Option<&u64>| if l4 == transport { count.copied().unwrap_or(0) } else { 0 };
        for label in ["A", "AAAA", "HTTPS", "MX", "NS", "PTR", "SOA", "TXT", "other"] {
            let count = grown(before, after, "foobar_dns_queries_total", &[("l4", l4), ("qtype", label)]);
            ensure!(count == expected(types.get(label)), "{count} queries for {label} over {l4}");
        }
        for label in ["noerror", "nxdomain", "refused", "formerr", "other"] {
            let count = grown(before, after, "foobar_dns_answers_total", &[("l4", l4), ("rcode", label)]);
            ensure!(count == expected(codes.get(label)), "{count} answers with {label} over {l4}");
        }
        let timed = grown(before, after, "foobar_dns_duration_seconds_count", &[("l4", l4)]);
        let asked = types.values().sum();
        ensure!(timed == expected(Some(&asked)), "{timed} answers were timed over {l4}, of {asked}");
    }
    Ok(())
}

fn grown(before: &Metrics, after: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    after.count(name, labels) - before.count(name, labels)
}

/// A line for each query.
fn questions() -> Vec<&'static str> {
    let lines = QUESTIONS.map(|(name, query_type, _, times)| {
        let line: &str = format!("{name} {query_type}").leak();
        vec![line; times]
    });
    lines.concat()
}

/// Asks the server, one query after the other; each must be answered.
fn dig(client: &Namespace, family: Family, options: &[&str], questions: &[&str]) -> Result<()> {
    let mut command = client.command("dig");
    command.args(["+tries=1", "+time=5", "+noall"]);
    command.args(options).arg(format!("@{}", family.server()));
    for question in questions {
        command.args(question.split(' '));
    }
    // It fails if an answer does not come.
    succeed(&mut command).map(drop)
}
