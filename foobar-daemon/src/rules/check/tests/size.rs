//! Large rulesets. What is counted is work, which is the same on every machine.

use super::{
    super::{Finding, Kind, check_within, work::Work},
    shapes::{self, ACL, FW, IPC},
};
use crate::rules::model::Ruleset;

/// What is found and what was spent on it.
fn look(ruleset: &Ruleset) -> (Vec<Finding>, u64) {
    let mut work = Work::default();
    let findings = check_within(ruleset, None, &mut work);
    (findings, work.spent())
}

#[test]
fn large_rulesets_take_little_work() {
    for (description, ruleset, most, undecided_most) in [
        ("access lists", shapes::like(&ACL, 2_000, 1), 2_000_000, 0),
        ("firewalls", shapes::like(&FW, 2_000, 2), 2_000_000, 0),
        ("chains", shapes::like(&IPC, 2_000, 3), 2_000_000, 0),
        ("wildcards", shapes::wildcards(10_000), 2_000_000, 0),
        ("nested", shapes::nested(1_000), 50_000_000, 10),
        ("crossing", shapes::crossing(2_000), 5_000_000, 0),
        ("covered by many", shapes::covered_by_many(2_000), 5_000_000, 0),
        ("lists", shapes::lists(100, 500), 60_000_000, 0),
        ("a large set", shapes::large_set(100, 50_000), 1_000_000, 0),
    ] {
        let (findings, spent) = look(&ruleset);
        assert!(spent < most, "{description}: {spent}");
        let undecided = findings.iter().filter(|one| one.kind == Kind::Undecided).count();
        assert!(undecided <= undecided_most, "{description}: {undecided}");
    }
}

#[test]
fn what_is_found_in_large_rulesets() {
    let count = |findings: &[Finding], kind| findings.iter().filter(|one| one.kind == kind).count();

    let (findings, _) = look(&shapes::wildcards(10_000));
    assert_eq!(count(&findings, Kind::Shadowed) + count(&findings, Kind::Contradiction), 9_999);

    // Only behind the last rule that accepts what the policy drops are rules of no use.
    let (findings, _) = look(&shapes::crossing(2_000));
    assert_eq!(count(&findings, Kind::Redundant), 2);
    assert_eq!(findings.len(), 2 + count(&findings, Kind::Replies));

    // Each of the last ten is covered by nearly 2,000, and named are three of these.
    let (findings, _) = look(&shapes::covered_by_many(2_000));
    let last: Vec<&Finding> = findings.iter().filter(|one| one.message.contains(" more together")).collect();
    assert_eq!(last.len(), 10);
    let names = "decided before it, by rule r0, rule r1, rule r2 and 1978 more together";
    assert!(last[0].message.contains(names), "{}", last[0].message);
}

#[test]
fn what_is_too_much_work_is_said() {
    let ruleset = shapes::nested(500);
    let findings = check_within(&ruleset, None, &mut Work::of(10_000));
    let undecided = findings.iter().filter(|one| one.kind == Kind::Undecided).count();
    assert!(undecided > 0);
}
