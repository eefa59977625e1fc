//! The headers of the present packet.

use foobar_common::{flow::Direction, frame::Frame, parse, verdict::Reason};

use crate::{scratch, track};

/// What a packet says of itself.
pub(crate) struct Headers {
    /// Its headers, or why they cannot be read.
    pub(crate) parsed: Result<&'static parse::Headers, Reason>,
}

/// What a packet counts for, on the wire.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Size {
    /// Packets.
    pub(crate) packets: u64,
    /// Bytes of whole frames, Ethernet header included, checksum (FCS) not.
    pub(crate) bytes: u64,
}

impl Headers {
    /// From what [`read`] said.
    #[inline(always)]
    pub(crate) fn new(direction: Direction, read: u32) -> Self {
        let parsed = match Reason::from_number(read) {
            Some(reason) => Err(reason),
            None => scratch::headers(direction).map(|headers| &*headers).ok_or(Reason::Internal),
        };
        Self { parsed }
    }
}

/// Puts what [`foobar_common::parse::parse`] says of a packet into [`scratch`], in steps that the verifier can follow.
/// `tag` is the id of a VLAN tag that lies beside the frame. For [`split`].
#[inline(always)]
pub(crate) fn read(frame: &Frame<'_>, tag: u16, direction: Direction) -> u64 {
    let reason = match steps(frame, tag, direction) {
        Ok(()) => {
            track::note(frame, scratch::headers(direction).map(|headers| &*headers), direction);
            READ
        }
        Err(reason) => reason.number(),
    };
    u64::from(frame.length()) << 32 | u64::from(reason)
}

/// A function, since a closure may become one of its own, with a stack frame of its own.
#[inline(always)]
fn steps(frame: &Frame<'_>, tag: u16, direction: Direction) -> Result<(), Reason> {
    parse::network(frame, tag, scratch::headers(direction).ok_or(Reason::Internal)?)?;
    parse::transport(frame, scratch::headers(direction).ok_or(Reason::Internal)?)
}

/// The length of all buffers of the packet together, in bytes, and the number of a reason or [`READ`]: a function of
/// its own returns one register.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "each half is wanted")]
pub(crate) fn split(read: u64) -> (u32, u32) {
    ((read >> 32) as u32, read as u32)
}

/// No [`Reason`] has this number.
const READ: u32 = u32::MAX;
