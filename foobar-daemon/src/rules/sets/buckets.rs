//! Numbers by tag, in buckets of one cache line.

use foobar_common::sets::{HOPS_MAX, LINE_WORDS, Line, bucket, bucket_word};

/// How full buckets are at most on average, of the eight places that they have.
const LOAD: usize = 4;

/// What is to be found in a bucket.
pub(super) struct Item {
    pub(super) hash: u64,
    pub(super) tag: u64,
    /// Not zero.
    pub(super) number: u32,
}

/// Whether two items can have the same tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    Different,
    MayBeEqual,
}

/// Buckets in which each of `count` items is found and none is taken for another; and the seed for it. `item` gives
/// an item for a seed.
pub(super) fn fill(count: usize, tags: Tags, item: impl Fn(usize, u32) -> Item) -> (Vec<Line>, u32) {
    let mut size = count.div_ceil(LOAD).next_power_of_two();
    let mut seed = 0;
    loop {
        if let Some(buckets) = try_fill(count, size, tags, |number| item(number, seed)) {
            return (buckets, seed);
        }
        seed += 1;
        // More places make it likelier each time, so that it ends.
        size *= 2;
    }
}

fn try_fill(count: usize, size: usize, tags: Tags, item: impl Fn(usize) -> Item) -> Option<Vec<Line>> {
    let mut buckets = vec![Line::default(); size];
    let mask = u32::try_from(size - 1).ok()?;
    for number in 0..count {
        let Item { hash, tag, number } = item(number);
        let own = bucket(hash, mask);
        if tags == Tags::MayBeEqual && is_ambiguous(&buckets, own, mask, tag) {
            return None;
        }
        let mut places = (0..=HOPS_MAX).map(|hop| own.wrapping_add(hop) & mask);
        let free = places.find(|place| {
            let [.., last] = buckets[*place as usize].words;
            last == 0
        })?;
        let place = buckets[free as usize].words.iter_mut().find(|word| **word == 0)?;
        *place = bucket_word(tag, number);
    }
    Some(buckets)
}

/// Whether a lookup could meet two items of this tag: they lie less than a search apart.
fn is_ambiguous(buckets: &[Line], own: u32, mask: u32, tag: u64) -> bool {
    let is_same = |word: &u64| *word != 0 && *word >> bucket_word(1, 0).trailing_zeros() == tag;
    (0..=3 * HOPS_MAX).any(|hop| {
        let place = own.wrapping_sub(HOPS_MAX).wrapping_add(hop) & mask;
        let words: &[u64; LINE_WORDS] = &buckets[place as usize].words;
        words.iter().any(is_same)
    })
}
