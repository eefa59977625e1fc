//! Parts of a ruleset in the words of the rule file.

use std::{collections::BTreeMap, ops::RangeInclusive};

use foobar_common::{flow::Direction, service::Protocol, syn_cookies::CookieMode};
use ipnet::IpNet;
use serde::Serialize;

use crate::rules::{
    model::{
        AddressCondition, AddressMatch, DecryptFrom, Failsafe, FlagCondition, FragmentPolicy, GuardTerms,
        Policy, Reconcile, Rule, Service, TlsRequirements,
    },
    names,
};

/// A key of the rule file and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Setting {
    pub key: &'static str,
    pub value: String,
}

/// The conditions of a rule, in the order of the documentation. Absent ones are left out.
pub(super) fn conditions(rule: &Rule) -> Vec<Setting> {
    let Rule {
        id: _,
        action: _,
        direction,
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        tcp_flags,
        icmp,
        fragment,
        state,
        interface,
        vlan,
        length,
        limit: _,
        log: _,
        comment: _,
    } = rule;
    let direction = match direction {
        Direction::In => None,
        Direction::Out => Some(direction.label().to_owned()),
    };
    let protocols =
        protocol.as_ref().map(|numbers| list(numbers.iter().map(|number| protocol_word(*number))));
    let messages = icmp.as_ref().map(|messages| {
        list(messages.iter().map(|message| {
            let name = names::icmp_name(message.protocol, message.kind, message.code);
            format!("{}:{name}", names::protocol_name(message.protocol))
        }))
    });
    let all = [
        ("direction", direction),
        ("source", source.as_ref().map(addresses)),
        ("destination", destination.as_ref().map(addresses)),
        ("protocol", protocols),
        ("source_port", source_port.as_deref().map(ports)),
        ("destination_port", destination_port.as_deref().map(ports)),
        ("tcp_flags", tcp_flags.map(flags)),
        ("icmp", messages),
        ("fragment", fragment.map(|fragment| fragment.to_string())),
        ("state", state.as_ref().map(|states| list(states.iter().map(|state| state.label())))),
        ("interface", interface.as_ref().map(list)),
        ("vlan", vlan.as_ref().map(list)),
        ("length", length.as_ref().map(range)),
    ];
    all.into_iter().filter_map(|(key, value)| Some(Setting { key, value: value? })).collect()
}

/// Everything of a rule that a reader can see but its id: what [`conditions`] gives, its action and its comment.
pub(super) fn settings_of_rule(rule: &Rule) -> Vec<Setting> {
    let mut settings = vec![Setting { key: "action", value: rule.action.label().to_owned() }];
    settings.extend(conditions(rule));
    settings.extend(limit(rule));
    settings.extend(log(rule));
    settings.extend(rule.comment.iter().map(|comment| Setting { key: "comment", value: comment.clone() }));
    settings
}

/// Up to which rate the rule holds, if it has a limit.
pub(super) fn limit(rule: &Rule) -> Option<Setting> {
    rule.limit.map(|limit| Setting { key: "limit", value: limit.to_string() })
}

/// Of how many of its packets one is told of, if the rule says so.
pub(super) fn log(rule: &Rule) -> Option<Setting> {
    rule.log.map(|log| Setting { key: "log", value: log.to_string() })
}

/// The conditions of a rule in one line, its limit, and how it is logged.
pub(super) fn conditions_line(rule: &Rule) -> String {
    let words = |settings: Vec<Setting>| -> Vec<String> {
        settings.into_iter().map(|Setting { key, value }| format!("{key} {value}")).collect()
    };
    let mut line = words(conditions(rule));
    if line.is_empty() {
        line.push("every packet".to_owned());
    }
    line.extend(words(limit(rule).into_iter().chain(log(rule)).collect()));
    line.join("  ")
}

/// `[policy]`.
pub(super) fn settings_of_policy(policy: &Policy) -> Vec<Setting> {
    let Policy {
        inbound,
        outbound,
        malformed,
        fragments,
        infrastructure,
        replies,
        log_drops,
        adopt,
        reject_rate,
    } = policy;
    let fragments = match fragments {
        FragmentPolicy::Rules => "rules".to_owned(),
        FragmentPolicy::Always(verdict) => verdict.label().to_owned(),
    };
    let mut settings = vec![
        Setting { key: "in", value: inbound.label().to_owned() },
        Setting { key: "out", value: outbound.label().to_owned() },
        Setting { key: "malformed", value: malformed.label().to_owned() },
        Setting { key: "fragments", value: fragments },
        Setting { key: "infrastructure", value: infrastructure.to_string() },
        Setting { key: "replies", value: if *replies { "accept" } else { "rules" }.to_owned() },
        Setting { key: "adopt", value: format!("{}s", adopt.as_secs()) },
        Setting { key: "reject_rate", value: reject_rate.to_string() },
    ];
    settings.extend(log_drops.map(|log| Setting { key: "log_drops", value: log.to_string() }));
    settings
}

/// `[failsafe]`.
pub(super) fn settings_of_failsafe(failsafe: &Failsafe) -> Vec<Setting> {
    let Failsafe { ports, peers, never_ban } = failsafe;
    vec![
        Setting { key: "ports", value: list(ports) },
        Setting { key: "peers", value: list(peers.iter().map(names::prefix_words)) },
        Setting { key: "never_ban", value: list(never_ban.iter().map(names::prefix_words)) },
    ]
}

/// `[guard]`.
pub(super) fn settings_of_guard(guard: &GuardTerms) -> Vec<Setting> {
    let GuardTerms { within, fall, services } = guard;
    vec![
        Setting { key: "within", value: humantime::format_duration(*within).to_string() },
        Setting { key: "fall", value: format!("{fall}%") },
        Setting { key: "services", value: services.as_ref().map_or_else(|| "all".to_owned(), list) },
    ]
}

/// The addresses of each group of `[peers]`, by its name.
pub(super) fn peers(peers: &BTreeMap<String, Vec<IpNet>>) -> BTreeMap<&str, String> {
    let words = |prefixes: &Vec<IpNet>| list(prefixes.iter().map(names::prefix_words));
    peers.iter().map(|(name, prefixes)| (name.as_str(), words(prefixes))).collect()
}

/// The ports of each service and what is spoken there, by its name.
pub(super) fn services(services: &[Service]) -> BTreeMap<&str, String> {
    let words = |service: &Service| {
        let Service {
            name: _,
            ports,
            protocol,
            tls,
            proxy_protocol,
            responses,
            syn_cookies,
            decrypt,
            reconcile,
        } = service;
        let cookies = match syn_cookies.mode {
            CookieMode::Off => String::new(),
            CookieMode::Auto | CookieMode::Always => format!(" syn_cookies {syn_cookies}"),
        };
        match protocol {
            Protocol::Raw => format!("{}{cookies}", list(ports)),
            Protocol::Http1 | Protocol::H2c | Protocol::Tls | Protocol::Mysql | Protocol::Dns => {
                let TlsRequirements { required, oldest } = tls;
                let required = if *required { " require_tls" } else { "" };
                let oldest = oldest.map_or(String::new(), |oldest| format!(" min_tls {}", oldest.label()));
                let proxy = if *proxy_protocol { " proxy_protocol" } else { "" };
                let responses = if *responses { "" } else { " without responses" };
                let decrypt = decrypt.as_ref().map_or(String::new(), decrypt_words);
                let reconcile = reconcile.as_ref().map_or(String::new(), reconcile_words);
                format!(
                    "{} {}{required}{oldest}{proxy}{responses}{cookies}{decrypt}{reconcile}",
                    list(ports),
                    protocol.label()
                )
            }
        }
    };
    services.iter().map(|service| (service.name.as_str(), words(service))).collect()
}

fn decrypt_words(from: &DecryptFrom) -> String {
    let from = match from {
        DecryptFrom::Listeners => String::new(),
        DecryptFrom::Unit(unit) => format!(" from unit {unit}"),
        DecryptFrom::Path(path) => format!(" from path {path}"),
    };
    format!(" decrypt_by uprobe{from}")
}

fn reconcile_words(reconcile: &Reconcile) -> String {
    let Reconcile { server, every } = reconcile;
    format!(" reconcile {server} every {}", humantime::format_duration(*every))
}

/// Words with commas between them.
pub(super) fn list(words: impl IntoIterator<Item = impl ToString>) -> String {
    words.into_iter().map(|word| word.to_string()).collect::<Vec<_>>().join(",")
}

fn addresses(condition: &AddressCondition) -> String {
    let AddressCondition { include, exclude } = condition;
    let word = |one: &AddressMatch| match one {
        AddressMatch::Prefix(one) => names::prefix_words(one),
        AddressMatch::Set(name) => format!("@{name}"),
    };
    list(include.iter().map(word).chain(exclude.iter().map(|one| format!("!{}", word(one)))))
}

fn protocol_word(number: u8) -> String {
    names::name(&names::PROTOCOLS, number).map_or_else(|| number.to_string(), str::to_owned)
}

fn ports(ranges: &[RangeInclusive<u16>]) -> String {
    list(ranges.iter().map(range))
}

fn range(range: &RangeInclusive<u16>) -> String {
    let (start, end) = (range.start(), range.end());
    if start == end { start.to_string() } else { format!("{start}-{end}") }
}

fn flags(condition: FlagCondition) -> String {
    let FlagCondition { set, clear } = condition;
    let named = |byte: u8, sign: &str| {
        let names = names::TCP_FLAGS.iter().filter(move |(_, bit)| byte & bit != 0);
        names.map(|(name, _)| format!("{sign}{name}")).collect::<Vec<_>>()
    };
    list(named(set, "").into_iter().chain(named(clear, "!")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::bundle::Bundle;

    #[test]
    fn a_rule_is_shown_in_the_words_of_its_file() {
        let bundle = Bundle::of_text(
            "r.toml",
            r#"
            schema = 1
            [sets.offices]
            entries = ["198.51.100.0/24"]
            [[rule]]
            id = "web"
            action = "drop"
            source = ["@offices", "203.0.113.0/24", "!203.0.113.9"]
            protocol = "tcp"
            destination_port = [80, "8000-8099"]
            tcp_flags = { set = ["syn"], clear = ["ack"] }
            interface = ["eth0"]
            vlan = [10]
            length = "0-128"
            [[rule]]
            id = "ping"
            action = "accept"
            icmp = ["echo-request"]
            [[rule]]
            id = "rest"
            action = "accept"
            "#,
        );
        let ruleset = bundle.parse().unwrap();
        let lines: Vec<String> = ruleset.rules.iter().map(conditions_line).collect();
        assert_eq!(
            lines,
            [
                "source @offices,203.0.113.0/24,!203.0.113.9  protocol tcp  destination_port 80,8000-8099  \
                 tcp_flags syn,!ack  interface eth0  vlan 10  length 0-128",
                "icmp icmp:echo-request,icmpv6:echo-request",
                "every packet",
            ]
        );
    }
}
