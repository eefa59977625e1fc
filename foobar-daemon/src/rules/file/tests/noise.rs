//! Texts that nobody meant as rules.

use proptest::prelude::*;

use super::*;

#[test]
fn noise_is_refused_shortly_and_soon() {
    let line = "}]{[=\"'\\ \u{1b}[31m#\t=1..,;";
    for text in
        [line.repeat(200_000), format!("{line}\n").repeat(50_000), "[".repeat(10 << 20), "a=".repeat(1 << 18)]
    {
        let errors = Bundle::of_text("noise", &text).parse().unwrap_err();
        let said = errors.to_string();
        assert!(said.len() < 10_000, "{} bytes", said.len());
        assert!(!said.contains('\u{1b}'), "no escape sequence gets to the terminal");
    }
    let mut bundle = whole_bundle();
    bundle.attachments.insert("sets/drop.txt".to_owned(), "noise\n".repeat(1 << 18));
    let errors = bundle.parse().unwrap_err();
    assert_eq!(errors.count(), 1 << 18);
    assert!(errors.to_string().ends_with("and 262124 more like these"), "{errors}");
}

/// A piece of the whole file is taken away, doubled, moved or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let at = 0..WHOLE.len();
    let replacement = prop_oneof![
        Just(String::new()),
        "\\PC{0,8}",
        "[-\\[\\]{}\"=,./:@!#0-9a-f \n]{0,12}",
        (0..WHOLE.len(), 0..80usize).prop_map(|(from, length)| cut(from, length).to_owned()),
    ];
    prop::collection::vec((at, 0..20usize, replacement), 1..6).prop_map(|edits| {
        let mut text = WHOLE.to_owned();
        for (from, length, replacement) in edits {
            let from = boundary(&text, from);
            let to = boundary(&text, from + length);
            text.replace_range(from..to, &replacement);
        }
        text
    })
}

fn cut(from: usize, length: usize) -> &'static str {
    &WHOLE[boundary(WHOLE, from)..boundary(WHOLE, from + length)]
}

fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Reading ends, and what it says points into the text.
fn check_survives(text: &str) -> Result<(), TestCaseError> {
    let mut bundle = whole_bundle();
    bundle.files[0].text = text.to_owned();
    prop_assert!(set_files(&bundle.files).len() < 100);
    if let Err(errors) = bundle.parse() {
        prop_assert!(errors.count() > 0);
        for error in errors.errors() {
            prop_assert!(error.line >= 1 && error.line <= text.lines().count().max(1) + 1, "{}", error);
            prop_assert!(!error.message.is_empty() && error.help.is_some(), "{}", error);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|[\\[\\]{}\"'=,.#\n\r\t0-9a-z\\\\-]{0,200}") {
        check_survives(&text)?;
    }

    #[test]
    fn no_mutation_panics(text in mutated()) {
        check_survives(&text)?;
    }

    #[test]
    fn no_set_file_panics(text in "[-0-9a-f:./#; \n\r@!]{0,200}") {
        let mut bundle = whole_bundle();
        bundle.attachments.insert("sets/drop.txt".to_owned(), text);
        let read = bundle.parse();
        prop_assert!(read.is_ok() || read.is_err_and(|errors| errors.count() > 0));
    }

    /// What is read as a prefix is the prefix that is written.
    #[test]
    fn prefixes_are_what_they_say(text in "[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?|[0-9a-f:]{2,20}(/[0-9]{1,3})?") {
        if let Ok(prefix) = parse_prefix(&text) {
            prop_assert_eq!(prefix.trunc(), prefix);
            let address = text.split('/').next().unwrap_or_default();
            prop_assert_eq!(prefix.addr(), address.parse::<std::net::IpAddr>().unwrap());
        }
    }
}
