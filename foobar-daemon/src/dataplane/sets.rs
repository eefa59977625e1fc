//! The table of sets in the kernel. The map has room for two: another one is written beside the one in force, and takes
//! its place in one step.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use foobar_common::{maps, sets::Line};
use nix::libc;

use super::{features, mapped::MappedArray};
use crate::rules::{
    compile::Sets,
    sets::{SetFacts, SetTable},
};

/// Lines that every table has room for, so that a few addresses more need no new map.
const LINES_MIN: usize = 64;

/// The tables of an object.
#[derive(Clone, Debug)]
pub(super) struct LoadedSets {
    facts: Arc<SetFacts>,
    /// Lines of the table in force.
    lines: usize,
    /// Which of the two places it is in.
    place: Place,
    /// Lines that there are in each place.
    room: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Second,
}

impl LoadedSets {
    /// Lines of the map for the sets of a ruleset, which may be those of `present`.
    pub(super) fn map_lines(sets: &Sets, present: Option<&Self>) -> Result<usize> {
        Ok(1 + 2 * room(lines_of(sets, present)?))
    }

    /// Writes the sets of a ruleset into the map of a new object, which has [`LoadedSets::map_lines`]. Those that are
    /// kept are copied from the object in force.
    pub(super) fn fill(object: &Ebpf, sets: &Sets, present: Option<(&Ebpf, &Self)>) -> Result<Self> {
        let lines = lines_of(sets, present.map(|(_, present)| present))?;
        let facts = match sets {
            Sets::New(table) => Arc::new(table.facts.clone()),
            Sets::Kept(facts) => facts.clone(),
        };
        let loaded = Self { facts, lines, place: Place::First, room: room(lines) };
        let mut map = mapped(object)?;
        let place = loaded.place_in(&mut map, Place::First)?;
        match (sets, present) {
            (Sets::New(table), _) => copy(place, &table.lines)?,
            (Sets::Kept(_), Some((before, present))) => {
                let mut before = mapped(before)?;
                let table = present.place_in(&mut before, present.place)?.get(..present.lines);
                copy(place, table.context("the sets in force are cut short")?)?;
            }
            (Sets::Kept(_), None) => bail!("there are no sets to be kept"),
        }
        loaded.point(&mut map, Place::First)?;
        Ok(loaded)
    }

    /// Whether a table of this many lines can take the place of the one in force.
    pub(super) fn has_room(&self, lines: usize) -> bool {
        lines <= self.room
    }

    /// Puts a table in force, from one packet to the next.
    pub(super) fn replace(&mut self, object: &Ebpf, table: &SetTable) -> Result<()> {
        let mut map = mapped(object)?;
        let next = match self.place {
            Place::First => Place::Second,
            Place::Second => Place::First,
        };
        copy(self.place_in(&mut map, next)?, &table.lines)?;
        self.point(&mut map, next)?;
        self.place = next;
        self.lines = table.lines.len();
        self.facts = Arc::new(table.facts.clone());
        // The old table may be overwritten by the next change: until then no packet may still be reading it.
        wait_for_packets();
        Ok(())
    }

    /// What the table in force holds.
    pub(super) fn facts(&self) -> &Arc<SetFacts> {
        &self.facts
    }

    fn place_in<'m>(&self, map: &'m mut MappedArray, place: Place) -> Result<&'m mut [Line]> {
        let start = self.start(place);
        let lines = map.as_mut_slice::<Line>().get_mut(start..start + self.room);
        lines.context("the map of sets is too small")
    }

    fn start(&self, place: Place) -> usize {
        match place {
            Place::First => 1,
            Place::Second => 1 + self.room,
        }
    }

    /// Has the programs look there. Line 0 says where the table in force begins.
    fn point(&self, map: &mut MappedArray, place: Place) -> Result<()> {
        let first = map.as_mut_slice::<Line>().first_mut().context("the map of sets is empty")?;
        let start = self.start(place) as u64;
        // SAFETY: a live reference to an aligned word, and nothing else in this process refers to it.
        let word = unsafe { AtomicU64::from_ptr(&raw mut first.words[0]) };
        // The table was written before it, and readers see the number whole.
        word.store(start, Ordering::Release);
        Ok(())
    }
}

fn lines_of(sets: &Sets, present: Option<&LoadedSets>) -> Result<usize> {
    match sets {
        Sets::New(table) => Ok(table.lines.len()),
        Sets::Kept(facts) => {
            let present = present.filter(|present| Arc::ptr_eq(&present.facts, facts));
            Ok(present.context("the rules keep sets that are no longer in force")?.lines)
        }
    }
}

/// A quarter more than is needed, for changes.
fn room(lines: usize) -> usize {
    (lines + lines / 4).max(LINES_MIN)
}

fn mapped(object: &Ebpf) -> Result<MappedArray> {
    let map = object.map(maps::SETS).context("the object has no map of sets")?;
    MappedArray::of(features::map_data(map)?).context("open the map of sets")
}

fn copy(place: &mut [Line], lines: &[Line]) -> Result<()> {
    let place = place.get_mut(..lines.len()).context("the map of sets is too small")?;
    place.copy_from_slice(lines);
    Ok(())
}

/// Waits until every program that runs now has ended (`MEMBARRIER_CMD_GLOBAL`, Linux 4.3: `synchronize_rcu`). Where the
/// kernel does not offer that (it may not with `nohz_full`), a thousand times as long as a program takes.
fn wait_for_packets() {
    const COMMAND_GLOBAL: libc::c_int = 1;
    // SAFETY: takes three numbers, and touches no memory of this process.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, COMMAND_GLOBAL, 0, 0) };
    if result != 0 {
        thread::sleep(Duration::from_millis(10));
    }
}
