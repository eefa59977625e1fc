//! Which processes are watched.
//!
//! User space finds them and enters them. The kernel knows at once of those that they make themselves, such as the
//! workers of a server that was told to reload, and of those that end.

use aya_ebpf::{
    Global,
    bindings::BPF_NOEXIST,
    btf_maps::{HashMap, LruHashMap},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_probe_read_kernel},
    macros::btf_map,
    programs::RawTracePointContext,
};
use foobar_common::plaintext::{PROCESSES_MAX, STRANGERS_MAX, WatchedProcess};

#[btf_map]
static PROCESSES: HashMap<u32, WatchedProcess, { PROCESSES_MAX as usize }> = HashMap::new();
#[btf_map]
static STRANGERS: LruHashMap<u32, u64, { STRANGERS_MAX as usize }> = LruHashMap::new();

/// Where `tgid` lies in the kernel's `task_struct`, which differs from build to build; zero if that is not known.
#[unsafe(no_mangle)]
static TASK_PROCESS_ID: Global<u64> = Global::new(0);

/// The process that runs, if it is watched.
#[inline(always)]
pub(super) fn present() -> Option<WatchedProcess> {
    find(process_id())
}

/// The thread that runs.
#[inline(always)]
pub(super) fn thread() -> u64 {
    // Only reads what the kernel has at hand (Linux 4.2).
    bpf_get_current_pid_tgid()
}

/// The process that runs has taken a connection and is not watched.
#[inline(always)]
pub(super) fn count_stranger() {
    let process = process_id();
    if let Some(count) = STRANGERS.get_ptr_mut(process) {
        // SAFETY: the map gave the pointer. Of two threads that count at once, one may be lost.
        let count: &mut u64 = unsafe { &mut *count };
        *count = count.wrapping_add(1);
        return;
    }
    // Without room, others have been forgotten.
    let _counted: Result<(), i32> = STRANGERS.insert(process, 1_u64, 0);
}

/// A process has made another one: it serves what its maker serves, unless it becomes another program.
#[inline(always)]
pub(crate) fn forked(context: &RawTracePointContext) -> Option<()> {
    let maker = find(process_id())?;
    let offset = TASK_PROCESS_ID.load();
    if offset == 0 {
        return None;
    }
    // The second argument of the tracepoint is the new task (`include/trace/events/sched.h`).
    let task: u64 = context.arg(1);
    let mut process: u64 = 0;
    let place = (&raw mut process).cast();
    // SAFETY: there is room for four bytes, and the helper takes any address of the kernel (Linux 5.5).
    if unsafe { bpf_probe_read_kernel(place, 4, task.wrapping_add(offset) as *const _) } != 0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "four bytes were read")]
    let process = process as u32;
    if process == process_id() {
        // A thread.
        return None;
    }
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    let instance = unsafe { bpf_ktime_get_ns() };
    PROCESSES.insert(process, WatchedProcess { instance, ..maker }, BPF_NOEXIST.into()).ok()
}

/// The process that runs has become another program: user space looks whether it serves anything.
#[inline(always)]
pub(crate) fn executed() {
    forget(process_id());
}

/// A thread has ended; with the first one of a process, the process.
#[inline(always)]
pub(crate) fn ended() {
    let thread = thread();
    if thread >> 32 == thread & 0xffff_ffff {
        forget(process_id());
    }
}

#[inline(always)]
fn find(process: u32) -> Option<WatchedProcess> {
    let place = PROCESSES.get_ptr(process)?;
    // SAFETY: the map gave the pointer. An entry that is removed meanwhile may be used again for another process, whose
    // objects have other addresses or are taken anew.
    Some(unsafe { *place })
}

#[inline(always)]
fn forget(process: u32) {
    if PROCESSES.get_ptr(process).is_some() {
        // Somebody else may have removed it.
        let _gone: Result<(), i32> = PROCESSES.remove(process);
    }
}

#[inline(always)]
fn process_id() -> u32 {
    (thread() >> 32) as u32
}
