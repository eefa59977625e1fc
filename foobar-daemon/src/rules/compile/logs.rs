//! Of how many packets of each rule one is told of, as the kernel has it.

use crate::{rules::model::Rule, slots::Assigned};

/// By counter slot, up to the last that is not zero: a rule has one slot for its packets and, with a limit, another for
/// those over it.
pub(super) fn compile(rules: &[Rule], slots: &Assigned) -> Vec<u32> {
    let mut logs = Vec::new();
    for rule in rules {
        let Some(one_in) = rule.log else { continue };
        for owned in slots.rules.get(&rule.id).into_iter().chain(slots.over.get(&rule.id)) {
            let place = owned.slot as usize;
            if logs.len() <= place {
                logs.resize(place + 1, 0);
            }
            logs[place] = one_in.packets();
        }
    }
    logs
}
