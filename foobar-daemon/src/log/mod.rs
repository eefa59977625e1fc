//! What the daemon says: as lines on stderr, as records to systemd's journal, and to the targets of a push file (`push::logs`).

pub mod journal;
pub mod packets;
pub mod record;

use std::{
    io::{self, IsTerminal as _, Write as _},
    str::FromStr,
    sync::Arc,
};

use serde::Deserialize;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::format,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use self::{journal::Journal, record::LogRecord};
use crate::{commands::watch::words, outcome::InvalidInput, push::logs::LogLayer};

/// Which log records somebody gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct LogSources {
    /// What the daemon logs, bans and changes of rules among it.
    pub daemon: bool,
    /// Packets that rules draw as samples.
    pub packets: bool,
}

impl LogSources {
    /// One more, by its name.
    ///
    /// # Errors
    /// Says which there are.
    pub fn add(&mut self, name: &str) -> Result<(), String> {
        match name {
            "daemon" => self.daemon = true,
            "packets" => self.packets = true,
            other => return Err(format!("no logs {other:?}: write daemon or packets")),
        }
        Ok(())
    }
}

impl FromStr for LogSources {
    type Err = String;

    /// `daemon,packets`, either of them, or `none`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut sources = Self::default();
        for name in text.split(',').filter(|_| text != "none") {
            sources.add(name).map_err(|problem| format!("{problem}, or none"))?;
        }
        Ok(sources)
    }
}

impl TryFrom<Vec<String>> for LogSources {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let mut sources = Self::default();
        names.iter().try_for_each(|name| sources.add(name))?;
        Ok(sources)
    }
}

/// Starts the log. `asked` says what is logged, else `RUST_LOG` does, else it is `info`. It goes to the journal if `wanted` has it, or says
/// nothing and stderr leads there anyway; and to stderr, unless that would be the same place.
///
/// # Errors
/// [`InvalidInput`] when `asked` is no filter.
pub fn start(asked: Option<&str>, wanted: Option<LogSources>) -> anyhow::Result<()> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let words = asked.or(from_environment.as_deref()).filter(|words| !words.is_empty()).unwrap_or("info");
    let filter = EnvFilter::builder()
        .parse(words)
        .map_err(|error| InvalidInput(format!("log filter {words:?}: {error}; for example: info")))?;
    let is_there = journal::is_stderr();
    let is_wanted = wanted.map_or(is_there, |wanted| wanted.daemon);
    let (journal, problem) = match is_wanted.then(Journal::open).transpose() {
        Ok(journal) => (journal, None),
        Err(error) => (None, Some(error)),
    };
    let lines = (journal.is_none() || !is_there).then(|| {
        let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text_alone = format::debug_fn(|writer, field, value| {
            if record::FIELDS.contains(&field.name()) {
                return Ok(());
            }
            if field.name() == "message" {
                write!(writer, "{value:?}")
            } else {
                write!(writer, " {field}={value:?}")
            }
        });
        tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(color)
            .with_target(false)
            .fmt_fields(text_alone)
    });
    let journal =
        journal.map(|journal| JournalLayer { journal: Arc::new(journal), has_lines: lines.is_some() });
    let started =
        tracing_subscriber::registry().with(filter).with(lines).with(journal).with(LogLayer).try_init();
    if let Err(error) = started {
        tracing::debug!("the log had been started: {error}");
    }
    if let Some(error) = problem {
        tracing::warn!("{error:#}; the log goes to stderr alone");
    }
    Ok(())
}

/// A layer of the log that writes it to the journal.
struct JournalLayer {
    journal: Arc<Journal>,
    /// Whether stderr has all of it, too.
    has_lines: bool,
}

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let record = LogRecord::of(event, journal::TEXT_MAX);
        if self.journal.send(&record).is_err() && !self.has_lines {
            // A line is better than nothing. Nothing is done about it if it cannot be written either.
            let line = format!("<{}>{}\n", journal::priority(record.level), words::printable(&record.text));
            drop(io::stderr().write_all(line.as_bytes()));
        }
    }
}
