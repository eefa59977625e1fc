//! Whom proxies speak for: bans and limits reach the clients that PROXY headers name, and never the proxy.
//!
//! Single segments through the loaded programs, of each protocol and each form of the header, and haproxy before real servers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod balancers;
mod haproxy;
mod limits;

use std::net::IpAddr;

use foobar_common::verdict::{Reason, Verdict};
use foobar_daemon::dataplane::{
    bans::{Lengths, now_ns},
    test_runs::Judgement,
};
use foobar_tests::{frames::Family, packets::flag, segments::Connection, service::Service};
use ipnet::IpNet;

/// Protocols of services that a proxy may speak to.
const PROTOCOLS: [&str; 4] = ["http1", "h2c", "tls", "mysql"];
const ACCEPTED: (Verdict, Reason) = (Verdict::Accept, Reason::Policy);
const BANNED: (Verdict, Reason) = (Verdict::Reject, Reason::Ban);
const RST: u8 = 1 << 2;

/// A service of this protocol behind a proxy.
fn rules(protocol: &str) -> String {
    format!(
        "schema = 1\n[[service]]\nname = \"a\"\nport = [\"tcp/80\"]\nprotocol = \"{protocol}\"\nproxy_protocol = true\n"
    )
}

/// Headers of both versions that name this client.
fn headers(client: &str) -> [Vec<u8>; 2] {
    let address: IpAddr = client.parse().unwrap();
    let (word, other, family, octets) = match address {
        IpAddr::V4(v4) => ("TCP4", "192.0.2.1", 0x11, v4.octets().to_vec()),
        IpAddr::V6(v6) => ("TCP6", "2001:db8::1", 0x21, v6.octets().to_vec()),
    };
    let line = format!("PROXY {word} {client} {other} 50000 443\r\n").into_bytes();
    let length = u8::try_from(2 * octets.len() + 4).unwrap();
    let binary =
        [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family, 0, length][..], &octets, &octets, &[1, 2, 3, 4]].concat();
    [line, binary]
}

/// Something that a client of each protocol says, as far as it is read.
fn said() -> Vec<u8> {
    b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n".to_vec()
}

fn outcome(judged: &Judgement) -> (Verdict, Reason) {
    (judged.verdict, judged.reason)
}

/// What becomes of these bytes of a client, so far behind its first one.
fn send(service: &mut Service, connection: &Connection, offset: usize, bytes: &[u8]) -> (Verdict, Reason) {
    outcome(&service.goes_in(&connection.asked(offset, bytes)))
}

/// What becomes of a segment without bytes.
fn signal(service: &mut Service, connection: &Connection, flags: u8) -> (Verdict, Reason) {
    let sequence = connection.client_first.wrapping_sub(u32::from(flags & flag::SYN != 0));
    outcome(&service.goes_in(&connection.from_client(flags, sequence, &[])))
}

/// A prefix, or a single address.
fn prefix(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| text.parse::<IpAddr>().unwrap().into())
}

fn ban(service: &mut Service, prefixes: &[&str]) {
    let prefixes: Vec<IpNet> = prefixes.iter().map(|text| prefix(text)).collect();
    let bans = service.runs.bans();
    bans.set_lengths(Lengths::of(prefixes.iter().copied())).unwrap();
    for prefix in &prefixes {
        bans.set(prefix, None).unwrap();
    }
}

/// A connection whose header names somebody, and what becomes of the segment with the header.
fn introduced(service: &mut Service, header: &[u8]) -> (Connection, (Verdict, Reason)) {
    let connection = service.connect();
    let seen = send(service, &connection, 0, header);
    (connection, seen)
}

#[test]
fn a_banned_client_is_reset_by_its_header() {
    for protocol in PROTOCOLS {
        let mut service = Service::new(&rules(protocol), 80);
        ban(&mut service, &["198.51.100.7/32", "203.0.113.0/24", "2001:db8:bad::/48"]);
        for (client, expected) in [
            ("198.51.100.7", BANNED),
            ("198.51.100.8", ACCEPTED),
            ("203.0.113.200", BANNED),
            ("2001:db8:bad:1::9", BANNED),
            ("2001:db8:baa:1::9", ACCEPTED),
            ("::ffff:198.51.100.7", BANNED),
            ("::ffff:198.51.100.9", ACCEPTED),
        ] {
            for header in headers(client) {
                let stream = [header, said()].concat();
                let connection = service.connect();
                assert_eq!(signal(&mut service, &connection, flag::ACK), ACCEPTED, "{protocol} {client}");
                let segment = connection.asked(0, &stream);
                assert_eq!(outcome(&service.goes_in(&segment)), expected, "{protocol} {client}");
                // It may be sent again.
                assert_eq!(outcome(&service.goes_in(&segment)), expected, "{protocol} {client}");
                let answer = service.runs.answer(&segment, foobar_common::flow::Direction::In).unwrap();
                assert_eq!(answer.is_some(), expected == BANNED, "{protocol} {client}");
                if let Some(answer) = answer {
                    // A RST with the number that the proxy waits for.
                    assert_eq!(answer[47], RST, "{protocol} {client}");
                    assert_eq!(answer[38..42], connection.server_first.to_be_bytes(), "{protocol} {client}");
                }
            }
        }
    }
}

#[test]
fn a_ban_reaches_open_connections_and_ends() {
    for protocol in PROTOCOLS {
        for family in [Family::V4, Family::V6] {
            let mut service = Service::new(&rules(protocol), 80);
            for client in ["198.51.100.7", "2001:db8:bad::7"] {
                for (number, header) in headers(client).into_iter().enumerate() {
                    let client_port = 50_000 + u16::try_from(number).unwrap();
                    let connection = Connection { family, client_port, ..Connection::to(80) };
                    service.goes_out(&connection.syn_ack());
                    let [other, _] =
                        headers("198.51.100.8").map(|header| introduced(&mut service, &header).0);
                    assert_eq!(send(&mut service, &connection, 0, &header), ACCEPTED);
                    let mut offset = header.len();
                    let mut next = |service: &mut Service| {
                        offset += 1;
                        send(service, &connection, offset - 1, b"G")
                    };
                    assert_eq!(next(&mut service), ACCEPTED);
                    ban(&mut service, &[client]);
                    assert_eq!([next(&mut service), next(&mut service)], [BANNED; 2], "{protocol} {client}");
                    assert_eq!(signal(&mut service, &connection, flag::FIN | flag::ACK), BANNED);
                    assert_eq!(send(&mut service, &other, 44, b"G"), ACCEPTED, "{protocol} {client}");
                    // The same ends may belong to somebody else afterwards.
                    assert_eq!(signal(&mut service, &connection, flag::SYN), ACCEPTED);
                    assert_eq!(
                        signal(&mut service, &connection, flag::ACK),
                        BANNED,
                        "no server has answered"
                    );
                    let later = Connection { client_first: 1_000_000, ..connection };
                    service.goes_out(&later.syn_ack());
                    assert_eq!(signal(&mut service, &later, flag::ACK), ACCEPTED, "{protocol} {client}");
                    let [header, _] = headers("198.51.100.9");
                    assert_eq!(send(&mut service, &later, 0, &header), ACCEPTED);
                    assert_eq!(send(&mut service, &later, header.len(), b"G"), ACCEPTED);
                    service.runs.bans().set(&prefix(client), Some(now_ns().unwrap())).unwrap();
                    assert_eq!(introduced(&mut service, &headers(client)[0]).1, ACCEPTED, "the ban is over");
                }
            }
        }
    }
}

#[test]
fn who_is_spared_is_spared_behind_a_proxy() {
    let failsafe =
        "[failsafe]\npeers = [\"198.51.100.10\"]\nnever_ban = [\"198.51.100.128/25\", \"2001:db8::/64\"]\n";
    for protocol in PROTOCOLS {
        let mut service = Service::new(&format!("{}{failsafe}", rules(protocol)), 80);
        ban(&mut service, &["198.51.100.0/24", "2001:db8::/32"]);
        for (client, expected) in [
            ("198.51.100.10", ACCEPTED),
            ("198.51.100.11", BANNED),
            ("198.51.100.200", ACCEPTED),
            ("2001:db8::9", ACCEPTED),
            ("2001:db8:1::9", BANNED),
        ] {
            for header in headers(client) {
                let (connection, seen) = introduced(&mut service, &header);
                assert_eq!(seen, expected, "{protocol} {client}");
                if seen == ACCEPTED {
                    assert_eq!(send(&mut service, &connection, header.len(), b"G"), ACCEPTED, "{client}");
                }
            }
        }
    }
}

/// What is accepted from a failsafe peer is accepted for whomever it speaks.
#[test]
fn a_failsafe_proxy_is_never_refused() {
    let proxy = Family::V4.client().to_string();
    let mut service = Service::new(&format!("{}[failsafe]\npeers = [\"{proxy}\"]\n", rules("http1")), 80);
    ban(&mut service, &["198.51.100.7/32"]);
    for header in headers("198.51.100.7") {
        let (connection, seen) = introduced(&mut service, &header);
        assert_eq!(seen, (Verdict::Accept, Reason::Failsafe));
        assert_eq!(send(&mut service, &connection, header.len(), b"G").1, Reason::Failsafe);
    }
}

/// The proxy may check the server, and tell so; or say nothing of a client.
#[test]
fn a_header_that_names_nobody_bans_nobody() {
    let mut service = Service::new(&rules("http1"), 80);
    let proxy = Family::V4.client().to_string();
    ban(&mut service, &["198.51.100.0/24"]);
    let [line, binary] = headers("198.51.100.7");
    let local = [&binary[..12], b"\x20", &binary[13..]].concat();
    let short = &binary[..20];
    let [own_line, own_binary] = headers(&proxy);
    for header in [&b"PROXY UNKNOWN\r\n"[..], &line[..20], &local, short, &own_line, &own_binary, &said()] {
        let (connection, seen) = introduced(&mut service, header);
        assert_eq!(seen, ACCEPTED, "{header:?}");
        assert_eq!(send(&mut service, &connection, header.len(), b"G"), ACCEPTED, "{header:?}");
    }
    // Who bans the proxy, bans it.
    ban(&mut service, &[&format!("{proxy}/32")]);
    let (_, seen) = introduced(&mut service, &own_line);
    assert_eq!(seen, (Verdict::Drop, Reason::Ban));
}

/// A ban is about who is at the other end, where nobody speaks for others.
#[test]
fn without_a_proxy_nothing_is_read_into_headers() {
    let mut service = Service::new(&rules("http1").replace("proxy_protocol = true\n", ""), 80);
    ban(&mut service, &["198.51.100.7/32"]);
    for header in headers("198.51.100.7") {
        assert_eq!(introduced(&mut service, &header).1, ACCEPTED);
    }
}
