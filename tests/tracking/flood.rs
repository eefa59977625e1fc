//! Floods of invented flows push out nothing but each other.

use std::net::{Ipv4Addr, Ipv6Addr};

use foobar_common::{
    flow::Direction,
    tracking::{FLOWS_MAX, UNPROVED_FLOWS_MAX},
    verdict::{Reason, Verdict},
};
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, test_runs::TestRuns},
    rules::{bundle::Bundle, compile::compile},
    slots::Slots,
};
use foobar_tests::{
    figures::say,
    packets::{flag, tcp, udp},
};

/// Invented flows of each family.
const FLOOD: u32 = 1_000_000;
const RULES: &str = "schema = 1\n[policy]\nin = \"drop\"\n[[rule]]\nid = \"web\"\naction = \"accept\"\n\
    destination_port = [53, 443]\n";

#[test]
fn an_idle_connection_outlives_two_million_invented_ones() {
    let ruleset = Bundle::of_text("rules.toml", RULES).parse().unwrap_or_else(|errors| panic!("{errors}"));
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()]).unwrap();
    let mut runs = LoadedRuleset::for_test_runs(&compile(&ruleset, &slots).unwrap(), "eth0").unwrap();
    let idle = [("192.0.2.1", "198.51.100.2"), ("2001:db8::1", "2001:db8:1::2")];
    for (server, peer) in idle {
        let (ours, theirs) = ((server, 40_000), (peer, 443));
        runs.judge(&tcp(ours, theirs, flag::SYN).frame(), Direction::Out).unwrap();
        // It acknowledges what is sent here in all segments: number 0.
        let mut syn_ack = tcp(theirs, ours, flag::SYN | flag::ACK);
        for at in 4..8 {
            syn_ack = syn_ack.set(at, 0xff);
        }
        assert_eq!(runs.judge(&syn_ack.frame(), Direction::In).unwrap().reason, Reason::Replies);
        runs.judge(&tcp(ours, theirs, flag::ACK).frame(), Direction::Out).unwrap();
    }
    let mut syn_v4 = tcp(("192.0.2.99", 1), ("192.0.2.1", 443), flag::SYN).frame();
    let mut query_v6 = udp(("2001:db8:9::", 1), ("2001:db8::1", 53), 4).frame();
    let mut answer_v6 = udp(("2001:db8::1", 53), ("2001:db8:9::", 1), 4).frame();
    let start = std::time::Instant::now();
    for number in 0..FLOOD {
        syn_v4[26..30].copy_from_slice(&Ipv4Addr::from(0x0a00_0000 + number).octets());
        runs.pass(&syn_v4, Direction::In).unwrap();
        let client = Ipv6Addr::from(0x2001_0db8_0009_u128 << 80 | u128::from(number)).octets();
        query_v6[22..38].copy_from_slice(&client);
        runs.pass(&query_v6, Direction::In).unwrap();
        // What the server answers proves nothing.
        if number % 16 == 0 {
            answer_v6[38..54].copy_from_slice(&client);
            runs.pass(&answer_v6, Direction::Out).unwrap();
        }
    }
    say(&format!("two million invented flows in {:.1} s", start.elapsed().as_secs_f64()));
    for (server, peer) in idle {
        let judgement =
            runs.judge(&tcp((peer, 443), (server, 40_000), flag::ACK).frame(), Direction::In).unwrap();
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Accept, Reason::Replies), "{peer}");
    }
    let flows = runs.flows().unwrap();
    assert_eq!((flows.proved_v4.known, flows.proved_v6.known, flows.proved), (1, 1, 2));
    assert_eq!(flows.begun, 2 + 2 * u64::from(FLOOD));
    let unproved = flows.unproved;
    assert!(unproved.known > UNPROVED_FLOWS_MAX / 2, "{flows:?}");
    assert!(unproved.known <= UNPROVED_FLOWS_MAX, "{flows:?}");
    for (map, of_map) in flows.maps() {
        assert_eq!(of_map.failed, 0, "{map}: {flows:?}");
    }
    assert_eq!((flows.proved_v4.evicted, flows.proved_v6.evicted), (0, 0), "{flows:?}");
    // What was not pushed out is there, whether or not its time is over.
    let left = 2 * u64::from(FLOOD) - unproved.evicted;
    assert!((unproved.known.into()..=UNPROVED_FLOWS_MAX.into()).contains(&left), "{flows:?}");
    const { assert!(FLOOD > 4 * FLOWS_MAX) };
    assert!(TestRuns::takes(syn_v4.len(), Direction::In));
}
