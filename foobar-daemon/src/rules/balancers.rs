//! Balancers that would be banned in the place of the clients behind them: what of that can be told from the rules, and from
//! who is connected.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{
    limit::Per,
    model::{PortProtocol, Rule, Ruleset, Service, ServicePort},
};

/// Fewer connections to a service say nothing.
const CONNECTIONS_MIN: usize = 20;
/// So many sources are few.
const FEW: usize = 3;
/// They carry nearly all if it is so many percent.
const NEARLY_ALL: usize = 90;

/// A rule that bans whoever sends too much, by the address on the wire, at a port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanAtService<'r> {
    /// The rule.
    pub rule: &'r Rule,
    /// The service.
    pub service: &'r Service,
    /// Its port.
    pub port: ServicePort,
}

/// All of those, for each port the first rule alone.
pub fn bans_at_services(ruleset: &Ruleset) -> Vec<BanAtService<'_>> {
    let banning: Vec<&Rule> = ruleset.rules.iter().filter(|rule| bans_by_source(rule)).collect();
    let ports =
        ruleset.services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, *port)));
    ports
        .filter_map(|(service, port)| {
            let rule = banning.iter().find(|rule| may_match(rule, port))?;
            Some(BanAtService { rule, service, port })
        })
        .collect()
}

/// Whether a rule bans by the source on the wire.
pub fn bans_by_source(rule: &Rule) -> bool {
    rule.limit.is_some_and(|limit| limit.ban.is_some() && matches!(limit.per, Per::Source { .. }))
}

/// Whether packets to a port can match, as far as protocol and port tell.
fn may_match(rule: &Rule, port: ServicePort) -> bool {
    let number = match port.protocol {
        PortProtocol::Tcp => 6,
        PortProtocol::Udp => 17,
        PortProtocol::Sctp => 132,
    };
    rule.protocol.as_ref().is_none_or(|protocols| protocols.contains(&number))
        && (rule.tcp_flags.is_none() || port.protocol == PortProtocol::Tcp)
        && rule.icmp.is_none()
        && rule
            .destination_port
            .as_ref()
            .is_none_or(|ranges| ranges.iter().any(|range| range.contains(&port.port)))
}

/// Few sources that have nearly all connections to a service where a rule bans by source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FewSources {
    /// Name of the service.
    pub service: String,
    /// The port, as `tcp/443`.
    pub port: String,
    /// Id of the rule.
    pub rule: String,
    /// They, the one with most connections first.
    pub sources: Vec<IpAddr>,
    /// How many connections they have.
    pub connections: usize,
    /// How many there are in all.
    pub of: usize,
}

impl FewSources {
    /// What is to be said of these clients of a service, if anything is. Who is spared anyway does not count.
    pub fn of(ban: &BanAtService<'_>, clients: &[IpAddr], ruleset: &Ruleset) -> Option<Self> {
        let failsafe = &ruleset.failsafe;
        let is_spared = |address: &IpAddr| {
            failsafe.peers.iter().chain(&failsafe.never_ban).any(|prefix| prefix.contains(address))
        };
        if clients.len() < CONNECTIONS_MIN {
            return None;
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for client in clients.iter().filter(|client| !client.is_loopback() && !is_spared(client)) {
            *counts.entry(*client).or_default() += 1;
        }
        let mut counts: Vec<(IpAddr, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(address, count)| (std::cmp::Reverse(*count), *address));
        counts.truncate(FEW);
        // One that has next to none is not named beside those that have nearly all.
        counts.retain(|(_, count)| count * 100 >= clients.len() * 5);
        let connections = counts.iter().map(|(_, count)| count).sum::<usize>();
        (connections * 100 >= clients.len() * NEARLY_ALL).then(|| Self {
            service: ban.service.name.clone(),
            port: ban.port.to_string(),
            rule: ban.rule.id.to_string(),
            sources: counts.into_iter().map(|(address, _)| address).collect(),
            connections,
            of: clients.len(),
        })
    }

    /// It in words.
    pub fn words(&self) -> String {
        let Self { service, port, rule, sources, connections, of } = self;
        let sources: Vec<String> = sources.iter().map(IpAddr::to_string).collect();
        format!(
            "rule {rule} bans by source, and {connections} of {of} connections to service {service} ({port}) come from {}: if those \
             are balancers, whoever goes over the limit has all clients behind them banned; name them under failsafe.never_ban, \
             or have them send PROXY headers and write per = \"client\"",
            sources.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::bundle::Bundle;

    const RULES: &str = r#"
        schema = 1
        [failsafe]
        never_ban = ["198.51.100.9"]
        [[service]]
        name = "www"
        port = ["tcp/80", "udp/443"]
        [[service]]
        name = "other"
        port = "tcp/81"
        protocol = "http1"
        proxy_protocol = true
        [[rule]]
        id = "allowed"
        action = "accept"
        destination_port = 81
        protocol = "tcp"
        limit = { rate = "10/s", per = "client" }
        over = { ban = "10m" }
        [[rule]]
        id = "slow"
        action = "accept"
        protocol = "tcp"
        destination_port = [80]
        limit = { rate = "10/s", per = "source" }
        over = { ban = "10m" }
    "#;

    #[test]
    fn few_sources_with_nearly_all_connections_are_told() {
        let ruleset = Bundle::of_text("rules.toml", RULES).parse().unwrap();
        let bans = bans_at_services(&ruleset);
        let [ban] = &bans[..] else { panic!("{bans:?}") };
        assert_eq!((ban.rule.id.as_str(), ban.port.to_string().as_str()), ("slow", "tcp/80"));
        let clients = |counts: &[(&str, usize)]| -> Vec<IpAddr> {
            let all =
                counts.iter().flat_map(|(text, count)| std::iter::repeat_n(text.parse().unwrap(), *count));
            all.collect()
        };
        let told = |counts: &[(&str, usize)]| {
            let few = FewSources::of(ban, &clients(counts), &ruleset)?;
            Some((few.sources.len(), few.connections, few.of))
        };
        assert_eq!(
            told(&[("198.51.100.1", 60), ("198.51.100.2", 35), ("203.0.113.1", 5)]),
            Some((3, 100, 100))
        );
        assert_eq!(told(&[("198.51.100.1", 90), ("203.0.113.1", 4), ("203.0.113.2", 6)]), Some((2, 96, 100)));
        assert_eq!(told(&[("198.51.100.1", 19)]), None, "too few");
        // Clients that come by themselves, and balancers that are spared.
        let many: Vec<String> = (1..=100).map(|number| format!("203.0.113.{number}")).collect();
        let many: Vec<(&str, usize)> = many.iter().map(|text| (text.as_str(), 1)).collect();
        assert_eq!(told(&many), None);
        assert_eq!(told(&[("198.51.100.9", 95), ("203.0.113.1", 5)]), None);
        assert_eq!(told(&[("127.0.0.1", 95), ("203.0.113.1", 5)]), None);
    }
}
