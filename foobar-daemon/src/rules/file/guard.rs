//! `[guard]`.

use std::time::Duration;

use super::{
    Reading,
    error::Errors,
    name,
    policy::is_first,
    value::{Section, Value},
};
use crate::rules::model::GuardTerms;

const KEYS: [&str; 3] = ["within", "fall", "services"];
const HELP: &str =
    "write [guard], then within = \"30s\", fall = \"50%\" or services = [\"www\"] on each line";
/// Shortest and longest time of a guard.
pub const GUARD_WITHIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_hours(1));

/// Reads it, if the file has it.
pub(super) fn read(file: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) {
    let Some(value) = file.get("guard") else { return };
    if !is_first(&mut reading.places.guard, "guard", &value, errors) {
        return;
    }
    let Some(section) = value.section("[guard]", HELP, errors) else { return };
    section.check_keys(&KEYS, errors);
    let mut terms = GuardTerms::default();
    if let Some(value) = section.get("within")
        && let Some(within) = within(&value, errors)
    {
        terms.within = within;
    }
    if let Some(value) = section.get("fall")
        && let Some(fall) = fall(&value, errors)
    {
        terms.fall = fall;
    }
    if let Some(value) = section.get("services") {
        // It may be empty. And a name that these rules do not have is none that is wrong: the rules before may have it.
        let values = value.any_list();
        let names = values.iter().filter_map(|value| name(value, "the name of a service", errors));
        terms.services = Some(names.map(str::to_owned).collect());
    }
    reading.ruleset.guard = terms;
}

fn within(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<Duration> {
    let text = value.string("guard.within", errors)?;
    let (shortest, longest) = GUARD_WITHIN;
    let within = humantime::parse_duration(text).ok().filter(|within| (shortest..=longest).contains(within));
    if within.is_none() {
        errors.add(
            &value.place,
            format!("guard.within cannot be {text:?}"),
            "write a time from \"5s\" to \"1h\", as \"30s\"; services = [] has nothing watched",
        );
    }
    within
}

fn fall(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<u8> {
    let text = value.string("guard.fall", errors)?;
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let fall = digits.and_then(|digits| digits.parse().ok()).filter(|fall| (1..=100).contains(fall));
    if fall.is_none() {
        errors.add(
            &value.place,
            format!("guard.fall cannot be {text:?}"),
            "write a share from \"1%\" to \"100%\", as \"50%\"; \"100%\" is a service that gets nothing any more",
        );
    }
    fall
}
