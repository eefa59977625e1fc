//! What is counted of services beyond packets and bytes.
//!
//! Each protocol has a program of its own for each direction, which takes over by a tail call from the one that has
//! judged a packet, and ends at the same exit. So other packets do not pay for it, each program has a verifier's
//! million instructions to itself, and only those are loaded that the rules ask for.

mod ahead;
mod configured;
mod datagram;
mod dns;
mod http1;
mod http2;
pub(crate) mod lock;
mod mysql;
mod passage;
mod peers;
mod proxy;
mod raw;
mod segment;
mod stream;
mod tls;

use aya_ebpf::{
    EbpfContext,
    btf_maps::ProgramArray,
    macros::btf_map,
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    connection::ConnectionKey,
    flow::{
        Direction, Flow, Fragment, protocol,
        tcp_flag::{FIN, RST, SYN},
    },
    maps::{REJECT_PROGRAM, SYN_PROGRAM},
    rule::uses,
    service::Protocol,
    verdict::Verdict,
};

pub(crate) use self::{
    configured::of as settings_of,
    dns::{answers as dns_answers, queries as dns_queries},
    http1::{counters_of as http_counters, requests as http1_requests, responses as http1_responses},
    http2::{Kept as Http2Kept, requests as http2_requests, responses as http2_responses},
    mysql::{commands as mysql_commands, replies as mysql_replies},
    passage::Passage,
    raw::{inbound as raw_inbound, outbound as raw_outbound},
    segment::Packet,
    tls::{choices as tls_choices, offers as tls_offers},
};
use crate::{
    clients,
    decide::Decision,
    headers::{Headers, Size},
    interface::Interface,
    settings, syn_cookies, track,
};

/// The programs of one direction, by number of their protocol, and behind them those that answer.
type Programs = ProgramArray<{ REJECT_PROGRAM as usize + 1 }>;

#[btf_map]
static SERVICES_IN: Programs = ProgramArray::new();
#[btf_map]
static SERVICES_OUT: Programs = ProgramArray::new();

/// Goes on in the program of the packet's service, which counts it and gives its verdict. Comes back if there is none, and
/// says how many bytes went by that were for it; `None` if nothing in the packet is.
#[inline(always)]
pub(crate) fn enter_in(
    context: &XdpContext,
    headers: &Headers,
    size: Size,
    decision: &Decision,
    interface: &Interface,
) -> Option<u64> {
    if settings::uses(uses::SYN_COOKIES)
        && matches!(decision.verdict, Verdict::Accept)
        && let Ok(parsed) = headers.parsed
        && syn_cookies::may_answer(&parsed.flow, decision.port)
    {
        let passage =
            Passage { decision: *decision, interface: Interface::counted(interface.slot), size, lost: 0 };
        if passage.keep(Direction::In).is_some() {
            // SAFETY: nothing here waits to be dropped.
            unsafe { SERVICES_IN.tail_call(context, SYN_PROGRAM) };
        }
        // Nobody is there to answer.
        track::follow_held_back();
    }
    go_on(&SERVICES_IN, context, wanted(headers, size, decision, interface, Direction::In))
}

/// Forgets what is kept of a connection to the service of the packet that was kept, whose ends have opened another one.
#[inline(always)]
pub(crate) fn forget_connection(flow: &Flow) {
    let Some(number) = Passage::protocol(Direction::In) else { return };
    let Some(protocol) = Protocol::from_number(number & !Protocol::REQUESTS_ONLY) else { return };
    let key = ConnectionKey::of(flow, Direction::In);
    if settings::uses(uses::CLIENTS) {
        clients::forget(&key);
    }
    match protocol {
        Protocol::Raw => raw::forget(&key),
        Protocol::Http1 | Protocol::H2c => http1::forget(&key),
        Protocol::Tls => tls::forget(&key),
        Protocol::Mysql => mysql::forget(&key),
        Protocol::Dns => dns::forget(&key),
    }
}

/// Goes on in the program of the service of a packet that was kept. Comes back if there is none.
#[inline(always)]
pub(crate) fn go_on_in(context: &XdpContext) {
    if let Some(protocol) = Passage::protocol(Direction::In) {
        let protocol = protocol & !Protocol::REQUESTS_ONLY;
        if protocol < Protocol::NONE {
            // SAFETY: nothing here waits to be dropped.
            unsafe { SERVICES_IN.tail_call(context, protocol) };
        }
    }
}

/// The same for what goes out.
#[inline(always)]
pub(crate) fn enter_out(
    context: &TcContext,
    headers: &Headers,
    size: Size,
    decision: &Decision,
    interface: &Interface,
) -> Option<u64> {
    go_on(&SERVICES_OUT, context, wanted(headers, size, decision, interface, Direction::Out))
}

/// Goes on in the program that answers rejected packets, if the program of a service has rejected one that came in. Comes back
/// if not.
#[inline(always)]
pub(crate) fn reject_refused(context: &XdpContext) {
    if settings::uses(uses::CLIENTS) && Passage::is_rejected(Direction::In) {
        reject_in(context);
    }
}

/// Goes on in the program that answers rejected packets. Comes back if there is none.
#[inline(always)]
pub(crate) fn reject_in(context: &XdpContext) {
    // SAFETY: nothing here waits to be dropped.
    unsafe { SERVICES_IN.tail_call(context, REJECT_PROGRAM) }
}

/// The same for what goes out.
#[inline(always)]
pub(crate) fn reject_out(context: &TcContext) {
    // SAFETY: as above.
    unsafe { SERVICES_OUT.tail_call(context, REJECT_PROGRAM) }
}

/// Goes on in the program of a protocol, or gives the bytes back that it was to read. Each call has a number of its own:
/// the kernel makes a jump of it then (Linux 5.5).
#[inline(always)]
fn go_on<C: EbpfContext>(programs: &Programs, context: &C, wanted: Option<(Protocol, u64)>) -> Option<u64> {
    let (protocol, payload) = wanted?;
    match protocol {
        Protocol::Raw => {
            // SAFETY: nothing here waits to be dropped.
            unsafe { programs.tail_call(context, Protocol::Raw.number()) }
        }
        Protocol::Http1 => {
            // SAFETY: as above.
            unsafe { programs.tail_call(context, Protocol::Http1.number()) }
        }
        Protocol::Tls => {
            // SAFETY: as above.
            unsafe { programs.tail_call(context, Protocol::Tls.number()) }
        }
        Protocol::Mysql => {
            // SAFETY: as above.
            unsafe { programs.tail_call(context, Protocol::Mysql.number()) }
        }
        Protocol::Dns => {
            // SAFETY: as above.
            unsafe { programs.tail_call(context, Protocol::Dns.number()) }
        }
        Protocol::H2c => {
            // SAFETY: as above.
            unsafe { programs.tail_call(context, Protocol::H2c.number()) }
        }
    }
    Some(payload)
}

/// The protocol whose program goes on with a packet, and how many bytes it has to read; `None` if nothing in the packet
/// is for a program.
#[inline(always)]
fn wanted(
    headers: &Headers,
    size: Size,
    decision: &Decision,
    interface: &Interface,
    direction: Direction,
) -> Option<(Protocol, u64)> {
    if !settings::uses(uses::SERVICES) {
        return None;
    }
    let Ok(parsed) = headers.parsed else { return None };
    let protocol = Protocol::from_number(decision.protocol & !Protocol::REQUESTS_ONLY)?;
    let payload = if is_unread(decision, direction) { 0 } else { parsed.payload_length() };
    let begins =
        matches!(direction, Direction::In) && syn_cookies::may_bring_cookie(&parsed.flow, decision.port);
    if !(begins || says(protocol, &parsed.flow, payload, direction))
        || !matches!(decision.verdict, Verdict::Accept)
    {
        return None;
    }
    let passage =
        Passage { decision: *decision, interface: Interface::counted(interface.slot), size, lost: 0 };
    passage.keep(direction)?;
    Some((protocol, u64::from(payload)))
}

/// Whether only the flags of a packet matter: it goes out from a service of which only what comes in is read.
#[inline(always)]
pub(crate) fn is_unread(decision: &Decision, direction: Direction) -> bool {
    matches!(direction, Direction::Out) && decision.protocol & Protocol::REQUESTS_ONLY != 0
}

/// Whether a packet with so many bytes of payload says something to the program of a protocol.
#[inline(always)]
fn says(protocol: Protocol, flow: &Flow, payload: u32, direction: Direction) -> bool {
    match flow.protocol {
        protocol::TCP => {
            let flags = match (protocol, direction) {
                (Protocol::Raw, Direction::In) => RST,
                (Protocol::Raw, Direction::Out) => SYN | RST,
                _ => FIN | SYN,
            };
            matches!(flow.fragment, Fragment::Whole)
                && (flow.tcp_flags & flags != 0 || (protocol.is_read() && payload > 0))
        }
        // Each is a message, or none. Of one in fragments, the first says it.
        protocol::UDP => protocol.is_read() && !matches!(flow.fragment, Fragment::Later),
        _ => false,
    }
}
