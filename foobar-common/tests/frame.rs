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
    assert_eq!(frame.read(0, CUT), Ok([1, 2, 3, 4]));
    assert_eq!(frame.read(3, CUT), Ok([4]));
    assert_eq!(frame.read(4, CUT), Ok([]));
    assert_eq!(frame.length(), 4);
}

#[test]
fn bytes_behind_the_end_are_not() {
    let bytes = [1, 2, 3, 4];
    let frame = Frame::from_slice(&bytes);
    assert_eq!(frame.read::<5>(0, CUT), Err(CUT));
    assert_eq!(frame.read::<2>(3, CUT), Err(CUT));
    assert_eq!(frame.read::<1>(4, CUT), Err(CUT));
    assert_eq!(Frame::from_slice(&[]).read::<1>(0, CUT), Err(CUT));
}

/// An offset near the end of the address space wraps around to bytes before the frame.
#[test]
fn huge_offsets_do_not_wrap_around() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    let frame = Frame::from_slice(&bytes[4..]);
    for back in 0..=16 {
        assert_eq!(frame.read::<2>(usize::MAX - back, CUT), Err(CUT));
    }
    assert_eq!(frame.read::<2>(usize::MAX / 2, CUT), Err(CUT));
}

#[test]
fn nothing_beyond_the_largest_offset_is_read() {
    let bytes = vec![7; OFFSET_MAX + 8];
    let frame = Frame::from_slice(&bytes);
    assert_eq!(frame.read(OFFSET_MAX, CUT), Ok([7]));
    assert_eq!(frame.read::<1>(OFFSET_MAX + 1, CUT), Err(Reason::NonLinear));
}

#[test]
fn bytes_in_a_later_buffer_are_nonlinear() {
    let bytes = [1, 2, 3, 4];
    let frame = Frame::from_first_buffer(&bytes[..2], 4);
    assert_eq!(frame.read(0, CUT), Ok([1, 2]));
    assert_eq!(frame.read::<2>(1, CUT), Err(Reason::NonLinear));
    assert_eq!(frame.read::<1>(3, CUT), Err(Reason::NonLinear));
    assert_eq!(frame.read::<1>(4, CUT), Err(CUT));
    assert_eq!(frame.length(), 4);
    assert_eq!(Frame::from_first_buffer(&bytes, 2).length(), 4);
}
