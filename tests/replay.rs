//! `foobar replay` over captures made here: every format, every link type, and files that are broken.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod captures;

use std::{fs, path::PathBuf, time::SystemTime};

use captures::{Order, block, enhanced, interface, pcap, pcapng, record, section, simple};
use foobar_daemon::{
    cli::{self, Cli},
    env::Env,
    outcome,
};
use foobar_tests::packets::{self, arp, flag, packet, tcp, udp};
use serde_json::{Value, json};
use tempfile::TempDir;

const CLIENT: &str = "203.0.113.7";
const SERVER: &str = "192.0.2.10";
const CLIENT6: &str = "2001:db8:7::7";
const SERVER6: &str = "2001:db8::10";

const RULES: &str = r#"
schema = 1
[policy]
in = "drop"
replies = "rules"
[[service]]
name = "www"
port = ["tcp/80", "tcp/443"]
protocol = "raw"
[[service]]
name = "names"
port = "udp/53"
protocol = "raw"
[[rule]]
id = "web"
action = "accept"
protocol = "tcp"
destination_port = [443]
[[rule]]
id = "unused"
action = "drop"
source = ["198.51.100.0/24"]
"#;

/// What a run of the command gave.
struct Run {
    code: u8,
    out: String,
    err: String,
}

impl Run {
    /// The JSON objects of its lines.
    fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn summary(&self) -> Value {
        self.lines().last().unwrap_or_else(|| panic!("no output; stderr: {}", self.err))["summary"].clone()
    }

    /// Direction, verdict, reason and rule of each frame.
    fn frames(&self) -> Vec<String> {
        let lines = self.lines();
        let frames = lines.iter().filter(|line| line.get("summary").is_none());
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        frames
            .map(|line| ["direction", "verdict", "reason", "rule"].map(|key| text(&line[key])).join(" "))
            .collect()
    }
}

fn replay(capture: &[u8], rules: &str, flags: &[&str]) -> Run {
    let folder = TempDir::new().unwrap();
    let (capture_path, rules_path) = (folder.path().join("frames.cap"), folder.path().join("rules.toml"));
    fs::write(&capture_path, capture).unwrap();
    fs::write(&rules_path, rules).unwrap();
    replay_files(&capture_path, &rules_path, flags)
}

fn replay_files(capture: &PathBuf, rules: &PathBuf, flags: &[&str]) -> Run {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let fixed = ["foobar".into(), "replay".into(), capture.into(), "--rules".into(), rules.into()];
    let arguments = fixed.into_iter().chain(flags.iter().map(std::ffi::OsString::from));
    let cli = <Cli as clap::Parser>::try_parse_from(arguments).unwrap();
    let env = &mut Env { out: &mut out, err: &mut err, color: false, now: SystemTime::now };
    let (code, problem) = match cli::run(cli, env) {
        Ok(outcome) => (outcome.exit_code(), String::new()),
        Err(error) => (outcome::exit_code(&error), format!("{error:#}")),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code, out: text(out), err: text(err) + &problem }
}

fn syn() -> Vec<u8> {
    tcp((CLIENT, 40_000), (SERVER, 443), flag::SYN).frame()
}

fn syn_ack() -> Vec<u8> {
    tcp((SERVER, 443), (CLIENT, 40_000), flag::SYN | flag::ACK).frame()
}

fn ethernet_capture(frames: &[Vec<u8>]) -> Vec<u8> {
    pcap(Order::Little, 1, frames)
}

#[test]
fn every_frame_has_a_line_and_the_summary_adds_up() {
    let query = udp((CLIENT6, 5_353), (SERVER6, 53), 30).frame();
    let answer = udp((SERVER6, 53), (CLIENT6, 5_353), 90).frame();
    let telnet = tcp((CLIENT, 40_001), (SERVER, 23), flag::SYN).frame();
    let run =
        replay(&ethernet_capture(&[syn(), syn_ack(), query, answer, telnet, arp()]), RULES, &["--json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(
        run.lines()[0],
        json!({"frame": 1, "direction": "in", "verdict": "accept", "reason": "rule", "rule": "web"})
    );
    assert_eq!(
        run.lines()[1],
        json!({"frame": 2, "direction": "out", "verdict": "accept", "reason": "policy", "rule": null})
    );
    assert_eq!(
        run.frames()[2..],
        ["in drop policy -", "out accept policy -", "in drop policy -", "in accept infrastructure -",]
    );
    assert_eq!(
        run.summary(),
        json!({
            "frames": 6,
            "verdicts": {"accept": 4, "drop": 2, "reject": 0, "answer": 0},
            "reasons": {"policy": 4, "rule": 1, "infrastructure": 1},
            "rules": {"web": {"packets": 1, "bytes": 54}, "unused": {"packets": 0, "bytes": 0}},
            "services": {
                "www": {"packets": 2, "bytes": 108, "connections": 1, "resets": {}, "refused": 0},
                "names": {"packets": 2, "bytes": 92 + 152},
            },
        })
    );
}

#[test]
fn answers_in_known_flows_are_told() {
    let rules = RULES.replace("replies = \"rules\"\n", "");
    let run = replay(&ethernet_capture(&[syn(), syn_ack()]), &rules, &["--json"]);
    assert_eq!(run.frames(), ["in accept rule web", "out accept replies -"]);
}

#[test]
fn people_get_a_table() {
    let run = replay(&ethernet_capture(&[syn(), syn_ack()]), RULES, &[]);
    let expected = [
        "   frame  dir  verdict  reason                rule",
        "       1  in   accept   rule                  web",
        "       2  out  accept   policy                -",
        "",
        "2 frames, accept 2, drop 0, reject 0, answer 0",
        "",
        "reason      frames",
        "policy           1",
        "rule             1",
        "",
        "rule       packets           bytes",
        "web              1              54",
        "unused           0               0",
        "",
        "service     packets           bytes",
        "www               2             108",
        "names             0               0",
        "",
        "www: 1 connections, 0 reset, 0 refused",
    ];
    assert_eq!(run.out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn rejected_frames_are_told_as_such() {
    let rules = "schema = 1\n[policy]\nout = \"reject\"\n[[rule]]\nid = \"ident\"\naction = \"reject\"\nprotocol = \"tcp\"\n\
                 destination_port = 443\n";
    let reset = tcp((CLIENT, 40_000), (SERVER, 443), flag::RST).frame();
    let run = replay(&ethernet_capture(&[syn(), reset, syn_ack()]), rules, &["--json", "--local", SERVER]);
    assert_eq!(run.frames(), ["in reject rule ident", "in reject rule ident", "out reject policy -"]);
    assert_eq!(run.summary()["verdicts"], json!({"accept": 0, "drop": 0, "reject": 3, "answer": 0}));
}

#[test]
fn connections_of_which_nothing_is_read_are_told() {
    let reset = |(source, destination), sequence: u32| {
        let mut frame = tcp(source, destination, flag::RST | flag::ACK).frame();
        frame[14 + 20 + 4..][..4].copy_from_slice(&sequence.to_be_bytes());
        frame
    };
    let (client, server) = ((CLIENT, 40_000), (SERVER, 443));
    let frames = [
        syn(),
        syn_ack(),
        syn_ack(),
        reset((server, client), 7),
        reset((client, server), 7),
        reset(((CLIENT, 40_001), server), 7),
        reset((server, (CLIENT, 40_002)), 0),
    ];
    let run = replay(&ethernet_capture(&frames), RULES, &["--json"]);
    let www = &run.summary()["services"]["www"];
    assert_eq!(www["connections"], 1);
    assert_eq!(www["resets"], json!({"in": 1, "out": 1}));
    assert_eq!(www["refused"], 1);
    let table = replay(&ethernet_capture(&frames), RULES, &[]).out;
    assert!(table.contains("www: 1 connections, 2 reset (in 1, out 1), 1 refused"), "{table}");
}

#[test]
fn queries_and_answers_of_dns_are_told() {
    let rules = RULES.replace("\"udp/53\"\nprotocol = \"raw\"", "\"udp/53\"\nprotocol = \"dns\"");
    let rules = rules.replace("in = \"drop\"", "in = \"accept\"");
    // For addresses of foobar.com.
    let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x06foobar\x03com\0\0\x01\0\x01";
    // There is no such name, and that did not fit.
    let answer = [&b"\0\x07\x83\x03"[..], &query[4..]].concat();
    let datagram = |is_answer: bool, message: &[u8]| {
        let ends = [(CLIENT6, 5_353), (SERVER6, 53)];
        let [from, to] = if is_answer { [ends[1], ends[0]] } else { ends };
        let length = u16::try_from(8 + message.len()).unwrap();
        let header = packets::udp_header(from.1, to.1, length);
        packet(from.0, to.0, 17, [&header[..], message].concat()).frame()
    };
    let frames = [
        datagram(false, query),
        datagram(false, query),
        datagram(true, &answer),
        datagram(true, &answer),
        datagram(false, &query[..20]),
    ];
    let run = replay(&ethernet_capture(&frames), &rules, &["--json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let mut names = run.summary()["services"]["names"].clone();
    let counted = names.as_object_mut().unwrap();
    counted.retain(|key, _| !["packets", "bytes"].contains(&key.as_str()));
    assert_eq!(
        names,
        json!({
            "queries": 2, "qtypes": {"A": 2}, "repeated": 1, "unanswered": 0,
            "answers": 2, "rcodes": {"nxdomain": 2}, "truncated": 2, "unasked": 1,
            "framing_lost": 1, "lost": {"not_dns": 1},
        })
    );
    let run = replay(&ethernet_capture(&frames), &rules, &[]);
    for line in [
        "names: 2 queries (A 2), 1 of them repeated",
        "names: 2 answers (nxdomain 2), 2 of them truncated",
        "names: 0 queries without an answer, 1 answers without a query",
        "names: could not be read 1 times (not_dns 1)",
    ] {
        assert!(run.out.lines().any(|other| other == line), "{line} is missing in\n{}", run.out);
    }
}

#[test]
fn local_addresses_can_be_given() {
    let capture = ethernet_capture(&[syn(), syn_ack()]);
    let given = replay(&capture, RULES, &["--json", "--local", "203.0.113.0/24", "2001:db8::1"]);
    assert_eq!(given.frames(), ["out accept policy -", "in drop policy -"]);
    let none = replay(&capture, RULES, &["--json", "--local", "255.255.255.255/32"]);
    assert_eq!(none.frames(), ["in accept rule web", "in drop policy -"]);
    let without_services = replay(&capture, "schema = 1", &["--json"]);
    assert_eq!(without_services.frames(), ["in accept policy -", "in accept policy -"]);
}

#[test]
fn rules_that_ask_for_an_interface_need_to_know_it() {
    let rules = "schema = 1\n[[rule]]\nid = \"r\"\naction = \"drop\"\ninterface = [\"wan\"]\n";
    let capture = ethernet_capture(&[syn()]);
    let named = replay(&capture, rules, &["--json", "--interface", "wan"]);
    assert_eq!(named.frames(), ["in drop rule r"]);
    assert_eq!(named.err, "");
    let unnamed = replay(&capture, rules, &["--json"]);
    assert_eq!(unnamed.frames(), ["in accept policy -"]);
    assert!(unnamed.err.contains("--interface NAME"), "{}", unnamed.err);
}

#[test]
fn both_byte_orders_and_both_units_of_time() {
    for order in [Order::Little, Order::Big] {
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
            let mut capture = pcap(order, 1, &[syn()]);
            capture[..4].copy_from_slice(&order.u32(magic));
            assert_eq!(replay(&capture, RULES, &["--json"]).frames(), ["in accept rule web"]);
        }
    }
}

/// Raw IP and Linux cooked frames are judged as if they had come in Ethernet frames.
#[test]
fn other_link_layers() {
    let v4 = tcp((CLIENT, 40_000), (SERVER, 443), flag::SYN).frame()[14..].to_vec();
    let v6 = tcp((CLIENT6, 40_000), (SERVER6, 443), flag::SYN).frame()[14..].to_vec();
    let cooked = |ethertype: [u8; 2], packet: &[u8]| [&[0; 14], &ethertype[..], packet].concat();
    let cooked2 = |ethertype: [u8; 2], packet: &[u8]| [&ethertype[..], &[0; 18], packet].concat();
    for (link, frames) in [
        (12, vec![v4.clone(), v6.clone()]),
        (14, vec![v4.clone(), v6.clone()]),
        (101, vec![v4.clone(), v6.clone()]),
        (228, vec![v4.clone()]),
        (229, vec![v6.clone()]),
        (113, vec![cooked([8, 0], &v4), cooked([0x86, 0xdd], &v6)]),
        (276, vec![cooked2([8, 0], &v4), cooked2([0x86, 0xdd], &v6)]),
    ] {
        let run = replay(&pcap(Order::Little, link, &frames), RULES, &["--json"]);
        assert_eq!(run.frames(), vec!["in accept rule web"; frames.len()], "link type {link}");
        // The Ethernet header that was put before them is counted.
        let bytes: usize = 54 + if frames.len() == 2 { 74 } else { usize::from(link == 229) * 20 };
        assert_eq!(run.summary()["rules"]["web"]["bytes"], bytes, "link type {link}");
    }
    let tagged = cooked([0x81, 0], &[&[0, 10, 8, 0][..], &v4].concat());
    let rules = "schema = 1\n[[rule]]\nid = \"r\"\naction = \"drop\"\nvlan = [10]\n";
    assert_eq!(replay(&pcap(Order::Big, 113, &[tagged]), rules, &["--json"]).frames(), ["in drop rule r"]);
}

#[test]
fn a_link_type_that_cannot_be_judged_is_named() {
    let run = replay(&pcap(Order::Little, 127, &[vec![0; 60]]), RULES, &["--json"]);
    assert_eq!((run.code, run.out.as_str()), (2, ""));
    assert!(run.err.contains("link type 127 (IEEE802_11_RADIOTAP) cannot be judged"), "{}", run.err);
}

#[test]
fn pcapng_with_interfaces_of_different_link_types() {
    let raw = &syn()[14..];
    for order in [Order::Little, Order::Big] {
        let capture = pcapng(
            order,
            &[
                interface(order, 1, 0),
                interface(order, 101, 65_535),
                enhanced(order, 0, &syn()),
                enhanced(order, 1, raw),
                // Name resolution, and a kind that nobody knows: passed over.
                block(order, 4, &[0, 0, 0, 0]),
                block(order, 0x0bad_cafe, b"whatever"),
                simple(order, &syn_ack()),
                // The obsolete packet block, interface 1 in two bytes.
                block(
                    order,
                    2,
                    &[
                        order.u16(1).to_vec(),
                        vec![0; 10],
                        order.u32(40).to_vec(),
                        order.u32(40).to_vec(),
                        raw.to_vec(),
                    ]
                    .concat(),
                ),
            ],
        );
        let run = replay(&capture, RULES, &["--json"]);
        assert_eq!(
            run.frames(),
            ["in accept rule web", "in accept rule web", "out accept policy -", "in accept rule web"],
            "{}",
            run.err
        );
        assert_eq!(run.code, 0);
    }
    let sections = [
        pcapng(Order::Little, &[interface(Order::Little, 101, 0), enhanced(Order::Little, 0, raw)]),
        pcapng(Order::Big, &[interface(Order::Big, 1, 0), enhanced(Order::Big, 0, &syn())]),
    ];
    assert_eq!(replay(&sections.concat(), RULES, &["--json"]).frames(), ["in accept rule web"; 2]);
}

#[test]
fn a_pcapng_frame_of_an_unknown_link_type_ends_the_replay() {
    let order = Order::Little;
    let blocks = [
        interface(order, 1, 0),
        interface(order, 105, 0),
        enhanced(order, 0, &syn()),
        enhanced(order, 1, &syn()),
    ];
    let run = replay(&pcapng(order, &blocks), RULES, &["--json"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("frame 2: link type 105"), "{}", run.err);
}

#[test]
fn broken_captures_are_judged_up_to_the_broken_frame() {
    let order = Order::Little;
    let good = ethernet_capture(&[syn(), syn()]);
    let with = |record: Vec<u8>| [good.clone(), record].concat();
    let in_pcapng = |block: Vec<u8>| {
        pcapng(
            order,
            &[interface(order, 1, 0), enhanced(order, 0, &syn()), enhanced(order, 0, &syn()), block],
        )
    };
    let mut lying = enhanced(order, 0, &syn());
    lying[20..24].copy_from_slice(&order.u32(60_000));
    let mut unequal = enhanced(order, 0, &syn());
    unequal[4] += 4;
    let mut odd = enhanced(order, 0, &syn());
    odd[4] += 1;
    for (about, capture) in [
        ("a cut record", with(record(order, &syn(), 54)[..40].to_vec())),
        ("a cut record header", with(vec![0; 15])),
        ("a length of 4 GiB", with([[0; 8].to_vec(), vec![0xff; 8], vec![0; 100]].concat())),
        (
            "a length of 300 kB",
            with(
                [[0; 8].to_vec(), order.u32(300_000).to_vec(), order.u32(300_000).to_vec(), vec![0; 300_000]]
                    .concat(),
            ),
        ),
        ("a block whose frame is longer than it", in_pcapng(lying)),
        ("a block whose two lengths differ", in_pcapng([unequal, vec![0; 8]].concat())),
        ("a block of odd length", in_pcapng([odd, vec![0; 8]].concat())),
        ("a block of an interface that is not there", in_pcapng(enhanced(order, 7, &syn()))),
        ("a block of 4 GiB", in_pcapng([order.u32(6), order.u32(0xffff_fffc)].concat())),
        ("a block of 8 bytes", in_pcapng([order.u32(6), order.u32(8), order.u32(8)].concat())),
        ("a block that is too short for a frame", in_pcapng(block(order, 6, &[0; 4]))),
        ("a cut block", in_pcapng(enhanced(order, 0, &syn())[..30].to_vec())),
    ] {
        let run = replay(&capture, RULES, &["--json"]);
        assert_eq!(run.code, 3, "{about}: {}", run.err);
        assert_eq!(run.frames(), ["in accept rule web"; 2], "{about}");
        assert_eq!(run.summary()["frames"], 2, "{about}");
        assert!(
            run.err.contains("frame 3: ") && run.err.contains("the 2 before it were judged"),
            "{about}: {}",
            run.err
        );
    }
    let nothing_good = replay(&[&good[..24], &[1; 9]].concat(), RULES, &["--json"]);
    assert_eq!((nothing_good.code, nothing_good.summary()["frames"].clone()), (2, json!(0)));
    assert!(nothing_good.err.contains("frame 1: "), "{}", nothing_good.err);
}

#[test]
fn what_is_no_capture_is_said_to_be_none() {
    for (about, bytes, said) in [
        ("an empty file", vec![], "it ends before its header"),
        ("a header cut short", ethernet_capture(&[])[..20].to_vec(), "the file ends inside it"),
        ("text", b"schema = 1".to_vec(), "neither pcap nor pcapng"),
        ("gzip", vec![0x1f, 0x8b, 8, 0, 0, 0], "compressed with gzip; unpack it first"),
        ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd"),
        ("a section header with wrong magic", [&section(Order::Little)[..8], &[9; 20]].concat(), "magic"),
    ] {
        let run = replay(&bytes, RULES, &["--json"]);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{about}: {}", run.err);
        assert!(run.err.contains(said), "{about}: {}", run.err);
    }
    let folder = TempDir::new().unwrap();
    let rules = folder.path().join("rules.toml");
    fs::write(&rules, RULES).unwrap();
    let missing = replay_files(&folder.path().join("missing.pcap"), &rules, &[]);
    assert!(missing.code == 2 && missing.err.contains("No such file"), "{}", missing.err);
    let empty = replay(&ethernet_capture(&[]), RULES, &["--json"]);
    assert_eq!((empty.code, empty.summary()["frames"].clone()), (0, json!(0)));
}

#[test]
fn broken_rules_are_invalid_input() {
    let run = replay(&ethernet_capture(&[syn()]), "schema = 1\n[policy]\nin = \"perhaps\"\n", &["--json"]);
    assert_eq!((run.code, run.out.as_str()), (2, ""));
}

/// The kernel takes no frame of less than 14 bytes and none of more than 73 kB in a test run.
#[test]
fn frames_that_the_kernel_does_not_take_are_judged_by_plain_reading() {
    let mut jumbogram = packet(CLIENT6, SERVER6, 6, Vec::new()).extension(0).length(0).frame();
    jumbogram.extend(packets::tcp_header(40_000, 443, flag::SYN));
    jumbogram.resize(100_000, 0);
    let largest = udp((CLIENT, 9), (SERVER, 53), 65_507).tag(packets::SERVICE_VLAN, 1).vlan(2).frame();
    let frames = [vec![], syn()[..13].to_vec(), jumbogram, largest, syn()];
    let run = replay(&ethernet_capture(&frames), RULES, &["--json"]);
    assert_eq!(
        run.frames(),
        [
            "in drop truncated_link -",
            "in drop truncated_link -",
            "in accept rule web",
            "in drop policy -",
            "in accept rule web",
        ]
    );
    assert_eq!(run.summary()["rules"]["web"], json!({"packets": 2, "bytes": 100_054}));
    let www = &run.summary()["services"]["www"];
    assert_eq!((&www["packets"], &www["bytes"]), (&json!(2), &json!(100_054)));
    assert!(run.err.contains("less than 14 bytes") && run.err.contains(": 2\n"), "{}", run.err);
    assert!(run.err.contains("longer than the kernel takes"), "{}", run.err);
}

/// A capture with a snap length holds only the beginning of each frame.
#[test]
fn frames_that_were_not_recorded_to_the_end_are_judged_by_what_they_were() {
    let order = Order::Little;
    let long = tcp((CLIENT, 40_000), (SERVER, 443), flag::ACK).grown_to(1_500).frame();
    let header = ethernet_capture(&[]);
    let capture = [header, record(order, &long[..96], 1_514), record(order, &long[..40], 1_514)].concat();
    let run = replay(&capture, RULES, &["--json"]);
    assert_eq!(run.frames(), ["in accept rule web", "in drop ip_length -"]);
    assert_eq!(run.summary()["rules"]["web"], json!({"packets": 1, "bytes": 1_514}));
    assert!(run.err.contains("judged with zeros") && run.err.contains("end of the headers"), "{}", run.err);
}
