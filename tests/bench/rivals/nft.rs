//! The same rules in nftables' words, one after the other, on the netdev ingress hook.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use foobar_daemon::rules::model::{AddressCondition, AddressMatch, Rule, Ruleset};
use foobar_tests::{
    command::{succeed, succeed_with_input},
    network::{Network, SERVER},
};
use serde_json::Value;

/// Packets of the kernel's own that may arrive on a cable.
const STRAY_MAX: u64 = 16;

/// Puts the rules on the server's interface. As foobar does, each counts what it takes; what none takes is
/// counted and dropped.
pub(super) fn load(network: &Network, ruleset: &Ruleset) -> Result<()> {
    let mut text = String::from("table netdev bench {\n");
    for (name, set) in &ruleset.sets {
        let entries: Vec<String> = set.entries.iter().map(ToString::to_string).collect();
        writeln!(
            text,
            "set {name} {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {} }}; }}",
            entries.join(", ")
        )?;
    }
    writeln!(text, "chain in {{ type filter hook ingress device \"{SERVER}\" priority 0; policy drop;")?;
    for rule in &ruleset.rules {
        writeln!(text, "{} counter drop", conditions(rule)?)?;
    }
    text.push_str("counter drop\n}\n}\n");
    let mut nft = network.server.command("nft");
    succeed_with_input(nft.args(["-f", "-"]), text.as_bytes()).map(drop).context("load rules into nftables")
}

/// Packets that its rules took.
///
/// # Errors
/// Every packet of the benchmark lies inside of some rule, so but for what the kernel sends by itself, such as
/// reports of multicast groups, none may get as far as the last `drop`.
pub(super) fn counted(network: &Network) -> Result<u64> {
    let text = succeed(network.server.command("nft").args(["-j", "list", "chain", "netdev", "bench", "in"]))?;
    let listing: Value = serde_json::from_str(&text).context("read the output of nft -j")?;
    let objects = listing["nftables"].as_array().context("nft lists nothing")?;
    let expressions = objects.iter().filter_map(|object| object["rule"]["expr"].as_array()).flatten();
    let counts: Vec<u64> =
        expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).collect();
    if let [_, .., unmatched] = counts.as_slice() {
        ensure!(*unmatched <= STRAY_MAX, "{unmatched} packets met none of the rules of nftables");
    }
    Ok(counts.into_iter().sum())
}

/// The conditions of one rule of IPv4.
fn conditions(rule: &Rule) -> Result<String> {
    let mut words = Vec::new();
    for (name, side) in [("saddr", &rule.source), ("daddr", &rule.destination)] {
        if let Some(side) = side {
            words.push(format!("ip {name} {}", address(side)?));
        }
    }
    let protocols: Vec<u8> = rule.protocols().into_iter().flatten().collect();
    match protocols.as_slice() {
        [] => {}
        [protocol] => words.push(format!("meta l4proto {protocol}")),
        several => bail!("rule {} has {} protocols", rule.id, several.len()),
    }
    for (name, ports) in [("sport", &rule.source_port), ("dport", &rule.destination_port)] {
        match ports.as_deref() {
            None => {}
            Some([range]) if range.start() == range.end() => {
                words.push(format!("th {name} {}", range.start()));
            }
            Some([range]) => words.push(format!("th {name} {}-{}", range.start(), range.end())),
            Some(several) => bail!("rule {} has {} ranges of ports", rule.id, several.len()),
        }
    }
    if let Some(flags) = rule.tcp_flags {
        words.push(format!("tcp flags & {} == {}", flags.set | flags.clear, flags.set));
    }
    Ok(words.join(" "))
}

fn address(condition: &AddressCondition) -> Result<String> {
    match (condition.include.as_slice(), condition.exclude.as_slice()) {
        ([AddressMatch::Prefix(prefix)], []) => Ok(prefix.to_string()),
        ([AddressMatch::Set(name)], []) => Ok(format!("@{name}")),
        _ => bail!("an address condition that nftables would need several rules for: {condition:?}"),
    }
}
