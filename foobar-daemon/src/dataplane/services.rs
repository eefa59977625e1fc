//! The programs of services, which take over from those that judge packets.
//!
//! The kernel empties an array of programs as soon as nobody holds it open or pinned, though programs go on using it
//! (`bpf_map_put_uref`). So it is pinned for as long as its ruleset is in force, in a folder of its own, under the id of
//! the ruleset's program: the old one's until no interface has that program any more.

use std::fs;

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{Program, ProgramFd},
};
use foobar_common::{
    maps,
    rule::{Settings, uses},
    service::Protocol,
};

use super::pins::PinFolder;

/// The programs of each protocol: its number, and what reads what comes in and what goes out.
const PROGRAMS: [(Protocol, [(&str, &str); 2]); 1] = [(
    Protocol::Http1,
    [(maps::SERVICES_IN, maps::HTTP1_REQUESTS), (maps::SERVICES_OUT, maps::HTTP1_RESPONSES)],
)];
const NAMES: [&str; 2] = [maps::HTTP1_REQUESTS, maps::HTTP1_RESPONSES];

/// Whether some service asks for more than packets and bytes.
pub(super) const fn are_used(settings: &Settings) -> bool {
    settings.uses & uses::SERVICES != 0
}

/// The programs that a ruleset needs for its services.
pub(super) const fn programs(settings: &Settings) -> &'static [&'static str] {
    if are_used(settings) { &NAMES } else { &[] }
}

/// Puts the programs, which have been loaded, where the others go on from.
pub(super) fn connect(object: &mut Ebpf, settings: &Settings) -> Result<()> {
    if !are_used(settings) {
        return Ok(());
    }
    for (protocol, ways) in PROGRAMS {
        for (array, name) in ways {
            let program =
                object.program(name).with_context(|| format!("the object has no program '{name}'"))?;
            let program = handle(program)?;
            let array = object.map_mut(array).with_context(|| format!("the object has no map {array}"))?;
            let mut array: ProgramArray<_> = array.try_into()?;
            array
                .set(protocol.number(), &program, 0)
                .with_context(|| format!("let packets of services go on in '{name}'"))?;
        }
    }
    Ok(())
}

fn handle(program: &Program) -> Result<ProgramFd> {
    Ok(program.fd()?.try_clone()?)
}

/// Pins the arrays of a ruleset whose program has this id.
pub(super) fn pin(object: &Ebpf, pins: &PinFolder, program: u32) -> Result<()> {
    for name in [maps::SERVICES_IN, maps::SERVICES_OUT] {
        let path = pins.services(name, program);
        let array = object.map(name).ok_or_else(|| anyhow!("the object has no map {name}"))?;
        array.pin(&path).with_context(|| format!("pin {}", path.display()))?;
    }
    Ok(())
}

/// Removes the pins of rulesets that are no longer in force: all but those of this program.
pub(super) fn forget_others(pins: &PinFolder, program: u32) {
    let present = [maps::SERVICES_IN, maps::SERVICES_OUT].map(|name| pins.services(name, program));
    let Ok(entries) = fs::read_dir(pins.services_folder()) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| !present.contains(path)) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("remove {}: {error}", path.display());
        }
    }
}
