//! What the rule file's policy says, and what its rules ask for: constants of the loaded program.

use core::ptr::{from_ref, read_volatile};

use aya_ebpf::Global;
use foobar_common::{
    classes::Tier,
    fields::TableField,
    flow::Direction,
    rule::{FRAGMENTS_BY_RULES, Settings, uses},
    tracking::Moment,
    verdict::Verdict,
};

/// Lies in a frozen map, so the verifier knows each value and removes the code for what is off.
#[unsafe(no_mangle)]
static SETTINGS: Global<Settings> = Global::new(Settings {
    policy: [Verdict::Accept as u32; 2],
    malformed: Verdict::Accept as u32,
    fragments: FRAGMENTS_BY_RULES,
    infrastructure: 1,
    uses: 0,
    tier: Tier::Single as u32,
    units: 0,
    first_classes: [0; TableField::COUNT as usize],
    first_source_set: 0,
    first_destination_set: 0,
    more_rule_slots: 0,
    learns_until: 0,
    rule_logs: 0,
    log_drops: 0,
    trace: 0,
    answer_card: [0; 3],
    rejects_out: 0,
});

/// Reads one setting. By itself, since kernels before 6.4 forget a constant that went over the stack with others.
macro_rules! setting {
    ($field:ident $([$index:expr])?) => {
        // SAFETY: `Global` is transparent, and the setting is inside of it.
        unsafe { read_volatile(&raw const (*from_ref(&SETTINGS).cast::<Settings>()).$field $([$index])?) }
    };
}

/// `policy.in` or `policy.out`.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "there is one for each direction")]
pub(crate) fn policy(direction: Direction) -> Verdict {
    verdict(setting!(policy[direction as usize]))
}

/// `policy.malformed`.
#[inline(always)]
pub(crate) fn malformed() -> Verdict {
    verdict(setting!(malformed))
}

/// `policy.fragments`; `None` if the rules decide.
#[inline(always)]
pub(crate) fn fragments() -> Option<Verdict> {
    let number = setting!(fragments);
    if number == FRAGMENTS_BY_RULES { None } else { Some(verdict(number)) }
}

/// `policy.infrastructure`.
#[inline(always)]
pub(crate) fn infrastructure() -> bool {
    setting!(infrastructure) != 0
}

/// Whether some rule asks for a field: one bit of [`foobar_common::rule::uses`].
#[inline(always)]
pub(crate) fn uses(field: u32) -> bool {
    setting!(uses) & field != 0
}

/// Whether units have this many clauses.
#[inline(always)]
pub(crate) fn is_tier(tier: Tier) -> bool {
    setting!(tier) == tier as u32
}

/// Units of clauses in use.
#[inline(always)]
pub(crate) fn units() -> u32 {
    setting!(units)
}

/// The class that class 0 of a field is.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "there is one for each field")]
pub(crate) fn first_class(field: TableField) -> u32 {
    setting!(first_classes[field as usize])
}

/// The class that set class 0 of source addresses is.
#[inline(always)]
pub(crate) fn first_source_set() -> u32 {
    setting!(first_source_set)
}

/// The class that set class 0 of destination addresses is.
#[inline(always)]
pub(crate) fn first_destination_set() -> u32 {
    setting!(first_destination_set)
}

/// Whether counters of rules are also in the second map.
#[inline(always)]
pub(crate) fn more_rule_slots() -> bool {
    setting!(more_rule_slots) != 0
}

/// Whether flows are tracked.
#[inline(always)]
pub(crate) fn tracks() -> bool {
    uses(uses::TRACKING)
}

/// Whether TCP connections that nobody knows are taken for old ones.
#[inline(always)]
pub(crate) fn learns(now: Moment) -> bool {
    let until = setting!(learns_until);
    until != 0 && Moment(until).is_after(now)
}

/// Whether packets of some rule are drawn as samples.
#[inline(always)]
pub(crate) fn logs_rules() -> bool {
    setting!(rule_logs) != 0
}

/// `policy.log_drops`: of how many packets that go no further one is drawn; zero is none.
#[inline(always)]
pub(crate) fn log_drops() -> u32 {
    setting!(log_drops)
}

/// The link-layer address that answers to this server itself come from; `None` if there are no such answers.
#[inline(always)]
pub(crate) fn answer_card() -> Option<[u16; 3]> {
    if setting!(rejects_out) == 0 { None } else { Some(setting!(answer_card)) }
}

/// Whether the last decision is kept to be read.
#[inline(always)]
pub(crate) fn trace() -> bool {
    setting!(trace) != 0
}

/// A verdict that user space gave as a number; anything unknown is a drop.
#[inline(always)]
pub(crate) fn verdict(number: u32) -> Verdict {
    match Verdict::from_number(number) {
        Some(verdict) => verdict,
        None => Verdict::Drop,
    }
}
