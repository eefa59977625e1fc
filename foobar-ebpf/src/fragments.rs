//! Later fragments go the way of the first of their datagram, while flows are tracked.
//!
//! What became of a first fragment that was accepted is kept by what all fragments have in common. Who sends later ones
//! ahead of it, or makes some up, gets what `policy.fragments` says.

#![expect(clippy::needless_borrows_for_generic_args, reason = "a key that is moved is copied to the stack")]

use aya_ebpf::{
    bindings::BPF_ANY,
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use foobar_common::{
    flow::{Direction, Flow, Fragment},
    tracking::{DATAGRAMS_MAX, Datagram, DatagramKey, Standing},
    verdict::{Reason, Verdict},
};

use crate::{decide::Decision, scratch, settings, track};

#[btf_map]
static DATAGRAMS: LruHashMap<DatagramKey, Datagram, { DATAGRAMS_MAX as usize }> = LruHashMap::new();
/// What became of the first fragment of the present packet of each direction.
#[btf_map]
static FIRST_FRAGMENTS: PerCpuArray<Datagram, 2> = PerCpuArray::new();

/// What the present packet, which is this to the flows that are known, is in its datagram. If it follows a first fragment, what became of that
/// one is in [`FIRST_FRAGMENTS`] then.
#[inline(always)]
pub(crate) fn noted(standing: Standing, flow: &Flow, direction: Direction) -> Standing {
    match flow.fragment {
        Fragment::First => standing.first_fragment(),
        Fragment::Later if first_is_known(direction as u32) != 0 => standing.follows_first(),
        Fragment::Whole | Fragment::Later => standing,
    }
}

/// What becomes of a later fragment whose first was accepted.
#[inline(always)]
pub(crate) fn followed(standing: Standing, direction: Direction) -> Option<Decision> {
    if !settings::tracks() || !standing.is_following_first() {
        return None;
    }
    let &mut Datagram { reason, until: _, rule, port, protocol, group } = first(direction)?;
    let reason = Reason::from_number(reason)?;
    Some(Decision { verdict: Verdict::Accept, reason, rule, port, protocol, group })
}

/// Keeps what became of a first fragment, if it is accepted.
#[inline(always)]
pub(crate) fn keep(standing: Standing, decision: &Decision, direction: Direction) {
    if settings::tracks()
        && standing.is_first_fragment()
        && matches!(decision.verdict, Verdict::Accept)
        && let Some(first) = first(direction)
    {
        let &Decision { verdict: _, reason, rule, port, protocol, group } = decision;
        let until = Datagram::until(track::now());
        *first = Datagram { reason: reason.number(), until, rule, port, protocol, group };
        insert(direction);
    }
}

/// Looks for what became of the first fragment of the present packet's datagram, by the number of its direction; 1 if it is
/// there.
///
/// A function of its own, which few packets need: its key takes more of the stack than is left.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn first_is_known(direction: u32) -> u32 {
    let direction = track::way(direction);
    let (Some(headers), Some(first)) = (scratch::headers(direction), first(direction)) else { return 0 };
    let key = DatagramKey::of(&headers.flow, headers.identification);
    let Some(datagram) = DATAGRAMS.get_ptr(&key) else { return 0 };
    // SAFETY: the maps gave both pointers. A datagram that is forgotten meanwhile has its place in another one's hands for
    // at most one packet, which is the kernel's way with such maps.
    unsafe { core::ptr::copy_nonoverlapping(datagram, first, 1) };
    u32::from(first.is_known(track::now()))
}

/// Takes it from [`FIRST_FRAGMENTS`]. Without memory for it, later fragments are strangers.
///
/// A function of its own, whose part of the stack others use before and after.
#[inline(never)]
fn insert(direction: Direction) {
    let (Some(headers), Some(first)) = (scratch::headers(direction), first(direction)) else { return };
    let key = DatagramKey::of(&headers.flow, headers.identification);
    let _full: Result<(), i32> = DATAGRAMS.insert(&key, &*first, u64::from(BPF_ANY));
}

#[inline(always)]
fn first(direction: Direction) -> Option<&'static mut Datagram> {
    let place = FIRST_FRAGMENTS.get_ptr_mut(direction as u32)?;
    // SAFETY: the map gave the pointer, any two references to it are used one after the other, and programs of one direction
    // do not interrupt each other on a processor.
    Some(unsafe { &mut *place })
}
