//! Files that belong together.

use super::*;

#[test]
fn files_of_a_folder_are_one() {
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    let files = vec![
        file(
            "a.toml",
            "schema = 1\n[policy]\nin = \"drop\"\n[[rule]]\nid = \"a\"\naction = \"drop\"\nsource = \"@s\"\n",
        ),
        file(
            "b.toml",
            "schema = 1\n[sets.s]\nentries = [\"::1\"]\n[[rule]]\nid = \"b\"\naction = \"drop\"\n",
        ),
    ];
    let mut bundle = Bundle { files, ..Bundle::default() };
    let ruleset = bundle.parse().unwrap();
    assert_eq!(ruleset.rules.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);

    bundle.files.push(file(
        "c.toml",
        "[policy]\nin = \"accept\"\n[sets.s]\nentries = []\n[[rule]]\nid = \"a\"\naction = \"drop\"\n",
    ));
    let errors = bundle.parse().unwrap_err();
    let places: Vec<_> = errors.errors().iter().map(|error| (error.file.as_str(), error.line)).collect();
    assert_eq!(places, [("c.toml", 1), ("c.toml", 1), ("c.toml", 3), ("c.toml", 6)], "{errors}");
    for part in ["schema is missing", "the first is at a.toml:2", "the first is at b.toml:2", "at a.toml:5"] {
        assert!(errors.to_string().contains(part), "{part}: {errors}");
    }
}

#[test]
fn errors_of_set_files_name_the_set_file() {
    let mut bundle = whole_bundle();
    bundle.attachments.insert("sets/drop.txt".to_owned(), "# x\n  10.0.0.1/8 # y\nfoo\n".to_owned());
    let errors = bundle.parse().unwrap_err();
    let text = errors.to_string();
    assert!(text.starts_with("sets/drop.txt:2:3: \"10.0.0.1/8\" has bits"), "{text}");
    assert!(text.contains("sets/drop.txt:3:1: \"foo\" is no address"), "{text}");
    bundle.attachments.clear();
    assert!(
        bundle.parse().unwrap_err().to_string().contains("rules.toml:19:8: the set file"),
        "no attachment"
    );
}

#[test]
fn set_files_are_found_however_their_key_is_written() {
    let named = |text: &str| -> Vec<String> {
        let files = Bundle::of_text("a.toml", text).files;
        set_files(&files).into_iter().map(|found| found.name).collect()
    };
    assert_eq!(named("[sets.one]\nfile = \"one.txt\"\n"), ["one.txt"]);
    assert_eq!(named("[sets]\none = { \"fi\\u006ce\" = \"one.txt\" }\n"), ["one.txt"]);
    assert_eq!(named("[[rule]]\nid = \"one\"\naction = \"drop\"\n"), Vec::<String>::new());
}
