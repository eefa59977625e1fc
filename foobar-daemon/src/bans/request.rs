//! From words to what is to be banned or lifted.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use ipnet::IpNet;

use crate::{outcome::InvalidInput, rules::file::parse_prefix};

/// How long a ban lasts that nobody gave a time: long enough that guessing passwords is no use, and short enough that an
/// address is free again when somebody else has it.
pub const DEFAULT_TIME: &str = "1h";
/// The word for a ban without end.
pub const FOREVER: &str = "forever";
/// Shortest and longest time of a ban that ends.
const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24 * 366 * 100));
/// Problems that are put into words; the others are counted.
const TOLD_MAX: usize = 20;
/// Longest reason, in bytes.
const REASON_MAX: usize = 200;

/// How long a ban lasts; `None`: without end.
pub type Time = Option<Duration>;

/// What somebody asks for, as far as it can be meant so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<T> {
    /// In the order in which it was given.
    pub list: Vec<T>,
    /// What cannot.
    pub problems: Problems,
}

impl<T> Default for Wanted<T> {
    fn default() -> Self {
        Self { list: Vec::new(), problems: Problems::default() }
    }
}

/// What is wrong in a request: how much, and the first of it in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// All of it.
    pub count: usize,
    /// As much as anybody reads.
    pub told: Vec<String>,
}

impl Problems {
    /// Adds one, put into words only if it is going to be told.
    pub fn add(&mut self, words: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(words());
        }
    }

    /// All of it in words.
    pub fn words(&self) -> String {
        let words = self.told.join("\n");
        match self.count.checked_sub(self.told.len()) {
            Some(more @ 1..) => format!("{words}\nand {more} more like these"),
            _ => words,
        }
    }
}

/// What is to be banned, and for how long.
pub type WantedBans = Wanted<(IpNet, Time)>;

impl WantedBans {
    /// Adds an address or a prefix that is given by itself.
    pub fn add(&mut self, word: &str, time: Time) {
        match bannable(word) {
            Ok(prefix) => self.list.push((prefix, time)),
            Err((message, help)) => self.problems.add(|| format!("{message}\n   = {help}")),
        }
    }

    /// Adds the lines of a text: an address or prefix each, perhaps with a time of its own behind it.
    pub fn add_lines(&mut self, name: &str, text: &str, time: Time) {
        for (line, content) in lines(text) {
            let mut words = content.split_whitespace();
            let (word, own) = (words.next().unwrap_or_default(), words.next());
            let read = bannable(word).and_then(|prefix| match (own, words.next()) {
                (_, Some(more)) => {
                    let help = "write an address or prefix on each line, and behind it a time, if it has one of its own";
                    Err((format!("{more:?} is too much"), help.to_owned()))
                }
                (None, None) => Ok((prefix, time)),
                (Some(own), None) => match parse_time(own) {
                    Ok(own) => Ok((prefix, own)),
                    Err(error) => Err((error.to_string(), "leave it out to have the time of --for".to_owned())),
                },
            });
            match read {
                Ok(one) => self.list.push(one),
                Err((message, help)) => {
                    self.problems.add(|| format!("{name}:{line}: {message}\n   = {help}"));
                }
            }
        }
    }
}

/// What is to be lifted.
pub type WantedLifts = Wanted<IpNet>;

impl WantedLifts {
    /// Adds an address or a prefix that is given by itself.
    pub fn add(&mut self, word: &str) {
        match parse_prefix(word) {
            Ok(prefix) => self.list.push(prefix),
            Err((message, help)) => self.problems.add(|| format!("{message}\n   = {help}")),
        }
    }

    /// Adds the lines of a text: an address or prefix each. Times of bans may stand behind.
    pub fn add_lines(&mut self, name: &str, text: &str) {
        for (line, content) in lines(text) {
            let word = content.split_whitespace().next().unwrap_or_default();
            match parse_prefix(word) {
                Ok(prefix) => self.list.push(prefix),
                Err((message, help)) => {
                    self.problems.add(|| format!("{name}:{line}: {message}\n   = {help}"));
                }
            }
        }
    }
}

/// The lines that say something, with their numbers; `#` and `;` start comments.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let contents = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default().trim());
    (1..).zip(contents).filter(|(_, content)| !content.is_empty())
}

fn bannable(word: &str) -> Result<IpNet, (String, String)> {
    let prefix = parse_prefix(word)?;
    if prefix.prefix_len() == 0 {
        let help = "to let nobody in, write in = \"drop\" under [policy]";
        return Err((format!("{prefix} is everybody"), help.to_owned()));
    }
    Ok(prefix)
}

/// How long a ban lasts: `10m`, `1h 30m`, `forever`.
///
/// # Errors
/// [`InvalidInput`]: says what can be written.
pub fn parse_time(word: &str) -> Result<Time, InvalidInput> {
    if word == FOREVER {
        return Ok(None);
    }
    let (shortest, longest) = TIMES;
    let time = humantime::parse_duration(word).ok().filter(|time| (shortest..=longest).contains(time));
    time.map(Some).ok_or_else(|| {
        InvalidInput(format!(
            "{word:?} is no time of a ban; write one like 10m, 2h or 30d, from 1s to 100y, or {FOREVER}"
        ))
    })
}

/// Why somebody is banned, as it is told to others.
///
/// # Errors
/// [`InvalidInput`]: it goes to terminals and logs, so it has to be one line that does nothing there.
pub fn check_reason(reason: &str) -> Result<(), InvalidInput> {
    if reason.len() > REASON_MAX {
        let length = reason.len();
        return Err(InvalidInput(format!("the reason is {length} bytes long; write at most {REASON_MAX}")));
    }
    if reason.chars().any(char::is_control) {
        return Err(InvalidInput(
            "the reason has control characters; write one line of plain text".to_owned(),
        ));
    }
    Ok(())
}

/// A time of day in words, to the second.
pub fn time_words(unix_ms: u64) -> String {
    // The year 9999 is the last one that can be written.
    const LAST_MS: u64 = 253_402_300_799_000;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_times_and_told_with_their_numbers() {
        let hour = Some(Duration::from_hours(1));
        let mut wanted = WantedBans::default();
        let text = "# a list\n203.0.113.7\n 2001:db8::/64\t10m ; why\n\n203.0.113.0/24 forever\n\
                    203.0.113.1/24\n203.0.113.8 soon\nexample.org\n203.0.113.9 1h 2h\n0.0.0.0/0\n";
        wanted.add_lines("stdin", text, hour);
        wanted.add("::/0", hour);
        wanted.add("203.0.113.10", None);
        let expected = [
            ("203.0.113.7/32", hour),
            ("2001:db8::/64", Some(Duration::from_mins(10))),
            ("203.0.113.0/24", None),
            ("203.0.113.10/32", None),
        ];
        assert_eq!(wanted.list, expected.map(|(prefix, time)| (prefix.parse().unwrap(), time)));
        let begin = |told: &String| told.split(['\n', ';']).next().unwrap_or_default().to_owned();
        assert_eq!(
            wanted.problems.told.iter().map(begin).collect::<Vec<_>>(),
            [
                "stdin:6: \"203.0.113.1/24\" has bits set behind the prefix",
                "stdin:7: \"soon\" is no time of a ban",
                "stdin:8: \"example.org\" is no address or prefix",
                "stdin:9: \"2h\" is too much",
                "stdin:10: 0.0.0.0/0 is everybody",
                "::/0 is everybody",
            ]
        );
    }

    #[test]
    fn a_text_of_noise_is_counted_and_not_told_for_ever() {
        let mut wanted = WantedLifts::default();
        wanted.add_lines("stdin", &"noise\n".repeat(1_000));
        assert_eq!(
            (wanted.list.len(), wanted.problems.count, wanted.problems.told.len()),
            (0, 1_000, TOLD_MAX)
        );
        assert!(wanted.problems.words().ends_with("\nand 980 more like these"));
    }

    #[test]
    fn times_and_reasons_are_such() {
        assert_eq!(parse_time("3h59m53s").unwrap(), Some(Duration::from_secs(14_393)));
        assert_eq!(parse_time(FOREVER).unwrap(), None);
        assert!(parse_time(DEFAULT_TIME).unwrap().is_some());
        for word in ["", "0s", "999ms", "101y", "1000000y", "10", "-1s", "for ever"] {
            assert!(parse_time(word).is_err(), "{word}");
        }
        assert!(check_reason("fünf mal falsch").is_ok());
        for reason in ["a\nb", "\u{1b}[2J", "\0", &"x".repeat(REASON_MAX + 1)] {
            assert!(check_reason(reason).is_err(), "{reason:?}");
        }
        assert_eq!(time_words(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
