//! The kernel and the plain reading say the same of the same packet, however many rules there are: in each tier of
//! the matcher, at the edges between tiers, and with rules that are hard on it.
//!
//! The plain reading goes through all rules for each packet, so an ordinary run has hundreds of packets for each
//! ruleset; with `FOOBAR_LONG=1` it has tens of times as many, and more rulesets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, env, time::Instant};

use foobar_common::{classes::Tier, verdict::Reason};
use foobar_daemon::{
    dataplane::load::LoadedRuleset,
    rules::{
        compile::{CompiledRuleset, compile},
        model::{Rule, Ruleset},
    },
    slots::Slots,
};
use foobar_tests::{
    classbench::{self, Shape},
    edges,
    figures::say,
    frames::Family,
    headers::judged_on_its_way,
    mixed,
    random::Random,
    rulesets::INTERFACE,
    shapes,
};
use proptest::{
    prelude::{ProptestConfig, any, prop_assert, proptest},
    test_runner::TestCaseError,
};

/// What the plain reading may look at in one ruleset: rules times packets.
fn work() -> usize {
    if is_long() { 40_000_000 } else { 4_000_000 }
}

fn is_long() -> bool {
    env::var_os("FOOBAR_LONG").is_some()
}

/// So many packets for a ruleset, that all of them together cost about the same.
fn packets(ruleset: &Ruleset) -> usize {
    (work() / ruleset.rules.len().max(1)).clamp(64, if is_long() { 50_000 } else { 1_500 })
}

#[test]
fn every_condition_at_the_edges_of_the_tiers() {
    let [single, words] = [Tier::Single, Tier::Words].map(Tier::clauses_max);
    for (clauses, tier) in [
        (1, Tier::Single),
        (63, Tier::Single),
        (64, Tier::Single),
        (65, Tier::Single),
        (single - 1, Tier::Single),
        (single, Tier::Single),
        (single + 1, Tier::Words),
        (2_000, Tier::Words),
        (words - 1, Tier::Words),
        (words, Tier::Words),
        (words + 1, Tier::Blocks),
        (20_000, Tier::Blocks),
    ] {
        check(&format!("{clauses} clauses"), &mixed::ruleset(clauses, 1), tier, clauses);
    }
}

#[test]
fn rulesets_of_classbench() {
    for (rules, tier) in [(200, Tier::Single), (5_000, Tier::Words), (20_000, Tier::Blocks)] {
        for shape in Shape::ALL {
            for family in Family::BOTH {
                // One family of the largest in an ordinary run.
                if tier == Tier::Blocks && !is_long() && (family == Family::V6) == (shape == Shape::Fw) {
                    continue;
                }
                let ruleset = classbench::ruleset(shape, family, rules, None, 3);
                check(&format!("{} {family:?} of {rules}", shape.label()), &ruleset, tier, rules);
            }
        }
    }
}

#[test]
fn rules_that_are_hard_on_the_matcher() {
    for family in Family::BOTH {
        check(&format!("nested {family:?}"), &shapes::nested(family), Tier::Words, 4_096);
    }
    check("port ranges", &shapes::port_ranges(4_000), Tier::Words, 4_000);
    check("one field each", &shapes::one_field_each(4_096), Tier::Words, 4_096);
    check("ports of their own", &shapes::own_ports(16_384, 4, 2), Tier::Words, 16_384);
    // Twice as many classes: full words would take more memory than there may be, and blocks are taken.
    check("ports shared with neighbours", &shapes::own_ports(16_384, 4, 6), Tier::Blocks, 16_384);
    check("one field each, in blocks", &shapes::one_field_each(17_000), Tier::Blocks, 17_000);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if is_long() { 100 } else { 6 },
        // Each case loads a program.
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_number_of_clauses(clauses in 0_usize..3_000, seed in any::<u64>()) {
        let ruleset = without_flows(&mixed::ruleset(clauses, seed));
        agree(&ruleset, &compiled(&ruleset), seed)?;
    }
}

/// Packets are judged alone: none is an answer to another one.
fn without_flows(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = ruleset.clone();
    ruleset.policy.replies = false;
    ruleset
}

fn check(name: &str, ruleset: &Ruleset, tier: Tier, clauses: usize) {
    let ruleset = &without_flows(ruleset);
    let compiled = compiled(ruleset);
    assert_eq!(compiled.settings.tier, tier as u32, "{name}: the tier");
    assert_eq!(compiled.settings.units as usize, clauses.div_ceil(tier.unit()), "{name}: units of clauses");
    let start = Instant::now();
    let met = agree(ruleset, &compiled, 7).map_err(|error| format!("{name}: {error}")).unwrap();
    let Met { packets, rules, by_rule } = met;
    say(&format!(
        "{name}: {tier:?}, {} classes, {by_rule} of {packets} packets met one of {rules} rules, {:?}",
        compiled.heads.len(),
        start.elapsed()
    ));
    assert!(by_rule * 2 > packets, "{name}: only {by_rule} of {packets} packets met a rule");
}

/// What the packets met.
struct Met {
    packets: usize,
    /// How many different rules.
    rules: usize,
    /// How many packets met one.
    by_rule: usize,
}

fn agree(ruleset: &Ruleset, compiled: &CompiledRuleset, seed: u64) -> Result<Met, TestCaseError> {
    let mut runs = LoadedRuleset::for_test_runs(compiled, INTERFACE).unwrap();
    let mut random = Random::new(seed);
    let mut rules = BTreeSet::new();
    let mut by_rule = 0;
    let anything = [Rule::new("", ruleset.policy.inbound)];
    let targets = if ruleset.rules.is_empty() { &anything[..] } else { &ruleset.rules };
    for _ in 0..packets(ruleset) {
        let target = &targets[random.index(targets.len())];
        let frame = edges::packet(ruleset, target, &mut random).frame();
        let direction = target.direction;
        let kernel = runs.judge(&frame, direction).unwrap();
        let reading = judged_on_its_way(ruleset, &frame, direction);
        prop_assert!(
            kernel.verdict == reading.verdict
                && kernel.reason == reading.reason
                && kernel.rule.as_deref() == reading.rule,
            "the kernel says {:?}, the reading {:?}, of {:02x?}, meant for {:?}",
            kernel,
            reading,
            frame,
            target
        );
        if kernel.reason == Reason::Rule {
            by_rule += 1;
            rules.extend(kernel.rule);
        }
    }
    Ok(Met { packets: packets(ruleset), rules: rules.len(), by_rule })
}

fn compiled(ruleset: &Ruleset) -> CompiledRuleset {
    compile(ruleset, &Slots::for_once(ruleset, &[INTERFACE.to_owned()]).unwrap()).unwrap()
}
