use super::*;
use crate::rules::{bundle::Bundle, model::Ruleset};

mod iptables;
mod meaning;
mod nftables;
mod noise;

/// What an import is expected to be.
struct Expected<'e> {
    policy: &'e str,
    /// Each rule on one line: id, action and conditions.
    rules: &'e [&'e str],
    /// Line, and words of the reason.
    changed: &'e [(usize, &'e str)],
    refused: &'e [(usize, &'e str)],
}

fn check(format: Format, text: &str, expected: &Expected<'_>) -> Import {
    let import = import(format, text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    ruleset(&import);
    assert!(import.toml.contains(&format!("[policy]\nin = \"{}\"\n", expected.policy)), "{}", import.toml);
    assert_eq!(rule_lines(&import.toml), expected.rules, "{text}");
    for (what, remarks, expected) in
        [("changed", &import.changed, expected.changed), ("refused", &import.refused, expected.refused)]
    {
        let shown = format!("{what}: {remarks:#?}\n{text}");
        assert_eq!(remarks.len(), expected.len(), "{shown}");
        for (remark, (line, words)) in remarks.iter().zip(expected) {
            assert!(remark.line == *line && remark.why.contains(words), "{line} {words}\n{shown}");
        }
    }
    import
}

/// Whatever is imported can be read.
fn ruleset(import: &Import) -> Ruleset {
    Bundle::of_text("imported.toml", &import.toml)
        .parse()
        .unwrap_or_else(|errors| panic!("{errors}\n{}", import.toml))
}

fn rule_lines(toml: &str) -> Vec<String> {
    let rules = toml.split("[[rule]]\n").skip(1);
    let line = |rule: &str| {
        let rule = rule.trim().replace('\n', "; ");
        rule.replacen("id = ", "", 1).replacen("; action = ", " ", 1).replacen('"', "", 4)
    };
    rules.map(line).collect()
}
