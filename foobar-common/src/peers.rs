//! What is counted of the connections of a group of peers.
//!
//! A connection is counted once: here if its client is in a group that the rules name, and otherwise where connections of
//! its protocol are counted anyway.

use crate::service::{FirstBytes, SESSION_KINDS, add, add_all, count_session};

/// Connections of the peers of a group to a service port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PeerConnections {
    /// By their [`FirstBytes`], where those are looked at: those of a port that speaks HTTP or TLS.
    pub first_bytes: [u64; FirstBytes::COUNT as usize],
    /// Sessions of MySQL, as in [`crate::service::MysqlCounters::sessions`].
    pub sessions: [u64; SESSION_KINDS as usize],
    /// Those of which nothing is read, as in [`crate::raw::RawCounters::opened`].
    pub opened: u64,
}

impl PeerConnections {
    /// Counts a connection that begins with this.
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "there is one for each")]
    pub fn begun(&mut self, first: FirstBytes) {
        add(&mut self.first_bytes[first as usize], 1);
    }

    /// Counts a session of MySQL.
    #[inline(always)]
    pub fn session(&mut self, is_encrypted: bool, is_compressed: bool) {
        count_session(&mut self.sessions, is_encrypted, is_compressed);
    }

    /// Adds another processor's, or another group's.
    pub fn add(&mut self, other: &Self) {
        let Self { first_bytes, sessions, opened } = other;
        add_all(&mut self.first_bytes, first_bytes);
        add_all(&mut self.sessions, sessions);
        add(&mut self.opened, *opened);
    }
}
