//! Datagrams that come in fragments: the first tells what becomes of the others, which have no ports.

use super::{Moment, seconds};
use crate::{
    address::Address,
    flow::{Family, Flow},
};

/// How many datagrams in fragments are kept: those that were begun or went on last.
pub const DATAGRAMS_MAX: u32 = 16_384;

/// How long the fragments of a datagram follow its first: as long as Linux waits for them (`ipfrag_time`).
const PATIENCE: u32 = 30;

/// Which datagram: what all of its fragments have in common (RFC 791 section 2.3, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct DatagramKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification, as memory has it.
    pub identification: u32,
    /// [`Family`] times 256, and of IPv4 the IP protocol number: in IPv6, it stands behind headers that the first
    /// fragment alone has.
    pub kind: u32,
}

impl DatagramKey {
    /// That of a fragment.
    #[inline(always)]
    pub const fn of(flow: &Flow, identification: u32) -> Self {
        let kind = match flow.family {
            Family::V4 => (Family::V4 as u32) << 8 | flow.protocol as u32,
            Family::V6 => (Family::V6 as u32) << 8,
        };
        Self { source: flow.source, destination: flow.destination, identification, kind }
    }
}

/// What became of the first fragment of a datagram, which was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Datagram {
    /// The number of the [`crate::verdict::Reason`].
    pub reason: u32,
    /// From then on nothing follows it any more.
    pub until: Moment,
    /// Counter slot of the rule that matched, or [`crate::rule::NO_RULE`].
    pub rule: u32,
    /// Counter slot of the port.
    pub port: u32,
    /// [`crate::service::Protocol`] of its service as a number, or the one of none.
    pub protocol: u32,
    /// Counter slot of the group of peers that the other end is in.
    pub group: u32,
}

impl Datagram {
    /// When nothing follows any more what begins now.
    #[inline(always)]
    pub const fn until(now: Moment) -> Moment {
        now.after(seconds(PATIENCE))
    }

    /// Whether fragments still follow it.
    #[inline(always)]
    pub const fn is_known(&self, now: Moment) -> bool {
        self.until.is_after(now)
    }
}
