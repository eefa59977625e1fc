//! The BPF object that this binary carries.

/// The object file.
pub static BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/foobar"));

/// Where it comes from.
pub const ORIGIN: &str = "built from source";
