//! The bytes of one direction of a TCP connection, for protocols that are read word by word.

use core::cell::Cell;

use crate::{flow::Direction, service::Loss};

/// How far one direction has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Followed {
    /// Not zero while a processor is at this direction.
    pub lock: Cell<u64>,
    /// Sequence number of the next byte.
    pub next: Cell<u32>,
    /// Which blocks are kept of bytes that came before others: a [`crate::ahead::Window`].
    pub ahead: Cell<u32>,
}

impl Followed {
    /// Of a direction that nothing has been read of.
    pub const fn new() -> Self {
        Self { lock: Cell::new(0), next: Cell::new(0), ahead: Cell::new(0) }
    }
}

/// Reads one direction of a connection, in any portions.
pub trait Reader {
    /// Which one.
    const DIRECTION: Direction;

    /// Gives up if the other side has shown that nobody can go on; to be asked before each segment.
    fn notice(&mut self);
    /// Whether nothing more is read.
    fn is_lost(&self) -> bool;
    /// The side is no longer followed.
    fn lose(&mut self, loss: Loss);
    /// Whether nothing that counts is in as many of the next bytes.
    fn can_miss(&self, bytes: u64) -> bool;
    /// Passes over as many of the next `bytes` as need no look, and says how many.
    fn pass(&mut self, bytes: u32) -> u32;
    /// Reads bytes of a word, of which there are `bytes`, one to eight, the lowest first; how many it has read, at least
    /// one.
    fn read(&mut self, word: u64, bytes: u32) -> u32;
}
