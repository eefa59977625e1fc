//! Address sets as the kernel sees them: from an address to the combination of sets that it is in.
//!
//! All sets together are one table of [`Line`]s, made anew and swapped in one step whenever a set changes. Each
//! prefix of any set is stored once, with the class of those addresses for which it is the longest: a number that
//! stands for a combination of sets. So an address costs the same however many sets there are, and however many
//! rules name them.
//!
//! The prefixes of a family are in buckets of one cache line, by a hash of prefix and length; a lookup tries each
//! length that there is, longest first. For IPv4 a bitmap of all /24 networks comes before: most packets are in no
//! set, and cost one look at it.
//!
//! (Waldvogel et al., Scalable High Speed IP Routing Lookups, SIGCOMM 1997, on hashing by prefix length.)

/// 64 bytes of the table of sets; one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line {
    /// What they hold depends on where the line is.
    pub words: [u64; LINE_WORDS],
}

/// Words of a [`Line`].
pub const LINE_WORDS: usize = 8;
/// The class of addresses that are in no set.
pub const NO_SET: u32 = 0;
/// The most classes, and the most prefixes of IPv6: what fits beside a tag.
pub const SET_NUMBERS_MAX: u32 = (1 << NUMBER_BITS) - 1;
/// How many buckets after its own a prefix may lie in.
pub const HOPS_MAX: u32 = 3;
/// Prefix lengths of IPv4, 0 to 32.
pub const LENGTHS_V4: u32 = 33;
/// Prefix lengths of IPv6, 0 to 128.
pub const LENGTHS_V6: u32 = 129;

/// Line 0: where the other parts begin, as numbers of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The prefixes of IPv4.
    pub v4: Buckets,
    /// The prefixes of IPv6.
    pub v6: Buckets,
    /// A bit for each /24 network of IPv4, in order: some prefix has an address in it. Zero if there is no bitmap.
    pub networks: u32,
    /// The [`Entry`]s of IPv6, two to a line.
    pub entries: u32,
}

/// The buckets of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Number of the first one's line.
    pub first: u32,
    /// One less than their number, which is a power of two.
    pub mask: u32,
    /// Goes into the hash.
    pub seed: u32,
    /// How many prefix lengths there are.
    pub lengths: u32,
}

/// Where the lengths of IPv4 are, a byte each, longest first.
const LENGTHS_V4_AT: u32 = 1;
/// Where the lengths of IPv6 are.
const LENGTHS_V6_AT: u32 = 2;
/// Number of the first line behind header and lengths.
pub const HEADER_LINES: u32 = 5;

/// A word of a bucket: a tag in the upper bits, a number in these.
const NUMBER_BITS: u32 = 26;
const NUMBER_MASK: u64 = SET_NUMBERS_MAX as u64;

/// A word of a bucket: `number` is from 1 to [`SET_NUMBERS_MAX`]. A word of zero is a free place.
pub const fn bucket_word(tag: u64, number: u32) -> u64 {
    tag << NUMBER_BITS | number as u64
}

impl Header {
    /// Reads line 0.
    #[inline(always)]
    pub fn of(line: &Line) -> Self {
        let [v4, v4_hash, v6, v6_hash, places, ..] = line.words;
        let buckets = |place: u64, hash: u64| Buckets {
            first: low(place),
            mask: high(place),
            seed: low(hash),
            lengths: high(hash),
        };
        Self {
            v4: buckets(v4, v4_hash),
            v6: buckets(v6, v6_hash),
            networks: low(places),
            entries: high(places),
        }
    }

    /// Writes line 0.
    pub fn line(&self) -> Line {
        let Self { v4, v6, networks, entries } = *self;
        let place = |buckets: Buckets| both(buckets.first, buckets.mask);
        let hash = |buckets: Buckets| both(buckets.seed, buckets.lengths);
        Line { words: [place(v4), hash(v4), place(v6), hash(v6), both(networks, entries), 0, 0, 0] }
    }
}

/// A prefix of IPv6, half a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The upper half of the address, as a number.
    pub high: u64,
    /// The lower half.
    pub low: u64,
    /// How many bits of it count.
    pub length: u32,
    /// The class of addresses for which this is the longest prefix.
    pub class: u32,
}

impl Entry {
    /// As words of its line.
    pub const fn words(&self) -> [u64; 4] {
        [self.high, self.low, both(self.length, self.class), 0]
    }
}

/// A table of sets, wherever it is.
pub trait Lines {
    /// The line of this number, if the table is so long.
    fn line(&self, number: u32) -> Option<&Line>;
}

/// The class of an IPv4 address, in host byte order; `None` if the table contradicts itself.
#[inline(always)]
pub fn class_v4(table: &impl Lines, address: u32) -> Option<u32> {
    let header = Header::of(table.line(0)?);
    if header.networks != 0 {
        let network = address >> 8;
        let bits = word(table.line(header.networks.wrapping_add(network >> 9))?, network >> 6);
        if bits >> (network & 63) & 1 == 0 {
            return Some(NO_SET);
        }
    }
    let lengths = table.line(LENGTHS_V4_AT)?;
    for turn in 0..LENGTHS_V4 {
        if turn >= header.v4.lengths {
            break;
        }
        let length = length(lengths, turn);
        let key = KeyV4::new(address, length);
        let found = find(table, &header.v4, key.hash(header.v4.seed), key.tag())?;
        if found != 0 {
            return Some(found);
        }
    }
    Some(NO_SET)
}

/// The class of an IPv6 address, as two numbers; `None` if the table contradicts itself.
#[inline(always)]
pub fn class_v6(table: &impl Lines, high: u64, low: u64) -> Option<u32> {
    let header = Header::of(table.line(0)?);
    for turn in 0..LENGTHS_V6 {
        if turn >= header.v6.lengths {
            break;
        }
        let length = length(table.line(LENGTHS_V6_AT.wrapping_add(turn >> 6))?, turn & 63);
        let key = KeyV6::new(high, low, length);
        let hash = key.hash(header.v6.seed);
        let found = find(table, &header.v6, hash, KeyV6::tag(hash))?;
        if found == 0 {
            continue;
        }
        // Two prefixes never have the same tag in places where one could be taken for the other, but an address
        // that is in neither may have it, too.
        let number = found.wrapping_sub(1);
        let line = table.line(header.entries.wrapping_add(number >> 1))?;
        let [first @ .., _, _, _, _] = line.words;
        let [_, _, _, _, second @ ..] = line.words;
        let [entry_high, entry_low, rest, _] = if number & 1 == 0 { first } else { second };
        let differences =
            (entry_high ^ key.high) | (entry_low ^ key.low) | u64::from(self::low(rest) ^ length);
        if differences == 0 {
            return Some(self::high(rest));
        }
    }
    Some(NO_SET)
}

/// A prefix of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyV4 {
    network: u32,
    length: u32,
}

impl KeyV4 {
    /// The prefix of this length around an address in host byte order. No length is over 32.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    pub fn new(address: u32, length: u32) -> Self {
        let mask = !(u64::from(u32::MAX).wrapping_shr(length)) as u32;
        Self { network: address & mask, length }
    }

    /// Where its bucket is found.
    #[inline(always)]
    pub fn hash(self, seed: u32) -> u64 {
        mix((u64::from(self.network) | u64::from(self.length) << 32) ^ u64::from(seed) << 40)
    }

    /// What it is known by in its bucket: all of it.
    #[inline(always)]
    pub fn tag(self) -> u64 {
        u64::from(self.network) << 6 | u64::from(self.length)
    }
}

/// A prefix of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyV6 {
    /// The upper half, as a number.
    pub high: u64,
    /// The lower half.
    pub low: u64,
    length: u32,
}

impl KeyV6 {
    /// The prefix of this length around an address. No length is over 128.
    #[inline(always)]
    pub fn new(high: u64, low: u64, length: u32) -> Self {
        let above = if length < 64 { length } else { 64 };
        let below = length.wrapping_sub(above);
        Self { high: high & mask(above), low: low & mask(below), length }
    }

    /// Where its bucket is found; its lower bits are the tag.
    #[inline(always)]
    pub fn hash(self, seed: u32) -> u64 {
        let upper = mix(self.high ^ u64::from(seed) << 32 ^ u64::from(self.length));
        mix(upper ^ self.low.wrapping_mul(MULTIPLIER_LOW))
    }

    /// What it is known by in its bucket.
    #[inline(always)]
    pub fn tag(hash: u64) -> u64 {
        hash & (u64::MAX >> NUMBER_BITS)
    }
}

/// The number of the bucket for a hash.
#[inline(always)]
pub fn bucket(hash: u64, mask: u32) -> u32 {
    (hash >> (64 - NUMBER_BITS)) as u32 & mask
}

/// The number that stands beside a tag, or zero.
#[inline(always)]
fn find(table: &impl Lines, buckets: &Buckets, hash: u64, tag: u64) -> Option<u32> {
    let own = bucket(hash, buckets.mask);
    for hop in 0..=HOPS_MAX {
        let number = own.wrapping_add(hop) & buckets.mask;
        let line = table.line(buckets.first.wrapping_add(number))?;
        for word in line.words {
            if word >> NUMBER_BITS == tag {
                return Some((word & NUMBER_MASK) as u32);
            }
        }
        // Places are filled in order, so a free one ends the search.
        let [.., last] = line.words;
        if last == 0 {
            break;
        }
    }
    Some(0)
}

/// The first `length` bits of 64.
#[inline(always)]
fn mask(length: u32) -> u64 {
    // In two steps, since a shift by 64 does nothing.
    let half = length >> 1;
    !(u64::MAX.wrapping_shr(half).wrapping_shr(length.wrapping_sub(half)))
}

/// Length number `turn` of a line of lengths.
#[inline(always)]
fn length(line: &Line, turn: u32) -> u32 {
    low(word(line, turn >> 3) >> ((turn & 7) << 3)) & 0xff
}

#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "three bits index eight words")]
fn word(line: &Line, number: u32) -> u64 {
    line.words[number as usize & (LINE_WORDS - 1)]
}

/// Of the finalizer of `MurmurHash3` (Appleby).
const MULTIPLIER: u64 = 0xff51_afd7_ed55_8ccd;
const MULTIPLIER_LOW: u64 = 0xc4ce_b9fe_1a85_ec53;

/// Spreads a number over all bits.
#[inline(always)]
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 33).wrapping_mul(MULTIPLIER);
    (number ^ number >> 29).wrapping_mul(MULTIPLIER_LOW)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
const fn low(word: u64) -> u32 {
    word as u32
}

#[inline(always)]
const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

const fn both(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}
