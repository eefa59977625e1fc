//! What waits for a target, on the disk: one file for each request, in order, bounded in bytes and age.
//!
//! A file is written beside its place and renamed, so it is there wholly or not at all when the daemon is killed. It is not
//! forced onto the disk: what was written last may be lost or broken when the machine loses power, and a broken one is
//! found by its checksum. If the disk takes nothing, a little is kept in memory.

mod files;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use self::files::Found;
use super::{
    file::SpoolBounds,
    record::{Head, RECORD_MAX, Record},
    stats::Loss,
};

/// Bytes that are kept in memory while the disk takes nothing.
const MEMORY_MAX: u64 = 1 << 20;

/// What waits for a target.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    bounds: SpoolBounds,
    queue: VecDeque<Entry>,
    /// Bytes of all files.
    bytes: u64,
    /// Bytes in memory.
    memory: u64,
    /// The number of the next record.
    next: u64,
    /// The one that is being sent, which nothing drops.
    sending: Option<u64>,
    /// Why the disk does not take any, since it does not.
    disk_error: Option<String>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    bytes: u64,
    points: u64,
    unix_ms: u64,
    /// The record, if it is not in a file.
    kept: Option<Vec<u8>>,
}

/// Points that are not there any more, and why.
pub type Lost = Vec<(Loss, u64)>;

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Bytes, on the disk and in memory.
    pub bytes: u64,
    /// Requests.
    pub records: usize,
    /// Points.
    pub points: u64,
    /// When the oldest were gathered, in milliseconds since 1970.
    pub oldest_unix_ms: Option<u64>,
}

impl Spool {
    /// Makes the folder if there is none, and finds what is in it. Others' files are left alone.
    ///
    /// # Errors
    /// When the folder cannot be made, or is none.
    pub fn open(folder: &Path, bounds: SpoolBounds, unix_ms: u64) -> Result<(Self, Lost)> {
        files::make_folder(folder)?;
        let mut lost = Lost::new();
        let mut queue = VecDeque::new();
        for Found { number, bytes, head } in files::list(folder)? {
            if let Some(Head { points, unix_ms }) = head {
                queue.push_back(Entry { number, bytes, points, unix_ms, kept: None });
            } else {
                files::remove(folder, number);
                // How many points were in it is not known.
                lost.push((Loss::Broken, 1));
            }
        }
        let bytes = queue.iter().map(|entry| entry.bytes).sum();
        let next = queue.back().map_or(0, |entry| entry.number.saturating_add(1));
        let mut spool = Self {
            folder: folder.to_owned(),
            bounds,
            queue,
            bytes,
            memory: 0,
            next,
            sending: None,
            disk_error: None,
        };
        lost.extend(spool.shrink(0, unix_ms));
        Ok((spool, lost))
    }

    /// Other bounds from now on.
    pub fn set_bounds(&mut self, bounds: SpoolBounds, unix_ms: u64) -> Lost {
        self.bounds = bounds;
        self.shrink(0, unix_ms)
    }

    /// Puts a record behind the others; the oldest go if there is no room.
    pub fn push(&mut self, record: &Record, unix_ms: u64) -> Lost {
        let bytes = record.to_bytes();
        let size = bytes.len() as u64;
        if size > self.bounds.bytes.min(RECORD_MAX) {
            return vec![(Loss::Bytes, record.points)];
        }
        let mut lost = self.shrink(size, unix_ms);
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let entry =
            |kept| Entry { number, bytes: size, points: record.points, unix_ms: record.unix_ms, kept };
        match files::write(&self.folder, number, &bytes) {
            Ok(()) => {
                if self.disk_error.take().is_some() {
                    tracing::info!("the spool {} can be written to again", self.folder.display());
                }
                self.bytes += size;
                self.queue.push_back(entry(None));
            }
            Err(error) => {
                if self.disk_error.is_none() {
                    tracing::warn!(
                        "write to the spool {}: {error}; {} KiB are kept in memory, the rest is lost",
                        self.folder.display(),
                        MEMORY_MAX >> 10
                    );
                }
                self.disk_error = Some(error.to_string());
                if self.memory + size > MEMORY_MAX {
                    lost.push((Loss::Disk, record.points));
                } else {
                    self.memory += size;
                    self.queue.push_back(entry(Some(bytes)));
                }
            }
        }
        lost
    }

    /// The oldest record, and its number; it stays until [`Self::remove`]. What is broken or too old is removed on the way.
    pub fn first(&mut self, unix_ms: u64) -> (Option<(u64, Record)>, Lost) {
        self.sending = None;
        let mut lost = self.shrink(0, unix_ms);
        while let Some(entry) = self.queue.front() {
            let bytes = match &entry.kept {
                Some(bytes) => Some(bytes.clone()),
                None => files::read(&self.folder, entry.number, entry.bytes),
            };
            if let Some(record) = bytes.and_then(|bytes| Record::from_bytes(&bytes)) {
                self.sending = Some(entry.number);
                return (Some((entry.number, record)), lost);
            }
            lost.push((Loss::Broken, entry.points.max(1)));
            self.drop_at(0);
        }
        (None, lost)
    }

    /// Removes a record that is done with.
    pub fn remove(&mut self, number: u64) {
        self.sending = None;
        if let Some(at) = self.queue.iter().position(|entry| entry.number == number) {
            self.drop_at(at);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How much waits.
    pub fn waiting(&self) -> Waiting {
        Waiting {
            bytes: self.bytes + self.memory,
            records: self.queue.len(),
            points: self.queue.iter().fold(0, |sum, entry| sum.saturating_add(entry.points)),
            oldest_unix_ms: self.queue.front().map(|entry| entry.unix_ms),
        }
    }

    /// Why the disk takes nothing, if it does not.
    pub fn disk_error(&self) -> Option<&str> {
        self.disk_error.as_deref()
    }

    /// Drops what is too old, and the oldest until there is room for `more` bytes.
    fn shrink(&mut self, more: u64, unix_ms: u64) -> Lost {
        let mut lost = Lost::new();
        let age = u64::try_from(self.bounds.age.as_millis()).unwrap_or(u64::MAX);
        // One that is of the future was gathered before somebody set the clock back, and would never be too old.
        let is_old = |entry: &Entry| entry.unix_ms.abs_diff(unix_ms) > age;
        while let Some(at) = self.droppable().filter(|at| self.queue.get(*at).is_some_and(is_old)) {
            lost.extend(self.drop_at(at).map(|points| (Loss::Age, points)));
        }
        while self.bytes + self.memory + more > self.bounds.bytes {
            let Some(at) = self.droppable() else { break };
            lost.extend(self.drop_at(at).map(|points| (Loss::Bytes, points)));
        }
        lost
    }

    /// The oldest that is not being sent.
    fn droppable(&self) -> Option<usize> {
        self.queue.iter().position(|entry| Some(entry.number) != self.sending)
    }

    /// Removes an entry; gives its points.
    fn drop_at(&mut self, at: usize) -> Option<u64> {
        let entry = self.queue.remove(at)?;
        if entry.kept.is_some() {
            self.memory = self.memory.saturating_sub(entry.bytes);
        } else {
            files::remove(&self.folder, entry.number);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
        Some(entry.points)
    }
}

impl Waiting {
    /// How long the oldest have waited.
    pub fn lag(&self, unix_ms: u64) -> Duration {
        Duration::from_millis(self.oldest_unix_ms.map_or(0, |oldest| unix_ms.saturating_sub(oldest)))
    }
}

#[cfg(test)]
mod tests;
