use super::*;
use crate::guard::{Rate, Watched};

const MINUTE: Duration = Duration::from_mins(1);

fn occasion(unix_ms: u64, files: &str) -> Occasion<'static> {
    Occasion { by: "a test", unix_ms, files: Some(files.to_owned()) }
}

/// Files `a` in force from the files, then `b` applied at 1000 ms with a minute to confirm it.
fn waiting() -> State {
    let state = State::default().with_ruleset("a", None, &occasion(0, "a")).unwrap();
    state.with_ruleset("b", Some(MINUTE), &occasion(1000, "a")).unwrap()
}

fn store(hash: &str) -> RulesetSource {
    RulesetSource::Store(hash.to_owned())
}

#[test]
fn a_first_start_takes_the_files() {
    for files in [Some("a"), None] {
        let plan = plan_start(&State::default(), files, 0);
        assert_eq!(plan.sources, [RulesetSource::Files]);
        assert_eq!(plan.confirmation, Confirmation::NotWaited);
    }
}

#[test]
fn a_start_takes_whichever_came_last() {
    let applied = State::default()
        .with_ruleset("a", None, &occasion(0, "a"))
        .and_then(|state| state.with_ruleset("b", None, &occasion(1, "a")))
        .unwrap();
    for (what, files, sources) in [
        ("files as they were when b was applied", Some("a"), vec![store("b"), RulesetSource::Files]),
        ("files changed after b was applied", Some("c"), vec![RulesetSource::Files, store("b")]),
        ("the applied rules written into the files", Some("b"), vec![RulesetSource::Files, store("b")]),
        ("files unreadable", None, vec![store("b")]),
    ] {
        assert_eq!(plan_start(&applied, files, 2).sources, sources, "{what}");
    }
}

#[test]
fn files_that_were_unreadable_and_are_mended_are_newer() {
    let unreadable = Occasion { files: None, ..occasion(1, "") };
    let state = State::default().with_ruleset("b", None, &unreadable).unwrap();
    assert_eq!(plan_start(&state, None, 2).sources, [store("b")]);
    assert_eq!(plan_start(&state, Some("a"), 2).sources, [RulesetSource::Files, store("b")]);
}

#[test]
fn a_start_before_the_deadline_goes_on_waiting() {
    let plan = plan_start(&waiting(), Some("a"), 21_000);
    assert_eq!(plan.sources, [store("b"), store("a"), RulesetSource::Files]);
    assert_eq!(plan.confirmation, Confirmation::Left(Duration::from_secs(40)));
}

#[test]
fn a_start_after_the_deadline_goes_straight_back() {
    for now in [61_000, 61_001, u64::MAX] {
        let plan = plan_start(&waiting(), Some("changed meanwhile"), now);
        assert_eq!(plan.sources, [store("a"), RulesetSource::Files, store("b")]);
        assert_eq!(plan.confirmation, Confirmation::TooLate);
    }
}

#[test]
fn a_clock_set_back_does_not_lengthen_the_time() {
    let plan = plan_start(&waiting(), Some("a"), 0);
    assert_eq!(plan.confirmation, Confirmation::Left(MINUTE));
}

#[test]
fn a_confirmation_makes_the_old_rules_the_previous_ones() {
    let state = waiting();
    assert_eq!(state.previous, None, "not yet decided");
    let state = state.confirmed().unwrap();
    assert_eq!((state.in_force.as_deref(), state.previous.as_deref()), (Some("b"), Some("a")));
    assert_eq!(state.pending, None);
    assert_eq!(state.generation, 2);
    assert!(state.confirmed().is_err());
    let back = state.rolled_back(&occasion(2, "a")).unwrap();
    assert_eq!((back.in_force.as_deref(), back.previous.as_deref()), (Some("a"), None));
    assert!(back.rolled_back(&occasion(3, "a")).is_err());
}

#[test]
fn what_was_not_confirmed_is_taken_back_and_does_not_return_with_the_files() {
    let state = waiting().rolled_back(&occasion(61_000, "edited")).unwrap();
    assert_eq!(state.in_force.as_deref(), Some("a"));
    assert_eq!(state.pending, None);
    assert_eq!(state.generation, 3);
    assert_eq!(plan_start(&state, Some("edited"), 70_000).sources, [store("a"), RulesetSource::Files]);
}

#[test]
fn a_rollback_of_unconfirmed_rules_keeps_the_way_further_back() {
    let state = waiting().confirmed().unwrap();
    let state = state.with_ruleset("c", Some(MINUTE), &occasion(5, "a")).unwrap();
    let state = state.rolled_back(&occasion(6, "a")).unwrap();
    assert_eq!((state.in_force.as_deref(), state.previous.as_deref()), (Some("b"), Some("a")));
}

#[test]
fn nothing_is_applied_while_rules_wait() {
    let conflict = waiting().with_ruleset("c", None, &occasion(31_000, "a")).unwrap_err();
    assert!(conflict.0.contains("30 s left"), "{conflict:?}");
    assert!(conflict.0.contains("rules confirm"), "{conflict:?}");
}

#[test]
fn applying_what_is_in_force_keeps_the_previous_rules() {
    let state = waiting().confirmed().unwrap();
    let state = state.with_ruleset("b", None, &occasion(9, "a")).unwrap();
    assert_eq!(state.previous.as_deref(), Some("a"));
    assert_eq!(state.generation, 3);
}

#[test]
fn every_ruleset_that_may_come_back_is_referenced() {
    let state = waiting().confirmed().unwrap().with_ruleset("c", Some(MINUTE), &occasion(5, "a")).unwrap();
    let referenced: Vec<&str> = state.referenced().map(String::as_str).collect();
    assert_eq!(referenced, ["c", "a", "b"]);
}

/// The state after a start at `unix_ms` that could read only the source number `works` of its plan.
fn started(state: &State, files: Option<&str>, unix_ms: u64, works: usize) -> State {
    let plan = plan_start(state, files, unix_ms);
    let taken = &plan.sources[works];
    let hash = match taken {
        RulesetSource::Files => files.unwrap(),
        RulesetSource::Store(hash) => hash,
    };
    let occasion = Occasion { files: files.map(str::to_owned), ..occasion(unix_ms, "") };
    plan.carried_out(state, taken, hash, &occasion).unwrap()
}

#[test]
fn a_start_with_the_same_rules_is_no_new_decision() {
    let applied = waiting().confirmed().unwrap();
    assert_eq!(started(&applied, Some("a"), 9, 0), applied);
    assert_eq!(started(&applied, None, 9, 0), applied, "files unreadable");
    assert_eq!(started(&applied, Some("broken"), 9, 1), applied, "so that mended files are newer");
    assert_eq!(started(&waiting(), Some("a"), 21_000, 0), waiting(), "still waiting");
}

#[test]
fn a_start_with_changed_files_is_a_decision() {
    let state = started(&waiting().confirmed().unwrap(), Some("c"), 9, 0);
    assert_eq!(state.in_force.as_deref(), Some("c"));
    assert_eq!(state.files.as_deref(), Some("c"));
    assert_eq!(state.previous.as_deref(), Some("b"));
    assert_eq!((state.generation, state.applied.unwrap().unix_ms), (3, 9));
}

#[test]
fn a_start_that_waited_too_long_settles_it_whatever_can_be_read() {
    for (works, in_force) in [(0, "a"), (1, "c"), (2, "b")] {
        let state = started(&waiting(), Some("c"), 99_000, works);
        assert_eq!(state.in_force.as_deref(), Some(in_force));
        assert_eq!(state.pending, None);
    }
    assert_eq!(started(&waiting(), Some("c"), 99_000, 0).files.as_deref(), Some("c"));
}

#[test]
fn a_start_that_cannot_read_the_waiting_rules_takes_them_back() {
    let state = started(&waiting(), Some("a"), 21_000, 1);
    assert_eq!((state.in_force.as_deref(), state.pending), (Some("a"), None));
}

#[test]
fn guarded_rules_make_way_for_newer_ones_and_what_was_before_comes_back() {
    let occasion = |unix_ms| Occasion { by: "a test", unix_ms, files: None };
    let guard = |service: &str| Guard {
        fall: 50,
        watched: vec![Watched {
            service: service.to_owned(),
            port: "tcp/80".to_owned(),
            what: "requests".to_owned(),
            before: Rate(9_000),
            lowest: Vec::new(),
        }],
    };
    let within = Duration::from_secs(30);
    let first = State::default().guarded("a", within, guard("x"), &occasion(1)).unwrap();
    assert_eq!(
        (first.guard(), first.in_force.as_deref()),
        (None, Some("a")),
        "there is nothing to go back to"
    );
    let second = first.guarded("b", within, guard("x"), &occasion(2)).unwrap();
    assert_eq!(second.guard(), Some(&guard("x")));
    assert!(second.nothing_waits(3).unwrap_err().0.contains("guarded"));
    let third = second.guarded("c", within, guard("y"), &occasion(4)).unwrap();
    assert_eq!((third.guard(), third.in_force.as_deref()), (Some(&guard("y")), Some("c")));
    assert_eq!(third.generation, 3);
    let back = third.rolled_back(&occasion(5)).unwrap();
    assert_eq!((back.guard(), back.in_force.as_deref()), (None, Some("a")));
    // The old ones again need no guard.
    let old = second.guarded("a", within, guard("y"), &occasion(6)).unwrap();
    assert_eq!((old.pending, old.in_force.as_deref()), (None, Some("a")));
    let kept = third.confirmed().unwrap();
    assert_eq!((kept.in_force.as_deref(), kept.previous.as_deref()), (Some("c"), Some("a")));
    // Not while somebody is waited for.
    let waiting = first.with_ruleset("d", Some(within), &occasion(7)).unwrap();
    assert!(waiting.guarded("b", within, guard("x"), &occasion(8)).unwrap_err().0.contains("confirmation"));
}

#[test]
fn a_guard_begins_anew_with_the_next_daemon() {
    let occasion = Occasion { by: "a test", unix_ms: 1_000, files: None };
    let guard = Guard { fall: 50, watched: Vec::new() };
    let within = Duration::from_secs(30);
    let first = State::default().with_ruleset("a", None, &occasion).unwrap();
    let guarded = first.guarded("b", within, guard, &occasion).unwrap();
    let text = serde_json::to_string(&guarded).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), guarded);
    let plan = plan_start_before_etcd(&guarded, 999_999_999);
    assert_eq!(plan.confirmation, Confirmation::Left(within));
    assert_eq!(plan.sources.first(), Some(&RulesetSource::Store("b".to_owned())));
    let plan = plan_start_before_etcd(&first, 2_000);
    assert_eq!(plan.sources, [RulesetSource::Store("a".to_owned()), RulesetSource::Files]);
    assert_eq!(plan_start_before_etcd(&State::default(), 2_000).sources, [RulesetSource::Files]);
    // What an older foobar has written has neither.
    let old = r#"{"in_force":"a","files":null,"previous":null,"pending":null,"generation":1,"applied":null}"#;
    assert_eq!(serde_json::from_str::<State>(old).unwrap().etcd, None);
}
