//! `[policy]` and `[failsafe]`.

use std::time::Duration;

use foobar_common::verdict::Verdict;
use ipnet::IpNet;

use super::{
    Reading, address,
    error::{Errors, Place},
    limit::{self, RateWords},
    log, port,
    value::{Section, Value},
};
use crate::rules::{
    limit::Rate,
    model::{Failsafe, FragmentPolicy, Policy},
};

/// Reads both, if the file has them.
pub(super) fn read(file: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) {
    if let Some(value) = file.get("policy")
        && is_first(&mut reading.places.policy, "policy", &value, errors)
        && let Some(section) = value.section("[policy]", "write [policy], then a key on each line", errors)
    {
        reading.ruleset.policy = policy(&section, errors);
    }
    if let Some(value) = file.get("failsafe")
        && is_first(&mut reading.places.failsafe, "failsafe", &value, errors)
        && let Some(section) =
            value.section("[failsafe]", "write [failsafe], then a key on each line", errors)
    {
        reading.ruleset.failsafe = failsafe(&section, reading, errors);
    }
}

/// Gives groups of peers that must not be banned, once all files have been read.
pub(super) fn spare_groups(reading: &mut Reading, errors: &mut Errors<'_>) {
    for (name, place) in std::mem::take(&mut reading.spared_groups) {
        if let Some(addresses) = reading.ruleset.peers.get(&name) {
            reading.ruleset.failsafe.never_ban.extend(addresses);
            continue;
        }
        let known: Vec<&str> = reading.ruleset.peers.keys().map(String::as_str).collect();
        let help = if known.is_empty() {
            "write [peers] with it, or the addresses themselves".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        errors.add(&place, format!("there is no group {name:?} of peers"), help);
    }
}

/// Two files that each have a policy cannot both be right.
pub(super) fn is_first(
    seen: &mut Option<Place>,
    what: &str,
    value: &Value<'_>,
    errors: &mut Errors<'_>,
) -> bool {
    let Some(first) = seen else {
        *seen = Some(value.place.clone());
        return true;
    };
    let first = errors.position(first);
    errors.add(
        &value.place,
        format!("[{what}] is given a second time; the first is at {first}"),
        format!("the files of a folder are read as one: keep one [{what}]"),
    );
    false
}

const POLICY_KEYS: [&str; 9] =
    ["in", "out", "malformed", "fragments", "infrastructure", "replies", "log_drops", "adopt", "reject_rate"];

fn policy(section: &Section<'_>, errors: &mut Errors<'_>) -> Policy {
    section.check_keys(&POLICY_KEYS, errors);
    let mut policy = Policy::default();
    if let Some(value) = section.get("in")
        && let Some(verdict) = verdict(&value, "policy.in", errors)
    {
        policy.inbound = verdict;
    }
    if let Some(value) = section.get("out")
        && let Some(verdict) = verdict(&value, "policy.out", errors)
    {
        policy.outbound = verdict;
    }
    if let Some(value) = section.get("malformed")
        && let Some(word) =
            value.word("policy.malformed", &[("drop", Verdict::Drop), ("accept", Verdict::Accept)], errors)
    {
        policy.malformed = word;
    }
    if let Some(value) = section.get("fragments") {
        let words = [
            ("rules", FragmentPolicy::Rules),
            ("drop", FragmentPolicy::Always(Verdict::Drop)),
            ("accept", FragmentPolicy::Always(Verdict::Accept)),
        ];
        if let Some(fragments) = value.word("policy.fragments", &words, errors) {
            policy.fragments = fragments;
        }
    }
    if let Some(value) = section.get("infrastructure")
        && let Some(infrastructure) = value.boolean("policy.infrastructure", errors)
    {
        policy.infrastructure = infrastructure;
    }
    if let Some(value) = section.get("replies")
        && let Some(replies) = value.word("policy.replies", &[("accept", true), ("rules", false)], errors)
    {
        policy.replies = replies;
    }
    policy.log_drops =
        section.get("log_drops").and_then(|value| log::one_in(&value, "policy.log_drops", errors));
    if let Some(value) = section.get("adopt")
        && let Some(adopt) = adopt(&value, errors)
    {
        policy.adopt = adopt;
    }
    if let Some(value) = section.get("reject_rate")
        && let Some((answers, span)) = limit::rate(&value, &REJECT_RATE, errors)
    {
        policy.reject_rate = Rate { packets: answers, span };
    }
    policy
}

/// How `policy.reject_rate` is written.
const REJECT_RATE: RateWords = RateWords {
    what: "policy.reject_rate",
    help: "write how many rejected packets are answered at most and s, m, h or d, as \"1000/s\"",
    zero: "leave it out, and write \"drop\" instead of \"reject\" where nothing is to be answered",
};

/// The longest time that old connections are learnt.
const ADOPT_MAX: Duration = Duration::from_hours(1);

fn adopt(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<Duration> {
    let text = value.string("policy.adopt", errors)?;
    let adopt = humantime::parse_duration(text).ok().filter(|adopt| *adopt <= ADOPT_MAX);
    if adopt.is_none() {
        errors.add(
            &value.place,
            format!("policy.adopt cannot be {text:?}"),
            "write a time from \"0s\" to \"1h\", as \"30s\", or leave it out",
        );
    }
    adopt
}

/// `accept`, `drop` or `reject`.
pub(super) fn verdict(value: &Value<'_>, what: &str, errors: &mut Errors<'_>) -> Option<Verdict> {
    let words: Vec<_> = Verdict::ALL.iter().map(|verdict| (verdict.label(), *verdict)).collect();
    value.word(what, &words, errors)
}

const FAILSAFE_KEYS: [&str; 3] = ["ports", "peers", "never_ban"];

/// How a group of peers is named among addresses.
const GROUP: &str = "peers.";

fn failsafe(section: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) -> Failsafe {
    section.check_keys(&FAILSAFE_KEYS, errors);
    let ports = section.get("ports").map(|value| value.any_list()).unwrap_or_default();
    Failsafe {
        ports: ports.iter().filter_map(|port| port::service_port(port, "failsafe.ports", errors)).collect(),
        peers: prefixes(section, "peers", "failsafe.peers", errors),
        never_ban: never_ban(section, reading, errors),
    }
}

fn never_ban(section: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) -> Vec<IpNet> {
    let mut prefixes = Vec::new();
    for value in section.get("never_ban").map(|value| value.any_list()).unwrap_or_default() {
        match value.as_string().and_then(|text| text.strip_prefix(GROUP)) {
            Some(name) => reading.spared_groups.push((name.to_owned(), value.place.clone())),
            None => prefixes.extend(address::prefix(&value, "failsafe.never_ban", errors)),
        }
    }
    prefixes
}

fn prefixes(section: &Section<'_>, key: &str, what: &str, errors: &mut Errors<'_>) -> Vec<IpNet> {
    let values = section.get(key).map(|value| value.any_list()).unwrap_or_default();
    values.iter().filter_map(|value| address::prefix(value, what, errors)).collect()
}
