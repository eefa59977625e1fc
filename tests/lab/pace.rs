//! The alerts of `rules/prometheus` with a clock that runs sixty times as fast, so that one need not wait ten minutes for what
//! lasts ten minutes.

/// By how much durations are shorter.
const FASTER: u64 = 60;
/// What a range has at least: five scrapes.
const SHORTEST_RANGE: u64 = 5;

/// The same rules with shorter durations: ranges (`[5m]`), offsets (`offset 5m`) and how long something has to last (`for: 5m`).
pub(crate) fn hurried(rules: &str) -> String {
    let mut text = String::with_capacity(rules.len());
    let mut rest = rules;
    // Thresholds and the text for people stay as they are.
    while let Some((found, begin, shortest)) = next(rest) {
        let (before, after) = rest.split_at(found + begin.len());
        text.push_str(before);
        let end = after.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(after.len());
        let (duration, after) = after.split_at(end);
        match seconds(duration) {
            Some(seconds) => text.extend([&(seconds / FASTER).max(shortest).to_string(), "s"]),
            None => text.push_str(duration),
        }
        rest = after;
    }
    text + rest
}

/// The next place where a duration can follow: where it is, the words before the duration, and how short it may become.
fn next(text: &str) -> Option<(usize, &'static str, u64)> {
    let places = [("[", SHORTEST_RANGE), ("offset ", SHORTEST_RANGE), ("for: ", 0)];
    places
        .into_iter()
        .filter_map(|(begin, shortest)| Some((text.find(begin)?, begin, shortest)))
        .min_by_key(|(found, _, _)| *found)
}

/// How many seconds a duration of one unit has.
fn seconds(duration: &str) -> Option<u64> {
    let (number, unit) = duration.split_at_checked(duration.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::hurried;

    #[test]
    fn durations_are_shorter_and_nothing_else_is_changed() {
        let rules = "    for: 10m\n    for: 30s\n    expr: rate(a_total{x=\"for 5m\"}[5m]) > 100 * rate(a_total[1h] offset 10m)\n\
                     \x20   expr: foobar:a:rate5m[odd] # within 10m\n";
        let expected = "    for: 10s\n    for: 0s\n    expr: rate(a_total{x=\"for 5m\"}[5s]) > 100 * rate(a_total[60s] offset 10s)\n\
                        \x20   expr: foobar:a:rate5m[odd] # within 10m\n";
        assert_eq!(hurried(rules), expected);
    }
}
