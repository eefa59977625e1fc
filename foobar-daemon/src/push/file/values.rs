//! Values of the push file that are written as text: durations and sizes.

use std::{ops::RangeInclusive, time::Duration};

use toml::Spanned;

use super::document::Problem;

/// A duration as `15s`, between two bounds.
pub(super) fn duration(
    written: Option<Spanned<String>>,
    default: Duration,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, Problem> {
    let Some(text) = written else { return Ok(default) };
    let read = humantime::parse_duration(text.get_ref()).ok().filter(|read| range.contains(read));
    read.ok_or_else(|| {
        let [least, most, example] = [*range.start(), *range.end(), default]
            .map(|duration| humantime::format_duration(duration).to_string());
        Problem::at(
            text.span(),
            format!("no such time: write one from {least} to {most}, as {:?}", example.replace(' ', "")),
        )
    })
}

/// A size as `64MiB`, between two bounds, in bytes.
pub(super) fn size(
    written: Option<Spanned<String>>,
    default: u64,
    range: &RangeInclusive<u64>,
) -> Result<u64, Problem> {
    let Some(text) = written else { return Ok(default) };
    bytes(text.get_ref()).filter(|bytes| range.contains(bytes)).ok_or_else(|| {
        let (least, most) = (range.start() >> 10, range.end() >> 30);
        Problem::at(
            text.span(),
            format!("no such size: write one from {least}KiB to {most}GiB, as \"{}MiB\"", default >> 20),
        )
    })
}

fn bytes(text: &str) -> Option<u64> {
    [("KiB", 10), ("MiB", 20), ("GiB", 30)].into_iter().find_map(|(unit, shift)| {
        let digits = text.strip_suffix(unit)?;
        let number: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        number.checked_mul(1 << shift)
    })
}
