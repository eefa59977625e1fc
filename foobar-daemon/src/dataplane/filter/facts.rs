//! What a filter tells of itself.

use anyhow::Result;

use super::Filter;
use crate::dataplane::{
    attach::Attachment,
    counters::{CounterReader, Counters},
    egress::EgressLink,
    fill::{self, MapFill},
    flows::{self, FlowFacts},
    interfaces,
    probes::DecryptionFacts,
    programs::ProgramFacts,
    rejects::{self, RejectFacts},
};

impl Filter {
    /// What is known of services whose TLS is read.
    pub fn decryption(&self) -> Vec<DecryptionFacts> {
        self.decryption.facts()
    }

    /// Where the filter is attached, and where it should be and is not.
    pub fn attachments(&self) -> Vec<Attachment> {
        self.lines
            .iter()
            .map(|line| {
                let interface = interfaces::find(&line.name).ok().flatten();
                let link = line.link.as_ref();
                let fallback = link.and_then(|link| link.fallback.as_ref());
                Attachment {
                    interface: line.name.clone(),
                    index: interface.as_ref().map(|interface| interface.index),
                    mode: link.map(|link| link.mode),
                    fallback: fallback
                        .map(|fallback| fallback.words.clone())
                        .or_else(|| line.failure.clone()),
                    obstacle: fallback.map(|fallback| fallback.obstacle),
                    expected_program: self.loaded.program_id().ok(),
                    found_program: interface
                        .and_then(|interface| interface.program)
                        .map(|program| program.id),
                    egress: line.egress.as_ref().filter(|link| link.is_on(&line.name)).map(EgressLink::hook),
                }
            })
            .collect()
    }

    /// All counters, summed over the processors.
    pub fn counters(&self) -> Result<Counters> {
        self.reader.read()
    }

    /// Counters alone, for a thread that serves scrapes while the filter is being swapped.
    pub fn counter_reader(&self) -> CounterReader {
        self.reader.clone()
    }

    /// How full the maps are, some of which hold so many bans and these flows.
    pub fn maps(&self, bans: usize, flows: Option<&FlowFacts>) -> Result<Vec<MapFill>> {
        Ok(fill::with_memory(&self.fill, bans, flows, &self.loaded.map_memory()?))
    }

    /// The flows that are known, and what became of them; `None` if none are tracked.
    pub fn flows(&self) -> Result<Option<FlowFacts>> {
        let facts = self.learns_until.map(|_tracks| flows::facts(&self.loaded)).transpose()?;
        Ok(facts.map(|facts| self.evictions.raise(facts)))
    }

    /// What came of rejected packets; `None` if none is rejected.
    pub fn rejects(&self) -> Result<Option<RejectFacts>> {
        self.rejects.then(|| rejects::facts(&self.loaded)).transpose()
    }

    /// The programs in force.
    pub fn programs(&self) -> Result<Vec<ProgramFacts>> {
        self.loaded.facts()
    }

    /// The programs that read inside of TLS, which go on over swaps.
    pub fn probes(&self) -> Result<Vec<ProgramFacts>> {
        self.decryption.programs()
    }
}
