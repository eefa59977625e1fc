//! The headers of the present packet.

use aya_ebpf::programs::XdpContext;
use foobar_common::{flow::Flow, parse, verdict::Reason};

use crate::{scratch, window};

/// What a packet says of itself.
pub(crate) struct Headers {
    /// The length of all its buffers together, in bytes.
    pub(crate) length: u32,
    /// Its headers, or why they cannot be read.
    pub(crate) flow: Result<&'static Flow, Reason>,
}

impl Headers {
    /// Reads them.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    pub(crate) fn of(context: &XdpContext) -> Self {
        let parsed = parse(context);
        let flow = match Reason::from_number(parsed as u32) {
            Some(reason) => Err(reason),
            None => scratch::flow().ok_or(Reason::Internal),
        };
        Self { length: (parsed >> 32) as u32, flow }
    }
}

/// Puts what [`foobar_common::parse::parse`] says of a packet into [`scratch`], in steps that the verifier can follow.
/// Gives its length in the upper half, and the number of a reason or [`READ`] in the lower one. A function of its own,
/// so that its stack is free again afterwards: 512 bytes are all that there are.
#[inline(never)]
fn parse(context: &XdpContext) -> u64 {
    let frame = window::of(context);
    let parse = || {
        parse::network(&frame, scratch::headers().ok_or(Reason::Internal)?)?;
        parse::transport(&frame, scratch::headers().ok_or(Reason::Internal)?)
    };
    let reason = match parse() {
        Ok(()) => READ,
        Err(reason) => reason.number(),
    };
    u64::from(frame.length()) << 32 | u64::from(reason)
}

/// No [`Reason`] has this number.
const READ: u32 = u32::MAX;
