//! `[guard]`.

use std::time::Duration;

use crate::rules::{bundle::Bundle, model::GuardTerms};

fn read(text: &str) -> Result<GuardTerms, String> {
    let bundle = Bundle::of_text("rules.toml", &format!("schema = 1\n{text}"));
    bundle.parse().map(|ruleset| ruleset.guard).map_err(|errors| errors.to_string())
}

#[test]
fn terms_are_what_is_said_and_else_the_usual_ones() {
    let usual = GuardTerms { within: Duration::from_secs(30), fall: 50, services: None };
    assert_eq!(read(""), Ok(usual.clone()));
    assert_eq!(read("[guard]"), Ok(usual.clone()));
    let some = Some(vec!["a".to_owned(), "gone".to_owned()]);
    assert_eq!(
        read("[guard]\nwithin = \"2m\"\nfall = \"100%\"\nservices = [\"a\", \"gone\"]"),
        Ok(GuardTerms { within: Duration::from_mins(2), fall: 100, services: some })
    );
    assert!(usual.watches("a") && !read("[guard]\nservices = []").unwrap().watches("a"));
}

#[test]
fn what_cannot_be_meant_is_told() {
    for (text, place) in [
        ("[guard]\nwithin = \"4s\"", "rules.toml:3:10"),
        ("[guard]\nwithin = 30", "rules.toml:3:10"),
        ("[guard]\nwithin = \"61m\"", "5s"),
        ("[guard]\nfall = \"0%\"", "1%"),
        ("[guard]\nfall = \"101%\"", "rules.toml:3:8"),
        ("[guard]\nfall = \"+5%\"", "rules.toml:3:8"),
        ("[guard]\nfall = \"%\"", "rules.toml:3:8"),
        ("[guard]\nservices = [\"a b\"]", "rules.toml:3:13"),
        ("[guard]\nshare = 1", "share"),
        ("guard = 1", "[guard]"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(place), "{text}: {error}");
    }
}
