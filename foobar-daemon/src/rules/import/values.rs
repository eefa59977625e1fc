//! Addresses and numbers as others write them, as lists that the rule language has.

use std::{net::IpAddr, ops::RangeInclusive};

use foobar_common::flow::Family;
use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

use super::names;
use crate::rules::file;

/// Numbers from 0 to 65,535: ranges in ascending order that do not touch.
pub(super) type Ranges = Vec<RangeInclusive<u16>>;

/// The IP version of a prefix.
pub(super) const fn family(prefix: &IpNet) -> Family {
    match prefix {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}

/// An address, a prefix, or an address with a mask. Host bits are cut off, as others do.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let no_address = || format!("{text:?} is no address or prefix; names are not looked up");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_error| no_address())?;
    let length = match length.map(|length| (length.parse::<u8>(), length.parse::<IpAddr>())) {
        None => return checked(IpNet::from(address)),
        Some((Ok(length), _)) => length,
        Some((Err(_), Ok(mask))) => ipnet::ip_mask_to_prefix(mask)
            .map_err(|_error| format!("the mask of {text:?} is not one of leading bits"))?,
        Some((Err(_), Err(_))) => return Err(no_address()),
    };
    let prefix = IpNet::new(address, length).map_err(|_error| no_address())?;
    checked(prefix.trunc())
}

/// The prefixes that make up an address, a prefix, or a range `a-b`.
pub(super) fn prefixes(text: &str) -> Result<Vec<IpNet>, String> {
    match text.split_once('-') {
        Some((first, last)) => address_range(first, last),
        None => prefix(text).map(|prefix| vec![prefix]),
    }
}

/// The prefixes that make up a range of addresses.
pub(super) fn address_range(first: &str, last: &str) -> Result<Vec<IpNet>, String> {
    let subnets = match (first.trim().parse(), last.trim().parse()) {
        (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) if first <= last => {
            IpSubnets::V4(Ipv4Subnets::new(first, last, 0))
        }
        (Ok(IpAddr::V6(first)), Ok(IpAddr::V6(last))) if first <= last => {
            IpSubnets::V6(Ipv6Subnets::new(first, last, 0))
        }
        _ => return Err(format!("{first}-{last} is no range of addresses")),
    };
    subnets.map(checked).collect()
}

/// Everything that can be written in a rule file can be written there only.
fn checked(prefix: IpNet) -> Result<IpNet, String> {
    file::parse_prefix(&prefix.to_string()).map_err(|(message, _)| message)
}

/// A port by number or name, or a range with this sign between its ends, one of which may be missing.
pub(super) fn ports(text: &str, sign: char) -> Result<RangeInclusive<u16>, String> {
    if let Some(port) = names::port(text) {
        return Ok(port..=port);
    }
    let ends = text.split_once(sign).map(|(low, high)| {
        let low = if low.is_empty() { Some(0) } else { names::port(low) };
        let high = if high.is_empty() { Some(u16::MAX) } else { names::port(high) };
        (low, high)
    });
    match ends {
        Some((Some(low), Some(high))) if low <= high => Ok(low..=high),
        _ => Err(format!("{text:?} is no port or range of ports")),
    }
}

/// The name of an interface.
pub(super) fn interface(name: &str) -> Result<String, String> {
    let wrong = |one: char| one.is_whitespace() || one.is_control() || one == '/';
    if name.contains(['*', '+']) {
        return Err(format!("patterns like {name:?} are not known: write each interface by its whole name"));
    }
    if name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || name.contains(wrong) {
        return Err(format!("no interface can be called {name:?}"));
    }
    Ok(name.to_owned())
}

/// A decimal or hexadecimal number.
pub(super) fn number<N: TryFrom<u32>>(text: &str) -> Option<N> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.ok().and_then(|number| N::try_from(number).ok())
}

/// Puts ranges in order, and joins those that touch.
pub(super) fn joined(mut ranges: Ranges) -> Ranges {
    ranges.sort_by_key(|range| (*range.start(), *range.end()));
    let mut joined: Ranges = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// The numbers that are in none of the ranges, which are in order.
pub(super) fn complement(ranges: &Ranges) -> Ranges {
    let mut gaps = Vec::new();
    let mut next = Some(0);
    for range in ranges {
        if let Some(next) = next
            && next < *range.start()
        {
            gaps.push(next..=range.start() - 1);
        }
        next = range.end().checked_add(1);
    }
    gaps.extend(next.map(|next| next..=u16::MAX));
    gaps
}

/// The numbers that are in both.
pub(super) fn common(left: &Ranges, right: &Ranges) -> Ranges {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    let mut both = Vec::new();
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let range = *a.start().max(b.start())..=*a.end().min(b.end());
        if !range.is_empty() {
            both.push(range);
        }
        if a.end() < b.end() {
            left.next()
        } else {
            right.next()
        };
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sets_of_numbers() {
        let ranges = joined(vec![80..=90, 5..=5, 91..=95, 85..=86, 65_535..=65_535, 0..=0]);
        assert_eq!(ranges, [0..=0, 5..=5, 80..=95, 65_535..=65_535]);
        assert_eq!(complement(&ranges), [1..=4, 6..=79, 96..=65_534]);
        assert_eq!(complement(&Vec::new()), [0..=65_535]);
        assert_eq!(complement(&complement(&ranges)), ranges);
        assert_eq!(common(&ranges, &vec![0..=4, 90..=65_535]), [0..=0, 90..=95, 65_535..=65_535]);
        assert_eq!(common(&ranges, &Vec::new()), []);
    }

    #[test]
    fn addresses_in_every_form() {
        let words =
            |text: &str| -> Vec<String> { prefixes(text).unwrap().iter().map(ToString::to_string).collect() };
        assert_eq!(words("192.0.2.77"), ["192.0.2.77/32"]);
        assert_eq!(words("192.0.2.77/255.255.255.0"), ["192.0.2.0/24"]);
        assert_eq!(words("2001:db8::1/32"), ["2001:db8::/32"]);
        assert_eq!(words("192.0.2.1-192.0.2.4"), ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/32"]);
        assert_eq!(words("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        for wrong in
            ["localhost", "192.0.2.1/33", "192.0.2.0/255.0.255.0", "2.0.0.0-1.0.0.0", "::ffff:1.2.3.4"]
        {
            assert!(prefixes(wrong).is_err(), "{wrong}");
        }
    }
}
