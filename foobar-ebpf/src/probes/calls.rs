//! Calls of the TLS library that read or write the bytes of a connection.
//!
//! What counts is what a call has done: a write that has to wait is asked for again, with the same bytes, and a read
//! says only at its end how many there are. So what was asked is kept until the call returns.

use core::hint::black_box;

use aya_ebpf::{
    EbpfContext as _,
    btf_maps::LruHashMap,
    helpers::{bpf_probe_read_user, generated::bpf_get_attach_cookie},
    macros::btf_map,
    programs::{ProbeContext, RetProbeContext},
};
use foobar_common::{
    connection::Connection,
    plaintext::{CALLS_MAX, Call, Done, TlsObject},
};

use super::{
    objects::{find_or_lose, is_read},
    processes,
    reading::{self, Bytes},
    way::{Requests, Responses, Way},
};

#[btf_map]
static TLS_CALLS: LruHashMap<u64, Call, { CALLS_MAX as usize }> = LruHashMap::new();

/// A call begins.
#[inline(always)]
pub(crate) fn begun(context: &ProbeContext) -> Option<()> {
    processes::present()?;
    // SAFETY: the context is the one that the kernel gave (Linux 5.15).
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
    // Otherwise the compiler chooses an address and reads once: "dereference of modified ctx ptr R2 off=88 disallowed"
    // (Linux 6.18).
    let (fourth, fifth): (u64, u64) = (black_box(context.arg(3)?), black_box(context.arg(4)?));
    let done = if cookie == Done::Fifth as u64 {
        fifth
    } else if cookie == Done::Fourth as u64 {
        fourth
    } else {
        0
    };
    let call = Call { object: context.arg(0)?, buffer: context.arg(1)?, length: context.arg(2)?, done };
    TLS_CALLS.insert(processes::thread(), call, 0).ok()
}

/// A call that reads has returned.
#[inline(always)]
pub(crate) fn read(context: &RetProbeContext) -> Option<()> {
    returned::<Requests>(context)
}

/// A call that writes has returned.
#[inline(always)]
pub(crate) fn written(context: &RetProbeContext) -> Option<()> {
    returned::<Responses>(context)
}

/// A call that sends a part of a file, which the kernel reads and encrypts by itself (kernel TLS), has returned.
#[inline(always)]
pub(crate) fn file_sent(context: &RetProbeContext) -> Option<()> {
    let process = processes::present()?;
    let sent: i64 = context.ret();
    if sent <= 0 {
        return None;
    }
    let Call { object, .. } = call()?;
    let object = TlsObject { instance: process.instance, address: object };
    let connection: &'static Connection = find_or_lose(&object, &process)?;
    if is_read(connection) {
        reading::pass_over::<Responses>(&process, &object, connection, sent.unsigned_abs());
    }
    Some(())
}

#[inline(always)]
fn returned<W: Way>(context: &RetProbeContext) -> Option<()> {
    let process = processes::present()?;
    let returned: i32 = context.ret();
    if returned <= 0 {
        return None;
    }
    let Call { object, buffer, length, done } = call()?;
    let done = if done == 0 {
        u64::from(returned.unsigned_abs())
    } else {
        // SAFETY: the helper takes any address (Linux 5.5).
        unsafe { bpf_probe_read_user(done as *const u64) }.ok()?
    };
    // No library says that it has done more than it was asked for.
    let length = if done < length { done } else { length };
    if length == 0 {
        return None;
    }
    let object = TlsObject { instance: process.instance, address: object };
    let connection: &'static Connection = find_or_lose(&object, &process)?;
    if is_read(connection) {
        reading::read::<W>(&process, &object, connection, Bytes { address: buffer, length });
    }
    Some(())
}

/// The call of this thread that returns.
#[inline(always)]
fn call() -> Option<Call> {
    let place = TLS_CALLS.get_ptr(processes::thread())?;
    // SAFETY: the map gave the pointer, and only this thread's calls are there. If it was forgotten meanwhile, this is
    // another call of a watched process, and is counted as that one's.
    Some(unsafe { *place })
}
