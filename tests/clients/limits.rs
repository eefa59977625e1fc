//! Limits of rules with `per = "client"`.

use std::collections::BTreeSet;

use foobar_common::verdict::{Reason, Verdict};
use foobar_tests::{frames::Family, packets::flag, segments::Connection, service::Service};

use super::{headers, introduced, outcome, rules, send, signal};

const WITHIN: (Verdict, Reason) = (Verdict::Accept, Reason::Rule);
const REJECTED: (Verdict, Reason) = (Verdict::Reject, Reason::Limit);
const DROPPED: (Verdict, Reason) = (Verdict::Drop, Reason::Limit);
const BANNED: (Verdict, Reason) = (Verdict::Reject, Reason::Ban);

/// A service whose clients have so many packets.
fn limited(protocol: &str, burst: u32, rest: &str) -> Service {
    let rule = format!(
        "[[rule]]\nid = \"web\"\naction = \"accept\"\nprotocol = \"tcp\"\nlimit = {{ rate = \"1/d\", burst = {burst}, per = \
         \"client\" }}\n{rest}\n"
    );
    Service::new(&format!("{}{rule}", rules(protocol)), 80)
}

/// Bans that rules have made.
fn banned(service: &mut Service) -> BTreeSet<String> {
    service.runs.bans().list().unwrap().iter().map(|ban| ban.prefix.to_string()).collect()
}

#[test]
fn each_client_has_its_burst_over_all_its_connections() {
    for protocol in super::PROTOCOLS {
        for over in ["reject", "drop"] {
            let expected = if over == "reject" { REJECTED } else { DROPPED };
            let mut service = limited(protocol, 4, &format!("over = \"{over}\""));
            // The last two are in one /64.
            for (client, is_known) in [
                ("198.51.100.7", false),
                ("198.51.100.8", false),
                ("2001:db8::1", false),
                ("2001:db8::2", true),
            ] {
                let [line, binary] = headers(client);
                if is_known {
                    assert_eq!(introduced(&mut service, &line).1, expected, "{protocol} {client}");
                    continue;
                }
                // Before the header, everything is accepted: it counts as one packet with that.
                let connection = service.connect();
                for flags in [flag::SYN, flag::ACK, flag::ACK] {
                    assert_eq!(signal(&mut service, &connection, flags), WITHIN, "{protocol} {client}");
                }
                assert_eq!(send(&mut service, &connection, 0, &line), WITHIN, "{protocol} {client}");
                assert_eq!(send(&mut service, &connection, line.len(), b"G"), WITHIN, "{protocol} {client}");
                let (other, seen) = introduced(&mut service, &binary);
                assert_eq!(seen, WITHIN, "{protocol} {client}");
                assert_eq!(send(&mut service, &other, binary.len(), b"G"), WITHIN, "{protocol} {client}");
                assert_eq!(
                    send(&mut service, &other, binary.len() + 1, b"G"),
                    expected,
                    "{protocol} {client}"
                );
                assert_eq!(send(&mut service, &connection, line.len() + 1, b"G"), expected);
                // A header that goes no further has not been read, and may be sent again.
                let third = service.connect();
                assert_eq!(send(&mut service, &third, 0, &line), expected, "{protocol} {client}");
                assert_eq!(send(&mut service, &third, 0, &line), expected, "{protocol} {client}");
            }
            assert_eq!(banned(&mut service), BTreeSet::new());
            let counters = service.counters();
            let over = counters.over["web"].packets;
            assert_eq!(over, 3 * 4 + 1, "{protocol}");
        }
    }
}

/// A rule for the first packets of connections, of which the limit is charged once the client is known.
#[test]
fn new_connections_of_a_client_are_counted() {
    for protocol in super::PROTOCOLS {
        let mut service = limited(protocol, 3, "state = \"new\"\nover = \"reject\"");
        let mut opened = 0;
        let mut open = |client: &str, number: u16| {
            opened += 1;
            let first = 1_000_000 * opened;
            let connection =
                Connection { client_port: 60_000 + number, client_first: first, ..Connection::to(80) };
            let syn = signal(&mut service, &connection, flag::SYN);
            service.goes_out(&connection.syn_ack());
            let ack = signal(&mut service, &connection, flag::ACK).0;
            assert_eq!((syn, ack), (WITHIN, Verdict::Accept), "{protocol} {client} {number}");
            let [header, _] = headers(client);
            let seen = send(&mut service, &connection, 0, &header);
            if seen.0 == Verdict::Accept {
                // However much goes on in it.
                for more in 0..9 {
                    let next = send(&mut service, &connection, header.len() + more, b"G");
                    assert_eq!(next.0, Verdict::Accept, "{protocol} {client} {number}");
                }
            }
            seen
        };
        let first: Vec<Verdict> = (0..3).map(|number| open("198.51.100.7", number).0).collect();
        assert_eq!(first, [Verdict::Accept; 3], "{protocol}");
        assert_eq!([open("198.51.100.7", 3), open("198.51.100.7", 4)], [REJECTED; 2], "{protocol}");
        assert_eq!(open("198.51.100.8", 5).0, Verdict::Accept, "{protocol}");
        assert_eq!(open("198.51.100.7", 5), REJECTED, "the same ends as those of another client: {protocol}");
    }
}

#[test]
fn who_is_over_is_banned_and_never_the_proxy() {
    for protocol in super::PROTOCOLS {
        // A proxy is never banned, whether that is said or not.
        for never in ["", "[failsafe]\nnever_ban = [\"192.0.2.0/24\", \"198.51.100.128/25\"]\n"] {
            let mut service = limited(protocol, 2, &format!("over = {{ ban = \"10m\" }}\n{never}"));
            let [line, binary] = headers("198.51.100.7");
            let (connection, first) = introduced(&mut service, &line);
            assert_eq!(first, WITHIN, "{protocol}");
            assert_eq!(send(&mut service, &connection, line.len(), b"G"), WITHIN, "{protocol}");
            assert_eq!(send(&mut service, &connection, line.len() + 1, b"G"), REJECTED, "{protocol}");
            assert_eq!(send(&mut service, &connection, line.len() + 1, b"G"), BANNED, "{protocol}");
            assert_eq!(introduced(&mut service, &binary).1, BANNED, "{protocol}");
            // By the segment that brings the header.
            let [line, _] = headers("2001:db8:9::7");
            let seen = [introduced(&mut service, &line).1, introduced(&mut service, &line).1];
            assert_eq!(seen, [WITHIN; 2], "{protocol}");
            let third = service.connect();
            let seen = [send(&mut service, &third, 0, &line), send(&mut service, &third, 0, &line)];
            assert_eq!(seen, [REJECTED, BANNED], "{protocol}");
            let expected = ["198.51.100.7/32", "2001:db8:9::/64"].map(str::to_owned);
            assert_eq!(banned(&mut service), BTreeSet::from(expected), "{protocol}");
            // Others, and the proxy itself, as often as they want.
            let [other, _] = headers("198.51.100.8");
            assert_eq!(introduced(&mut service, &other).1, WITHIN, "{protocol}");
            let [own, _] = headers(&Family::V4.client().to_string());
            for header in [&b"PROXY UNKNOWN\r\n"[..], &own, b"GET / HTTP/1.1\r\n\r\n"] {
                let (connection, _) = introduced(&mut service, header);
                for more in 0..5 {
                    let seen = send(&mut service, &connection, header.len() + more, b"G");
                    assert_eq!(seen, WITHIN, "{protocol} {header:?}");
                }
            }
            let [spared, _] = headers("198.51.100.200");
            let all: Vec<_> = (0..5).map(|_| introduced(&mut service, &spared).1).collect();
            let is_spared = all.iter().all(|seen| *seen == WITHIN);
            assert_eq!(is_spared, !never.is_empty(), "{protocol} {all:?}");
        }
    }
}

/// Where nobody speaks for others, the client is who sends.
#[test]
fn at_other_ports_the_source_is_the_client() {
    let other = "[[service]]\nname = \"b\"\nport = [\"tcp/81\"]\nprotocol = \"http1\"\n";
    let mut service = limited("http1", 2, &format!("over = {{ ban = \"10m\" }}\n{other}"));
    let connection = Connection::to(81);
    service.goes_out(&connection.syn_ack());
    let mut next = || outcome(&service.goes_in(&connection.asked(0, b"G")));
    assert_eq!([next(), next(), next(), next()], [WITHIN, WITHIN, REJECTED, (Verdict::Drop, Reason::Ban)]);
    let source = format!("{}/32", Family::V4.client());
    assert_eq!(banned(&mut service), BTreeSet::from([source]));
}
