//! `syn_cookies` of a `[[service]]`.

use foobar_common::syn_cookies::CookieMode;

use super::{
    error::Errors,
    value::{Section, Value},
};
use crate::rules::model::{PortProtocol, ServicePort, SynCookies};

const KEYS: [&str; 2] = ["start", "stop"];
const HELP: &str =
    "write syn_cookies = \"auto\", or { start = \"1000/s\", stop = \"500/s\" } for other rates";
const RATE_HELP: &str = "write a number of SYNs in a second, as \"1000/s\"";

/// When a service with these ports answers with cookies.
pub(super) fn read(
    section: &Section<'_>,
    ports: Option<&[ServicePort]>,
    errors: &mut Errors<'_>,
) -> SynCookies {
    let Some(value) = section.get("syn_cookies") else { return SynCookies::default() };
    let asked = if value.is_table() {
        rates(&value, errors)
    } else {
        let words: Vec<_> = CookieMode::ALL.iter().map(|mode| (mode.label(), *mode)).collect();
        value.word("syn_cookies", &words, errors).map(|mode| SynCookies { mode, ..SynCookies::default() })
    };
    let asked = asked.unwrap_or_default();
    let has_tcp = ports.is_none_or(|ports| ports.iter().any(|port| port.protocol == PortProtocol::Tcp));
    if asked.mode != CookieMode::Off && !has_tcp {
        let message = "syn_cookies means nothing for a service without a port of TCP".to_owned();
        errors.add(&value.place, message, "leave this out");
    }
    asked
}

/// Rates other than the usual ones.
fn rates(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<SynCookies> {
    let table = value.section("syn_cookies", HELP, errors)?;
    table.check_keys(&KEYS, errors);
    let start = rate(&table.require("start", HELP, errors)?, "syn_cookies.start", errors)?;
    let Some(value) = table.get("stop") else { return Some(SynCookies::auto(start, start / 2)) };
    let stop = rate(&value, "syn_cookies.stop", errors)?;
    if stop > start {
        errors.add(
            &value.place,
            format!("cookies would begin above {start} SYNs in a second and end at {stop}"),
            "write a stop that is not above start",
        );
        return None;
    }
    Some(SynCookies::auto(start, stop))
}

fn rate(value: &Value<'_>, what: &str, errors: &mut Errors<'_>) -> Option<u32> {
    let text = value.string(what, errors)?;
    let digits = text.strip_suffix("/s").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(0) => {
            let message = format!("{what} of zero would be all the time");
            errors.add(&value.place, message, "write syn_cookies = \"always\"");
            None
        }
        Some(rate) => Some(rate),
        None => {
            errors.add(&value.place, format!("{what} cannot be {text:?}"), RATE_HELP);
            None
        }
    }
}
