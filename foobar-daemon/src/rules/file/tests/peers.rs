use super::*;

#[test]
fn groups_have_names_and_prefixes_of_both_families() {
    let text = "schema = 1\n[peers]\nlb = [\"192.0.2.8/29\", \"2001:db8:9::/48\"]\nmonitoring = \"198.51.100.10\"\nall-4 = [\"0.0.0.0/0\", \
                \"192.0.2.9\"]\n";
    let ruleset = Bundle::of_text("rules.toml", text).parse().unwrap();
    let expected = [
        ("all-4", vec!["0.0.0.0/0", "192.0.2.9/32"]),
        ("lb", vec!["192.0.2.8/29", "2001:db8:9::/48"]),
        ("monitoring", vec!["198.51.100.10/32"]),
    ];
    let expected = expected.map(|(name, prefixes)| {
        (name.to_owned(), prefixes.into_iter().map(|prefix| prefix.parse().unwrap()).collect())
    });
    assert_eq!(ruleset.peers, expected.into());
    let ruleset = Bundle::of_text("rules.toml", "schema = 1\n[peers]\n").parse().unwrap();
    assert!(ruleset.peers.is_empty());
}

#[test]
fn what_is_wrong_with_a_group() {
    let rows: [(&str, (usize, usize), &[&str]); 13] = [
        ("lb = []", (3, 6), &["the group lb has no addresses", "or leave the group out"]),
        ("lb = \"@offices\"", (3, 6), &["cannot have the set @offices", "write each address or prefix"]),
        ("lb = [\"!192.0.2.1\"]", (3, 7), &["peers.lb takes addresses and prefixes only"]),
        ("lb = [\"192.0.2.9/29\"]", (3, 7), &["write 192.0.2.8/29 for the network"]),
        ("lb = [\"::ffff:192.0.2.1\"]", (3, 7), &["write 192.0.2.1"]),
        ("lb = [\"balancer\"]", (3, 7), &["names are not looked up"]),
        ("lb = [8]", (3, 7), &["peers.lb cannot be a whole number"]),
        ("lb = { prefix = \"192.0.2.1\" }", (3, 6), &["peers.lb cannot be a table"]),
        ("other = [\"192.0.2.1\"]", (3, 1), &["everyone who is in no group", "another name"]),
        ("\"load balancer\" = [\"192.0.2.1\"]", (3, 1), &["a group of peers contains ' '"]),
        ("\"\" = [\"192.0.2.1\"]", (3, 1), &["a group of peers is empty"]),
        (
            "lb = [\"192.0.2.1\"]\na = [\"::1\", \"192.0.2.1/32\"]",
            (4, 13),
            &["192.0.2.1 is in lb already, at rules.toml:3", "the longest counts"],
        ),
        (
            "d = \"192.0.2.4\"\nc = \"192.0.2.3\"\nb = \"192.0.2.2\"\na = \"192.0.2.1\"",
            (6, 1),
            &["more than 3 groups", "leave a out", "counted as \"other\""],
        ),
    ];
    for (lines, (line, column), parts) in rows {
        check_errors(&format!("schema = 1\n[peers]\n{lines}\n"), &[(line, column, parts)]);
    }
    check_errors("schema = 1\npeers = [\"192.0.2.1\"]\n", &[(2, 9, &["[peers] is a list, not a table"])]);
}

#[test]
fn groups_are_given_once() {
    let mut bundle = Bundle::of_text("a.toml", "schema = 1\n[peers]\nlb = \"192.0.2.1\"\n");
    bundle.files.extend(Bundle::of_text("b.toml", "schema = 1\n[peers]\nmonitoring = \"192.0.2.2\"\n").files);
    let errors = bundle.parse().unwrap_err().to_string();
    assert!(errors.contains("[peers] is given a second time; the first is at a.toml:2"), "{errors}");
}

#[test]
fn groups_can_be_spared_by_their_name() {
    let read = |text: &str| Bundle::of_text("rules.toml", &format!("schema = 1\n{text}")).parse();
    // Whichever stands first.
    let group = "[peers]\nlb = [\"192.0.2.8/29\", \"2001:db8:9::/48\"]\n";
    let failsafe = "[failsafe]\nnever_ban = [\"198.51.100.1\", \"peers.lb\"]\n";
    for text in [format!("{group}{failsafe}"), format!("{failsafe}{group}")] {
        let spared: Vec<String> =
            read(&text).unwrap().failsafe.never_ban.iter().map(ToString::to_string).collect();
        assert_eq!(spared, ["198.51.100.1/32", "192.0.2.8/29", "2001:db8:9::/48"]);
    }
    for (text, said) in [
        (failsafe.to_owned(), "there is no group \"lb\" of peers"),
        (format!("[peers]\nweb = \"192.0.2.1\"\n{failsafe}"), "there are web"),
        ("[failsafe]\npeers = [\"peers.lb\"]\n".to_owned(), "rules.toml:3:10"),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}
