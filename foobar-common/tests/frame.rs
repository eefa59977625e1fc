//! Reads of [`Frame`] stay inside what it was given. Also run under miri: `cargo miri test --test frame`.

use foobar_common::{
    frame::{Frame, OFFSET_MAX},
    verdict::Reason,
};

const CUT: Reason = Reason::TruncatedLink;

#[test]
fn bytes_inside_are_read() {
    let bytes = [1, 2, 3, 4];
    let frame = Frame::from_slice(&bytes);
    assert_eq!(frame.read(0, CUT), Ok([1u8, 2, 3, 4]));
    assert_eq!(frame.read(3, CUT), Ok([4u8]));
    assert_eq!(frame.read(4, CUT), Ok([0u8; 0]));
    assert_eq!(frame.length(), 4);
}

#[test]
fn bytes_behind_the_end_are_not() {
    let bytes = [1, 2, 3, 4];
    let frame = Frame::from_slice(&bytes);
    assert_eq!(frame.read::<[u8; 5]>(0, CUT), Err(CUT));
    assert_eq!(frame.read::<[u8; 2]>(3, CUT), Err(CUT));
    assert_eq!(frame.read::<[u8; 1]>(4, CUT), Err(CUT));
    assert_eq!(Frame::from_slice(&[]).read::<[u8; 1]>(0, CUT), Err(CUT));
}

/// An offset near the end of the address space wraps around to bytes before the frame.
#[test]
fn huge_offsets_do_not_wrap_around() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    let frame = Frame::from_slice(&bytes[4..]);
    for back in 0..=16 {
        assert_eq!(frame.read::<[u8; 2]>(usize::MAX - back, CUT), Err(CUT));
    }
    assert_eq!(frame.read::<[u8; 2]>(usize::MAX / 2, CUT), Err(CUT));
}

#[test]
fn nothing_beyond_the_largest_offset_is_read() {
    let bytes = vec![7; OFFSET_MAX + 8];
    let frame = Frame::from_slice(&bytes);
    assert_eq!(frame.read(OFFSET_MAX, CUT), Ok([7u8]));
    assert_eq!(frame.read::<[u8; 1]>(OFFSET_MAX + 1, CUT), Err(Reason::NonLinear));
}

#[test]
fn bytes_in_a_later_buffer_are_nonlinear() {
    let bytes = [1, 2, 3, 4];
    let frame = Frame::from_first_buffer(&bytes[..2], 4);
    assert_eq!(frame.read(0, CUT), Ok([1u8, 2]));
    assert_eq!(frame.read::<[u8; 2]>(1, CUT), Err(Reason::NonLinear));
    assert_eq!(frame.read::<[u8; 1]>(3, CUT), Err(Reason::NonLinear));
    assert_eq!(frame.read::<[u8; 1]>(4, CUT), Err(CUT));
    assert_eq!(frame.length(), 4);
    assert_eq!(Frame::from_first_buffer(&bytes, 2).length(), 4);
}

/// As words of memory, wherever they begin.
#[test]
fn words_are_read_unaligned() {
    let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
    for offset in 0..10 {
        let frame = Frame::from_slice(&bytes);
        let word = u64::from_ne_bytes(bytes[offset..offset + 8].try_into().unwrap());
        assert_eq!(frame.read(offset, CUT), Ok([word]));
        let halves = [offset, offset + 4].map(|at| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()));
        assert_eq!(frame.read(offset, CUT), Ok(halves));
    }
    assert_eq!(Frame::from_slice(&bytes).read::<[u64; 2]>(3, CUT), Err(CUT));
}
