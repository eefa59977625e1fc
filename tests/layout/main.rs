//! The bytes that programs, pins and daemons share.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod services;

use std::{fmt::Write as _, mem::offset_of};

use foobar_common::{
    LAYOUT_VERSION,
    ahead::{self, BlockKey},
    bans::{BANS_MAX, Ban, BanCounters, BanKey, BanLengths},
    classes::{Block, ClassBlocks, ClassHead, ClassWords, FirstRules, Tier, UNITS, WordRules},
    connection::{
        Connection, ConnectionBytes, ConnectionKey, Cursor, Inbound, NameKey, Outbound, TlsConnection,
        TlsSide,
    },
    counters::{
        Counter, FORMER_GROUPS, GROUP_ENTRIES, GROUP_SLOTS, INTERFACE_SLOTS, MORE_RULE_SLOTS,
        OTHER_INTERFACE, PORT_ENTRIES, PORT_SLOTS, RULE_SLOTS, SERVICE_SLOTS, Transport, VERDICT_ENTRIES,
        group_slot, port_slot, verdict_slot,
    },
    dns::{DnsConnection, DnsCounters, DnsSide, Messages, QueryKey},
    fields::{AddressField, Root, Stride, Table, TableField},
    flow::Direction,
    http2::{Fields, Frames, Http2Connection, Shared, Side},
    limit::{BUCKETS_MAX, BucketKey, Limit},
    maps,
    mysql::{Answered, Asked, Client, ReplicaKey, Server, StatementKey},
    peers::PeerConnections,
    plaintext::{Call, TlsObject, WatchedProcess},
    proxy::{self, CLIENTS_MAX, ProxyCounters, WAITING_MAX},
    raw::{RawConnection, RawCounters},
    reject::AnswerBucket,
    rule::{DecisionRecord, InterfaceRecord, Interfaces, RankedRule, Settings},
    service::{HttpCounters, MysqlCounters, ServiceBytes, ServiceSettings, TlsCounters},
    sets::Line,
    syn_cookies::{Pace, SynCounters, SynOffer},
    tracking::{
        DATAGRAMS_MAX, Datagram, DatagramKey, FLOWS_MAX, FlowCounters, FlowKey, FlowKeyV4, FlowMapCounters,
        Subject, TrackedFlow, UNPROVED_FLOWS_MAX,
    },
    verdict::{Reason, Verdict},
};

/// Everything that outlives a ruleset, as version 6 has it.
const VERSION_6: &str = "\
map RULE_COUNTERS
map MORE_RULE_COUNTERS
map VERDICT_COUNTERS
map PORT_COUNTERS
map HTTP_COUNTERS
map SERVICE_BYTES
map CONNECTIONS
map TLS_COUNTERS
map TLS_NAMES
map TLS_CONNECTIONS
map MYSQL_COUNTERS
map MYSQL_SESSIONS
map MYSQL_STATEMENTS
map MYSQL_REPLICAS
map PROXY_HEADERS
map PROXY_CLIENTS
map PROXY_WAITING
map DNS_COUNTERS
map DNS_CONNECTIONS
map DNS_PENDING
map HTTP2_CONNECTIONS
map SEGMENTS_AHEAD
map RAW_COUNTERS
map RAW_CONNECTIONS
map BANS
map BAN_LENGTHS
map BAN_COUNTERS
map BUCKETS
map PEER_CONNECTIONS
map FLOWS_V4
map FLOWS_V6
map UNPROVED_FLOWS
map DATAGRAMS
map FLOW_COUNTERS
map SYN_COUNTERS
map SYN_PACES
map EVENTS
map EVENT_COUNTERS
map EVENT_READER
map REJECT_COUNTERS
counter 16 bytes: packets at 0, bytes at 8
slots: 32768 and 229376 rules, 17 interfaces (16 is other), 64 services, 70 ports, 16 groups of peers (16 is former ones)
entries: 3808 verdicts, 2380 ports, 1088 services by group
verdict 0 accept
verdict 1 drop
verdict 2 reject
verdict 3 answer
reason 0 policy
reason 1 rule
reason 2 infrastructure
reason 3 failsafe
reason 4 fragments
reason 5 arp
reason 6 not_ip
reason 7 llc
reason 8 vlan_depth
reason 9 truncated_link
reason 10 truncated_network
reason 11 truncated_transport
reason 12 ip_version
reason 13 ip_header_length
reason 14 ip_length
reason 15 extension_headers
reason 16 fragment_overflow
reason 17 tiny_fragment
reason 18 transport_length
reason 19 nonlinear
reason 20 internal
reason 21 not_tls
reason 22 old_tls
reason 23 tls_order
reason 24 ban
reason 25 limit
reason 26 replies
reason 27 syn_cookie
direction 0 in
direction 1 out
port 64 tcp
port 65 udp
port 66 sctp
port 67 icmp
port 68 icmpv6
port 69 other
131072 bans of 24 bytes: length at 16, family at 20; a ban 24 bytes: until at 0, rule at 8, packets at 16; lengths 24 bytes: whole at 0, prefixes at 8; counters 16 bytes: made at 0, no room at 8
65536 buckets of 24 bytes: source at 0, family at 16, rule at 20
65536 clients behind proxies of 24 bytes: address at 0, family at 16; 16384 connections that wait for one
protocol 0 raw
protocol 1 http1
protocol 2 tls
protocol 3 mysql
protocol 4 dns
protocol 5 h2c
method 0 GET
method 1 HEAD
method 2 POST
method 3 PUT
method 4 DELETE
method 5 CONNECT
method 6 OPTIONS
method 7 TRACE
method 8 PATCH
method 9 _OTHER
method 10 unknown
loss 0 preexisting
loss 1 gap
loss 2 unseen
loss 3 syn_data
loss 4 not_http
loss 5 status
loss 6 header
loss 7 folded
loss 8 content_length
loss 9 transfer_encoding
loss 10 two_lengths
loss 11 chunk
loss 12 pipeline
loss 13 unpaired
loss 14 busy
loss 15 internal
loss 16 not_mysql
loss 17 encrypted
loss 18 compressed
loss 19 order
loss 20 proxy
loss 21 not_dns
PROXY header 0 none
PROXY header 1 v1
PROXY header 2 v2
PROXY header 3 cut
durations up to [50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000] us, in units of 1024 ns
HTTP counters 848 bytes: connections at 0, those of HTTP/2 at 8, requests at 16, responses at 104, untimed at 152, lost at 160, first byte at 512, last byte at 680
bytes of a service 16: framed at 0, lost at 8
connection key 40 bytes: local at 0, remote at 16, ports at 32 and 34, family at 36
65536 connections of 192 bytes, 64 requests paired, 16 timed: inbound at 8, its asked at 24, bodiless at 40, started at 56, rounds at 120; outbound at 144, its answered at 24, unseen at 44
cursor 16 bytes: next at 0, state at 4, index at 5, flags at 6, number at 8; state 20 is lost
8192 connections of HTTP/2 of 1416 bytes: inbound at 8, outbound at 24, client at 40, server at 208, shared at 376; 128 streams timed, at 16 and 528
6656 blocks of 1152 bytes, with 1024 of the client, by 48 bytes: first at 40, number at 44; 1023 of a connection
a side 168 bytes: frames 32, fields 120 at 32 with 16 entries, stream at 152, highest at 156
TLS version 0 ssl3
TLS version 1 tls1.0
TLS version 2 tls1.1
TLS version 3 tls1.2
TLS version 4 tls1.3
ALPN 0 none
ALPN 1 h2
ALPN 2 http/1.1
ALPN 3 other
first bytes 0 tls
first bytes 1 http1
first bytes 2 other
first bytes 3 h2c
TLS counters 936 bytes: connections at 0, offered at 32, handshakes at 96, failures at 352, turns at 416, lost at 584
TLS connection 224 bytes: inbound at 8, outbound at 72, turns at 136 of 24, name at 160; a side 64 bytes: next at 8, hello at 16 of 48
1024 names of 72 bytes: name at 0, service at 64
operation 0 read
operation 1 write
operation 2 ddl
operation 3 tx
operation 4 other
operation 5 unknown
command 0 query
command 1 prepare
command 2 execute
command 3 fetch
command 4 long_data
command 5 close
command 6 reset
command 7 init_db
command 8 ping
command 9 quit
command 10 change_user
command 11 reset_connection
command 12 field_list
command 13 statistics
command 14 binlog_dump
command 15 other
MySQL counters 1960 bytes: sessions at 0, refused at 32, login failures at 40, commands at 48, queries at 176, errors at 240, untimed at 248, last write at 256, lost at 264, durations at 616
16384 MySQL sessions of 256 bytes: inbound at 8, outbound at 24, client at 40 of 56, server at 96 of 40, asked at 136 of 104, answered at 240 of 16
65536 statements of 48 bytes
256 replicas of 48 bytes
query type 0 A
query type 1 AAAA
query type 2 HTTPS
query type 3 MX
query type 4 NS
query type 5 PTR
query type 6 SOA
query type 7 TXT
query type 8 other
response code 0 noerror
response code 1 formerr
response code 2 servfail
response code 3 nxdomain
response code 4 notimp
response code 5 refused
response code 6 yxdomain
response code 7 yxrrset
response code 8 nxrrset
response code 9 notauth
response code 10 notzone
response code 11 other
DNS counters 800 bytes: queries at 0, repeated at 128, answers at 136, truncated at 264, unasked at 272, lost at 280, duration at 632
DNS connection 88 bytes: inbound at 8, outbound at 48; a side 40 bytes: next at 8, messages at 12 of 28
65536 queries by 48 bytes: protocol at 40, id at 44
raw counters 32 bytes: opened at 0, resets at 8, refused at 24; a connection 16 bytes: first at 0, reset at 8
connections of a group 72 bytes: first bytes at 0, sessions at 32, opened at 64
131072 flows of each family and 65536 without proof, of 12 bytes: until at 0, said at 4, number at 8, in units of 2^30 ns
flow key 40 bytes: local at 0, remote at 16, ports at 32 and 34, kind at 36
flow key of IPv4 16 bytes: addresses at 0, ports and kind at 8
flow counters 88 bytes: begun at 0, proved at 8, of maps at 16, 40 and 64, of 24 bytes: entered at 0, taken at 8, failed at 16
16384 datagrams in fragments of 24 bytes, by 40: identification at 32, kind at 36; reason at 0, until at 4, rule at 8, port at 12, protocol at 16, group at 20
SYN counters 72 bytes: answered at 0, returned at 8, passed at 16; a pace 32 bytes: seen at 0, begun at 8, until at 16
passed 0 inactive
passed 1 no_listener
passed 2 connection
passed 3 refused
passed 4 header
passed 5 route
passed 6 frame
event 304 bytes: interface at 8, verdict at 16, rule at 24, length at 32, tag at 40, captured at 44, bytes at 48
event counters 24 bytes: drawn at 0, lost at 8, unwatched at 16; reader 24 bytes: watchers at 0, unwatched at 8, lost at 16
rejected: entry 0 of in, 6 of out
rejected 0 tcp_reset
rejected 1 icmp
rejected 2 icmpv6
rejected 3 not_allowed
rejected 4 rate
rejected 5 internal
interface 2, out, drop, malformed ip_length: entry 602
interface 2, out, port 5: entry 355
group 2, service 5: entry 133
";

#[test]
fn what_outlives_a_ruleset_changes_only_with_the_layout_version() {
    let found = surviving();
    assert_eq!(LAYOUT_VERSION, 6, "write down what version {LAYOUT_VERSION} has:\n{found}");
    assert_eq!(
        found, VERSION_6,
        "daemons of either layout would read the other's counters wrongly: raise LAYOUT_VERSION and write the new \
         layout down here"
    );
}

fn surviving() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    for map in maps::SURVIVING {
        line(format!("map {map}"));
    }
    let (packets, bytes) = (offset_of!(Counter, packets), offset_of!(Counter, bytes));
    line(format!("counter {} bytes: packets at {packets}, bytes at {bytes}", size_of::<Counter>()));
    line(format!(
        "slots: {RULE_SLOTS} and {MORE_RULE_SLOTS} rules, {INTERFACE_SLOTS} interfaces ({OTHER_INTERFACE} is other), {SERVICE_SLOTS} \
         services, {PORT_SLOTS} ports, {GROUP_SLOTS} groups of peers ({FORMER_GROUPS} is former ones)"
    ));
    line(format!(
        "entries: {VERDICT_ENTRIES} verdicts, {PORT_ENTRIES} ports, {GROUP_ENTRIES} services by group"
    ));
    for verdict in Verdict::ALL {
        line(format!("verdict {} {}", verdict.number(), verdict.label()));
    }
    for reason in Reason::ALL {
        line(format!("reason {} {}", reason.number(), reason.label()));
    }
    for direction in Direction::ALL {
        line(format!("direction {} {}", direction as u8, direction.label()));
    }
    for transport in Transport::ALL {
        line(format!("port {} {}", transport.other_port(), transport.label()));
    }
    line(format!(
        "{BANS_MAX} bans of {} bytes: length at {}, family at {}; a ban {} bytes: until at {}, rule at {}, packets at {}; lengths {} bytes: whole at {}, prefixes at {}; counters {} bytes: made at {}, no room at {}",
        size_of::<BanKey>(),
        offset_of!(BanKey, length),
        offset_of!(BanKey, family),
        size_of::<Ban>(),
        offset_of!(Ban, until_ns),
        offset_of!(Ban, rule),
        offset_of!(Ban, packets),
        size_of::<BanLengths>(),
        offset_of!(BanLengths, whole),
        offset_of!(BanLengths, prefixes),
        size_of::<BanCounters>(),
        offset_of!(BanCounters, made),
        offset_of!(BanCounters, no_room)
    ));
    line(format!(
        "{BUCKETS_MAX} buckets of {} bytes: source at {}, family at {}, rule at {}",
        size_of::<BucketKey>(),
        offset_of!(BucketKey, source),
        offset_of!(BucketKey, family),
        offset_of!(BucketKey, rule)
    ));
    line(format!(
        "{CLIENTS_MAX} clients behind proxies of {} bytes: address at {}, family at {}; {WAITING_MAX} connections that wait for one",
        size_of::<proxy::Client>(),
        offset_of!(proxy::Client, address),
        offset_of!(proxy::Client, family)
    ));
    text.push_str(&services::surviving());
    text.push_str(&flows());
    text.push_str(&answers::surviving());
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    let verdict = verdict_slot(2, Direction::Out, Verdict::Drop, Reason::IpLength);
    line(format!("interface 2, out, drop, malformed ip_length: entry {verdict}"));
    line(format!("interface 2, out, port 5: entry {}", port_slot(2, Direction::Out, 5)));
    line(format!("group 2, service 5: entry {}", group_slot(2, 5)));
    text
}

/// What is kept of flows.
fn flows() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    line(format!(
        "{FLOWS_MAX} flows of each family and {UNPROVED_FLOWS_MAX} without proof, of {} bytes: until at {}, said at {}, number at {}, in units \
         of 2^30 ns",
        size_of::<TrackedFlow>(),
        offset_of!(TrackedFlow, until),
        offset_of!(TrackedFlow, said),
        offset_of!(TrackedFlow, number)
    ));
    line(format!(
        "flow key {} bytes: local at {}, remote at {}, ports at {} and {}, kind at {}",
        size_of::<FlowKey>(),
        offset_of!(FlowKey, local),
        offset_of!(FlowKey, remote),
        offset_of!(FlowKey, local_port),
        offset_of!(FlowKey, remote_port),
        offset_of!(FlowKey, kind)
    ));
    line(format!(
        "flow key of IPv4 {} bytes: addresses at {}, ports and kind at {}",
        size_of::<FlowKeyV4>(),
        offset_of!(FlowKeyV4, addresses),
        offset_of!(FlowKeyV4, ports_and_kind)
    ));
    line(format!(
        "flow counters {} bytes: begun at {}, proved at {}, of maps at {}, {} and {}, of {} bytes: entered at {}, taken at \
         {}, failed at {}",
        size_of::<FlowCounters>(),
        offset_of!(FlowCounters, begun),
        offset_of!(FlowCounters, proved),
        offset_of!(FlowCounters, proved_v4),
        offset_of!(FlowCounters, proved_v6),
        offset_of!(FlowCounters, unproved),
        size_of::<FlowMapCounters>(),
        offset_of!(FlowMapCounters, entered),
        offset_of!(FlowMapCounters, taken),
        offset_of!(FlowMapCounters, failed)
    ));
    line(format!(
        "{DATAGRAMS_MAX} datagrams in fragments of {} bytes, by {}: identification at {}, kind at {}; reason at {}, until at {}, \
         rule at {}, port at {}, protocol at {}, group at {}",
        size_of::<Datagram>(),
        size_of::<DatagramKey>(),
        offset_of!(DatagramKey, identification),
        offset_of!(DatagramKey, kind),
        offset_of!(Datagram, reason),
        offset_of!(Datagram, until),
        offset_of!(Datagram, rule),
        offset_of!(Datagram, port),
        offset_of!(Datagram, protocol),
        offset_of!(Datagram, group)
    ));
    text
}

/// No record has padding: its fields fill it, or it would leak bytes of the daemon into maps.
#[test]
fn records_have_these_sizes_and_no_padding() {
    assert_eq!((size_of::<Counter>(), align_of::<Counter>()), (8 + 8, 8));
    assert_eq!((size_of::<Limit>(), align_of::<Limit>()), (2 * 16 + 8 + 8 + 4 * 4 + 8 + 2 * 4, 8));
    assert_eq!((size_of::<BucketKey>(), align_of::<BucketKey>()), (16 + 4 + 4, 8));
    assert_eq!((size_of::<AnswerBucket>(), align_of::<AnswerBucket>()), (3 * 8, 8));
    assert_eq!((size_of::<BanKey>(), align_of::<BanKey>()), (16 + 4 + 4, 8));
    assert_eq!((size_of::<Ban>(), align_of::<Ban>()), (8 + 4 + 4 + 8, 8));
    assert_eq!((size_of::<BanCounters>(), align_of::<BanCounters>()), (8 + 8, 8));
    assert_eq!((size_of::<BanLengths>(), align_of::<BanLengths>()), (8 + 2 * 8, 8));
    assert_eq!((size_of::<ClassHead>(), align_of::<ClassHead>()), (32 + 4 + 3 + 3 + 1 + 21, 64));
    assert_eq!((size_of::<ClassWords>(), align_of::<ClassWords>()), (64 + UNITS * 8, 64));
    assert_eq!((size_of::<ClassBlocks>(), align_of::<ClassBlocks>()), (64 + UNITS * 4, 64));
    assert_eq!((size_of::<Block>(), align_of::<Block>()), (64, 64));
    assert_eq!((size_of::<FirstRules>(), align_of::<FirstRules>()), (UNITS * 4, 4));
    assert_eq!((size_of::<WordRules>(), align_of::<WordRules>()), (64 * 8, 8));
    assert_eq!((size_of::<Root>(), align_of::<Root>()), (4 * 65_536, 4));
    assert_eq!((size_of::<Stride>(), align_of::<Stride>()), (4 * 256, 4));
    assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    assert_eq!((size_of::<RankedRule>(), align_of::<RankedRule>()), (8, 8));
    assert_eq!((size_of::<InterfaceRecord>(), align_of::<InterfaceRecord>()), (4 + 4 + 8, 4));
    assert_eq!((size_of::<Interfaces>(), align_of::<Interfaces>()), (8 * (16 + 8), 4));
    assert_eq!((size_of::<Table>(), align_of::<Table>()), (2 * 65_536, 2));
    assert_eq!((size_of::<Settings>(), align_of::<Settings>()), (22 * 4 + 6 + 2, 4));
    // All words of 64 bits.
    assert_eq!((size_of::<HttpCounters>(), align_of::<HttpCounters>()), (8 * (2 + 11 + 6 + 1 + 44 + 42), 8));
    assert_eq!((size_of::<TlsCounters>(), align_of::<TlsCounters>()), (8 * (4 + 8 + 4 * 8 + 8 + 21 + 44), 8));
    assert_eq!(size_of::<MysqlCounters>(), 8 * (4 + 1 + 1 + 16 + 8 + 1 + 1 + 1 + 44 + 8 * 21));
    assert_eq!(size_of::<Client>(), 24 + 16 + 4 + 4 + 4 + 4);
    assert_eq!(size_of::<Server>(), 24 + 8 + 4 + 4);
    assert_eq!(size_of::<Asked>(), 4 + 4 + 16 * (4 + 1 + 1));
    assert_eq!(size_of::<Answered>(), 3 * 4 + 4);
    assert_eq!(size_of::<ReplicaKey>(), 40 + 8);
    assert_eq!(size_of::<StatementKey>(), 40 + 8);
    assert_eq!((size_of::<ServiceSettings>(), align_of::<ServiceSettings>()), (6 * 4, 4));
    assert_eq!((size_of::<SynCounters>(), align_of::<SynCounters>()), (8 * (2 + 7), 8));
    assert_eq!((size_of::<SynOffer>(), align_of::<SynOffer>()), (5 * 4, 4));
    assert_eq!((size_of::<Pace>(), align_of::<Pace>()), (4 * 8, 8));
    assert_eq!((size_of::<ProxyCounters>(), align_of::<ProxyCounters>()), (4 * 8, 8));
    assert_eq!((size_of::<NameKey>(), align_of::<NameKey>()), (64 + 8, 8));
    assert_eq!((size_of::<TlsSide>(), align_of::<TlsSide>()), (8 + 4 + 4 + 48, 8));
    assert_eq!((size_of::<TlsConnection>(), align_of::<TlsConnection>()), (4 + 4 + 2 * 64 + 24 + 64, 8));
    assert_eq!((size_of::<DnsCounters>(), align_of::<DnsCounters>()), (8 * (16 + 1 + 16 + 2 + 44 + 21), 8));
    assert_eq!((size_of::<Messages>(), align_of::<Messages>()), (3 * 4 + 4 * 2 + 5 + 3, 4));
    assert_eq!((size_of::<DnsSide>(), align_of::<DnsSide>()), (8 + 4 + 28, 8));
    assert_eq!((size_of::<DnsConnection>(), align_of::<DnsConnection>()), (4 + 4 + 2 * 40, 8));
    assert_eq!((size_of::<QueryKey>(), align_of::<QueryKey>()), (40 + 4 + 4, 8));
    assert_eq!((size_of::<RawCounters>(), align_of::<RawCounters>()), (8 * (1 + 2 + 1), 8));
    assert_eq!((size_of::<PeerConnections>(), align_of::<PeerConnections>()), (8 * (4 + 4 + 1), 8));
    assert_eq!((size_of::<RawConnection>(), align_of::<RawConnection>()), (4 + 4 + 8, 8));
    assert_eq!((size_of::<ServiceBytes>(), align_of::<ServiceBytes>()), (8 + 8, 8));
    assert_eq!((size_of::<ConnectionKey>(), align_of::<ConnectionKey>()), (16 + 16 + 4 + 4, 8));
    assert_eq!((size_of::<Cursor>(), align_of::<Cursor>()), (4 + 4 + 8, 8));
    assert_eq!((size_of::<Inbound>(), align_of::<Inbound>()), (8 + 16 + 16 + 16 + 64 + 16, 8));
    assert_eq!((size_of::<Outbound>(), align_of::<Outbound>()), (8 + 16 + 6 * 4, 8));
    assert_eq!((size_of::<Connection>(), align_of::<Connection>()), (8 + 136 + 48, 8));
    assert_eq!((size_of::<Frames>(), align_of::<Frames>()), (8 + 3 * 4 + 12, 8));
    assert_eq!((size_of::<Fields>(), align_of::<Fields>()), (8 + 7 * 4 + 16 * 4 + 16 + 4, 8));
    assert_eq!((size_of::<Side>(), align_of::<Side>()), (32 + 120 + 4 + 4 + 8, 8));
    assert_eq!((size_of::<Shared>(), align_of::<Shared>()), (4 * 4 + 128 * (4 + 4), 4));
    assert_eq!(
        (size_of::<Http2Connection>(), align_of::<Http2Connection>()),
        (4 + 4 + 2 * 16 + 2 * 168 + 1_040, 8)
    );
    assert_eq!((size_of::<ConnectionBytes>(), align_of::<ConnectionBytes>()), (192, 1));
    assert_eq!((size_of::<BlockKey>(), align_of::<BlockKey>()), (40 + 4 + 4, 8));
    assert_eq!((size_of::<ahead::Block>(), align_of::<ahead::Block>()), (16 * 8 + 1024, 8));
    assert_eq!(size_of::<ahead::Block>(), usize::try_from(ahead::Block::SIZE).unwrap());
    assert_eq!((size_of::<WatchedProcess>(), align_of::<WatchedProcess>()), (8 + 8, 8));
    assert_eq!((size_of::<TlsObject>(), align_of::<TlsObject>()), (8 + 8, 8));
    assert_eq!((size_of::<Call>(), align_of::<Call>()), (4 * 8, 8));
    assert_eq!((size_of::<FlowKey>(), align_of::<FlowKey>()), (16 + 16 + 4 + 4, 8));
    assert_eq!((size_of::<TrackedFlow>(), align_of::<TrackedFlow>()), (3 * 4, 4));
    assert_eq!((size_of::<FlowKeyV4>(), align_of::<FlowKeyV4>()), (8 + 8, 8));
    assert_eq!((size_of::<FlowCounters>(), align_of::<FlowCounters>()), (2 * 8 + 3 * 3 * 8, 8));
    assert_eq!((size_of::<Subject>(), align_of::<Subject>()), (40 + 4 + 4, 8));
    assert_eq!((size_of::<DecisionRecord>(), align_of::<DecisionRecord>()), (4 * 4, 4));
}

#[test]
fn fields_are_where_the_programs_look_for_them() {
    assert_eq!(offset_of!(ClassHead, units), 0);
    assert_eq!(offset_of!(ClassHead, failsafe), 32);
    assert_eq!(offset_of!(ClassHead, service), 36);
    assert_eq!(offset_of!(ClassHead, protocol), 39);
    assert_eq!(offset_of!(ClassHead, group), 42);
    assert_eq!(offset_of!(InterfaceRecord, index), 0);
    assert_eq!(offset_of!(InterfaceRecord, slot), 4);
    assert_eq!(offset_of!(InterfaceRecord, classes), 8);
    assert_eq!(offset_of!(Interfaces, cards), 8 * 16);
    assert_eq!(offset_of!(DecisionRecord, verdict), 0);
    assert_eq!(offset_of!(DecisionRecord, reason), 4);
    assert_eq!(offset_of!(DecisionRecord, rule), 8);
    assert_eq!(offset_of!(DecisionRecord, port), 12);
}

#[test]
fn numbers_count_up_without_gaps() {
    for (number, verdict) in (0..).zip(Verdict::ALL) {
        assert_eq!((verdict.number(), Verdict::from_number(number)), (number, Some(*verdict)));
    }
    for (number, reason) in (0..).zip(Reason::ALL) {
        assert_eq!((reason.number(), Reason::from_number(number)), (number, Some(*reason)));
    }
    assert_eq!(Verdict::from_number(Verdict::COUNT), None);
    assert_eq!(Reason::from_number(Reason::COUNT), None);
    for (number, field) in (0..).zip(TableField::ALL) {
        assert_eq!(field as u32, number);
    }
    assert_eq!(usize::try_from(TableField::COUNT).unwrap(), TableField::ALL.len());
    for (number, field) in (0..).zip(AddressField::ALL) {
        assert_eq!(field as u32, number);
    }
    assert_eq!(usize::try_from(AddressField::COUNT).unwrap(), AddressField::ALL.len());
    for (number, tier) in (0..).zip(Tier::ALL) {
        assert_eq!(tier as u32, number);
    }
    assert_eq!(usize::try_from(Transport::COUNT).unwrap(), Transport::ALL.len());
}

/// Two counters in one entry would be a silent lie.
#[test]
fn no_two_counters_share_an_entry() {
    let mut verdicts = vec![0; usize::try_from(VERDICT_ENTRIES).unwrap()];
    let mut ports = vec![0; usize::try_from(PORT_ENTRIES).unwrap()];
    for interface in 0..INTERFACE_SLOTS {
        for verdict in Verdict::ALL {
            for reason in Reason::ALL {
                for direction in Direction::ALL {
                    let slot = verdict_slot(interface, direction, *verdict, *reason);
                    verdicts[usize::try_from(slot).unwrap()] += 1;
                }
            }
        }
        for direction in Direction::ALL {
            for port in 0..PORT_SLOTS {
                ports[usize::try_from(port_slot(interface, direction, port)).unwrap()] += 1;
            }
        }
    }
    let mut groups = vec![0; usize::try_from(GROUP_ENTRIES).unwrap()];
    for group in 0..=FORMER_GROUPS {
        for service in 0..SERVICE_SLOTS {
            groups[usize::try_from(group_slot(group, service)).unwrap()] += 1;
        }
    }
    assert!(groups.iter().all(|used| *used == 1), "{groups:?}");
    assert!(verdicts.iter().all(|used| *used == 1), "{verdicts:?}");
    assert!(ports.iter().all(|used| *used == 1), "{ports:?}");
}
