//! Which series a target gets: names of metrics, with `*` for any letters; the last pattern that fits says.

/// An allow-list. That of no pattern allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    allows: bool,
    glob: String,
}

/// Patterns that are taken; more are a mistake.
const PATTERNS_MAX: usize = 1_000;

impl Series {
    /// Of these patterns, as `foobar_http_*` or `!foobar_http_request_duration_seconds`.
    ///
    /// # Errors
    /// The number of a pattern that can never fit, and why.
    pub fn new(patterns: &[&str]) -> Result<Self, (usize, String)> {
        if patterns.len() > PATTERNS_MAX {
            return Err((PATTERNS_MAX, format!("there may be {PATTERNS_MAX} patterns")));
        }
        let read = |(number, &text): (usize, &&str)| {
            let (allows, glob) = text.strip_prefix('!').map_or((true, text), |glob| (false, glob));
            let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '*');
            if glob.is_empty() || glob.len() > 200 || !glob.chars().all(fits) {
                let why = format!(
                    "no metric has a name as {text:?}: write letters, digits, _ and * for any of these"
                );
                return Err((number, why));
            }
            Ok(Pattern { allows, glob: glob.to_owned() })
        };
        patterns.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a metric of this name is sent.
    pub fn allows(&self, name: &str) -> bool {
        let Some(first) = self.0.first() else { return true };
        // Who begins with what is not wanted wants the rest.
        self.0
            .iter()
            .rev()
            .find(|pattern| fits(pattern.glob.as_bytes(), name.as_bytes()))
            .map_or(!first.allows, |pattern| pattern.allows)
    }
}

/// Whether a glob fits the whole name. Takes as many steps as the product of both lengths at most: a star that does not
/// lead on is given up for the next one.
fn fits(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match (glob.get(at), name.get(read)) {
            (Some(b'*'), _) => {
                star = Some((at, read));
                at += 1;
            }
            (Some(letter), Some(found)) if letter == found => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, star_read)) = star else { return false };
                star = Some((star_at, star_read + 1));
                at = star_at + 1;
                read = star_read + 1;
            }
        }
    }
    glob.iter().skip(at).all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_that_fits_says() {
        let rows: &[(&[&str], &[&str], &[&str])] = &[
            (&[], &["foobar_up"], &[]),
            (&["foobar_up"], &["foobar_up"], &["foobar_upper", "xfoobar_up", "foobar_u", ""]),
            (&["foobar_http_*"], &["foobar_http_requests_total", "foobar_http_"], &["foobar_https"]),
            (&["*_total"], &["a_total", "_total"], &["a_total_b"]),
            (&["*a*b*"], &["ab", "xaxbx", "aab"], &["ba", "a"]),
            (&["*", "!foobar_bans*"], &["foobar_up"], &["foobar_bans", "foobar_bans_made_total"]),
            (&["!foobar_bans*"], &["foobar_up"], &["foobar_bans"]),
            (&["*", "!foobar_*", "foobar_up"], &["foobar_up", "x"], &["foobar_bans"]),
        ];
        for (patterns, allowed, not) in rows {
            let series = Series::new(patterns).unwrap();
            for name in *allowed {
                assert!(series.allows(name), "{patterns:?} {name}");
            }
            for name in *not {
                assert!(!series.allows(name), "{patterns:?} {name}");
            }
        }
    }

    #[test]
    fn what_no_name_can_be_is_refused() {
        for wrong in ["", "!", "foobar-up", "foobar_up{}", "foobar?", "a b"] {
            assert_eq!(Series::new(&["x", wrong]).unwrap_err().0, 1, "{wrong}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let glob = "*a".repeat(90);
        let series = Series::new(&[glob.as_str()]).unwrap();
        assert!(!series.allows(&"a".repeat(10_000).replace("aaaaaaaaab", "b")[..89]));
        assert!(!series.allows(&"b".repeat(10_000)));
    }
}
