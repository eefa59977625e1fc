//! `[[rule]]`.

use foobar_common::{
    flow::{Direction, protocol},
    rule::RULES_MAX,
    verdict::Verdict,
};

use super::{Reading, address, condition, error::Errors, limit, log, name, policy, port, value::Section};
use crate::rules::model::Rule;

const RULE_KEYS: [&str; 20] = [
    "id",
    "action",
    "direction",
    "source",
    "destination",
    "protocol",
    "source_port",
    "destination_port",
    "tcp_flags",
    "icmp",
    "fragment",
    "state",
    "interface",
    "vlan",
    "length",
    "limit",
    "over",
    "shadow",
    "log",
    "comment",
];
const RULE_HELP: &str = "write [[rule]], then id = \"web\" and action = \"accept\" or \"drop\"";

/// Reads the rules of a rule file.
pub(super) fn read(file: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) {
    let Some(value) = file.get("rule") else {
        return;
    };
    for section in value.sections("[[rule]]", RULE_HELP, errors) {
        let rule = rule(&section, reading, errors);
        reading.ruleset.rules.push(rule);
        if reading.ruleset.rules.len() == RULES_MAX + 1 {
            errors.add(
                &section.place,
                format!("this is rule number {}; there is room for {RULES_MAX}", RULES_MAX + 1),
                "put addresses and ports that share a verdict into the lists of one rule",
            );
        }
    }
}

/// Reads one rule. What is wrong in it is reported, and left out of the result.
fn rule(section: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) -> Rule {
    section.check_keys(&RULE_KEYS, errors);
    refuse_unenforced(section, errors);
    let id = rule_id(section, reading, errors).unwrap_or_default();
    let action = section
        .require("action", "write action = \"accept\" or action = \"drop\"", errors)
        .and_then(|value| policy::verdict(&value, "action", errors))
        .unwrap_or(Verdict::Drop);
    let mut rule = Rule::new(&id, action);

    rule.direction = direction(section, errors).unwrap_or(rule.direction);
    let sets = &reading.places.sets;
    rule.source = section.get("source").and_then(|value| address::condition(&value, "source", sets, errors));
    rule.destination =
        section.get("destination").and_then(|value| address::condition(&value, "destination", sets, errors));
    rule.protocol = section.get("protocol").and_then(|value| condition::protocol(&value, errors));
    rule.source_port =
        section.get("source_port").and_then(|value| port::ranges(&value, "source_port", errors));
    rule.destination_port =
        section.get("destination_port").and_then(|value| port::ranges(&value, "destination_port", errors));
    rule.tcp_flags = section.get("tcp_flags").and_then(|value| condition::tcp_flags(&value, errors));
    // What a number means depends on the protocol, so a broken one says enough.
    if section.get("protocol").is_none() || rule.protocol.is_some() {
        let value = section.get("icmp");
        rule.icmp = value.and_then(|value| condition::icmp(&value, rule.protocol.as_ref(), errors));
    }
    rule.fragment = section.get("fragment").and_then(|value| value.boolean("fragment", errors));
    rule.state = section.get("state").and_then(|value| condition::state(&value, errors));
    rule.interface = section.get("interface").and_then(|value| condition::interface(&value, errors));
    rule.vlan = section.get("vlan").and_then(|value| condition::vlan(&value, errors));
    rule.length = section.get("length").and_then(|value| port::range(&value, "length", errors));
    rule.limit = limit::read(section, &rule, &reading.ruleset, errors);
    rule.log = section.get("log").and_then(|value| log::one_in(&value, "log", errors));
    rule.comment =
        section.get("comment").and_then(|value| value.string("comment", errors)).map(str::to_owned);

    condition::check_transport(section, &rule, errors);
    check_families(section, &rule, reading, errors);
    rule
}

fn rule_id(section: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) -> Option<String> {
    let help = "write id = \"…\": the name under which the rule is counted, also after a restart";
    let value = section.require("id", help, errors)?;
    let id = name(&value, "the id of a rule", errors)?;
    if let Some(first) = reading.places.rules.get(id) {
        let first = errors.position(first);
        errors.add(
            &value.place,
            format!("the rule {id:?} is given a second time; the first is at {first}"),
            "give one of them another id: counters belong to ids",
        );
        return None;
    }
    reading.places.rules.insert(id.to_owned(), value.place);
    Some(id.to_owned())
}

fn direction(section: &Section<'_>, errors: &mut Errors<'_>) -> Option<Direction> {
    let words = Direction::ALL.map(|direction| (direction.label(), direction));
    section.get("direction")?.word("direction", &words, errors)
}

/// Keys of the language that nothing acts on.
fn refuse_unenforced(section: &Section<'_>, errors: &mut Errors<'_>) {
    section.refuse_true("shadow", "leave the rule out, or put it in force", errors);
}

/// Reports conditions that no packet of either IP version meets.
fn check_families(section: &Section<'_>, rule: &Rule, reading: &Reading, errors: &mut Errors<'_>) {
    let sets = &reading.ruleset.sets;
    let both = [true, true];
    let [from_v4, from_v6] = rule.source.as_ref().map_or(both, |source| address::families(source, sets));
    let [to_v4, to_v6] = rule.destination.as_ref().map_or(both, |to| address::families(to, sets));
    let (v4, v6) = (from_v4 && to_v4, from_v6 && to_v6);
    if !v4 && !v6 {
        errors.add(
            &section.key_place("destination"),
            "source and destination have no IP version in common, so no packet matches",
            "make two rules of it, one for IPv4 and one for IPv6",
        );
        return;
    }
    let narrowed_by = if rule.source.is_some() && !(from_v4 && from_v6) { "source" } else { "destination" };
    let protocols = rule.protocols().unwrap_or_default();
    let only = |number| protocols.len() == 1 && protocols.contains(&number);
    let wrong = if only(protocol::ICMP) && !v4 {
        Some(("ICMP is of IPv4", "IPv6", "icmpv6"))
    } else if only(protocol::ICMPV6) && !v6 {
        Some(("ICMPv6 is of IPv6", "IPv4", "icmp"))
    } else {
        None
    };
    if let Some((belongs, addresses, meant)) = wrong {
        errors.add(
            &section.key_place(narrowed_by),
            format!("{belongs}, and {narrowed_by} has {addresses} only, so no packet matches"),
            format!("write protocol = {meant:?}, or other addresses"),
        );
    }
}
