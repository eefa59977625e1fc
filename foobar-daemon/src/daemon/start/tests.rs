use std::fs;

use tempfile::TempDir;

use super::*;
use crate::config::Source;

/// A state folder and a rule file.
struct Place {
    folder: TempDir,
    store: Store,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(folder.path().join(name));
        let settings = Settings::complete(Source {
            interface: Some(vec!["eth0".to_owned()]),
            rules: path("rules.toml"),
            state: path("state"),
            pins: path("pins"),
            ..Source::default()
        })
        .unwrap();
        let store = Store::open(settings.state.as_ref().unwrap()).unwrap();
        Self { folder, store, settings }
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("rules.toml"), text).unwrap();
    }

    /// What a start at `unix_ms` would put in force; and remembers it as if it had.
    fn start(&self, unix_ms: u64) -> Result<Start> {
        let start = prepare(&self.store, &self.settings, unix_ms)?;
        self.remember(&start.rules.bundle, &start.state);
        Ok(start)
    }

    fn apply(&self, text: &str, confirm_within: Option<Duration>, unix_ms: u64) {
        let bundle = Bundle::of_text("applied.toml", text);
        let occasion = Occasion { by: "a test", unix_ms, files: files_hash(&self.settings) };
        let state = self.store.state().unwrap().with_ruleset(&bundle.hash(), confirm_within, &occasion);
        self.remember(&bundle, &state.unwrap());
    }

    fn remember(&self, bundle: &Bundle, state: &State) {
        self.store.add_ruleset(bundle).unwrap();
        self.store.set_state(state).unwrap();
    }
}

const A: &str = "schema = 1\n[[rule]]\nid = \"a\"\naction = \"accept\"\n";
const B: &str = "schema = 1\n[[rule]]\nid = \"b\"\naction = \"accept\"\n";
const BROKEN: &str = "schema = 1\n[[rule]]\nid = \"c\"\n";

fn rule(start: &Start) -> &str {
    start.rules.ruleset.rules[0].id.as_str()
}

#[test]
fn without_rules_there_is_no_start() {
    let place = Place::new();
    let error = place.start(0).unwrap_err();
    assert!(error.is::<InvalidInput>(), "{error:#}");
    place.write(BROKEN);
    let error = place.start(0).unwrap_err();
    assert!(error.is::<InvalidInput>(), "{error:#}");
    assert!(format!("{error:#}").contains("rules.toml:2"), "{error:#}");
    assert_eq!(place.store.state().unwrap(), State::default(), "nothing was changed");
}

#[test]
fn the_default_folder_is_explained_when_it_is_missing() {
    let missing = tempfile::tempdir().unwrap().path().join("rules");
    let error = read_files_or_explain(&missing, &missing).unwrap_err();
    assert!(error.is::<InvalidInput>());
    assert!(error.to_string().contains("--rules PATH"), "{error:#}");
}

#[test]
fn applied_rules_last_until_the_files_change() {
    let place = Place::new();
    place.write(A);
    assert_eq!(rule(&place.start(0).unwrap()), "a");
    place.apply(B, None, 1);
    assert_eq!(rule(&place.start(2).unwrap()), "b");
    assert_eq!(rule(&place.start(3).unwrap()), "b");
    place.write(&format!("{A}# edited\n"));
    let start = place.start(4).unwrap();
    assert_eq!(rule(&start), "a");
    assert_eq!(start.state.generation, 3);
}

#[test]
fn broken_or_missing_files_leave_the_last_rules_in_force_and_say_so() {
    let place = Place::new();
    place.write(A);
    place.start(0).unwrap();
    place.write(BROKEN);
    let start = place.start(1).unwrap();
    assert_eq!(rule(&start), "a");
    assert_eq!(start.problems.len(), 1);
    assert!(start.problems[0].contains("rules.toml:2"), "{:?}", start.problems);

    fs::remove_file(&place.settings.rules).unwrap();
    let start = place.start(2).unwrap();
    assert_eq!(rule(&start), "a");
    assert_eq!(start.problems.len(), 1);

    place.write(B);
    let start = place.start(3).unwrap();
    assert_eq!((rule(&start), start.problems.len()), ("b", 0), "mended");
}

#[test]
fn unconfirmed_rules_stay_for_the_rest_of_their_time_only() {
    let place = Place::new();
    place.write(A);
    place.start(0).unwrap();
    place.apply(B, Some(Duration::from_secs(5)), 1000);
    let start = place.start(3000).unwrap();
    assert_eq!(rule(&start), "b");
    assert_eq!(start.confirm_within, Some(Duration::from_secs(3)));
    let start = place.start(6000).unwrap();
    assert_eq!(rule(&start), "a");
    assert_eq!(start.confirm_within, None);
    assert_eq!(start.state.pending, None);
    assert!(start.problems.is_empty());
}

#[test]
fn damaged_rules_in_the_store_are_passed_over() {
    let place = Place::new();
    place.write(A);
    place.start(0).unwrap();
    place.apply(B, None, 1);
    let hash = place.store.state().unwrap().in_force.unwrap();
    fs::write(place.folder.path().join(format!("state/rulesets/{hash}.json")), "{").unwrap();
    let start = place.start(2).unwrap();
    assert_eq!((rule(&start), start.problems.len()), ("a", 1));
}
