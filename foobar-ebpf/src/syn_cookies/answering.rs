//! The answer to a SYN: out by the way that it came.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    helpers::{
        bpf_check_mtu, bpf_fib_lookup, bpf_loop, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
        bpf_xdp_store_bytes,
    },
    programs::XdpContext,
};
use foobar_common::{
    address::Address,
    flow::{Direction, Family, Flow, protocol},
    frame::{Frame, within},
    service::ServiceSettings,
    syn_cookies::{Answer, CookieMode, Passed, SynOffer, SynOptions},
    verdict::Reason,
};

use super::{
    Arrived, Reading, SYN_OFFER, counters, now, pace, reading,
    sockets::{self, Socket},
};
use crate::{
    scratch,
    services::{self, Packet as _, Passage},
    track,
};

const ETHERNET_HEADER: u32 = 14;
const ETHERTYPE_AT: usize = 12;
/// Behind one VLAN tag.
const INNER_ETHERTYPE_AT: usize = 16;
const VLAN_TAG: u32 = 4;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// `AF_INET` and `AF_INET6` of Linux.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `BPF_FIB_LKUP_RET_NOT_FWDED` and `BPF_FIB_LKUP_RET_FWD_DISABLED` of `include/uapi/linux/bpf.h`.
const NOT_FORWARDED: i64 = 4;
const FORWARDS_NOTHING: i64 = 5;
/// What an interface takes of which the kernel does not tell.
const USUAL_MTU: u32 = 1_500;

/// Answers the SYN that is the present packet, or lets it go on to the program of its service.
#[inline(always)]
pub(crate) fn answers(context: &XdpContext) -> Option<()> {
    let service = Passage::service(Direction::In)?;
    match answer(context, service) {
        Ok(()) => {
            let counters = counters(service)?;
            counters.answered = counters.answered.wrapping_add(1);
            track::forget_former();
            services::forget_connection(&scratch::headers(Direction::In)?.flow);
            Passage::answer();
        }
        Err(cause) => {
            if let Some(counters) = counters(service) {
                counters.pass(cause);
            }
            track::follow_held_back();
            services::go_on_in(context);
        }
    }
    Some(())
}

#[inline(always)]
fn answer(context: &XdpContext, service: u32) -> Result<(), Passed> {
    let settings = services::settings_of(service).ok_or(Passed::Inactive)?;
    if !is_active(service, &settings) {
        return Err(Passed::Inactive);
    }
    let headers = &*scratch::headers(Direction::In).ok_or(Passed::Frame)?;
    let flow = &headers.flow;
    let arrived = Arrived { headers, context };
    let frame = context.first_buffer();
    // SAFETY: the context is the one that the kernel gave (Linux 5.18).
    let size = unsafe { bpf_xdp_get_buff_len(context.ctx) };
    if size != frame.first_buffer() as u64 {
        return Err(Passed::Frame);
    }
    let link = plain_link(&frame, arrived).ok_or(Passed::Header)?;
    let offer = offer().ok_or(Passed::Frame)?;
    let reading = reading().ok_or(Passed::Frame)?;
    sockets::prepare(reading, arrived).ok_or(Passed::Frame)?;
    if offer.forwards != 0 && !is_local(reading, flow, context) {
        return Err(Passed::Route);
    }
    let socket = Socket::find(reading, flow.family, context).ok_or(Passed::NoListener)?;
    if !socket.is_listening() {
        socket.release();
        return Err(Passed::Connection);
    }
    let cookie = socket.cookie(reading, flow.family);
    socket.release();
    let cookie = cookie?;
    read_options(reading);
    let [_, _, _, _, n0, n1, n2, n3, ..] = reading.tcp;
    let answer = Answer {
        flow,
        sequence: u32::from_be_bytes([n0, n1, n2, n3]),
        cookie,
        mtu: mtu(context),
        now: now(),
        options: &reading.options,
        offer,
    };
    let length = answer.length();
    answer.write(&mut reading.answer);
    send(context, reading, link, length)
}

/// Whether cookies are sent; counts the SYN.
#[inline(always)]
fn is_active(service: u32, settings: &ServiceSettings) -> bool {
    if settings.cookies == CookieMode::Always.number() {
        return true;
    }
    let Some(pace) = pace(service) else { return false };
    // SAFETY: adds to a word of a map, in one step for all processors.
    unsafe {
        asm!("lock *(u64 *)({seen} + 0) += {one}", seen = in(reg) pace.seen.as_ptr(), one = in(reg) 1_u64, options(nostack));
    };
    pace.notice(settings.cookies_start, settings.cookies_stop, now())
}

/// Where the IP header begins, if it has nothing but addresses that say anything, behind at most two VLAN tags, and comes
/// from one machine for one.
#[inline(always)]
fn plain_link(frame: &Frame<'_>, arrived: Arrived<'_>) -> Option<u32> {
    let Arrived { headers, .. } = arrived;
    let flow = &headers.flow;
    let [destination, ..] = frame.read::<[u8; ETHERTYPE_AT]>(0, Reason::TruncatedLink).ok()?;
    if destination & 1 != 0 || !is_single(flow) {
        return None;
    }
    let mut link = ETHERNET_HEADER;
    if is_tag(frame, ETHERTYPE_AT)? {
        link = link.wrapping_add(VLAN_TAG);
        if is_tag(frame, INNER_ETHERTYPE_AT)? {
            link = link.wrapping_add(VLAN_TAG);
        }
    }
    let network = match flow.family {
        Family::V4 => IPV4_HEADER,
        Family::V6 => IPV6_HEADER,
    };
    (link.wrapping_add(network) == headers.transport).then_some(link)
}

#[inline(always)]
fn is_tag(frame: &Frame<'_>, at: usize) -> Option<bool> {
    let kind = u16::from_be_bytes(frame.read(at, Reason::TruncatedLink).ok()?);
    Some(matches!(kind, VLAN | SERVICE_VLAN))
}

/// Whether both addresses are those of one machine each, as far as that can be told from them: no loopback, multicast,
/// broadcast or unspecified ones.
#[inline(always)]
fn is_single(flow: &Flow) -> bool {
    let single = |address: &Address| match flow.family {
        Family::V4 => {
            let first = address.number_v4() >> 24;
            first != 0 && first != 127 && first < 224
        }
        Family::V6 => {
            let [w0, w1, w2, w3] = address.quarters().map(u32::from_be);
            w0 >> 24 != 0xff && (w0 != 0 || w1 != 0 || w2 != 0 || w3 > 1)
        }
    };
    single(&flow.source) && single(&flow.destination)
}

/// Whether the SYN is for this machine, which forwards others.
#[inline(always)]
#[expect(clippy::host_endian_bytes, reason = "words are as memory has them")]
fn is_local(reading: &mut Reading, flow: &Flow, context: &XdpContext) -> bool {
    let family = match flow.family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    };
    let ([s0, s1], [d0, d1]) = (flow.source_port, flow.destination_port);
    let first = u32::from_ne_bytes([family, protocol::TCP, s0, s1]);
    let second = u32::from_ne_bytes([d0, d1, 0, 0]);
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (flow.source.quarters(), flow.destination.quarters());
    // SAFETY: the context is the one that the kernel gave.
    let index = unsafe { (*context.ctx).ingress_ifindex };
    reading.route = [first, second, index, 0, s0, s1, s2, s3, d0, d1, d2, d3, 0, 0, 0, 0];
    let route = (&raw mut reading.route).cast();
    // SAFETY: the context is the packet's, and there are so many bytes (Linux 4.18).
    let found = unsafe { bpf_fib_lookup(context.ctx.cast(), route, 64, 0) };
    found == NOT_FORWARDED || found == FORWARDS_NOTHING
}

/// Reads the options of the SYN, turn by turn: what changes on the stack would be followed in each.
#[inline(always)]
fn read_options(reading: &mut Reading) {
    reading.options = SynOptions::new();
    let mut turn = Turn { reading };
    // SAFETY: the callback has the signature that the helper asks for, and its argument outlives the call.
    unsafe {
        bpf_loop(
            SynOptions::MOST,
            next_option as unsafe extern "C" fn(u32, *mut Turn<'_>) -> i64 as *mut c_void,
            (&raw mut turn).cast(),
            0,
        );
    }
}

struct Turn<'r> {
    reading: &'r mut Reading,
}

/// One option; 1 ends the loop.
unsafe extern "C" fn next_option(_number: u32, turn: *mut Turn<'_>) -> i64 {
    // SAFETY: the argument that was given to the helper.
    let Turn { reading } = unsafe { &mut *turn };
    let Reading { tcp, options, length, .. } = reading;
    i64::from(!options.step(tcp, *length))
}

/// Puts the answer in the place of the SYN.
#[inline(always)]
fn send(context: &XdpContext, reading: &mut Reading, link: u32, length: u32) -> Result<(), Passed> {
    let frame = context.first_buffer();
    let present = frame.first_buffer();
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] =
        frame.read::<[u8; ETHERTYPE_AT]>(0, Reason::TruncatedLink).map_err(|_short| Passed::Frame)?;
    let wanted = link.wrapping_add(length).cast_signed();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "no buffer is 2 GiB long"
    )]
    let more = wanted.wrapping_sub(present as i32);
    // SAFETY: the context is the one that the kernel gave.
    if unsafe { bpf_xdp_adjust_tail(context.ctx, more) } != 0 {
        return Err(Passed::Frame);
    }
    let mut addresses = [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5];
    let place = (&raw mut addresses).cast::<c_void>();
    // SAFETY: the context is the packet's, and there are so many bytes.
    let is_addressed = unsafe { bpf_xdp_store_bytes(context.ctx, 0, place, 12) } == 0;
    let link = within::<31>(link);
    // As in `sockets::prepare`.
    let length = within::<127>(length.wrapping_sub(1)).wrapping_add(1);
    let place = (&raw mut reading.answer).cast::<c_void>();
    // SAFETY: as above.
    let is_written = unsafe { bpf_xdp_store_bytes(context.ctx, link, place, length) } == 0;
    if !is_addressed || !is_written {
        // What is left of it is no packet. There is room for all of this, so it never comes to that.
        Passage::refuse(Direction::In, Reason::Internal);
    }
    Ok(())
}

/// The largest packet that the interface takes (Linux 5.12).
#[inline(always)]
fn mtu(context: &XdpContext) -> u32 {
    let mut mtu = 0;
    // SAFETY: the context is the packet's; the length is written to a live variable.
    unsafe { bpf_check_mtu(context.ctx.cast(), 0, &raw mut mtu, 0, 0) };
    if mtu == 0 { USUAL_MTU } else { mtu }
}

#[inline(always)]
fn offer() -> Option<&'static SynOffer> {
    SYN_OFFER.get(0)
}
