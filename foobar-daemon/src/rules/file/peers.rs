//! `[peers]`.

use std::collections::BTreeMap;

use foobar_common::counters::GROUPS_MAX;
use ipnet::IpNet;

use super::{
    Reading, address,
    error::{Errors, Place},
    policy::is_first,
    value::{Section, Value},
};
use crate::rules::{model::OTHER_PEERS, names};

const HELP: &str = "write [peers], then NAME = [\"192.0.2.0/24\"] on each line";

/// Reads the groups, if the file has them.
pub(super) fn read(file: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) {
    let Some(value) = file.get("peers") else { return };
    if !is_first(&mut reading.places.peers, "peers", &value, errors) {
        return;
    }
    let Some(section) = value.section("[peers]", HELP, errors) else { return };
    let mut taken = BTreeMap::new();
    let mut groups: Vec<_> = section.entries().collect();
    groups.sort_by_key(|(_, place, _)| place.span.start);
    for (number, (name, place, value)) in groups.into_iter().enumerate() {
        if number >= GROUPS_MAX as usize {
            let message = format!("[peers] has more than {GROUPS_MAX} groups");
            let help = format!("leave {name} out: its addresses are counted as {OTHER_PEERS:?} then");
            errors.add(&place, message, help);
        }
        if super::check_name(name, "the name of a group of peers", &place, errors) && name == OTHER_PEERS {
            errors.add(
                &place,
                format!("{OTHER_PEERS:?} is everyone who is in no group"),
                "give the group another name, or leave it out",
            );
        }
        let addresses = addresses(name, &value, &mut taken, errors);
        reading.ruleset.peers.insert(name.to_owned(), addresses);
    }
}

/// The addresses of a group. `taken` are those of all groups so far, each with its group and place.
fn addresses<'t>(
    name: &'t str,
    list: &Value<'t>,
    taken: &mut BTreeMap<IpNet, (&'t str, Place)>,
    errors: &mut Errors<'_>,
) -> Vec<IpNet> {
    let values = list.any_list();
    if values.is_empty() {
        errors.add(
            &list.place,
            format!("the group {name} has no addresses"),
            "write an address or prefix, or leave the group out",
        );
    }
    let mut addresses = Vec::new();
    for value in values {
        let Some(prefix) = prefix(name, &value, errors) else { continue };
        if let Some((group, first)) = taken.get(&prefix) {
            let first = errors.position(first);
            errors.add(
                &value.place,
                format!("{} is in {group} already, at {first}", names::prefix_words(&prefix)),
                "leave one of them out, or write a longer prefix: of those with an address, the longest counts",
            );
            continue;
        }
        taken.insert(prefix, (name, value.place.clone()));
        addresses.push(prefix);
    }
    addresses
}

/// An address or prefix of a group. Sets change while the rules are in force, and groups do not.
fn prefix(name: &str, value: &Value<'_>, errors: &mut Errors<'_>) -> Option<IpNet> {
    if let Some(text) = value.as_string()
        && text.starts_with('@')
    {
        errors.add(
            &value.place,
            format!("a group of peers cannot have the set {text}: sets change while the rules are in force"),
            "write each address or prefix",
        );
        return None;
    }
    address::prefix(value, &format!("peers.{name}"), errors)
}
