//! What is kept of a connection's bytes, against a list that says of each byte whether it is there.

use foobar_common::ahead::{Block, SPAN, Window, number, place};
use proptest::{collection::vec, prelude::*};

const LENGTH: usize = Block::LENGTH as usize;

/// A part of a block.
fn part() -> impl Strategy<Value = (u32, u32)> {
    (0..Block::LENGTH, 1..=Block::LENGTH)
        .prop_map(|(start, length)| (start, (start + length).min(Block::LENGTH)))
}

proptest! {
    #[test]
    fn bytes_are_there_that_have_come(before in vec(part(), 0..4), parts in vec(part(), 1..12)) {
        let mut block = Block::new();
        // What another block was here is gone.
        for (start, end) in before {
            block.note(start, end, u64::MAX);
        }
        let mut plain = [false; LENGTH];
        for (number, (start, end)) in parts.into_iter().enumerate() {
            block.note(start, end, if number == 0 { 0 } else { u64::MAX });
            plain[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()].fill(true);
        }
        for start in 0..LENGTH {
            let run = plain[start..].iter().take_while(|is_there| **is_there).count();
            prop_assert_eq!(block.run(u32::try_from(start).unwrap()), u32::try_from(run).unwrap(), "from {}", start);
        }
    }

    /// Whatever the numbers begin with, there is room for as much, and what was passed is no longer in the window.
    #[test]
    fn a_window_moves_on(next: u32, missing in 0..2 * SPAN * Block::LENGTH, length in 1..100_000_u32) {
        let window = Window { begin: number(next), length: 0 };
        prop_assert_eq!(Window::from_word(window.word()).length, 0);
        let sequence = next.wrapping_add(missing);
        let room = window.room(sequence);
        prop_assert_eq!(room, (SPAN * Block::LENGTH).saturating_sub(place(next) + missing));
        let kept = length.min(room);
        if kept == 0 {
            return Ok(());
        }
        let window = window.with(sequence.wrapping_add(kept - 1));
        let blocks = (place(next) + missing + kept).div_ceil(Block::LENGTH);
        prop_assert!(blocks <= SPAN);
        prop_assert_eq!(window, Window { begin: number(next), length: blocks });
        prop_assert_eq!(window.with(sequence), window);
        prop_assert_eq!(Window::from_word(window.word()), window);
        prop_assert_eq!(window.passed(next), 0);
        // One byte before the end, all blocks but one have been passed.
        let last = sequence.wrapping_add(kept - 1);
        prop_assert_eq!(window.passed(last), blocks - 1);
        let left = window.behind(blocks - 1);
        prop_assert_eq!(left, Window { begin: number(last), length: 1 });
        for further in [SPAN * Block::LENGTH, 1 << 30] {
            prop_assert_eq!(window.passed(last.wrapping_add(further)), blocks);
        }
        prop_assert_eq!(window.behind(blocks).word(), 0);
    }
}
