//! Packets that are rejected: what they are answered with, and what is never answered.
//!
//! Frames through the loaded programs are held against a plain model, and real clients against real servers.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod model;
mod traffic;

use foobar_common::{
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, test_runs::TestRuns},
    rules::{bundle::Bundle, compile::compile},
    slots::Slots,
};
use foobar_tests::{
    generate,
    packets::{self, Packet, flag},
    rulesets,
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest},
};

/// All that nothing else decides is rejected, as fast as it comes.
const ALL: &str = "schema = 1\n[policy]\nin = \"reject\"\nout = \"reject\"\nmalformed = \"drop\"\n\
                   infrastructure = false\nreject_rate = \"10000000/s\"\n";

fn test_runs(rules: &str) -> TestRuns {
    let ruleset = Bundle::of_text("rules", rules).parse().unwrap();
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()]).unwrap();
    LoadedRuleset::for_test_runs(&compile(&ruleset, &slots).unwrap(), "eth0").unwrap()
}

/// What came of rejected packets of a direction, by the word for it; zeros are left out.
fn outcomes(runs: &TestRuns, direction: Direction) -> Vec<(String, u64)> {
    let facts = runs.rejects().unwrap();
    facts
        .of(direction)
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(word, count)| (word.clone(), *count))
        .collect()
}

/// What a frame is answered with. To this server itself, answers come from an address that nobody knows.
fn answer(runs: &mut TestRuns, frame: &[u8], direction: Direction) -> Option<Vec<u8>> {
    let mut answer = runs.answer(frame, direction).unwrap()?;
    if direction == Direction::Out {
        assert_ne!(answer[6..12], frame[..6]);
        answer[6..12].copy_from_slice(&frame[..6]);
    }
    Some(answer)
}

fn frames_per_case() -> usize {
    if std::env::var_os("FOOBAR_LONG").is_some() { 4_000 } else { 500 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Generated and hostile frames, of all shapes that the parser knows and does not.
    #[test]
    fn answers_are_those_of_the_plain_reading(
        frames in vec(generate::frame(&rulesets::pool()), frames_per_case()),
    ) {
        let mut runs = test_runs(ALL);
        let mut answered = [0_u64; 2];
        for frame in &frames {
            for direction in Direction::ALL {
                if !TestRuns::takes(frame.len(), direction) {
                    continue;
                }
                let judged = runs.judge(frame, direction).unwrap();
                let answer = answer(&mut runs, frame, direction);
                let expected = match judged.verdict {
                    Verdict::Reject => model::answer(frame, direction == Direction::In),
                    Verdict::Drop => None,
                    Verdict::Accept | Verdict::Answer => panic!("{judged:?}: {frame:02x?}"),
                };
                prop_assert_eq!(&answer, &expected, "{:?} {:?}: {:02x?}", direction, judged, frame);
                answered[direction as usize] += u64::from(answer.is_some());
            }
        }
        prop_assert!(answered.iter().all(|count| *count > 20), "{:?}", answered);
        for direction in Direction::ALL {
            let counted = outcomes(&runs, direction);
            let answers: u64 = counted.iter().filter(|(word, _)| word != "not_allowed").map(|(_, count)| count).sum();
            prop_assert_eq!(2 * answered[direction as usize], answers, "{:?}", counted);
        }
    }
}

/// Frames that are answered, each with the word for it.
fn answered() -> Vec<(&'static str, Packet)> {
    let v4 = ("203.0.113.7", 5_555);
    let v6 = ("2001:db8::7", 5_555);
    let (to_v4, to_v6) = (("192.0.2.10", 443), ("2001:db8::10", 443));
    vec![
        ("tcp_reset", packets::tcp(v4, to_v4, flag::SYN)),
        ("tcp_reset", packets::tcp(v4, to_v4, flag::ACK)),
        ("tcp_reset", packets::tcp(v4, to_v4, 0)),
        ("tcp_reset", packets::tcp(v4, to_v4, flag::SYN | flag::FIN)),
        ("tcp_reset", packets::tcp(v4, to_v4, flag::SYN).padding(6)),
        ("tcp_reset", packets::tcp(v4, to_v4, flag::SYN).vlan(10).padding(40)),
        ("tcp_reset", packets::tcp(v4, to_v4, flag::ACK | flag::PSH).grown_to(1_460)),
        ("tcp_reset", packets::tcp(v4, to_v4, flag::PSH).grown_to(1_460).options(&[1; 12])),
        ("tcp_reset", packets::tcp(v6, to_v6, flag::SYN)),
        ("tcp_reset", packets::tcp(v6, to_v6, flag::SYN).vlan(10).vlan(20).padding(9)),
        ("tcp_reset", packets::tcp(v6, to_v6, flag::ACK).extension(60).extension(43)),
        ("icmp", packets::udp(v4, to_v4, 0)),
        ("icmp", packets::udp(v4, to_v4, 1)),
        ("icmp", packets::udp(v4, to_v4, 3).vlan(7).padding(30)),
        ("icmp", packets::udp(v4, to_v4, 1_400)),
        ("icmp", packets::udp(v4, to_v4, 8).options(&[1; 40])),
        ("icmp", packets::udp(v4, to_v4, 512).fragment(0, true)),
        ("icmp", packets::sctp(v4, to_v4)),
        ("icmp", packets::icmp(v4.0, to_v4.0, 8, 0)),
        ("icmp", packets::packet(v4.0, to_v4.0, 47, Vec::new())),
        ("icmpv6", packets::udp(v6, to_v6, 0)),
        ("icmpv6", packets::udp(v6, to_v6, 1_400).vlan(1)),
        ("icmpv6", packets::udp(v6, to_v6, 7).extension_of(60, 264)),
        ("icmpv6", packets::icmp(v6.0, to_v6.0, 128, 0)),
        ("icmpv6", packets::packet(v6.0, to_v6.0, 59, vec![7; 3])),
    ]
}

/// Frames that nobody may answer.
fn unanswerable() -> Vec<Vec<u8>> {
    let (v4, to_v4) = (("203.0.113.7", 5_555), ("192.0.2.10", 443));
    let (v6, to_v6) = (("2001:db8::7", 5_555), ("2001:db8::10", 443));
    let mut broadcast = packets::udp(v4, to_v4, 8).frame();
    broadcast[..6].fill(0xff);
    let mut many = packets::udp(v6, to_v6, 8).frame();
    many[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    vec![
        packets::tcp(v4, to_v4, flag::RST).frame(),
        packets::tcp(v6, to_v6, flag::RST | flag::ACK).frame(),
        packets::tcp(v4, to_v4, flag::SYN).fragment(0, true).frame(),
        packets::udp(v4, to_v4, 64).fragment(1_400, true).frame(),
        packets::udp(v6, to_v6, 64).fragment_header(1_400, false).frame(),
        packets::icmp(v4.0, to_v4.0, 3, 3).frame(),
        packets::icmp(v4.0, to_v4.0, 5, 0).frame(),
        packets::icmp(v4.0, to_v4.0, 11, 0).frame(),
        packets::icmp(v4.0, to_v4.0, 12, 0).frame(),
        packets::icmp(v4.0, to_v4.0, 99, 0).frame(),
        packets::icmp(v6.0, to_v6.0, 1, 4).frame(),
        packets::icmp(v6.0, to_v6.0, 2, 0).frame(),
        packets::icmp(v6.0, to_v6.0, 127, 0).frame(),
        packets::icmp(v6.0, to_v6.0, 137, 0).frame(),
        packets::udp(v4, ("224.0.0.251", 5_353), 8).frame(),
        packets::udp(v4, ("255.255.255.255", 67), 8).frame(),
        packets::udp(("0.0.0.0", 68), to_v4, 8).frame(),
        packets::udp(("127.0.0.1", 68), to_v4, 8).frame(),
        packets::tcp(("239.0.0.1", 68), to_v4, flag::SYN).frame(),
        packets::udp(v6, ("ff02::fb", 5_353), 8).frame(),
        packets::udp(("::", 68), to_v6, 8).frame(),
        broadcast,
        many,
        packets::arp(),
    ]
}

#[test]
fn what_may_be_answered_is_and_the_rest_ends_without_a_word() {
    for direction in Direction::ALL {
        let mut runs = test_runs(ALL);
        let mut counted = std::collections::BTreeMap::new();
        for (word, packet) in answered() {
            let frame = packet.frame();
            if !TestRuns::takes(frame.len(), direction) {
                continue;
            }
            let expected = model::answer(&frame, direction == Direction::In);
            assert!(expected.is_some(), "{packet:?}");
            assert_eq!(answer(&mut runs, &frame, direction), expected, "{packet:?}");
            *counted.entry(word.to_owned()).or_default() += 1;
        }
        for frame in unanswerable() {
            if !TestRuns::takes(frame.len(), direction) {
                continue;
            }
            assert_eq!(model::answer(&frame, true), None, "{frame:02x?}");
            assert_eq!(runs.answer(&frame, direction).unwrap(), None, "{frame:02x?}");
            let judged = runs.judge(&frame, direction).unwrap();
            assert_eq!((judged.verdict, judged.rule), (Verdict::Reject, None), "{frame:02x?}");
            *counted.entry("not_allowed".to_owned()).or_default() += 2;
        }
        assert_eq!(outcomes(&runs, direction), counted.into_iter().collect::<Vec<(String, u64)>>());
    }
}

#[test]
fn a_jumbo_frame_in_several_buffers_is_answered() {
    let mut runs = test_runs(ALL);
    for (source, destination) in [("203.0.113.7", "192.0.2.10"), ("2001:db8::7", "2001:db8::10")] {
        for length in [4_000, 9_000, 60_000] {
            for packet in [
                packets::udp((source, 1), (destination, 2), length),
                packets::tcp((source, 1), (destination, 2), flag::ACK).grown_to(length.into()),
            ] {
                let frame = packet.frame();
                let answer = runs.answer(&frame, Direction::In).unwrap();
                assert_eq!(answer, model::answer(&frame, true), "{length}");
            }
        }
    }
}

#[test]
fn no_more_are_answered_than_the_rate_says() {
    let rules = ALL.replace("10000000/s", "5/d");
    let mut runs = test_runs(&rules);
    let syn = packets::tcp(("203.0.113.7", 1), ("192.0.2.10", 2), flag::SYN).frame();
    let udp = packets::udp(("2001:db8::7", 1), ("2001:db8::10", 2), 8).frame();
    let sent: Vec<bool> = (0..6)
        .flat_map(|_| [&syn, &udp])
        .map(|frame| runs.answer(frame, Direction::In).unwrap().is_some())
        .collect();
    assert_eq!(sent, [[true; 5].as_slice(), &[false; 7]].concat());
    let counted = |words: &[(&str, u64)]| {
        words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&runs, Direction::In), counted(&[("icmpv6", 2), ("rate", 7), ("tcp_reset", 3)]));
    // What goes out has a bucket of its own.
    assert!(runs.answer(&syn, Direction::Out).unwrap().is_some());
    assert_eq!(outcomes(&runs, Direction::Out), counted(&[("tcp_reset", 1)]));
    let judged = runs.judge(&syn, Direction::In).unwrap();
    assert_eq!((judged.verdict, judged.reason), (Verdict::Reject, Reason::Policy));
}

#[test]
fn rules_and_limits_reject_and_are_counted_as_any_other() {
    let rules = "schema = 1\n[[rule]]\nid = \"no\"\naction = \"reject\"\nprotocol = \"tcp\"\ndestination_port = 1\n\
                 [[rule]]\nid = \"some\"\naction = \"accept\"\nprotocol = \"tcp\"\ndestination_port = 2\n\
                 limit = { rate = \"1/d\" }\nover = \"reject\"\n\
                 [[rule]]\nid = \"out\"\ndirection = \"out\"\naction = \"reject\"\nprotocol = \"udp\"\n";
    let mut runs = test_runs(rules);
    let to = |port| packets::tcp(("203.0.113.7", 9), ("192.0.2.10", port), flag::SYN).frame();
    let said = |runs: &mut TestRuns, frame: &[u8], direction| {
        let judged = runs.judge(frame, direction).unwrap();
        (judged.verdict.label(), judged.reason.label(), judged.rule)
    };
    let rule = |id: &str| Some(id.to_owned());
    assert_eq!(said(&mut runs, &to(1), Direction::In), ("reject", "rule", rule("no")));
    assert_eq!(said(&mut runs, &to(2), Direction::In), ("accept", "rule", rule("some")));
    assert_eq!(said(&mut runs, &to(2), Direction::In), ("reject", "limit", None));
    assert_eq!(said(&mut runs, &to(3), Direction::In), ("accept", "policy", None));
    let udp = packets::udp(("192.0.2.10", 2), ("203.0.113.7", 1), 8).frame();
    assert_eq!(said(&mut runs, &udp, Direction::Out), ("reject", "rule", rule("out")));
    let counters = runs.counters().unwrap();
    assert_eq!((counters.rules["no"].packets, counters.over["some"].packets), (1, 1));
    assert_eq!(outcomes(&runs, Direction::In), [("tcp_reset".to_owned(), 2)]);
}
