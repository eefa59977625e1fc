//! What is kept of services.

use std::{fmt::Write as _, mem::offset_of};

use foobar_common::{
    ahead::{BLOCKS_MAX, Block, BlockKey, SPAN},
    connection::{
        CONNECTIONS_MAX, Connection, ConnectionKey, Cursor, Inbound, NAMES_MAX, NameKey, Outbound, PAIRED,
        TIMED, TlsConnection, TlsSide,
    },
    dns::{DnsConnection, DnsCounters, DnsSide, Messages, QUERIES_MAX, QueryKey, QueryType, ResponseCode},
    http1::State,
    http2::{ENTRIES, Fields, Frames, HTTP2_CONNECTIONS_MAX, Http2Connection, STREAMS_TIMED, Shared, Side},
    mysql::{
        Answered, Asked, Client, Command, Operation, REPLICAS_MAX, ReplicaKey, SESSIONS_MAX, STATEMENTS_MAX,
        Server, Session, StatementKey,
    },
    peers::PeerConnections,
    proxy::ProxyHeader,
    raw::{RawConnection, RawCounters},
    service::{
        DURATION_BOUNDS_US, FirstBytes, HttpCounters, Loss, Method, MysqlCounters, Protocol, ServiceBytes,
        Ticks, TlsCounters,
    },
    tls::{Alpn, Hello, TlsVersion, Turns},
};

/// The part of what outlives a ruleset that services have.
pub(crate) fn surviving() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    for protocol in Protocol::ALL {
        line(format!("protocol {} {}", protocol.number(), protocol.label()));
    }
    for method in Method::ALL {
        line(format!("method {} {}", method.number(), method.label()));
    }
    for loss in Loss::ALL {
        line(format!("loss {} {}", loss.number(), loss.label()));
    }
    for header in ProxyHeader::ALL {
        line(format!("PROXY header {} {}", header.number(), header.label()));
    }
    line(format!("durations up to {DURATION_BOUNDS_US:?} us, in units of {} ns", Ticks::NANOSECONDS));
    line(format!(
        "HTTP counters {} bytes: connections at {}, those of HTTP/2 at {}, requests at {}, responses at {}, untimed at {}, lost at {}, first \
         byte at {}, last byte at {}",
        size_of::<HttpCounters>(),
        offset_of!(HttpCounters, connections),
        offset_of!(HttpCounters, http2_connections),
        offset_of!(HttpCounters, requests),
        offset_of!(HttpCounters, responses),
        offset_of!(HttpCounters, untimed),
        offset_of!(HttpCounters, lost),
        offset_of!(HttpCounters, first_byte),
        offset_of!(HttpCounters, last_byte),
    ));
    line(format!(
        "bytes of a service {}: framed at {}, lost at {}",
        size_of::<ServiceBytes>(),
        offset_of!(ServiceBytes, framed),
        offset_of!(ServiceBytes, lost)
    ));
    line(format!(
        "connection key {} bytes: local at {}, remote at {}, ports at {} and {}, family at {}",
        size_of::<ConnectionKey>(),
        offset_of!(ConnectionKey, local),
        offset_of!(ConnectionKey, remote),
        offset_of!(ConnectionKey, local_port),
        offset_of!(ConnectionKey, remote_port),
        offset_of!(ConnectionKey, family),
    ));
    line(format!(
        "{CONNECTIONS_MAX} connections of {} bytes, {PAIRED} requests paired, {TIMED} timed: inbound at {}, its asked at {}, \
         bodiless at {}, started at {}, rounds at {}; outbound at {}, its answered at {}, unseen at {}",
        size_of::<Connection>(),
        offset_of!(Connection, inbound),
        offset_of!(Inbound, asked),
        offset_of!(Inbound, bodiless),
        offset_of!(Inbound, started),
        offset_of!(Inbound, rounds),
        offset_of!(Connection, outbound),
        offset_of!(Outbound, answered),
        offset_of!(Outbound, unseen),
    ));
    line(format!(
        "cursor {} bytes: next at {}, state at {}, index at {}, flags at {}, number at {}; state {} is lost",
        size_of::<Cursor>(),
        offset_of!(Cursor, next),
        offset_of!(Cursor, state),
        offset_of!(Cursor, index),
        offset_of!(Cursor, flags),
        offset_of!(Cursor, number),
        State::Lost as u8
    ));
    text.push_str(&of_http2());
    text.push_str(&of_tls());
    text.push_str(&of_mysql());
    text.push_str(&of_dns());
    writeln!(
        text,
        "raw counters {} bytes: opened at {}, resets at {}, refused at {}; a connection {} bytes: first at {}, reset at {}",
        size_of::<RawCounters>(),
        offset_of!(RawCounters, opened),
        offset_of!(RawCounters, resets),
        offset_of!(RawCounters, refused),
        size_of::<RawConnection>(),
        offset_of!(RawConnection, first),
        offset_of!(RawConnection, reset),
    )
    .unwrap();
    writeln!(
        text,
        "connections of a group {} bytes: first bytes at {}, sessions at {}, opened at {}",
        size_of::<PeerConnections>(),
        offset_of!(PeerConnections, first_bytes),
        offset_of!(PeerConnections, sessions),
        offset_of!(PeerConnections, opened),
    )
    .unwrap();
    text
}

/// The part of that which HTTP/2 has.
fn of_http2() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    line(format!(
        "{HTTP2_CONNECTIONS_MAX} connections of HTTP/2 of {} bytes: inbound at {}, outbound at {}, client at {}, server at \
         {}, shared at {}; {STREAMS_TIMED} streams timed, at {} and {}",
        size_of::<Http2Connection>(),
        offset_of!(Http2Connection, inbound),
        offset_of!(Http2Connection, outbound),
        offset_of!(Http2Connection, client),
        offset_of!(Http2Connection, server),
        offset_of!(Http2Connection, shared),
        offset_of!(Shared, started),
        offset_of!(Shared, streams),
    ));
    line(format!(
        "{BLOCKS_MAX} blocks of {} bytes, with {} of the client, by {} bytes: first at {}, number at {}; {SPAN} of a connection",
        size_of::<Block>(),
        Block::LENGTH,
        size_of::<BlockKey>(),
        offset_of!(BlockKey, first),
        offset_of!(BlockKey, number),
    ));
    line(format!(
        "a side {} bytes: frames {}, fields {} at {} with {ENTRIES} entries, stream at {}, highest at {}",
        size_of::<Side>(),
        size_of::<Frames>(),
        size_of::<Fields>(),
        offset_of!(Side, fields),
        offset_of!(Side, stream),
        offset_of!(Side, highest),
    ));
    text
}

/// The part of that which TLS has.
fn of_tls() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    for version in TlsVersion::ALL {
        line(format!("TLS version {} {}", version.number(), version.label()));
    }
    for alpn in Alpn::ALL {
        line(format!("ALPN {} {}", alpn.number(), alpn.label()));
    }
    for first in FirstBytes::ALL {
        line(format!("first bytes {} {}", first.number(), first.label()));
    }
    line(format!(
        "TLS counters {} bytes: connections at {}, offered at {}, handshakes at {}, failures at {}, turns at {}, lost at {}",
        size_of::<TlsCounters>(),
        offset_of!(TlsCounters, connections),
        offset_of!(TlsCounters, offered),
        offset_of!(TlsCounters, handshakes),
        offset_of!(TlsCounters, failures),
        offset_of!(TlsCounters, turns),
        offset_of!(TlsCounters, lost),
    ));
    line(format!(
        "TLS connection {} bytes: inbound at {}, outbound at {}, turns at {} of {}, name at {}; a side {} bytes: next at {}, hello at {} of {}",
        size_of::<TlsConnection>(),
        offset_of!(TlsConnection, inbound),
        offset_of!(TlsConnection, outbound),
        offset_of!(TlsConnection, turns),
        size_of::<Turns>(),
        offset_of!(TlsConnection, name),
        size_of::<TlsSide>(),
        offset_of!(TlsSide, next),
        offset_of!(TlsSide, hello),
        size_of::<Hello>(),
    ));
    line(format!(
        "{NAMES_MAX} names of {} bytes: name at {}, service at {}",
        size_of::<NameKey>(),
        offset_of!(NameKey, name),
        offset_of!(NameKey, service)
    ));
    text
}

/// The part of that which MySQL has.
fn of_mysql() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    for operation in Operation::ALL {
        line(format!("operation {} {}", operation.number(), operation.label()));
    }
    for command in Command::ALL {
        line(format!("command {} {}", command.number(), command.label()));
    }
    line(format!(
        "MySQL counters {} bytes: sessions at {}, refused at {}, login failures at {}, commands at {}, queries at {}, \
         errors at {}, untimed at {}, last write at {}, lost at {}, durations at {}",
        size_of::<MysqlCounters>(),
        offset_of!(MysqlCounters, sessions),
        offset_of!(MysqlCounters, refused),
        offset_of!(MysqlCounters, login_failures),
        offset_of!(MysqlCounters, commands),
        offset_of!(MysqlCounters, queries),
        offset_of!(MysqlCounters, errors),
        offset_of!(MysqlCounters, untimed),
        offset_of!(MysqlCounters, last_write),
        offset_of!(MysqlCounters, lost),
        offset_of!(MysqlCounters, durations),
    ));
    line(format!(
        "{SESSIONS_MAX} MySQL sessions of {} bytes: inbound at {}, outbound at {}, client at {} of {}, server at {} of {}, asked at {} of {}, \
         answered at {} of {}",
        size_of::<Session>(),
        offset_of!(Session, inbound),
        offset_of!(Session, outbound),
        offset_of!(Session, client),
        size_of::<Client>(),
        offset_of!(Session, server),
        size_of::<Server>(),
        offset_of!(Session, asked),
        size_of::<Asked>(),
        offset_of!(Session, answered),
        size_of::<Answered>(),
    ));
    line(format!("{STATEMENTS_MAX} statements of {} bytes", size_of::<StatementKey>()));
    line(format!("{REPLICAS_MAX} replicas of {} bytes", size_of::<ReplicaKey>()));
    text
}

/// The part of that which DNS has.
fn of_dns() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    for query_type in QueryType::ALL {
        line(format!("query type {} {}", query_type.number(), query_type.label()));
    }
    for code in ResponseCode::ALL {
        line(format!("response code {} {}", code.number(), code.label()));
    }
    line(format!(
        "DNS counters {} bytes: queries at {}, repeated at {}, answers at {}, truncated at {}, unasked at {}, lost at {}, \
         duration at {}",
        size_of::<DnsCounters>(),
        offset_of!(DnsCounters, queries),
        offset_of!(DnsCounters, repeated),
        offset_of!(DnsCounters, answers),
        offset_of!(DnsCounters, truncated),
        offset_of!(DnsCounters, unasked),
        offset_of!(DnsCounters, lost),
        offset_of!(DnsCounters, duration),
    ));
    line(format!(
        "DNS connection {} bytes: inbound at {}, outbound at {}; a side {} bytes: next at {}, messages at {} of {}",
        size_of::<DnsConnection>(),
        offset_of!(DnsConnection, inbound),
        offset_of!(DnsConnection, outbound),
        size_of::<DnsSide>(),
        offset_of!(DnsSide, next),
        offset_of!(DnsSide, messages),
        size_of::<Messages>(),
    ));
    line(format!(
        "{QUERIES_MAX} queries by {} bytes: protocol at {}, id at {}",
        size_of::<QueryKey>(),
        offset_of!(QueryKey, protocol),
        offset_of!(QueryKey, id)
    ));
    text
}
