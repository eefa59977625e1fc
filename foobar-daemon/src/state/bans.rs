//! The journal of bans in the state folder, `bans.journal`: one small write for each change, and written anew, without
//! what is over, at each start and when it has grown.
//!
//! What was written outlives the daemon, however it ends. For what outlives a power cut, the disk is asked within a
//! second ([`BanJournal::sync`]) and not for each ban: that would cost more than all the rest.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::store::{Store, sync_folder, write_file};

/// A journal that is larger, and twice as large as it was when it was written anew, has grown.
const GROWN: u64 = 1 << 20;
/// Longest journal that is read, in bytes: many times what all bans that there can be take.
const LENGTH_MAX: u64 = 1 << 30;

/// The journal, open to be written to.
#[derive(Debug)]
pub struct BanJournal {
    path: PathBuf,
    /// `None` after a failure that left it in an unknown state: it has to be written anew.
    file: Option<File>,
    /// Bytes of whole lines.
    length: u64,
    /// Bytes that it had when it was written anew.
    length_anew: u64,
    is_synced: bool,
}

impl Store {
    /// The bytes of the journal; `None` if there is none yet.
    ///
    /// # Errors
    /// When there is one, and it cannot be read.
    pub fn ban_journal_bytes(&self) -> Result<Option<Vec<u8>>> {
        let path = self.ban_journal_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        };
        let mut bytes = Vec::new();
        file.take(LENGTH_MAX + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("read {}", path.display()))?;
        ensure!(bytes.len() as u64 <= LENGTH_MAX, "{} is longer than any that foobar writes", path.display());
        Ok(Some(bytes))
    }

    /// Gives a journal that could not be understood another name, which is given back.
    ///
    /// # Errors
    /// When it stays where it is.
    pub fn keep_ban_journal_aside(&self, unix_ms: u64) -> Result<PathBuf> {
        let path = self.ban_journal_path();
        let aside = path.with_extension(format!("unreadable-{unix_ms}"));
        fs::rename(&path, &aside).with_context(|| format!("move {} away", path.display()))?;
        sync_folder(&aside)?;
        Ok(aside)
    }

    /// The journal, to be written to; nothing is open before it is written anew.
    pub fn ban_journal(&self) -> BanJournal {
        BanJournal { path: self.ban_journal_path(), file: None, length: 0, length_anew: 0, is_synced: true }
    }

    fn ban_journal_path(&self) -> PathBuf {
        self.folder.join("bans.journal")
    }
}

impl BanJournal {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether lines can be added to it.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether it is time to write it anew.
    pub fn has_grown(&self) -> bool {
        self.length > GROWN && self.length > 2 * self.length_anew
    }

    /// Puts this text in the place of all of it, wholly or not at all.
    ///
    /// # Errors
    /// It is as it was.
    pub fn write_anew(&mut self, text: &str) -> Result<()> {
        let write = || -> Result<File> {
            write_file(&self.path, text.as_bytes())?;
            Ok(File::options().append(true).open(&self.path)?)
        };
        let file = write().with_context(|| format!("write the bans to {}", self.path.display()))?;
        self.length = text.len() as u64;
        self.length_anew = self.length;
        self.is_synced = true;
        self.file = Some(file);
        Ok(())
    }

    /// Adds lines.
    ///
    /// # Errors
    /// None of them are there. If what was written of them cannot be taken back, the journal is no longer
    /// [open](Self::is_open).
    pub fn append(&mut self, lines: &str) -> Result<()> {
        let shown = self.path.display();
        let file = self.file.as_mut().with_context(|| format!("{shown} is not open"))?;
        if let Err(error) = file.write_all(lines.as_bytes()) {
            if file.set_len(self.length).is_err() {
                self.file = None;
            }
            return Err(error).with_context(|| format!("write to the journal of bans {shown}"));
        }
        self.length += lines.len() as u64;
        self.is_synced = false;
        Ok(())
    }

    /// Has what was added outlive a power cut.
    ///
    /// # Errors
    /// It may not.
    pub fn sync(&mut self) -> Result<()> {
        if let (false, Some(file)) = (self.is_synced, &self.file) {
            file.sync_data().with_context(|| format!("write {} to the disk", self.path.display()))?;
        }
        self.is_synced = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_all_of_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.ban_journal_bytes().unwrap(), None);
        let mut journal = store.ban_journal();
        assert!(!journal.is_open() && journal.append("x\n").is_err());
        journal.write_anew("a\n").unwrap();
        journal.append("b\n").unwrap();
        journal.append("c\nd\n").unwrap();
        journal.sync().unwrap();
        assert_eq!(store.ban_journal_bytes().unwrap().unwrap(), b"a\nb\nc\nd\n");
        assert!(!journal.has_grown());
        journal.append(&"e".repeat(1 << 20)).unwrap();
        assert!(journal.has_grown());
        journal.write_anew("f\n").unwrap();
        journal.append("g\n").unwrap();
        assert_eq!(store.ban_journal_bytes().unwrap().unwrap(), b"f\ng\n");

        let aside = store.keep_ban_journal_aside(7).unwrap();
        assert_eq!(aside, folder.path().join("bans.unreadable-7"));
        assert_eq!(
            (fs::read(aside).unwrap(), store.ban_journal_bytes().unwrap()),
            (b"f\ng\n".to_vec(), None)
        );
    }

    #[test]
    fn a_full_disk_leaves_whole_lines_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut journal = store.ban_journal();
        journal.write_anew("a\n").unwrap();
        // Every write to this device fails as one to a full disk does (null(4)), and it cannot be cut.
        journal.file = Some(File::options().append(true).open("/dev/full").unwrap());
        assert!(format!("{:#}", journal.append("b\n").unwrap_err()).contains("bans.journal"));
        assert!(!journal.is_open(), "what was written could not be taken back");
        journal.write_anew("a\n").unwrap();
        journal.append("c\n").unwrap();
        assert_eq!(store.ban_journal_bytes().unwrap().unwrap(), b"a\nc\n");
    }
}
