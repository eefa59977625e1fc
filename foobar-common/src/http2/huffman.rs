//! Short strings as header fields have them: as they are, or in the Huffman code of RFC 7541 appendix B.

/// A string of up to eight bytes, as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Its bytes, the first one lowest.
    pub(super) word: u64,
    /// How many there are.
    pub(super) length: u32,
}

impl Sent {
    /// As it is.
    #[expect(clippy::cast_possible_truncation, reason = "it is short")]
    pub(super) const fn plain(text: &[u8]) -> Self {
        let (mut word, mut index) = (0, 0);
        while index < text.len() {
            word |= (byte_of(text, index) as u64) << (index << 3);
            index = index.wrapping_add(1);
        }
        Self { word, length: index as u32 }
    }

    /// In Huffman code.
    pub(super) const fn coded(text: &[u8]) -> Self {
        let (mut bits, mut length, mut index) = (0_u64, 0_u32, 0);
        while index < text.len() {
            let (code, code_length) = code(byte_of(text, index));
            bits = bits << code_length | code as u64;
            length = length.wrapping_add(code_length);
            index = index.wrapping_add(1);
        }
        // The last byte is filled up with ones (RFC 7541 section 5.2).
        while !length.is_multiple_of(8) {
            bits = bits << 1 | 1;
            length = length.wrapping_add(1);
        }
        Self { word: bits.swap_bytes() >> 64_u32.wrapping_sub(length), length: length >> 3 }
    }
}

/// The lowest bytes of a word.
#[inline(always)]
pub(super) const fn lowest(word: u64, bytes: u32) -> u64 {
    if bytes >= 8 { word } else { word & (1_u64 << (bytes << 3)).wrapping_sub(1) }
}

#[expect(clippy::indexing_slicing, reason = "at compile time")]
const fn byte_of(text: &[u8], index: usize) -> u8 {
    text[index]
}

/// The code of a letter of a method or of the names that matter, and how many bits it has.
const fn code(letter: u8) -> (u32, u32) {
    match letter {
        b'A' => (0x21, 6),
        b'B'..=b'W' => (letter_code(0x5d, letter, b'B'), 7),
        b'X' => (0xfc, 8),
        b'Y' => (0x73, 7),
        b'Z' => (0xfd, 8),
        b':' => (0x5c, 7),
        b'a' => (0x3, 5),
        b'd' => (0x24, 6),
        b'e' => (0x5, 5),
        b'h' => (0x27, 6),
        b'm' => (0x29, 6),
        b'o' => (0x7, 5),
        b's' => (0x8, 5),
        b't' => (0x9, 5),
        b'u' => (0x2d, 6),
        b'0'..=b'2' => (letter_code(0, letter, b'0'), 5),
        b'3'..=b'9' => (letter_code(0x19, letter, b'3'), 6),
        _ => unreachable!(),
    }
}

/// The code of a letter, of those that have codes of one length one after the other from that of `first` on.
const fn letter_code(first_code: u32, letter: u8, first: u8) -> u32 {
    first_code.wrapping_add(letter.wrapping_sub(first) as u32)
}
