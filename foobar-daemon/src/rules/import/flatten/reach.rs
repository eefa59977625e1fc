//! Which chains lead to which.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    firewall::{Chain, Firewall, Statement},
    report::{Problem, Report},
};

/// Chains that lead back to themselves; kernels refuse them too.
pub(super) fn check_loops(firewall: &Firewall) -> Result<(), Problem> {
    let mut left: BTreeMap<&str, BTreeSet<&str>> =
        firewall.chains.iter().map(|(key, chain)| (key.as_str(), chain.targets().collect())).collect();
    let mut callers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, chain) in &firewall.chains {
        for target in chain.targets() {
            callers.entry(target).or_default().push(key);
        }
    }
    // A chain that leads nowhere is in no loop, and so is one that leads only to such.
    let known = |target: &&str| firewall.chains.contains_key(*target);
    for targets in left.values_mut() {
        targets.retain(|target| known(target));
    }
    let mut free: Vec<&str> =
        left.iter().filter(|(_, targets)| targets.is_empty()).map(|(key, _)| *key).collect();
    while let Some(key) = free.pop() {
        left.remove(key);
        for caller in callers.get(key).into_iter().flatten() {
            if let Some(targets) = left.get_mut(caller)
                && targets.remove(key)
                && targets.is_empty()
            {
                free.push(caller);
            }
        }
    }
    let looping = left.keys().find_map(|key| {
        let chain = firewall.chains.get(*key)?;
        let leads_on = |statement: &&Statement| statement.target().is_some_and(|one| left.contains_key(one));
        let statement = chain.statements.iter().find(leads_on)?;
        Some((statement.line, statement.target()?))
    });
    match looping {
        Some((line, target)) => Err(Problem::new(
            line,
            format!("the chain {target:?} leads back to itself; the kernel refuses such rules too"),
        )),
        None => Ok(()),
    }
}

/// Says what became of statements that no packet came to. `lost` are the chains that packets would have come to,
/// and why they did not.
pub(super) fn report_rest(
    firewall: &Firewall,
    lost: &[(String, String)],
    visited: &BTreeSet<(&str, usize)>,
    report: &mut Report<'_>,
) {
    let mut seen = BTreeSet::new();
    for (key, why) in lost {
        let mut ahead = vec![key.as_str()];
        while let Some(key) = ahead.pop() {
            let Some((key, chain)) = firewall.chains.get_key_value(key) else {
                continue;
            };
            if !seen.insert(key.as_str()) {
                continue;
            }
            for line in unvisited(key, chain, visited) {
                report.refuse(line, why);
            }
            ahead.extend(chain.targets());
        }
    }
    for (key, chain) in firewall.chains.iter().filter(|(key, _)| !seen.contains(key.as_str())) {
        for line in unvisited(key, chain, visited) {
            if firewall.fragment {
                report.refuse(line, format!("nothing in this file leads to the chain {:?}", chain.name));
            } else {
                report.change(line, "no packet gets to this rule, so it is left out");
            }
        }
    }
}

fn unvisited<'c>(
    key: &'c str,
    chain: &'c Chain,
    visited: &'c BTreeSet<(&str, usize)>,
) -> impl Iterator<Item = usize> + 'c {
    let statements = chain.statements.iter().enumerate();
    statements.filter(move |(at, _)| !visited.contains(&(key, *at))).map(|(_, statement)| statement.line)
}
