//! Where in OpenSSL's library probes go.
//!
//! A probe is a breakpoint. What it costs is decided by the instruction that it stands on: some the kernel carries out
//! itself (`push`, jumps, calls), the others it has the processor do in a single step, which traps once more. So probes
//! stand on a `push` where they can. `SSL_read` and `SSL_read_ex` begin with another instruction, but both do nothing but
//! call one function that is in no table of symbols, and that one begins with a `push`; the same for writing.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow};
use foobar_common::plaintext::Done;
use object::{Architecture, Object as _, ObjectSegment as _, ObjectSymbol as _, read::File};

/// What the name of the first argument's type is told by: the library has it since `written` is the fifth argument.
const WITH_FLAGS: &str = "SSL_write_ex2";
/// `endbr64`, with which functions begin that may be jumped to.
const LANDING: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// `call`, to an address that is relative to the next instruction.
const CALL: u8 = 0xe8;

/// Offsets in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Points {
    /// An object becomes the server's side.
    pub(super) accepting: u64,
    /// An object becomes the client's side.
    pub(super) connecting: u64,
    /// An object is given back.
    pub(super) freed: u64,
    /// Functions that read.
    pub(super) reads: Vec<CallPoint>,
    /// Functions that write.
    pub(super) writes: Vec<CallPoint>,
    /// Functions that send a part of a file.
    pub(super) files: Vec<CallPoint>,
}

/// The beginning of a function that reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallPoint {
    pub(super) offset: u64,
    /// How the function tells what it has done.
    pub(super) done: Done,
}

/// Finds them in the bytes of the library.
///
/// # Errors
/// Names the function that is missing.
pub(super) fn points(bytes: &[u8]) -> Result<Points> {
    let elf = File::parse(bytes).context("read the library as ELF")?;
    let code = Code { elf: &elf };
    let written = if code.function(WITH_FLAGS).is_ok() { Done::Fifth } else { Done::Fourth };
    let beginning = |name| code.function(name).map(|function| function.offset + cheap(function.bytes));
    Ok(Points {
        accepting: beginning("SSL_set_accept_state")?,
        connecting: beginning("SSL_set_connect_state")?,
        freed: beginning("SSL_free")?,
        reads: code.calls(["SSL_read", "SSL_read_ex"], Done::Fourth)?,
        writes: code.calls(["SSL_write", "SSL_write_ex"], written)?,
        // A library that is made without kernel TLS may have none.
        files: code.function("SSL_sendfile").ok().map(returning).into_iter().collect(),
    })
}

struct Code<'e> {
    elf: &'e File<'e>,
}

struct Function<'e> {
    /// Where it lies in memory, relative to the library.
    address: u64,
    /// Where it lies in the file.
    offset: u64,
    bytes: &'e [u8],
}

impl<'e> Code<'e> {
    fn function(&self, name: &str) -> Result<Function<'e>> {
        let symbol =
            self.elf.dynamic_symbols().find(|symbol| symbol.is_definition() && symbol.name() == Ok(name));
        let symbol = symbol.with_context(|| format!("the library has no function {name}"))?;
        self.at(symbol.address(), symbol.size()).ok_or_else(|| anyhow!("{name} lies outside of the library"))
    }

    fn at(&self, address: u64, size: u64) -> Option<Function<'e>> {
        let mut segments = self.elf.segments();
        let segment = segments.find(|segment| address.wrapping_sub(segment.address()) < segment.size())?;
        let inside = address - segment.address();
        let bytes = segment.data().ok()?;
        let bytes = bytes.get(usize::try_from(inside).ok()?..)?;
        let bytes = bytes.get(..usize::try_from(size).ok()?)?;
        Some(Function { address, offset: segment.file_range().0 + inside, bytes })
    }

    /// The function that both call, or both themselves.
    fn calls(&self, [plain, extended]: [&str; 2], done: Done) -> Result<Vec<CallPoint>> {
        let (plain, extended) = (self.function(plain)?, self.function(extended)?);
        if self.elf.architecture() == Architecture::X86_64 {
            let common: Vec<u64> = targets(&plain).intersection(&targets(&extended)).copied().collect();
            if let [address] = common[..]
                && let Some(function) = self.at(address, 16)
                && let Some(offset) = push(function.bytes)
            {
                return Ok(vec![CallPoint { offset: function.offset + offset, done }]);
            }
        }
        // The second has no flags in any version.
        Ok(vec![returning(plain), CallPoint { done: Done::Fourth, ..returning(extended) }])
    }
}

/// A function that returns what it has done.
fn returning(Function { address: _, offset, bytes }: Function<'_>) -> CallPoint {
    CallPoint { offset: offset + push(bytes).unwrap_or(0), done: Done::Returned }
}

/// What a function may call. Among them can be what only looks like a call.
fn targets(function: &Function<'_>) -> BTreeSet<u64> {
    let mut targets = BTreeSet::new();
    for (place, window) in (0_u64..).zip(function.bytes.windows(5)) {
        if let [CALL, a, b, c, d] = window {
            let distance = i64::from(i32::from_le_bytes([*a, *b, *c, *d]));
            targets.insert((function.address + place + 5).wrapping_add_signed(distance));
        }
    }
    targets
}

/// How far into a function that begins so its first `push` is, if nothing but a landing stands before it: the address to
/// return to then still is where a function finds it.
fn push(bytes: &[u8]) -> Option<u64> {
    let (skipped, bytes) =
        bytes.strip_prefix(&LANDING).map_or((0, bytes), |rest| (LANDING.len() as u64, rest));
    // Of one of the first eight registers, or of one of the others.
    matches!(bytes, [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..]).then_some(skipped)
}

/// How far into a function that begins so the first instruction is that the kernel carries out itself, where arguments
/// still are in their registers.
fn cheap(bytes: &[u8]) -> u64 {
    // `test %rdi,%rdi` and a jump.
    let is_test =
        matches!(bytes, [0x48, 0x85, 0xff, 0x70..=0x7f, ..] | [0x48, 0x85, 0xff, 0x0f, 0x80..=0x8f, ..]);
    push(bytes).unwrap_or(if is_test { 3 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_both_call_are_found() {
        // From Debian's libssl3 3.0.19: SSL_read_ex at 0x354c0.
        let extended = [0x48, 0x83, 0xec, 0x08, 0xe8, 0xc7, 0xfd, 0xff, 0xff, 0x31, 0xd2];
        let function = Function { address: 0x354c0, offset: 0, bytes: &extended };
        assert_eq!(targets(&function), BTreeSet::from([0x35290]));
    }

    #[test]
    fn instructions_that_cost_little_are_known() {
        assert_eq!(push(&[0x41, 0x55, 0x41, 0x54]), Some(0));
        assert_eq!(push(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55]), Some(4));
        assert_eq!(push(&[0x48, 0x83, 0xec, 0x18]), None);
        assert_eq!(cheap(&[0x53, 0x48]), 0);
        assert_eq!(cheap(&[0x48, 0x85, 0xff, 0x0f, 0x84, 0x97, 0x03]), 3);
        assert_eq!(cheap(&[0x48, 0x83, 0xec, 0x18]), 0);
    }

    #[test]
    fn what_is_no_library_is_refused() {
        assert!(points(b"no library").is_err());
    }
}
