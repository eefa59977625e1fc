//! When cookies are sent, over minutes of a made-up clock.

use foobar_common::syn_cookies::Pace;

const SECOND: u64 = 1_000_000_000;

/// `count` SYNs evenly over a second; how many were answered.
fn second(pace: &Pace, begin: u64, count: u64) -> u64 {
    (0..count)
        .filter(|number| {
            pace.seen.set(pace.seen.get() + 1);
            pace.notice(1_000, 500, begin + number * SECOND / count)
        })
        .count() as u64
}

#[test]
fn cookies_begin_with_the_syn_above_the_limit() {
    let pace = Pace::default();
    assert_eq!(second(&pace, 10 * SECOND, 1_000), 0);
    assert_eq!(second(&pace, 11 * SECOND, 1_000), 0, "at the limit, not above it");
    assert_eq!(second(&pace, 12 * SECOND, 50_000), 49_000);
    assert!(pace.is_active(13 * SECOND));
}

#[test]
fn they_end_ten_seconds_after_the_last_busy_second() {
    let pace = Pace::default();
    second(&pace, 100 * SECOND, 2_000);
    for busy in 101..130 {
        assert_eq!(second(&pace, busy * SECOND, 600), 600, "more than half go on");
    }
    for quiet in 130..139 {
        assert_eq!(second(&pace, quiet * SECOND, 400), 400, "{quiet}");
    }
    assert!(second(&pace, 139 * SECOND, 400) < 400);
    assert_eq!(second(&pace, 140 * SECOND, 400), 0);
    assert_eq!(second(&pace, 141 * SECOND, 900), 0, "it takes more to begin than to go on");
    assert!(pace.is_awaited(141 * SECOND), "a cookie may still come back");
    assert!(!pace.is_awaited(141 * SECOND + Pace::LIFE));
}

#[test]
fn nothing_is_awaited_where_nothing_was_sent_and_a_clock_behind_begins_no_window() {
    let pace = Pace::default();
    assert!(!pace.is_awaited(5) && !pace.is_active(5));
    pace.begun.set(10 * SECOND);
    pace.seen.set(7);
    assert!(!pace.notice(1_000, 500, 10 * SECOND - 1));
    assert_eq!((pace.begun.get(), pace.seen.get()), (10 * SECOND, 7));
}
