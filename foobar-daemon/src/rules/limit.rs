//! Up to which rate a rule holds.

use std::{fmt, time::Duration};

use foobar_common::verdict::Verdict;

/// `limit` and `over` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many packets …
    pub packets: u32,
    /// … in such a span.
    pub span: RateSpan,
    /// How many packets can come at once.
    pub burst: u32,
    /// Whose packets are counted together.
    pub per: Per,
    /// What becomes of packets over the limit.
    pub over: Verdict,
    /// For how long those are banned whose packets are counted together and go over it.
    pub ban: Option<Duration>,
}

/// Whose packets a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// All that meet the rule.
    Rule,
    /// Those from the same prefix of these lengths.
    Source {
        /// Of IPv4.
        v4: u8,
        /// Of IPv6.
        v6: u8,
    },
    /// Those of the client that a proxy speaks for; where none does, from the same source.
    Client,
}

/// Bits of an address whose packets are counted together, unless a rule says otherwise: of IPv6, those of a network that one
/// customer has.
pub const SOURCE_LENGTHS: [u8; 2] = [32, 64];

impl Per {
    /// Those from the same address of IPv4, or the same network of IPv6.
    pub const SOURCE: Self = {
        let [v4, v6] = SOURCE_LENGTHS;
        Self::Source { v4, v6 }
    };

    /// How many bits of an address of IPv4, and of one of IPv6, tell apart whose packets they are; `None` if none do.
    pub const fn prefix(self) -> Option<[u8; 2]> {
        match self {
            Self::Rule => None,
            Self::Source { v4, v6 } => Some([v4, v6]),
            Self::Client => Some(SOURCE_LENGTHS),
        }
    }
}

/// The span of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateSpan {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
}

impl RateSpan {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// Its letter in the rule file.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }

    const fn nanoseconds(self) -> u64 {
        let seconds = match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        };
        seconds * 1_000_000_000
    }
}

/// So many of something in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many, at least one …
    pub packets: u32,
    /// … in such a span.
    pub span: RateSpan,
}

impl Rate {
    /// Nanoseconds that the rate has for one.
    pub const fn interval(&self) -> u64 {
        self.span.nanoseconds() / self.packets as u64
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.packets, self.span.letter())
    }
}

impl RateLimit {
    /// Nanoseconds that the rate has for one packet.
    pub const fn interval(&self) -> u64 {
        Rate { packets: self.packets, span: self.span }.interval()
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, span, burst, per, over, ban } = self;
        write!(formatter, "{packets}/{} burst {burst} per ", span.letter())?;
        match per {
            Per::Rule => formatter.write_str("rule")?,
            Per::Client => formatter.write_str("client")?,
            Per::Source { v4: 32, v6: 64 } => formatter.write_str("source")?,
            Per::Source { v4, v6: 64 } => write!(formatter, "source/{v4}")?,
            Per::Source { v4: _, v6 } => write!(formatter, "source/{v6}")?,
        }
        match ban {
            Some(time) => write!(formatter, ", over ban {}", humantime::format_duration(*time)),
            None => write!(formatter, ", over {}", over.label()),
        }
    }
}
