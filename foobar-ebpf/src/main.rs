//! The programs of foobar: the way of a packet, and the only XDP codes.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::host_endian_bytes)]

mod addresses;
mod bans;
mod branchless;
mod classify;
mod clauses;
mod clients;
mod count;
mod decide;
mod events;
mod fragments;
mod headers;
mod infrastructure;
mod interface;
mod limit;
mod maps;
mod portion;
mod probes;
mod received;
mod reject;
mod scratch;
mod sent;
mod services;
mod sets;
mod settings;
mod stream;
mod syn_cookies;
mod tables;
mod track;

use aya_ebpf::{
    bindings::{
        TC_ACT_SHOT, TC_ACT_UNSPEC,
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    },
    macros::{classifier, raw_tracepoint, uprobe, uretprobe, xdp},
    programs::{ProbeContext, RawTracePointContext, RetProbeContext, TcContext, XdpContext},
};
use foobar_common::{flow::Direction, verdict::Verdict};

use crate::{decide::Decision, services::Passage};

/// Judges every packet that arrives on a network card, before the kernel spends anything on it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
#[expect(clippy::cast_possible_truncation, reason = "the kernel has the index as 32 bits")]
fn ingress(context: XdpContext) -> u32 {
    let interface = interface::of(context.ingress_ifindex() as u32);
    let (headers, size) = received::headers(&context);
    let decision = if reject::is_own_answer(&context) {
        Decision::own_answer()
    } else {
        match headers.parsed {
            Ok(parsed) => Decision::of_arrived(&parsed.flow, &interface, &context),
            Err(reason) => Decision::without_flow(reason, Direction::In),
        }
    };
    let lost = services::enter_in(&context, &headers, size, &decision, &interface).unwrap_or_else(
        #[inline(always)]
        || reject::enter_in(&context, size, &decision, &interface),
    );
    xdp_action(count::decision(&context, &decision, &interface, Direction::In, size, lost))
}

/// Judges every packet that the kernel is about to give to a network card.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn egress(context: TcContext) -> i32 {
    // SAFETY: the context is the one that the kernel gave.
    let interface = interface::of(unsafe { (*context.skb.skb).ifindex });
    let headers = sent::headers(&context);
    let decision = match headers.parsed {
        Ok(parsed) => Decision::of_sent(&parsed.flow, &interface),
        Err(reason) => Decision::without_flow(reason, Direction::Out),
    };
    let size = sent::size(&context);
    let lost = services::enter_out(&context, &headers, size, &decision, &interface).unwrap_or_else(
        #[inline(always)]
        || reject::enter_out(&context, size, &decision, &interface),
    );
    tc_action(count::decision(&context, &decision, &interface, Direction::Out, size, lost))
}

/// Goes on with a packet that is rejected by `ingress`, and answers it once it has been counted as it came.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn reject_inbound(context: XdpContext) -> u32 {
    let action = xdp_action(Passage::end(&context, Direction::In));
    if reject::inbound(&context) { XDP_TX } else { action }
}

/// Goes on with a packet that is rejected by `egress`, and answers it once it has been counted as it was sent.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
#[expect(clippy::cast_possible_truncation, reason = "the helper gives a code")]
fn reject_outbound(context: TcContext) -> i32 {
    let action = tc_action(Passage::end(&context, Direction::Out));
    // The code that the helper gives says that the packet goes where it has noted (TC_ACT_REDIRECT), or not (TC_ACT_SHOT).
    reject::outbound(&context).map_or(action, |answer| answer as i32)
}

/// Goes on with a SYN that is accepted by `ingress`, to a service that may answer it with a cookie.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn syn_answers(context: XdpContext) -> u32 {
    syn_cookies::answers(&context);
    xdp_action(Passage::end(&context, Direction::In))
}

/// Goes on with a packet that is accepted by `ingress` and may have requests of HTTP/1.x in it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn http1_requests(context: XdpContext) -> u32 {
    services::http1_requests(&context);
    services::reject_refused(&context);
    xdp_action(Passage::end(&context, Direction::In))
}

/// Goes on with a packet that is accepted by `egress` and may have responses of HTTP/1.x in it.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn http1_responses(context: TcContext) -> i32 {
    services::http1_responses(&context);
    tc_action(Passage::end(&context, Direction::Out))
}

/// Goes on with a packet that is accepted by `ingress` and may have requests of HTTP/2 in it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn http2_requests(context: XdpContext) -> u32 {
    services::http2_requests(&context);
    xdp_action(Passage::end(&context, Direction::In))
}

/// Goes on with a packet that is accepted by `egress` and may have responses of HTTP/2 in it.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn http2_responses(context: TcContext) -> i32 {
    services::http2_responses(&context);
    tc_action(Passage::end(&context, Direction::Out))
}

/// Goes on with a packet that is accepted by `ingress` and may have a `ClientHello` of TLS in it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_offers(context: XdpContext) -> u32 {
    services::tls_offers(&context);
    services::reject_refused(&context);
    xdp_action(Passage::end(&context, Direction::In))
}

/// Goes on with a packet that is accepted by `egress` and may have a `ServerHello` of TLS in it.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_choices(context: TcContext) -> i32 {
    services::tls_choices(&context);
    tc_action(Passage::end(&context, Direction::Out))
}

/// Goes on with a packet that is accepted by `ingress` and may have commands of MySQL in it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn mysql_commands(context: XdpContext) -> u32 {
    services::mysql_commands(&context);
    services::reject_refused(&context);
    xdp_action(Passage::end(&context, Direction::In))
}

/// Goes on with a packet that is accepted by `egress` and may have answers of MySQL in it.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn mysql_replies(context: TcContext) -> i32 {
    services::mysql_replies(&context);
    tc_action(Passage::end(&context, Direction::Out))
}

/// A TLS library takes an object for the server's side of a connection.
#[uprobe]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_accepting(context: ProbeContext) -> u32 {
    probes::accepting(&context);
    0
}

/// A TLS library takes an object for the client's side of a connection.
#[uprobe]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_connecting(context: ProbeContext) -> u32 {
    let _done: Option<()> = probes::connecting(&context);
    0
}

/// A TLS library gives an object back.
#[uprobe]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_freed(context: ProbeContext) -> u32 {
    let _done: Option<()> = probes::freed(&context);
    0
}

/// A TLS library is asked to read or write.
#[uprobe]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_called(context: ProbeContext) -> u32 {
    let _done: Option<()> = probes::begun(&context);
    0
}

/// A TLS library has read and decrypted, or not.
#[uretprobe]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_read(context: RetProbeContext) -> u32 {
    let _done: Option<()> = probes::read(&context);
    0
}

/// A TLS library has encrypted and written, or not.
#[uretprobe]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_written(context: RetProbeContext) -> u32 {
    let _done: Option<()> = probes::written(&context);
    0
}

/// A TLS library has had the kernel send a part of a file, or not.
#[uretprobe]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn tls_file_sent(context: RetProbeContext) -> u32 {
    let _done: Option<()> = probes::file_sent(&context);
    0
}

/// A process has made another one, or a thread (`sched_process_fork`).
#[raw_tracepoint]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn process_forked(context: RawTracePointContext) -> i32 {
    let _done: Option<()> = probes::forked(&context);
    0
}

/// A process has become another program (`sched_process_exec`).
#[raw_tracepoint]
fn process_executed(_context: RawTracePointContext) -> i32 {
    probes::executed();
    0
}

/// A thread has ended (`sched_process_exit`).
#[raw_tracepoint]
fn process_ended(_context: RawTracePointContext) -> i32 {
    probes::ended();
    0
}

/// Goes on with a packet that is accepted by `ingress` and may have queries of DNS in it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn dns_queries(context: XdpContext) -> u32 {
    services::dns_queries(&context);
    xdp_action(Passage::end(&context, Direction::In))
}

/// Goes on with a packet that is accepted by `egress` and may have answers of DNS in it.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn dns_answers(context: TcContext) -> i32 {
    services::dns_answers(&context);
    tc_action(Passage::end(&context, Direction::Out))
}

/// Goes on with a packet that is accepted by `ingress` and resets a connection of which nothing is read.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn raw_inbound(context: XdpContext) -> u32 {
    services::raw_inbound(&context);
    xdp_action(Passage::end(&context, Direction::In))
}

/// Goes on with a packet that is accepted by `egress` and opens or resets a connection of which nothing is read.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn raw_outbound(context: TcContext) -> i32 {
    services::raw_outbound(&context);
    tc_action(Passage::end(&context, Direction::Out))
}

#[inline(always)]
fn xdp_action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Accept => XDP_PASS,
        // What is rejected and comes to its end here has no answer.
        Verdict::Drop | Verdict::Reject => XDP_DROP,
        Verdict::Answer => XDP_TX,
    }
}

#[inline(always)]
fn tc_action(verdict: Verdict) -> i32 {
    match verdict {
        // Other programs and filters follow.
        Verdict::Accept => TC_ACT_UNSPEC,
        // Nothing that goes out is answered in the server's stead.
        Verdict::Drop | Verdict::Reject | Verdict::Answer => TC_ACT_SHOT,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";
