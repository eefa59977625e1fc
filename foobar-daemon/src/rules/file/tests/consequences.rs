//! What follows of a rule beside its verdict: samples, answers, limits.

use super::*;

#[test]
fn how_many_packets_are_told_of() {
    let text = rule("log = \"1/1000\"").replace("[[rule]]", "[policy]\nlog_drops = \"1/1\"\n[[rule]]");
    let ruleset = Bundle::of_text("rules.toml", &text).parse().unwrap();
    assert_eq!((ruleset.policy.log_drops, ruleset.rules[0].log), (OneIn::new(1), OneIn::new(1_000)));
    assert!(ruleset.logs());
    assert!(!Bundle::of_text("rules.toml", &rule("")).parse().unwrap().logs());
    for wrong in ["", "1", "1/", "1/0", "2/3", "1/-1", "1/+1", "1/4294967296", "1 / 2", "1/1.5", "1/x"] {
        let line = format!("log = {wrong:?}");
        check_errors(&rule(&line), &[(5, 7, &["log cannot be", "write \"1/1000\""])]);
    }
    check_errors(&rule("log = 1000"), &[(5, 7, &["log"])]);
    check_errors("schema = 1\n[policy]\nlog_drops = \"all\"\n", &[(3, 13, &["policy.log_drops cannot be"])]);
}

#[test]
fn packets_are_rejected_by_policies_rules_and_limits_up_to_a_rate() {
    let text = "schema = 1\n[policy]\nin = \"reject\"\nout = \"reject\"\n[[rule]]\nid = \"r\"\naction = \"reject\"\n\
                [[rule]]\nid = \"l\"\naction = \"accept\"\nlimit = { rate = \"1/s\" }\nover = \"reject\"\n";
    let parse = |text| Bundle::of_text("rules.toml", text).parse().unwrap();
    let ruleset = parse(text);
    let Policy { inbound, outbound, reject_rate, .. } = ruleset.policy;
    assert_eq!((inbound, outbound), (Verdict::Reject, Verdict::Reject));
    assert_eq!(reject_rate, Rate { packets: 1_000, span: RateSpan::Second });
    let [rejects, limited] = &ruleset.rules[..] else { panic!("{:?}", ruleset.rules) };
    assert_eq!(rejects.action, Verdict::Reject);
    assert_eq!(limited.limit.map(|limit| limit.over), Some(Verdict::Reject));
    assert!(ruleset.rejects() && ruleset.tracks());
    assert!(!parse("schema = 1\n[policy]\nin = \"drop\"\n").rejects());
    for (rate, said) in [
        ("\"0/s\"", "a rate of zero"),
        ("\"many\"", "is no rate"),
        ("\"99999999/s\"", "too high"),
        ("5", "policy.reject_rate"),
    ] {
        check_errors(&format!("schema = 1\n[policy]\nreject_rate = {rate}\n"), &[(3, 15, &[said])]);
    }
}

#[test]
fn limits_are_rates_with_a_burst() {
    let rule = |lines: &str| format!("schema = 1\n[[rule]]\nid = \"a\"\naction = \"accept\"\n{lines}\n");
    let limit = |lines: &str| {
        Bundle::of_text("rules.toml", &rule(lines)).parse().unwrap().rules[0].limit.unwrap().to_string()
    };
    for (lines, words) in [
        ("limit = { rate = \"100/s\" }", "100/s burst 100 per rule, over drop"),
        ("limit = { rate = \"6/m\", burst = 20, per = \"source\" }", "6/m burst 20 per source, over drop"),
        ("limit = { rate = \"1/h\", per = \"source/24\" }", "1/h burst 1 per source/24, over drop"),
        (
            "limit = { rate = \"10000000/s\", per = \"source/48\" }",
            "10000000/s burst 10000000 per source/48, over drop",
        ),
    ] {
        assert_eq!(limit(lines), words);
    }
    let inverse = rule("limit = { rate = \"2/d\" }\nover = \"accept\"")
        .replace("action = \"accept\"", "action = \"drop\"");
    let inverse = Bundle::of_text("rules.toml", &inverse).parse().unwrap().rules[0].limit.unwrap();
    assert_eq!(inverse.to_string(), "2/d burst 2 per rule, over accept");
    let wrong: [(&str, Error<'_>); 14] = [
        ("limit = \"100/s\"", (5, 9, &["not a table", "rate = \"100/s\""])),
        ("limit = {}", (5, 9, &["rate"])),
        ("limit = { rate = 100 }", (5, 18, &["a whole number", "in quotes"])),
        ("limit = { rate = \"100\" }", (5, 18, &["no rate", "6/m"])),
        ("limit = { rate = \"+1/s\" }", (5, 18, &["no rate"])),
        ("limit = { rate = \"0/s\" }", (5, 18, &["zero", "drop"])),
        ("limit = { rate = \"99999999999/d\" }", (5, 18, &["too high", "10000000/s"])),
        ("limit = { rate = \"10000001/s\" }", (5, 18, &["too high"])),
        ("limit = { rate = \"1/d\", burst = 0 }", (5, 33, &["out of range"])),
        ("limit = { rate = \"1/d\", burst = 400 }", (5, 9, &["more than a year", "smaller burst"])),
        ("limit = { rate = \"1/d\", per = \"source/0\" }", (5, 31, &["per cannot be", "source/24"])),
        (
            "limit = { rate = \"1/d\", per = \"client\" }",
            (5, 31, &["no service has proxy_protocol", "source"]),
        ),
        ("over = \"accept\"", (5, 8, &["the rule has none"])),
        ("limit = { rate = \"1/d\" }\nover = \"accept\"", (6, 8, &["changes nothing", "another over"])),
    ];
    for (lines, error) in wrong {
        check_errors(&rule(lines), &[error]);
    }
    let banned = |per: &str, over: &str| rule(&format!("limit = {{ rate = \"1/d\"{per} }}\nover = {over}"));
    let source = ", per = \"source\"";
    for (per, length) in [(source, 64), (", per = \"source/48\"", 48)] {
        let file = banned(per, "{ ban = \"10m\" }");
        let limit = Bundle::of_text("rules.toml", &file).parse().unwrap().rules[0].limit.unwrap();
        assert_eq!((limit.over, limit.ban), (Verdict::Drop, Some(Duration::from_mins(10))));
        assert_eq!(limit.per, Per::Source { v4: 32, v6: length });
        assert!(limit.to_string().ends_with(", over ban 10m"), "{limit}");
    }
    check_errors(&banned("", "{ ban = \"10m\" }"), &[(5, 9, &["whoever came next", "per = \"source\""])]);
    let per_rule = banned(", per = \"rule\"", "{ ban = \"10m\" }");
    check_errors(&per_rule, &[(5, 31, &["whoever came next", "per = \"source\""])]);
    for (over, error) in [
        ("{ ban = \"soon\" }", (6, 16, &["no time of a ban", "10m"] as &[&str])),
        ("{ ban = \"forever\" }", (6, 16, &["without end", "30d"])),
        ("{ ban = 10 }", (6, 16, &["over.ban"])),
    ] {
        check_errors(&banned(source, over), &[error]);
    }
    for over in ["{ band = \"10m\" }", "{}"] {
        let errors = Bundle::of_text("rules.toml", &banned(source, over)).parse().unwrap_err().to_string();
        assert!(errors.contains("write over = { ban = \"10m\" }"), "{errors}");
    }
    let behind = |lines: &str| {
        format!(
            "{}[[service]]\nname = \"a\"\nport = \"tcp/80\"\nprotocol = \"http1\"\nproxy_protocol = true\n",
            rule(lines)
        )
    };
    let client = "limit = { rate = \"1/d\", per = \"client\" }";
    for (over, verdict, shown) in [
        ("", Verdict::Drop, "1/d burst 1 per client, over drop"),
        ("over = \"reject\"", Verdict::Reject, "1/d burst 1 per client, over reject"),
        // A proxy is told, so that it does not send on and on.
        ("over = { ban = \"10m\" }", Verdict::Reject, "1/d burst 1 per client, over ban 10m"),
    ] {
        let file = behind(&format!("{client}\n{over}\n"));
        let limit = Bundle::of_text("rules.toml", &file).parse().unwrap().rules[0].limit.unwrap();
        assert_eq!((limit.per, limit.over, limit.to_string().as_str()), (Per::Client, verdict, shown));
    }
    let inverse = behind(&format!("{client}\nover = \"accept\"\n")).replacen("\"accept\"", "\"drop\"", 1);
    check_errors(&inverse, &[(5, 31, &["never opens", "action = \"accept\""])]);
    let outbound = behind(&format!("direction = \"out\"\n{client}\n"));
    check_errors(&outbound, &[(6, 31, &["this server", "per = \"rule\""])]);
    let outbound = rule("direction = \"out\"\nlimit = { rate = \"1/d\" }\nover = { ban = \"10m\" }");
    check_errors(&outbound, &[(7, 8, &["this server", "over = \"drop\""])]);
    let outbound = rule("direction = \"out\"\nlimit = { rate = \"1/d\", per = \"source\" }");
    check_errors(&outbound, &[(6, 31, &["this server", "per = \"rule\""])]);
}
