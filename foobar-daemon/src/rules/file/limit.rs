//! `limit` and `over` of a rule.

use std::time::Duration;

use foobar_common::{
    flow::Direction,
    limit::{BURST_MAX, INTERVAL_MIN},
    verdict::Verdict,
};

use super::{
    error::Errors,
    policy,
    value::{Section, Value},
};
use crate::{
    bans::request::parse_time,
    rules::{
        limit::{Per, Rate, RateLimit, RateSpan, SOURCE_LENGTHS},
        model::{Rule, Ruleset},
    },
};

const LIMIT_KEYS: [&str; 3] = ["rate", "burst", "per"];
const LIMIT_HELP: &str = "write limit = { rate = \"100/s\", burst = 200, per = \"source\" }";
const BAN_HELP: &str = "write over = { ban = \"10m\" }";
/// How `limit.rate` is written.
const RATE: RateWords = RateWords {
    what: "limit.rate",
    help: "write a number of packets and s, m, h or d, as \"100/s\" or \"6/m\"",
    zero: "write a rule with action = \"drop\" instead",
};
const PER_HELP: &str = "write \"rule\", \"source\", \"client\" for whom a PROXY header names, or \"source/24\" for another \
                        prefix than /32 and, of IPv6, /64";

/// Reads the limit of a rule, whose action and direction have been read; as have the services of the ruleset.
pub(super) fn read(
    section: &Section<'_>,
    Rule { action, direction, .. }: &Rule,
    ruleset: &Ruleset,
    errors: &mut Errors<'_>,
) -> Option<RateLimit> {
    let (action, direction) = (*action, *direction);
    let over = section.get("over");
    let Some(value) = section.get("limit") else {
        if let Some(over) = over {
            errors.add(&over.place, "over belongs to a limit, and the rule has none".to_owned(), LIMIT_HELP);
        }
        return None;
    };
    let table = value.section("limit", LIMIT_HELP, errors)?;
    table.check_keys(&LIMIT_KEYS, errors);
    let rate_value = table.require("rate", LIMIT_HELP, errors)?;
    let (packets, span) = rate(&rate_value, &RATE, errors)?;
    let burst = match table.get("burst") {
        Some(burst) => u32::try_from(burst.number("limit.burst", 1..=u64::from(u32::MAX), errors)?).ok()?,
        None => packets,
    };
    let per = match table.get("per") {
        Some(value) => per(&value, direction, errors)?,
        None => Per::Rule,
    };
    if per == Per::Client && !check_clients(&table, action, ruleset, errors) {
        return None;
    }
    let Over { verdict: over_verdict, ban } = match &over {
        Some(over) if over.is_table() => {
            let time = ban_time(over, direction, errors)?;
            if per == Per::Rule {
                let place = table.get("per").map_or_else(|| value.place.clone(), |per| per.place);
                let message =
                    "a limit per rule does not tell who went over it: whoever came next would be banned"
                        .to_owned();
                errors.add(&place, message, "write per = \"source\", or \"source/24\" to ban such a prefix");
                return None;
            }
            // Behind a proxy, a connection that goes no further is reset; else the proxy would send on and on.
            let verdict = if per == Per::Client { Verdict::Reject } else { Verdict::Drop };
            Over { verdict, ban: Some(time) }
        }
        Some(over) => Over { verdict: policy::verdict(over, "over", errors)?, ban: None },
        None => Over { verdict: Verdict::Drop, ban: None },
    };
    if over_verdict == action && ban.is_none() {
        let place = over.as_ref().map_or(&value.place, |over| &over.place);
        errors.add(
            place,
            format!(
                "the limit changes nothing: what is over it gets the action of the rule, {}",
                action.label()
            ),
            "write another over, or leave the limit out",
        );
        return None;
    }
    let limit = RateLimit { packets, span, burst, per, over: over_verdict, ban };
    if limit.interval().saturating_mul(u64::from(burst)) > BURST_MAX {
        errors.add(
            &value.place,
            format!("at {packets}/{} a burst of {burst} takes more than a year to come back", span.letter()),
            "write a smaller burst",
        );
        return None;
    }
    Some(limit)
}

/// Whether a limit of clients can be kept by a rule with this action.
fn check_clients(table: &Section<'_>, action: Verdict, ruleset: &Ruleset, errors: &mut Errors<'_>) -> bool {
    let Some(per) = table.get("per") else { return true };
    if !ruleset.names_clients() {
        let message = "nobody tells who the client is: no service has proxy_protocol".to_owned();
        let help = "write per = \"source\"; or proxy_protocol = true at the service, if a proxy speaks to it";
        errors.add(&per.place, message, help);
        return false;
    }
    if action != Verdict::Accept {
        let message = format!(
            "who the client is, is told in a connection that is open; one whose packets get {} never opens",
            action.label()
        );
        errors.add(&per.place, message, "write action = \"accept\", and in over what is over the limit gets");
        return false;
    }
    true
}

/// What is said of a rate that is wrong.
pub(super) struct RateWords {
    /// Its key.
    pub(super) what: &'static str,
    /// What to write.
    pub(super) help: &'static str,
    /// What to write instead of zero.
    pub(super) zero: &'static str,
}

/// Reads a rate: a number, and the span that it is for.
pub(super) fn rate(value: &Value<'_>, words: &RateWords, errors: &mut Errors<'_>) -> Option<(u32, RateSpan)> {
    let text = value.string(words.what, errors)?;
    let parts = text.split_once('/').and_then(|(packets, letter)| {
        let span = RateSpan::ALL.into_iter().find(|span| span.letter() == letter)?;
        let is_digits = !packets.is_empty() && packets.bytes().all(|byte| byte.is_ascii_digit());
        is_digits.then(|| (packets.parse::<u32>(), span))
    });
    let Some((packets, span)) = parts else {
        errors.add(&value.place, format!("{text:?} is no rate"), words.help);
        return None;
    };
    match packets {
        Ok(0) => {
            let message = "a rate of zero lets nothing through".to_owned();
            errors.add(&value.place, message, words.zero);
            None
        }
        Ok(packets) if (Rate { packets, span }).interval() >= INTERVAL_MIN => Some((packets, span)),
        Ok(_) | Err(_) => {
            let fastest = 1_000_000_000 / INTERVAL_MIN;
            let message = format!("the rate {text:?} is too high: the highest is {fastest}/s");
            errors.add(&value.place, message, "write a smaller number");
            None
        }
    }
}

fn per(value: &Value<'_>, direction: Direction, errors: &mut Errors<'_>) -> Option<Per> {
    let text = value.string("limit.per", errors)?;
    let per = match text {
        "rule" => Per::Rule,
        "source" => Per::SOURCE,
        "client" => Per::Client,
        _ => match text.strip_prefix("source/").and_then(|length| length.parse().ok()) {
            Some(v4 @ 1..=32) => Per::Source { v4, v6: SOURCE_LENGTHS[1] },
            Some(v6 @ 33..=128) => Per::Source { v4: SOURCE_LENGTHS[0], v6 },
            _ => {
                errors.add(&value.place, format!("limit.per cannot be {text:?}"), PER_HELP);
                return None;
            }
        },
    };
    if per != Per::Rule && direction == Direction::Out {
        let message =
            "the source of what goes out is this server, so there is no other to tell apart".to_owned();
        errors.add(&value.place, message, "write per = \"rule\"");
        return None;
    }
    Some(per)
}

/// What becomes of packets over a limit, and for how long their senders are banned.
struct Over {
    verdict: Verdict,
    ban: Option<Duration>,
}

/// Reads `over = { ban = "10m" }`.
fn ban_time(value: &Value<'_>, direction: Direction, errors: &mut Errors<'_>) -> Option<Duration> {
    let section = value.section("over", BAN_HELP, errors)?;
    section.check_keys(&["ban"], errors);
    let time_value = section.require("ban", BAN_HELP, errors)?;
    let text = time_value.string("over.ban", errors)?;
    if direction == Direction::Out {
        let message = "the source of what goes out is this server, which cannot be banned".to_owned();
        errors.add(&value.place, message, "write over = \"drop\"");
        return None;
    }
    match parse_time(text) {
        Ok(Some(time)) => Some(time),
        Ok(None) => {
            let message = "a rule cannot ban without end: addresses get other owners".to_owned();
            errors.add(&time_value.place, message, "write a time, as \"30d\"");
            None
        }
        Err(_) => {
            let message = format!("{text:?} is no time of a ban");
            errors.add(
                &time_value.place,
                message,
                "write one from \"1s\" to \"100y\", as \"10m\", \"2h\" or \"30d\"",
            );
            None
        }
    }
}
