//! The programs of services, which take over from those that judge packets.
//!
//! The kernel empties an array of programs as soon as nobody holds it open or pinned, though programs go on using it
//! (`bpf_map_put_uref`). So it is pinned for as long as its ruleset is in force, in a folder of its own, under the id of
//! the ruleset's program: the old one's until no interface has that program any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf,
    maps::{Array, ProgramArray},
    programs::{Program, ProgramFd},
};
use foobar_common::{
    ahead::BLOCKS_MAX,
    connection::{CONNECTIONS_MAX, NAMES_MAX},
    counters::{GROUP_ENTRIES, SERVICE_SLOTS},
    dns::QUERIES_MAX,
    http2::HTTP2_CONNECTIONS_MAX,
    maps,
    mysql::{REPLICAS_MAX, SESSIONS_MAX, STATEMENTS_MAX},
    proxy::{CLIENTS_MAX, WAITING_MAX},
    rule::uses,
    service::{Protocol, ServiceSettings},
    syn_cookies::{CookieMode, SynOffer},
    tls::TlsVersion,
};

use super::{pins::PinFolder, rejects};
use crate::rules::{
    compile::CompiledRuleset,
    model::{Spoken, TlsRequirements},
};

/// The arrays of programs, of what comes in and of what goes out.
const NAMES: [&str; 2] = [maps::SERVICES_IN, maps::SERVICES_OUT];

/// What a protocol takes.
struct Needs {
    /// The program that reads what comes in, and the one for what goes out.
    programs: [&'static str; 2],
    /// Its maps, with their numbers of entries.
    maps: &'static [(&'static str, u32)],
}

const fn needs(protocol: Protocol) -> Needs {
    match protocol {
        Protocol::Raw => Needs {
            programs: [maps::RAW_INBOUND, maps::RAW_OUTBOUND],
            maps: &[(maps::RAW_COUNTERS, SERVICE_SLOTS), (maps::RAW_CONNECTIONS, CONNECTIONS_MAX)],
        },
        Protocol::Http1 => Needs {
            programs: [maps::HTTP1_REQUESTS, maps::HTTP1_RESPONSES],
            maps: &[
                (maps::HTTP_COUNTERS, SERVICE_SLOTS),
                (maps::CONNECTIONS, CONNECTIONS_MAX),
                (maps::SEGMENTS_AHEAD, BLOCKS_MAX),
                (maps::SERVICE_BYTES, SERVICE_SLOTS),
                (maps::PROXY_HEADERS, SERVICE_SLOTS),
            ],
        },
        Protocol::H2c => Needs {
            programs: [maps::HTTP2_REQUESTS, maps::HTTP2_RESPONSES],
            maps: &[(maps::HTTP2_CONNECTIONS, HTTP2_CONNECTIONS_MAX)],
        },
        Protocol::Tls => Needs {
            programs: [maps::TLS_OFFERS, maps::TLS_CHOICES],
            maps: &[
                (maps::TLS_COUNTERS, SERVICE_SLOTS),
                (maps::TLS_CONNECTIONS, CONNECTIONS_MAX),
                (maps::TLS_NAMES, NAMES_MAX),
                (maps::SERVICE_BYTES, SERVICE_SLOTS),
                (maps::PROXY_HEADERS, SERVICE_SLOTS),
            ],
        },
        Protocol::Mysql => Needs {
            programs: [maps::MYSQL_COMMANDS, maps::MYSQL_REPLIES],
            maps: &[
                (maps::MYSQL_COUNTERS, SERVICE_SLOTS),
                (maps::MYSQL_SESSIONS, SESSIONS_MAX),
                (maps::MYSQL_STATEMENTS, STATEMENTS_MAX),
                (maps::MYSQL_REPLICAS, REPLICAS_MAX),
                (maps::SEGMENTS_AHEAD, BLOCKS_MAX),
                (maps::SERVICE_BYTES, SERVICE_SLOTS),
                (maps::PROXY_HEADERS, SERVICE_SLOTS),
            ],
        },
        Protocol::Dns => Needs {
            programs: [maps::DNS_QUERIES, maps::DNS_ANSWERS],
            maps: &[
                (maps::DNS_COUNTERS, SERVICE_SLOTS),
                (maps::DNS_CONNECTIONS, CONNECTIONS_MAX),
                (maps::DNS_PENDING, QUERIES_MAX),
                (maps::SERVICE_BYTES, SERVICE_SLOTS),
            ],
        },
    }
}

/// The protocols of a ruleset of which more is counted than packets and bytes.
fn protocols(compiled: &CompiledRuleset) -> BTreeSet<Protocol> {
    let counted = compiled.spoken.iter().filter(|(port, spoken)| spoken.is_counted(**port));
    let mut counted: BTreeSet<_> = counted.map(|(_, spoken)| spoken.protocol).collect();
    // Connections begin in HTTP/1.x.
    if counted.contains(&Protocol::H2c) {
        counted.insert(Protocol::Http1);
    }
    counted
}

/// The programs that a ruleset needs for its services.
pub(super) fn programs(compiled: &CompiledRuleset) -> Vec<&'static str> {
    let answers = sends_cookies(compiled).then_some(maps::SYN_ANSWERS);
    protocols(compiled).into_iter().flat_map(|protocol| needs(protocol).programs).chain(answers).collect()
}

/// Whether SYNs may be answered with cookies.
pub(super) const fn sends_cookies(compiled: &CompiledRuleset) -> bool {
    compiled.settings.uses & uses::SYN_COOKIES != 0
}

/// The maps of services: how many entries each has where it is used, and whether this ruleset uses it.
pub(super) fn maps(compiled: &CompiledRuleset) -> BTreeMap<&'static str, (u32, bool)> {
    let used = protocols(compiled);
    let mut all = BTreeMap::new();
    for protocol in Protocol::ALL {
        for (name, entries) in needs(*protocol).maps {
            let (_, is_used) = all.entry(*name).or_insert((*entries, false));
            *is_used |= used.contains(protocol);
        }
    }
    if let Some((_, is_used)) = all.get_mut(maps::HTTP_COUNTERS) {
        *is_used |= !compiled.decrypted.is_empty();
    }
    for name in [maps::SYN_COUNTERS, maps::SYN_PACES] {
        all.insert(name, (SERVICE_SLOTS, sends_cookies(compiled)));
    }
    let names_clients = compiled.settings.uses & uses::CLIENTS != 0;
    let waits = compiled.limits.iter().any(|(_, limit)| limit.by_client != 0);
    all.insert(maps::PROXY_CLIENTS, (CLIENTS_MAX, names_clients));
    all.insert(maps::PROXY_WAITING, (WAITING_MAX, names_clients && waits));
    all.insert(maps::PEER_CONNECTIONS, (GROUP_ENTRIES, compiled.settings.uses & uses::GROUPS != 0));
    all
}

/// Puts the programs, which have been loaded, where the others go on from.
pub(super) fn connect(object: &mut Ebpf, compiled: &CompiledRuleset) -> Result<()> {
    for protocol in protocols(compiled) {
        for (array, name) in NAMES.into_iter().zip(needs(protocol).programs) {
            enter(object, array, protocol.number(), name)?;
        }
    }
    if sends_cookies(compiled) {
        enter(object, maps::SERVICES_IN, maps::SYN_PROGRAM, maps::SYN_ANSWERS)?;
    }
    for (array, name) in NAMES.into_iter().zip(rejects::programs(compiled)) {
        enter(object, array, maps::REJECT_PROGRAM, name)?;
    }
    let map = object.map_mut(maps::SERVICE_SETTINGS).context("the object has no settings of services")?;
    let mut map: Array<_, ServiceSettings> = map.try_into()?;
    for (port, spoken) in &compiled.spoken {
        let Spoken { service: _, protocol: _, tls, proxy_protocol, responses: _, syn_cookies } = spoken;
        let cookies = if syn_cookies.reach(*port) { syn_cookies.mode } else { CookieMode::Off };
        let TlsRequirements { required, oldest } = tls;
        let slot = compiled.slots.services.get(port).with_context(|| format!("{port} has no slot"))?;
        let settings = ServiceSettings {
            tls_required: u32::from(*required),
            oldest_tls: oldest.map_or(0, TlsVersion::number),
            proxy: u32::from(*proxy_protocol),
            cookies: cookies.number(),
            cookies_start: syn_cookies.start,
            cookies_stop: syn_cookies.stop,
        };
        map.set(*slot, settings, 0).with_context(|| format!("enter what the rules say of {port}"))?;
    }
    Ok(())
}

/// Says what answers to SYNs may offer.
pub(super) fn offer(object: &mut Ebpf, offer: SynOffer) -> Result<()> {
    let map = object.map_mut(maps::SYN_OFFER).context("the object has no map of offers")?;
    let mut map: Array<_, SynOffer> = map.try_into()?;
    map.set(0, offer, 0).context("enter what answers to SYNs offer")
}

/// Puts a program into one of the arrays.
fn enter(object: &mut Ebpf, array: &str, number: u32, name: &str) -> Result<()> {
    let program = object.program(name).with_context(|| format!("the object has no program '{name}'"))?;
    let program = handle(program)?;
    let array = object.map_mut(array).with_context(|| format!("the object has no map {array}"))?;
    let mut array: ProgramArray<_> = array.try_into()?;
    array.set(number, &program, 0).with_context(|| format!("let packets go on in '{name}'"))
}

fn handle(program: &Program) -> Result<ProgramFd> {
    Ok(program.fd()?.try_clone()?)
}

/// The pins of a ruleset that is about to come into force: they go again unless it does.
pub(super) struct Pending<'pins> {
    pins: &'pins PinFolder,
    program: u32,
    is_in_force: bool,
}

impl Pending<'_> {
    /// The ruleset is in force on an interface: its pins stay.
    pub(super) fn confirm(&mut self) {
        self.is_in_force = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.is_in_force {
            remove(paths(self.pins, self.program));
        }
    }
}

/// Pins the arrays of a ruleset whose program has this id.
pub(super) fn pin<'pins>(object: &Ebpf, pins: &'pins PinFolder, program: u32) -> Result<Pending<'pins>> {
    let pending = Pending { pins, program, is_in_force: false };
    for (name, path) in NAMES.into_iter().zip(paths(pins, program)) {
        let array = object.map(name).ok_or_else(|| anyhow!("the object has no map {name}"))?;
        array.pin(&path).with_context(|| format!("pin {}", path.display()))?;
    }
    Ok(pending)
}

/// Removes the pins of rulesets that are no longer in force: all but those of this program.
pub(super) fn forget_others(pins: &PinFolder, program: u32) {
    let present = paths(pins, program);
    let Ok(entries) = fs::read_dir(pins.services_folder()) else { return };
    remove(entries.flatten().map(|entry| entry.path()).filter(|path| !present.contains(path)));
}

/// Where the arrays of a ruleset are pinned.
fn paths(pins: &PinFolder, program: u32) -> [PathBuf; 2] {
    NAMES.map(|name| pins.services(name, program))
}

fn remove(paths: impl IntoIterator<Item = PathBuf>) {
    for path in paths {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("remove {}: {error}", path.display());
            }
            _ => {}
        }
    }
}
