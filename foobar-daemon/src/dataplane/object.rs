//! The compiled BPF programs, embedded in the binary.

/// An ELF object with BTF and without DWARF.
pub static BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/foobar.o"));

/// How it came here: `built from source` or `kept object`.
pub const ORIGIN: &str = env!("FOOBAR_BPF_ORIGIN");
