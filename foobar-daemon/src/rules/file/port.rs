//! Ports, ranges of numbers, and ports with their protocol.

use std::ops::RangeInclusive;

use super::{error::Errors, value::Value};
use crate::rules::model::{PortProtocol, ServicePort};

/// `tcp/443`.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn parse_service_port(text: &str) -> Result<ServicePort, (String, String)> {
    let wrong = |help: String| (format!("{text:?} is no port with its protocol"), help);
    let example = "write protocol/port, as in tcp/443; protocols with ports are tcp, udp and sctp";
    let Some((protocol_text, port_text)) = text.split_once('/') else {
        let help = match text.parse::<u16>() {
            Ok(port) => format!("write \"tcp/{port}\" or \"udp/{port}\""),
            Err(_) => example.to_owned(),
        };
        return Err(wrong(help));
    };
    let protocol_of = |text: &str| PortProtocol::ALL.into_iter().find(|protocol| protocol.label() == text);
    match (protocol_of(protocol_text), number(port_text)) {
        (Some(protocol), Some(port)) => Ok(ServicePort { protocol, port }),
        (Some(protocol), None) if port_text.contains('-') => {
            Err(wrong(format!("ranges are not known here: write each port, as in {}/80", protocol.label())))
        }
        (Some(_), None) => Err(wrong("write a port from 0 to 65535, as in tcp/443".to_owned())),
        (None, _) => Err(wrong(match (number(protocol_text), protocol_of(port_text)) {
            (Some(port), Some(protocol)) => format!("write \"{}/{port}\"", protocol.label()),
            _ => example.to_owned(),
        })),
    }
}

/// Digits only: `parse` would take a plus sign too.
fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// One port with its protocol.
pub(super) fn service_port(value: &Value<'_>, what: &str, errors: &mut Errors<'_>) -> Option<ServicePort> {
    if value.is_number() {
        let port = value.number(what, 0..=65_535, errors)?;
        let help = format!("write \"tcp/{port}\" or \"udp/{port}\"");
        errors.add(&value.place, format!("{what} {port} has no protocol"), help);
        return None;
    }
    let text = value.string(what, errors)?;
    parse_service_port(text).map_err(|(message, help)| errors.add(&value.place, message, help)).ok()
}

/// A list of numbers and ranges of numbers.
pub(super) fn ranges(
    value: &Value<'_>,
    what: &str,
    errors: &mut Errors<'_>,
) -> Option<Vec<RangeInclusive<u16>>> {
    let elements = value.list(what, errors)?;
    let ranges: Vec<_> = elements.iter().map(|element| range(element, what, errors)).collect();
    ranges.into_iter().collect()
}

/// A number from 0 to 65,535, or a range `"low-high"` of them.
pub(super) fn range(value: &Value<'_>, what: &str, errors: &mut Errors<'_>) -> Option<RangeInclusive<u16>> {
    if value.is_number() {
        let number = value.number(what, 0..=65_535, errors)?;
        return u16::try_from(number).ok().map(|number| number..=number);
    }
    let Some(text) = value.as_string() else {
        value.wrong_type(what, "a number, or a range in quotes as in \"8000-8099\"", errors);
        return None;
    };
    match parse_range(text) {
        Ok(range) => Some(range),
        Err(help) => {
            errors.add(&value.place, format!("{what} {text:?} is no number or range from 0 to 65535"), help);
            None
        }
    }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    if let Some(single) = number(text) {
        return Ok(single..=single);
    }
    let example = || "write a number, or a range as in \"8000-8099\"".to_owned();
    let (low, high) = text.split_once(['-', ':']).ok_or_else(example)?;
    match (number(low.trim()), number(high.trim())) {
        (Some(low), Some(high)) if low > high => {
            Err(format!("the range is empty, since {low} is above {high}: write \"{high}-{low}\""))
        }
        (Some(low), Some(high)) if text == format!("{low}-{high}") => Ok(low..=high),
        (Some(low), Some(high)) => Err(format!("write \"{low}-{high}\"")),
        (Some(low), None) if high.is_empty() => Err(format!("write \"{low}-65535\"")),
        (None, Some(high)) if low.is_empty() => Err(format!("write \"0-{high}\"")),
        _ => Err(example()),
    }
}
