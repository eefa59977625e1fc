//! The kernel and the plain reading say the same of every packet of hostile sequences.

use foobar_common::{frame::Frame, parse::parse, verdict::Verdict};
use foobar_daemon::{
    dataplane::{
        load::LoadedRuleset,
        test_runs::{Judgement, TestRuns},
    },
    rules::{
        bundle::Bundle,
        compile::compile,
        evaluate::{Known, evaluate},
        model::Ruleset,
    },
    slots::Slots,
};
use foobar_tests::{datagram_model::DatagramModel, flow_model::FlowModel, random::Random};

use super::talk;

const INTERFACE: &str = "eth0";
/// Packets of each ruleset.
const PACKETS: usize = 6_000;

const STATES: &str = "
[[rule]]
id = \"invalid\"
action = \"drop\"
state = \"invalid\"
[[rule]]
id = \"web\"
action = \"accept\"
protocol = \"tcp\"
destination_port = 443
state = [\"new\", \"established\"]
[[rule]]
id = \"related\"
action = \"accept\"
state = \"related\"
[[rule]]
id = \"out\"
action = \"accept\"
direction = \"out\"
state = [\"new\", \"invalid\"]
[[rule]]
id = \"out-established\"
action = \"accept\"
direction = \"out\"
state = \"established\"
";

fn ruleset(text: &str) -> Ruleset {
    Bundle::of_text("rules.toml", text).parse().unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn load(ruleset: &Ruleset) -> TestRuns {
    let slots = Slots::for_once(ruleset, &[INTERFACE.to_owned()]).unwrap();
    LoadedRuleset::for_test_runs(&compile(ruleset, &slots).unwrap(), INTERFACE).unwrap()
}

#[test]
fn kernel_and_plain_reading_agree_on_hostile_sequences() {
    let web = "[[rule]]\nid = \"web\"\naction = \"accept\"\ndestination_port = 443\n";
    for (seed, text) in (1..).zip([
        "schema = 1\n[policy]\nin = \"drop\"\n".to_owned(),
        format!("schema = 1\n[policy]\nin = \"drop\"\nout = \"drop\"\n{web}"),
        format!("schema = 1\n[policy]\nin = \"drop\"\nout = \"drop\"\nreplies = \"rules\"\n{STATES}"),
        format!("schema = 1\n[policy]\nin = \"drop\"\n{STATES}"),
        format!("schema = 1\n[policy]\nreplies = \"rules\"\n{web}"),
    ]) {
        let ruleset = ruleset(&text);
        let (mut runs, mut flows) = (load(&ruleset), FlowModel::default());
        let (mut random, mut datagrams) = (Random::new(seed), DatagramModel::default());
        let mut n_answers = 0;
        for number in 0..PACKETS {
            let (frame, direction) = talk::packet(&mut random);
            if !TestRuns::takes(frame.len(), direction) {
                continue;
            }
            let packet = parse(&Frame::from_slice(&frame));
            let known = if ruleset.tracks() { flows.known(&frame, direction, 0) } else { Known::NEW };
            let expected = evaluate(&ruleset, &packet, direction, INTERFACE, known);
            let expected = Judgement {
                verdict: expected.verdict,
                reason: expected.reason,
                rule: expected.rule.map(str::to_owned),
            };
            let expected = if ruleset.tracks() { datagrams.first(&frame) } else { None }.unwrap_or(expected);
            let found = runs.judge(&frame, direction).unwrap();
            assert_eq!(
                found, expected,
                "packet {number}, {direction:?}, {known:?}: {packet:?} {frame:02x?}\n{text}"
            );
            if found.verdict == Verdict::Accept {
                flows.accepted(&frame, direction, 0);
                datagrams.accepted(&frame, found);
            }
            n_answers += u32::from(known.is_answer);
        }
        assert_eq!(n_answers > 300, ruleset.tracks(), "{n_answers} answers\n{text}");
    }
}
