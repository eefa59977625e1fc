//! What is counted of a service port that speaks DNS.

use super::{QueryType, ResponseCode};
use crate::service::{Histogram, Losses, add, add_all};

/// Places for types: a power of two, since the verifier knows a number only by its mask.
pub const QUERY_TYPES_ROOM: u32 = QueryType::COUNT.next_power_of_two();
/// Places for response codes, the same.
pub const RESPONSE_CODES_ROOM: u32 = ResponseCode::COUNT.next_power_of_two();

/// What is counted of a service port that speaks DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DnsCounters {
    /// Queries by [`QueryType`].
    pub queries: [u64; QUERY_TYPES_ROOM as usize],
    /// Those of them that were asked again, with the same id by the same client, before there was an answer.
    pub repeated: u64,
    /// Answers by [`ResponseCode`].
    pub answers: [u64; RESPONSE_CODES_ROOM as usize],
    /// Those of them that did not fit.
    pub truncated: u64,
    /// Answers whose query is not known: it has been answered, did not come by, or was forgotten.
    pub unasked: u64,
    /// What could not be followed.
    pub lost: Losses,
    /// From the question of a query, when it was asked first, to the header of its answer.
    pub duration: Histogram,
}

impl DnsCounters {
    /// Adds another processor's, or another port's.
    pub fn add(&mut self, other: &Self) {
        let Self { queries, repeated, answers, truncated, unasked, lost, duration } = other;
        add_all(&mut self.queries, queries);
        add(&mut self.repeated, *repeated);
        add_all(&mut self.answers, answers);
        add(&mut self.truncated, *truncated);
        add(&mut self.unasked, *unasked);
        self.lost.add(lost);
        self.duration.add(duration);
    }

    /// Queries that no answer has been seen to, however often each was asked: some are being answered, the others never
    /// were.
    pub fn unanswered(&self) -> u64 {
        let asked = self.queries.iter().sum::<u64>().saturating_sub(self.repeated);
        asked.saturating_sub(self.duration.buckets.iter().sum())
    }
}
