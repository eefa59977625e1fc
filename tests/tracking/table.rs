//! What becomes of one packet after the other, in words.

use foobar_common::{
    flow::Direction::{self, In, Out},
    verdict::Verdict,
};
use foobar_daemon::{
    dataplane::load::LoadedRuleset,
    rules::{bundle::Bundle, compile::compile},
    slots::Slots,
};
use foobar_tests::packets::{self, Packet, flag, icmp, tcp, udp};

const INTERFACE: &str = "eth0";
const SYN_ACK: u8 = flag::SYN | flag::ACK;

/// A packet, the way that it goes, and why it gets its verdict: a reason in capitals drops.
type Row = (&'static str, Packet, Direction, &'static str);

fn check(rules: &str, rows: Vec<Row>) {
    let ruleset = Bundle::of_text("rules.toml", rules).parse().unwrap_or_else(|errors| panic!("{errors}"));
    let slots = Slots::for_once(&ruleset, &[INTERFACE.to_owned()]).unwrap();
    let mut runs = LoadedRuleset::for_test_runs(&compile(&ruleset, &slots).unwrap(), INTERFACE).unwrap();
    for (about, packet, direction, expected) in rows {
        let judgement = runs.judge(&packet.frame(), direction).unwrap();
        let by = judgement.rule.as_deref().unwrap_or(judgement.reason.label());
        let found = match judgement.verdict {
            Verdict::Accept | Verdict::Answer => by.to_owned(),
            Verdict::Drop | Verdict::Reject => by.to_uppercase(),
        };
        assert_eq!(found, expected, "{about}");
    }
}

/// A segment with these numbers.
fn segment(source: (&str, u16), destination: (&str, u16), flags: u8, sequence: u32, accepted: u32) -> Packet {
    let mut packet = tcp(source, destination, flags);
    for (at, byte) in (4..).zip([sequence.to_be_bytes(), accepted.to_be_bytes()].concat()) {
        packet = packet.set(at, byte);
    }
    packet
}

/// An error about a packet, cut off eight bytes behind its IP header.
fn error(from: &str, about: &Packet, to: &str, kind: u8) -> Packet {
    let (is_v6, quoted) = (to.contains(':'), about.frame());
    let header = if is_v6 { 40 } else { 20 };
    let payload = [&[kind, 0, 0, 0, 0, 0, 0, 0], &quoted[14..14 + header + 8]].concat();
    packets::packet(from, to, if is_v6 { 58 } else { 1 }, payload)
}

const ENDS: [(&str, &str, &str); 2] =
    [("192.0.2.1", "198.51.100.2", "203.0.113.9"), ("2001:db8::1", "2001:db8:1::2", "2001:db8:9::9")];

#[test]
fn a_closed_server_speaks_with_whom_it_wants() {
    for (server, peer, other) in ENDS {
        let (ours, theirs) = ((server, 40_000), (peer, 443));
        let unreachable = if server.contains(':') { 1 } else { 3 };
        let (request, reply) = if server.contains(':') { (128, 129) } else { (8, 0) };
        let syn = segment(ours, theirs, flag::SYN, 1, 0);
        check(
            "schema = 1\n[policy]\nin = \"drop\"\n",
            vec![
                ("a SYN that nobody asked for", tcp(theirs, ours, flag::SYN), In, "POLICY"),
                ("a SYN-ACK that nobody asked for", tcp(theirs, ours, SYN_ACK), In, "POLICY"),
                ("an ACK that nobody asked for", tcp(theirs, ours, flag::ACK), In, "POLICY"),
                ("a RST that nobody asked for", tcp(theirs, ours, flag::RST), In, "POLICY"),
                ("an error about nothing", error(other, &syn, server, unreachable), In, "POLICY"),
                ("a connection is opened", syn.clone(), Out, "policy"),
                ("an ACK before the SYN-ACK", segment(theirs, ours, flag::ACK, 8, 2), In, "POLICY"),
                ("a SYN in answer", tcp(theirs, ours, flag::SYN), In, "POLICY"),
                ("from another port", segment((peer, 444), ours, SYN_ACK, 8, 2), In, "POLICY"),
                ("from another address", segment((other, 443), ours, SYN_ACK, 8, 2), In, "POLICY"),
                ("its SYN-ACK", segment(theirs, ours, SYN_ACK, 8, 2), In, "replies"),
                ("its ACK", segment(ours, theirs, flag::ACK, 2, 9), Out, "policy"),
                ("data", segment(theirs, ours, flag::ACK, 9, 2), In, "replies"),
                ("a router says something of it", error(other, &syn, server, unreachable), In, "replies"),
                ("somebody resets it", tcp(theirs, ours, flag::RST), In, "replies"),
                ("and it goes on", segment(theirs, ours, flag::ACK, 9, 2), In, "replies"),
                ("flags that exclude each other", tcp(theirs, ours, SYN_ACK | flag::RST), In, "POLICY"),
                ("a query", udp(ours, (peer, 53), 4), Out, "policy"),
                ("its answer", udp((peer, 53), ours, 4), In, "replies"),
                ("the answer of another", udp((other, 53), ours, 4), In, "POLICY"),
                ("a ping", icmp(server, peer, request, 0), Out, "policy"),
                ("its answer", icmp(peer, server, reply, 0), In, "replies"),
                ("an answer of another", icmp(other, server, reply, 0), In, "POLICY"),
                ("a ping in return", icmp(peer, server, request, 0), In, "POLICY"),
                ("GRE", packets::packet(server, peer, 47, vec![0; 8]), Out, "policy"),
                ("GRE from there", packets::packet(peer, server, 47, vec![0; 8]), In, "replies"),
                ("ESP from there", packets::packet(peer, server, 50, vec![0; 8]), In, "POLICY"),
            ],
        );
    }
}

#[test]
fn a_server_that_says_nothing_by_itself_answers() {
    let rules = "schema = 1\n[policy]\nin = \"drop\"\nout = \"drop\"\n[[rule]]\nid = \"web\"\naction = \"accept\"\n\
        destination_port = 443\n";
    for (server, client, _) in ENDS {
        let (ours, theirs) = ((server, 443), (client, 40_000));
        let syn = segment(theirs, ours, flag::SYN, 1, 0);
        let unreachable = if server.contains(':') { 1 } else { 3 };
        check(
            rules,
            vec![
                ("nothing goes out by itself", tcp(ours, theirs, flag::SYN), Out, "POLICY"),
                ("nor as an answer to nothing", tcp(ours, theirs, SYN_ACK), Out, "POLICY"),
                ("a client asks", syn.clone(), In, "web"),
                ("and is answered", segment(ours, theirs, SYN_ACK, 8, 2), Out, "replies"),
                (
                    "each packet of a client meets the rules",
                    segment(theirs, ours, flag::ACK, 2, 9),
                    In,
                    "web",
                ),
                ("data", segment(ours, theirs, flag::ACK, 9, 2), Out, "replies"),
                (
                    "an error about what the client sent",
                    error(server, &syn, client, unreachable),
                    Out,
                    "replies",
                ),
                ("another client is refused", tcp((client, 40_001), ours, flag::SYN), In, "web"),
                ("by a RST", tcp(ours, (client, 40_001), flag::RST | flag::ACK), Out, "replies"),
                ("a closed port", tcp(theirs, (server, 444), flag::SYN), In, "POLICY"),
                ("says nothing", tcp((server, 444), theirs, flag::RST | flag::ACK), Out, "POLICY"),
                ("a datagram", udp(theirs, ours, 4), In, "web"),
                ("its answer", udp(ours, theirs, 4), Out, "replies"),
            ],
        );
    }
}

#[test]
fn later_fragments_go_the_way_of_their_first() {
    let rules = "schema = 1\n[policy]\nin = \"drop\"\nfragments = \"drop\"\n\
        [[rule]]\nid = \"names\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 53\n";
    let part = |from: &str, to: &str, offset: u16, more: bool| {
        let packet = udp((from, 40_000), (to, 53), 64);
        if from.contains(':') { packet.fragment_header(offset, more) } else { packet.fragment(offset, more) }
    };
    for (server, client, other) in ENDS {
        let closed = udp((client, 40_000), (server, 54), 64);
        let closed =
            if client.contains(':') { closed.fragment_header(0, true) } else { closed.fragment(0, true) };
        check(
            rules,
            vec![
                ("before the first", part(client, server, 64, true), In, "FRAGMENTS"),
                ("of one that is refused", closed, In, "POLICY"),
                ("the same", part(client, server, 64, true), In, "FRAGMENTS"),
                ("the first", part(client, server, 0, true), In, "names"),
                ("the second", part(client, server, 64, true), In, "names"),
                ("the last, whatever is said to be between", part(client, server, 1_024, false), In, "names"),
                ("of another", part(other, server, 64, true), In, "FRAGMENTS"),
                ("to another", part(client, other, 64, true), In, "FRAGMENTS"),
                ("the way back", part(server, client, 64, true), Out, "FRAGMENTS"),
            ],
        );
    }
}

#[test]
fn rules_may_ask_for_the_state() {
    let rules = "schema = 1\n[policy]\nin = \"drop\"\nreplies = \"rules\"\n\
        [[rule]]\nid = \"invalid\"\naction = \"drop\"\nstate = \"invalid\"\n\
        [[rule]]\nid = \"known\"\naction = \"accept\"\nstate = [\"established\", \"related\"]\n\
        [[rule]]\nid = \"new\"\naction = \"accept\"\nstate = \"new\"\ndestination_port = 443\n";
    for (server, client, router) in ENDS {
        let (ours, theirs) = ((server, 443), (client, 40_000));
        let unreachable = if server.contains(':') { 1 } else { 3 };
        let answer = segment(ours, theirs, SYN_ACK, 8, 2);
        check(
            rules,
            vec![
                ("an ACK of nothing", tcp(theirs, ours, flag::ACK), In, "INVALID"),
                ("a SYN", segment(theirs, ours, flag::SYN, 1, 0), In, "new"),
                ("the same again", segment(theirs, ours, flag::SYN, 1, 0), In, "new"),
                ("is answered", answer.clone(), Out, "policy"),
                ("the ACK", segment(theirs, ours, flag::ACK, 2, 9), In, "known"),
                ("an error", error(router, &answer, server, unreachable), In, "known"),
                ("an error to somebody else", error(router, &answer, router, unreachable), In, "INVALID"),
                ("a SYN to another port", tcp(theirs, (server, 80), flag::SYN), In, "POLICY"),
                ("a null packet", tcp(theirs, ours, 0), In, "INVALID"),
                ("a datagram", udp(theirs, ours, 4), In, "new"),
                ("another", udp(theirs, ours, 4), In, "new"),
                ("its answer", udp(ours, theirs, 4), Out, "policy"),
                ("one more", udp(theirs, ours, 4), In, "known"),
            ],
        );
    }
}
