//! Addresses, prefixes and lists of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv6Net};

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

/// Why a text is no entry of an address list; said in words only when somebody reads them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wrong {
    /// It is no address or prefix.
    NoPrefix,
    /// It has bits set behind the prefix.
    HostBits(IpNet),
    /// It is an IPv4 address in IPv6 form.
    Mapped(Ipv6Net, Ipv4Addr),
}

/// An address or prefix without host bits.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn parse_prefix(text: &str) -> Result<IpNet, (String, String)> {
    read_prefix(text).map_err(|wrong| wrong.explain(text))
}

/// An address or prefix. With `lenient`, bits behind the prefix are set to zero; whether some were is told, too.
///
/// # Errors
/// As [`parse_prefix`].
pub fn parse_entry(text: &str, lenient: bool) -> Result<(IpNet, bool), (String, String)> {
    read_entry(text, lenient).map_err(|wrong| wrong.explain(text))
}

pub(super) fn read_entry(text: &str, lenient: bool) -> Result<(IpNet, bool), Wrong> {
    match read_prefix(text) {
        Err(Wrong::HostBits(prefix)) if lenient => Ok((unmapped(prefix.trunc())?, true)),
        read => Ok((read?, false)),
    }
}

pub(super) fn read_prefix(text: &str) -> Result<IpNet, Wrong> {
    let prefix = as_written(text).ok_or(Wrong::NoPrefix)?;
    if prefix.trunc() != prefix {
        return Err(Wrong::HostBits(prefix));
    }
    unmapped(prefix)
}

fn as_written(text: &str) -> Option<IpNet> {
    match text.split_once('/') {
        None => text.parse::<IpAddr>().ok().map(IpNet::from),
        Some((address, length)) => {
            let length = u8::try_from(plain_number(length)?).ok()?;
            IpNet::new(address.parse().ok()?, length).ok()
        }
    }
}

impl Wrong {
    /// What is wrong with this text, and what to write instead.
    pub(super) fn explain(self, text: &str) -> Problem {
        match self {
            Self::NoPrefix => no_prefix(text),
            Self::HostBits(prefix) => (
                format!("{text:?} has bits set behind the prefix"),
                format!("write {} for the network, or {} for the one address", prefix.trunc(), prefix.addr()),
            ),
            Self::Mapped(v6, v4) => {
                let length = v6.prefix_len();
                let meant = if length == 128 { v4.to_string() } else { format!("{v4}/{}", length - 96) };
                (
                    format!("{v6} is an IPv4 address in IPv6 form, which no packet carries"),
                    format!("write {meant}; the whole block is ::ffff:0:0/96"),
                )
            }
        }
    }
}

/// An IPv4 address inside an IPv6 one (`::ffff:192.0.2.1`) is how programs write IPv4 peers; on the wire such a
/// peer is plain IPv4, and a rule with the IPv6 form would never meet it. The whole block stays sayable: to drop
/// it is good practice (RFC 6890 table 20).
fn unmapped(prefix: IpNet) -> Result<IpNet, Wrong> {
    if let IpNet::V6(v6) = prefix
        && let Some(v4) = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() > 96)
    {
        return Err(Wrong::Mapped(v6, v4));
    }
    Ok(prefix)
}

fn no_prefix(text: &str) -> Problem {
    let Some((address_text, length_text)) = text.split_once('/') else {
        return no_address(text, text);
    };
    let Ok(address) = address_text.parse::<IpAddr>() else {
        return no_address(text, address_text);
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let mask = length_text.parse::<Ipv4Addr>().ok().filter(|_| address.is_ipv4());
    let help = match mask.map(|mask| ipnet::ip_mask_to_prefix(mask.into())) {
        Some(Ok(length)) => format!("write {address}/{length}"),
        _ => "write the number of leading bits, as in /24".to_owned(),
    };
    (format!("{text:?} has no prefix length from 0 to {longest}"), help)
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
    read_prefix(text).map_err(|wrong| errors.add_with(&value.place, || wrong.explain(text))).ok()
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
    let AddressCondition { include, exclude } = &mut condition;
    include.shrink_to_fit();
    exclude.shrink_to_fit();
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
