//! Who would be banned in the place of others.

use ipnet::IpNet;

use super::{Finding, Kind, Severity, Subject};
use crate::rules::{
    balancers::{bans_at_services, bans_by_source},
    model::Ruleset,
};

/// Looks at rules that ban by the source on the wire.
pub(super) fn check(ruleset: &Ruleset, findings: &mut Vec<Finding>) {
    for ban in bans_at_services(ruleset) {
        if ban.service.proxy_protocol {
            findings.push(Finding {
                severity: Severity::Warning,
                kind: Kind::Balancer,
                subject: Subject::Rule(ban.rule.id.to_string()),
                message: format!(
                    "the sources at service {} ({}) are proxies: whoever goes over the limit has the proxy banned, and with it all \
                     clients behind it",
                    ban.service.name, ban.port
                ),
                help: "write per = \"client\"".to_owned(),
            });
        }
    }
    let failsafe = &ruleset.failsafe;
    let is_spared = |prefix: &IpNet| {
        failsafe.peers.iter().chain(&failsafe.never_ban).any(|spared| spared.contains(prefix))
    };
    let banning = ruleset.rules.iter().find(|rule| bans_by_source(rule) && rule.source.is_none());
    let Some(rule) = banning else { return };
    for (name, _) in ruleset.peers.iter().filter(|(_, prefixes)| !prefixes.iter().all(is_spared)) {
        findings.push(Finding {
            severity: Severity::Note,
            kind: Kind::Balancer,
            subject: Subject::Rule(rule.id.to_string()),
            message: format!("it bans by source, and can ban the group {name} of peers"),
            help: format!("if those are balancers or check whether this server is there, write never_ban = [\"peers.{name}\"] below [failsafe]"),
        });
    }
}
