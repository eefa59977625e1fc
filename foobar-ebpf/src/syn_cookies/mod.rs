//! SYNs to services that answer with cookies, and the ACKs that bring cookies back.
//!
//! What answers is a program of its own behind a tail call, so that only such SYNs pay for it. A flow or a connection is not
//! made by the SYN then, but by the ACK: the kernel tells whether its cookie is one.

mod answering;
mod sockets;

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
    programs::XdpContext,
};
use foobar_common::{
    counters::SERVICE_SLOTS,
    flow::{
        Flow, Fragment, protocol,
        tcp_flag::{ACK, FIN, RST, SYN},
    },
    parse,
    rule::uses,
    syn_cookies::{ANSWER_WORDS, CookieMode, HEADER_ROOM, Pace, SynCounters, SynOffer, SynOptions},
};

pub(crate) use self::{answering::answers, sockets::brings_cookie};
use crate::{services, settings};

#[btf_map]
static SYN_COUNTERS: PerCpuArray<SynCounters, { SERVICE_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static SYN_PACES: Array<Pace, { SERVICE_SLOTS as usize }> = Array::new();
#[btf_map]
static SYN_OFFER: Array<SynOffer, 1> = Array::new();
/// For what does not fit the stack.
#[btf_map]
static SYN_READINGS: PerCpuArray<Reading, 1> = PerCpuArray::new();

/// What is read of a packet, and written for helpers of the kernel and for the answer.
#[repr(C)]
struct Reading {
    /// The TCP header.
    tcp: [u8; HEADER_ROOM as usize],
    /// What the helpers look at of the IP header: version and addresses.
    ip: [u32; 10],
    /// Both ends, as `struct bpf_sock_tuple` has them.
    ends: [u32; 9],
    /// What a route is looked up by: `struct bpf_fib_lookup`.
    route: [u32; 16],
    options: SynOptions,
    /// Bytes of the TCP header.
    length: u32,
    answer: [u32; ANSWER_WORDS],
    /// Room up to a power of two, which is what the verifier knows of the answer's length.
    _room: [u32; 32 - ANSWER_WORDS],
}

/// Whether this packet, which comes in and is counted at this port slot, is a SYN that may be answered with a cookie.
#[inline(always)]
pub(crate) fn may_answer(flow: &Flow, port: u32) -> bool {
    is_tcp(flow)
        && flow.tcp_flags & (FIN | SYN | RST | ACK) == SYN
        && services::settings_of(port).is_some_and(|settings| settings.cookies != CookieMode::Off.number())
}

/// Whether this packet, which comes in, may bring a cookie back: it acknowledges something, at a port where cookies have
/// been sent lately.
#[inline(always)]
pub(crate) fn may_bring_cookie(flow: &Flow, port: u32) -> bool {
    settings::uses(uses::SYN_COOKIES)
        && is_tcp(flow)
        && flow.tcp_flags & (SYN | RST | ACK) == ACK
        && are_awaited(port)
}

/// Whether cookies have been sent lately at this port.
#[inline(always)]
pub(crate) fn are_awaited(port: u32) -> bool {
    let Some(settings) = services::settings_of(port) else { return false };
    if settings.cookies == CookieMode::Always.number() {
        return true;
    }
    settings.cookies == CookieMode::Auto.number() && pace(port).is_some_and(|pace| pace.is_awaited(now()))
}

/// Counts a cookie that came back to a service, and with which a connection begins.
#[inline(always)]
pub(crate) fn count_returned(service: u32) {
    if let Some(counters) = counters(service) {
        counters.returned = counters.returned.wrapping_add(1);
    }
}

#[inline(always)]
fn counters(service: u32) -> Option<&'static mut SynCounters> {
    let place = SYN_COUNTERS.get_ptr_mut(service)?;
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
    // runs.
    Some(unsafe { &mut *place })
}

#[inline(always)]
fn is_tcp(flow: &Flow) -> bool {
    flow.protocol == protocol::TCP && matches!(flow.fragment, Fragment::Whole)
}

#[inline(always)]
fn pace(service: u32) -> Option<&'static Pace> {
    let place = SYN_PACES.get_ptr(service)?;
    // SAFETY: the map gave the pointer, and every word of it is a valid one at any time.
    Some(unsafe { &*place })
}

#[inline(always)]
fn reading() -> Option<&'static mut Reading> {
    let place = SYN_READINGS.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, only programs for what comes in use it, which do not interrupt each other on a
    // processor, and any two references to it are used one after the other.
    Some(unsafe { &mut *place })
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    unsafe { bpf_ktime_get_ns() }
}

/// The headers of the present packet, and the packet.
#[derive(Clone, Copy)]
struct Arrived<'a> {
    headers: &'a parse::Headers,
    context: &'a XdpContext,
}
