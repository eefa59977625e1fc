//! What is kept of processes whose TLS library tells what it encrypts and decrypts.
//!
//! Probes on the library see each call that reads or writes the bytes of a connection, and read them as
//! [`crate::http1`] does. A connection is the library's object for it, in a process; nothing is known of its addresses.

/// How many processes can be watched at a time.
pub const PROCESSES_MAX: u32 = 4_096;
/// How many calls can be under way at a time; the one that was begun longest ago is forgotten.
pub const CALLS_MAX: u32 = 8_192;
/// Of how many processes that are not watched connections are counted.
pub const STRANGERS_MAX: u32 = 1_024;

/// A process whose TLS is read, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct WatchedProcess {
    /// Counter slot of the service.
    pub service: u64,
    /// Different for each process that ever was: ids of processes come back.
    pub instance: u64,
}

impl WatchedProcess {
    /// The bit of an instance that user space has numbered. Others are times at which the kernel has made the process,
    /// in nanoseconds.
    pub const NUMBERED: u64 = 1 << 63;
}

/// A connection, as a TLS library has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TlsObject {
    /// [`WatchedProcess::instance`].
    pub instance: u64,
    /// Address of the object in that process (`SSL *`).
    pub address: u64,
}

/// A call of the library that has not yet returned, by the thread that has called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Call {
    /// Address of the object.
    pub object: u64,
    /// Address of the bytes.
    pub buffer: u64,
    /// How many there are to write, or there is room for.
    pub length: u64,
    /// Where the library says how many it has read or written; zero if the call returns that.
    pub done: u64,
}

/// Which argument of a function is [`Call::done`], counted from zero; none is at 0. This is the cookie of its probe
/// (`bpf_get_attach_cookie`, Linux 5.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Done {
    /// What the call returns.
    Returned = 0,
    /// The fourth one.
    Fourth = 3,
    /// The fifth one.
    Fifth = 4,
}
