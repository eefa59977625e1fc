//! What is known of the present packet when it goes on to another program.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::{
    counters::group_slot,
    flow::Direction,
    rule::NO_RULE,
    service::Protocol,
    verdict::{Reason, Verdict},
};

use crate::{count, decide::Decision, events::Source, headers::Size, interface::Interface};

#[btf_map]
static PASSAGES: PerCpuArray<Passage, 2> = PerCpuArray::new();

/// A packet that has been judged and not yet been counted.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Passage {
    pub(crate) size: Size,
    pub(crate) decision: Decision,
    pub(crate) interface: Interface,
    /// Bytes of its payload that were not followed.
    pub(crate) lost: u64,
}

impl Passage {
    /// Keeps it for the program that follows. There is an entry for each direction, so this never is `None`.
    #[inline(always)]
    pub(crate) fn keep(self, direction: Direction) -> Option<()> {
        let place = PASSAGES.get_ptr_mut(direction as u32)?;
        // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
        unsafe { place.write(self) };
        Some(())
    }

    /// Counts the packet that was kept, and gives its verdict.
    #[inline(always)]
    pub(crate) fn end(context: &impl Source, direction: Direction) -> Verdict {
        let Some(place) = PASSAGES.get_ptr_mut(direction as u32) else { return Verdict::Drop };
        // SAFETY: as above, and the program before this one has written it.
        let Self { decision, interface, size, lost } = unsafe { &*place };
        count::decision(context, decision, interface, direction, *size, *lost)
    }

    /// Whether the packet could not be read as one of IP.
    #[inline(always)]
    pub(crate) fn is_without_flow(direction: Direction) -> bool {
        let Some(place) = PASSAGES.get_ptr_mut(direction as u32) else { return true };
        // SAFETY: as above.
        unsafe { (*place).decision.reason.is_without_flow() }
    }

    /// Drops the packet after all.
    #[inline(always)]
    pub(crate) fn refuse(direction: Direction, reason: Reason) {
        Self::decide(direction, Verdict::Drop, reason, NO_RULE);
    }

    /// Gives the packet another verdict, for this reason, which is counted in the slot of a rule, or [`NO_RULE`].
    #[inline(always)]
    pub(crate) fn decide(direction: Direction, verdict: Verdict, reason: Reason, rule: u32) {
        if let Some(place) = PASSAGES.get_ptr_mut(direction as u32) {
            // SAFETY: as above.
            let decision = unsafe { &mut (*place).decision };
            decision.verdict = verdict;
            decision.reason = reason;
            decision.rule = rule;
        }
    }

    /// Whether the packet is accepted whatever else is said of it.
    #[inline(always)]
    pub(crate) fn is_failsafe(direction: Direction) -> bool {
        let Some(place) = PASSAGES.get_ptr_mut(direction as u32) else { return false };
        // SAFETY: as above.
        matches!(unsafe { (*place).decision.reason }, Reason::Failsafe)
    }

    /// Whether the packet is to be answered by saying that it goes no further.
    #[inline(always)]
    pub(super) fn is_rejected(direction: Direction) -> bool {
        let Some(place) = PASSAGES.get_ptr_mut(direction as u32) else { return false };
        // SAFETY: as above.
        matches!(unsafe { (*place).decision.verdict }, Verdict::Reject)
    }

    /// The packet has become the answer to what came in.
    #[inline(always)]
    pub(crate) fn answer() {
        if let Some(place) = PASSAGES.get_ptr_mut(Direction::In as u32) {
            // SAFETY: as above.
            let decision = unsafe { &mut (*place).decision };
            if matches!(decision.verdict, Verdict::Accept) {
                decision.verdict = Verdict::Answer;
                decision.reason = Reason::SynCookie;
            }
        }
    }

    /// The number of what is spoken at the service.
    #[inline(always)]
    pub(super) fn protocol(direction: Direction) -> Option<u32> {
        let place = PASSAGES.get_ptr_mut(direction as u32)?;
        // SAFETY: as above.
        Some(unsafe { (*place).decision.protocol })
    }

    /// Says how many bytes of the payload were not followed.
    #[inline(always)]
    pub(super) fn lose(direction: Direction, bytes: u64) {
        if let Some(place) = PASSAGES.get_ptr_mut(direction as u32) {
            // SAFETY: as above.
            unsafe { (*place).lost = bytes };
        }
    }

    /// Whether the service speaks this protocol.
    #[inline(always)]
    pub(super) fn is_of(direction: Direction, protocol: Protocol) -> bool {
        let Some(place) = PASSAGES.get_ptr_mut(direction as u32) else { return false };
        // SAFETY: as above.
        unsafe { (*place).decision.protocol == protocol.number() }
    }

    /// Whether of the service only what comes in is read.
    #[inline(always)]
    pub(super) fn is_of_requests(direction: Direction) -> bool {
        let Some(place) = PASSAGES.get_ptr_mut(direction as u32) else { return false };
        // SAFETY: as above.
        unsafe { (*place).decision.protocol & Protocol::REQUESTS_ONLY != 0 }
    }

    /// The slot of the service.
    #[inline(always)]
    pub(crate) fn service(direction: Direction) -> Option<u32> {
        let place = PASSAGES.get_ptr_mut(direction as u32)?;
        // SAFETY: as above.
        Some(unsafe { (*place).decision.port })
    }

    /// Where connections of the peer's group to the service are counted.
    #[inline(always)]
    pub(super) fn group_slot(direction: Direction) -> Option<u32> {
        let place = PASSAGES.get_ptr_mut(direction as u32)?;
        // SAFETY: as above.
        let Decision { port, group, .. } = unsafe { &(*place).decision };
        Some(group_slot(*group, *port))
    }
}
