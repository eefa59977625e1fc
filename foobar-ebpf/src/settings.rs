//! What the rule file's policy says: constants of the loaded program.

use aya_ebpf::Global;
use foobar_common::{
    rule::{FRAGMENTS_BY_RULES, Settings},
    verdict::Verdict,
};

/// Lies in a frozen map, so the verifier knows each value and removes the code for what is off.
#[unsafe(no_mangle)]
static SETTINGS: Global<Settings> = Global::new(Settings {
    policy_in: Verdict::Accept as u32,
    malformed: Verdict::Accept as u32,
    fragments: FRAGMENTS_BY_RULES,
    infrastructure: 1,
    uses: 0,
    trace: 0,
});

/// The settings of the ruleset in force.
#[inline(always)]
pub(crate) fn get() -> Settings {
    SETTINGS.load()
}

/// A verdict that user space gave as a number; anything unknown is a drop.
#[inline(always)]
pub(crate) fn verdict(number: u32) -> Verdict {
    if number == Verdict::Accept as u32 { Verdict::Accept } else { Verdict::Drop }
}
