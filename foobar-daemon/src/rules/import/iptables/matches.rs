//! The matches of a rule (iptables(8), iptables-extensions(8)).

use std::collections::BTreeSet;

use foobar_common::flow::{
    Family,
    protocol::{ICMP, ICMPV6},
};

use super::{
    super::{
        alternatives::{
            Parts, all, destination, destination_ports, flags, lengths, messages, protocols, source,
            source_ports, states,
        },
        conditions::{Addresses, Conditions},
        language, names,
        values::{self, Ranges},
    },
    ipset::Sets,
    rule::Options,
};
use crate::rules::names::{self as words, TCP_FLAGS};

/// Match modules whose options are known.
const MODULES: [&str; 14] = [
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "icmpv6",
    "ipv6-icmp",
    "multiport",
    "comment",
    "set",
    "length",
    "iprange",
    "state",
    "conntrack",
];

/// What a rule says of packets.
pub(super) struct Matches<'s> {
    line: usize,
    family: Family,
    sets: &'s mut Sets,
    pub(super) conditions: Parts,
    pub(super) comment: Option<String>,
}

impl<'s> Matches<'s> {
    pub(super) fn new(line: usize, family: Family, sets: &'s mut Sets) -> Self {
        Self { line, family, sets, conditions: Vec::new(), comment: None }
    }

    /// Reads the values of an option.
    pub(super) fn option(&mut self, option: &str, options: &mut Options<'_>) -> Result<(), String> {
        let negated = options.negated;
        let part = match option {
            "-4" | "--ipv4" => return self.check_family(Family::V4),
            "-6" | "--ipv6" => return self.check_family(Family::V6),
            "-m" | "--match" => return module(options.value()?),
            "--comment" => {
                self.comment = Some(options.value()?.to_owned());
                return Ok(());
            }
            "-p" | "--protocol" | "--proto" => protocol(options.value()?, negated)?,
            "-s" | "--source" | "--src" | "--src-range" => source(self.addresses(options.value()?, negated)?),
            "-d" | "--destination" | "--dst" | "--dst-range" => {
                destination(self.addresses(options.value()?, negated)?)
            }
            "--sport" | "--source-port" | "--sports" | "--source-ports" => {
                source_ports(ports(options.value()?, negated)?)
            }
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                destination_ports(ports(options.value()?, negated)?)
            }
            "--ports" | "--port" => either_port(options.value()?, negated)?,
            "--syn" => flags(0x17, 0x02, negated),
            "--tcp-flags" => {
                let mask = flag_byte(options.value()?)?;
                flags(mask, flag_byte(options.value()?)?, negated)
            }
            "--icmp-type" => icmp(ICMP, options.value()?, negated)?,
            "--icmpv6-type" => icmp(ICMPV6, options.value()?, negated)?,
            "-i" | "--in-interface" => {
                let interfaces = interface(options.value()?, negated)?;
                vec![Conditions { interfaces: Some(interfaces), ..Conditions::default() }]
            }
            "-o" | "--out-interface" => {
                let out_interfaces = interface(options.value()?, negated)?;
                vec![Conditions { out_interfaces: Some(out_interfaces), ..Conditions::default() }]
            }
            "-f" | "--fragment" => vec![Conditions { fragment: Some(!negated), ..Conditions::default() }],
            "--state" | "--ctstate" => {
                let listed: Result<Vec<_>, String> = options
                    .value()?
                    .split(',')
                    .map(|name| names::state(&name.to_ascii_lowercase()))
                    .collect();
                states(&listed?.into_iter().flatten().collect(), negated)
            }
            "--length" => length(options.value()?, negated)?,
            "--match-set" => self.set(options.value()?, options.value()?, negated)?,
            _ => return Err(format!("{option} is not in the rule language")),
        };
        self.conditions.push(part);
        Ok(())
    }

    fn addresses(&self, list: &str, negated: bool) -> Result<Addresses, String> {
        let mut prefixes = Vec::new();
        for text in list.split(',') {
            prefixes.extend(values::prefixes(text)?);
        }
        prefixes.iter().map(values::family).try_for_each(|family| self.check_family(family))?;
        Ok(if negated { Addresses::outside(&prefixes) } else { Addresses::of(prefixes) })
    }

    /// A file of one IP version has no rules of the other.
    fn check_family(&self, family: Family) -> Result<(), String> {
        if family == self.family {
            return Ok(());
        }
        let (this, other) = if family == Family::V4 { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        Err(format!("it is of {this}, and the file is taken as one of {other}; import the two apart"))
    }

    fn set(&mut self, name: &str, which: &str, negated: bool) -> Result<Vec<Conditions>, String> {
        let (name, family) = self.sets.name(name, self.line, self.family)?;
        let addresses = if negated { Addresses::not_in_set(&name) } else { Addresses::in_set(&name, family) };
        match which {
            "src" => Ok(source(addresses)),
            "dst" => Ok(destination(addresses)),
            _ => Err("sets of anything but one address are not in the rule language".to_owned()),
        }
    }
}

fn module(name: &str) -> Result<(), String> {
    match name {
        "limit" => Err(language::LIMIT.to_owned()),
        "hl" => Err(language::HOP_LIMIT.to_owned()),
        _ if MODULES.contains(&name) => Ok(()),
        _ => Err(format!("the match {name} is not in the rule language")),
    }
}

fn protocol(name: &str, negated: bool) -> Result<Vec<Conditions>, String> {
    if matches!(name, "all" | "0") {
        return Ok(if negated { Vec::new() } else { vec![Conditions::default()] });
    }
    Ok(protocols(&[names::protocol(name)?], negated))
}

fn ports(list: &str, negated: bool) -> Result<Ranges, String> {
    let ranges: Result<Ranges, String> = list.split(',').map(|text| values::ports(text, ':')).collect();
    let ranges = values::joined(ranges?);
    Ok(if negated { values::complement(&ranges) } else { ranges })
}

/// Either port is one of these; negated, neither is.
fn either_port(list: &str, negated: bool) -> Result<Vec<Conditions>, String> {
    let ranges = ports(list, negated)?;
    if negated {
        return all(&vec![source_ports(ranges.clone()), destination_ports(ranges)], &mut Vec::new());
    }
    Ok([source_ports(ranges.clone()), destination_ports(ranges)].concat())
}

fn flag_byte(list: &str) -> Result<u8, String> {
    list.split(',').try_fold(0, |byte, name| match name {
        "ALL" => Ok(0x3f),
        "NONE" => Ok(byte),
        _ => words::number(&TCP_FLAGS, &name.to_lowercase())
            .map(|bit| byte | bit)
            .ok_or_else(|| format!("there is no TCP flag {name:?}")),
    })
}

fn icmp(of: u8, name: &str, negated: bool) -> Result<Vec<Conditions>, String> {
    if matches!(name, "any" | "255" | "255/255") {
        return Ok(if negated { Vec::new() } else { vec![Conditions::of_protocol(of)] });
    }
    Ok(messages(of, &[names::icmp(of, name)?], negated))
}

fn interface(name: &str, negated: bool) -> Result<BTreeSet<String>, String> {
    if negated {
        return Err("a list of interfaces cannot exclude one: write the others".to_owned());
    }
    Ok(BTreeSet::from([values::interface(name)?]))
}

fn length(text: &str, negated: bool) -> Result<Vec<Conditions>, String> {
    let range = values::ports(text, ':')
        .map_err(|_error| format!("{text:?} is no length or range of lengths from 0 to 65535"))?;
    let ranges = vec![range];
    Ok(lengths(if negated { values::complement(&ranges) } else { ranges }))
}
