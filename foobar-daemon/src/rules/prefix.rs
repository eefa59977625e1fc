//! Prefixes of both families as one kind of number, for tables.

use ipnet::IpNet;

/// A prefix of either family; IPv4 is in the upper 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix {
    /// The address; bits behind the prefix are zero.
    pub(crate) bits: u128,
    /// How many bits of it count.
    pub(crate) length: u8,
}

impl Prefix {
    /// The prefix of an address with its length.
    pub(crate) fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(net) => {
                Self { bits: u128::from(net.network().to_bits()) << 96, length: net.prefix_len() }
            }
            IpNet::V6(net) => Self { bits: net.network().to_bits(), length: net.prefix_len() },
        }
    }

    /// Whether all addresses of the other are in this.
    pub(crate) fn contains(self, other: Self) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
        self.length <= other.length && (self.bits ^ other.bits) & mask == 0
    }
}
