//! Addresses, prefixes and lists of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::{
    error::{Errors, Place},
    value::Value,
};
use crate::rules::{
    model::{AddressCondition, AddressMatch, AddressSet},
    names::closest,
};

/// What is wrong with a text, and what to write instead.
pub(super) type Problem = (String, String);

/// An address or prefix without host bits.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn parse_prefix(text: &str) -> Result<IpNet, (String, String)> {
    let Some((address_text, length_text)) = text.split_once('/') else {
        let address: IpAddr = text.parse().map_err(|_error| no_address(text, text))?;
        return unmapped(IpNet::from(address));
    };
    let address: IpAddr = address_text.parse().map_err(|_error| no_address(text, address_text))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let wrong_length = |help: String| (format!("{text:?} has no prefix length from 0 to {longest}"), help);
    let Some(length) = plain_number(length_text).filter(|length| *length <= longest) else {
        let help = match (address, length_text.parse::<Ipv4Addr>()) {
            (IpAddr::V4(_), Ok(mask)) => match ipnet::ip_mask_to_prefix(mask.into()) {
                Ok(length) => format!("write {address}/{length}"),
                Err(_) => "write the number of leading bits, as in /24".to_owned(),
            },
            _ => "write the number of leading bits, as in /24".to_owned(),
        };
        return Err(wrong_length(help));
    };
    let length = u8::try_from(length).map_err(|_error| wrong_length(String::new()))?;
    let prefix = IpNet::new(address, length).map_err(|_error| wrong_length(String::new()))?;
    if prefix.trunc() != prefix {
        return Err((
            format!("{text:?} has bits set behind the prefix"),
            format!("write {} for the network, or {address} for the one address", prefix.trunc()),
        ));
    }
    unmapped(prefix)
}

/// An IPv4 address inside an IPv6 one (`::ffff:192.0.2.1`) is how programs write IPv4 peers; on the wire such a
/// peer is plain IPv4, and a rule with the IPv6 form would never meet it. The whole block stays sayable: to drop
/// it is good practice (RFC 6890 table 20).
fn unmapped(prefix: IpNet) -> Result<IpNet, Problem> {
    let IpNet::V6(v6) = prefix else {
        return Ok(prefix);
    };
    let Some(v4) = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() > 96) else {
        return Ok(prefix);
    };
    let meant =
        if v6.prefix_len() == 128 { v4.to_string() } else { format!("{v4}/{}", v6.prefix_len() - 96) };
    Err((
        format!("{v6} is an IPv4 address in IPv6 form, which no packet carries"),
        format!("write {meant}; the whole block is ::ffff:0:0/96"),
    ))
}

/// Digits only: `parse` would take a plus sign too.
fn plain_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn no_address(whole: &str, address: &str) -> Problem {
    let help = if matches!(whole, "any" | "all" | "*") {
        "leave the key out to mean any address".to_owned()
    } else if whole.trim() != whole {
        format!("write it without the spaces: {:?}", whole.trim())
    } else if address.starts_with('[') {
        "write IPv6 addresses without brackets".to_owned()
    } else if address.contains('%') {
        "leave the interface out of the address; the key interface is for that".to_owned()
    } else if address.split_once('-').is_some_and(|(from, _)| from.parse::<IpAddr>().is_ok()) {
        "address ranges are not known: write the prefixes that make it up".to_owned()
    } else if address.split('.').count() < 4
        && address.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        "write all four numbers of an IPv4 address, as in 10.0.0.0/8".to_owned()
    } else if address.chars().any(|one| one.is_ascii_alphabetic()) && !address.contains(':') {
        "names are not looked up: write the address, or @name for a set".to_owned()
    } else {
        "write an address like 192.0.2.1 or 2001:db8::1, or a prefix like 192.0.2.0/24".to_owned()
    };
    (format!("{whole:?} is no address or prefix"), help)
}

/// One prefix; sets and exclusions are not possible here.
pub(super) fn prefix(value: &Value<'_>, what: &str, errors: &mut Errors<'_>) -> Option<IpNet> {
    let text = value.string(what, errors)?;
    if text.starts_with(['@', '!']) {
        let message = format!("{what} takes addresses and prefixes only, not {text:?}");
        errors.add(&value.place, message, "write each address or prefix; sets and ! belong into rules");
        return None;
    }
    parse_prefix(text).map_err(|(message, help)| errors.add(&value.place, message, help)).ok()
}

/// `source` or `destination` of a rule.
pub(super) fn condition(
    value: &Value<'_>,
    what: &str,
    sets: &BTreeMap<String, Place>,
    errors: &mut Errors<'_>,
) -> Option<AddressCondition> {
    let mut condition = AddressCondition::default();
    let mut complete = true;
    for element in value.list(what, errors)? {
        let Some(text) = element.string(what, errors) else {
            complete = false;
            continue;
        };
        let (entries, rest) = match text.strip_prefix('!') {
            Some(rest) => (&mut condition.exclude, rest),
            None => (&mut condition.include, text),
        };
        let one = match rest.strip_prefix('@') {
            Some(name) if sets.contains_key(name) => Ok(AddressMatch::Set(name.to_owned())),
            Some(name) => Err(unknown_set(name, sets)),
            None => parse_prefix(rest).map(AddressMatch::Prefix),
        };
        match one {
            Ok(one) => entries.push(one),
            Err((message, help)) => {
                complete = false;
                errors.add(&element.place, message, help);
            }
        }
    }
    complete.then_some(condition)
}

fn unknown_set(name: &str, sets: &BTreeMap<String, Place>) -> Problem {
    let help = match closest(name, sets.keys().map(String::as_str)) {
        Some(meant) => format!("did you mean @{meant}?"),
        None if name.is_empty() => "write the name of the set behind the @".to_owned(),
        None => format!("add a table [sets.{name}] with entries = [\"…\"] or file = \"…\""),
    };
    (format!("there is no set {name:?}"), help)
}

/// Which families a condition can accept at all: IPv4, IPv6. A set without entries counts as both: what is wrong
/// with it is another matter.
pub(super) fn families(condition: &AddressCondition, sets: &BTreeMap<String, AddressSet>) -> [bool; 2] {
    let AddressCondition { include, exclude: _ } = condition;
    if include.is_empty() {
        return [true, true];
    }
    let mut families = [false, false];
    for one in include {
        let entries = match one {
            AddressMatch::Prefix(prefix) => std::slice::from_ref(prefix),
            AddressMatch::Set(name) => sets.get(name).map_or(&[][..], |set| &set.entries),
        };
        if entries.is_empty() {
            return [true, true];
        }
        for prefix in entries {
            match prefix {
                IpNet::V4(_) => families[0] = true,
                IpNet::V6(_) => families[1] = true,
            }
        }
    }
    families
}
