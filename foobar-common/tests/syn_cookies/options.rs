//! The options of SYNs, good and bad.

use foobar_common::syn_cookies::{HEADER_ROOM, NO_SCALE, SynOptions};

fn read(options: &[u8]) -> (u32, u32, u32, u32) {
    let mut header = [0xff; HEADER_ROOM as usize];
    header[20..20 + options.len()].copy_from_slice(options);
    let SynOptions { scale, sack, stamps, stamp, .. } =
        SynOptions::read(&header, 20 + u32::try_from(options.len()).unwrap());
    (scale, sack, stamps, stamp)
}

/// Scale, SACK, whether there is a timestamp, and it.
const NOTHING: (u32, u32, u32, u32) = (NO_SCALE, 0, 0, 0);

#[test]
fn what_linux_asks_for_is_read() {
    let linux = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
    let stamp = u32::from_ne_bytes([1, 2, 3, 4]);
    assert_eq!(read(&linux), (7, 1, 1, stamp));
    assert_eq!(read(&[]), NOTHING);
    assert_eq!(read(&[3, 3, 200, 0]), (14, 0, 0, 0), "RFC 7323: what is more means 14");
}

#[test]
fn what_is_no_option_ends_them() {
    for (options, expected) in [
        (&[2, 0, 4, 2][..], NOTHING),
        (&[2, 1, 4, 2], NOTHING),
        (&[4, 3, 0, 0], NOTHING),
        (&[8, 10, 1, 2], NOTHING),
        (&[3, 3], NOTHING),
        (&[0, 4, 2, 0], NOTHING),
        (&[1, 1, 1, 3], NOTHING),
        (&[254, 255, 4, 2], NOTHING),
        (&[4, 2, 99, 2], (NO_SCALE, 1, 0, 0)),
        (&[1; 40], NOTHING),
    ] {
        assert_eq!(read(options), expected, "{options:?}");
    }
}

#[test]
fn no_bytes_break_it_and_it_never_reads_behind_the_header() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200_000 {
        let mut header = [0; HEADER_ROOM as usize];
        for place in &mut header {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Mostly small numbers, which are kinds and lengths.
            let [high, low, ..] = state.to_be_bytes();
            *place = if high < 16 { low } else { high % 12 };
        }
        let [.., words, _, _] = state.to_be_bytes();
        let length = 20 + u32::from(words) % 11 * 4;
        let options = SynOptions::read(&header, length);
        for place in &mut header[length as usize..] {
            *place = !*place;
        }
        assert_eq!(options, SynOptions::read(&header, length));
        assert!(options.scale <= NO_SCALE);
    }
}
