//! The files of a spool. What is in the folder may be anything: links, pipes, endless files, others' files.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::OFlag;

use crate::push::record::{HEAD_BYTES, Head, RECORD_MAX};

/// Files of one spool; foobar writes no more than some thousands.
const FILES_MAX: usize = 200_000;
/// How the name of a record ends.
const RECORD: &str = ".record";
/// How it ends before it is complete.
const PART: &str = ".part";
/// Digits of a number in a name, so that names sort as numbers do.
const DIGITS: usize = 20;

/// Largest number of a record: whatever is found, others have room behind it.
const NUMBER_MAX: u64 = u64::MAX >> 1;

/// A file that is named as a record.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// What it says of itself; `None` if it is no record for certain.
    pub(super) head: Option<Head>,
}

/// Makes a folder for nobody else's eyes.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    let shown = folder.display();
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| {
        format!("make the spool {shown}; name another folder by `spool` in the push file")
    })?;
    let metadata = fs::symlink_metadata(folder).with_context(|| format!("look at the spool {shown}"))?;
    ensure!(metadata.is_dir(), "the spool {shown} is a link: name the folder itself");
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .with_context(|| format!("keep others from the spool {shown}"))?;
    }
    Ok(())
}

/// The records of a folder in their order. What a daemon that was killed left half written is removed.
pub(super) fn list(folder: &Path) -> Result<Vec<Found>> {
    let shown = folder.display();
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read the spool {shown}"))? {
        let name = entry.with_context(|| format!("read the spool {shown}"))?.file_name();
        let Some(name) = name.to_str() else { continue };
        if number_of(name, PART).is_some() {
            drop(fs::remove_file(folder.join(name)));
        }
        numbers.extend(number_of(name, RECORD));
        ensure!(numbers.len() <= FILES_MAX, "the spool {shown} has more than {FILES_MAX} files: remove them");
    }
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| look(folder, number)).collect())
}

fn look(folder: &Path, number: u64) -> Found {
    if number > NUMBER_MAX {
        return Found { number, bytes: 0, head: None };
    }
    let looked = open(&path(folder, number, RECORD)).and_then(|(mut file, bytes)| {
        let mut head = Vec::new();
        (&mut file).take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok((bytes, Head::read(&head)))
    });
    match looked {
        Ok((bytes, head)) => Found { number, bytes, head },
        Err(_no_record) => Found { number, bytes: 0, head: None },
    }
}

/// Writes a record, wholly or not at all.
pub(super) fn write(folder: &Path, number: u64, bytes: &[u8]) -> io::Result<()> {
    let part = path(folder, number, PART);
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&part, path(folder, number, RECORD)));
    if written.is_err() {
        // A part of it may take the last room there is.
        drop(fs::remove_file(&part));
    }
    written
}

/// The bytes of a record; `None` if there are not as many as there were.
pub(super) fn read(folder: &Path, number: u64, bytes: u64) -> Option<Vec<u8>> {
    let (file, length) = open(&path(folder, number, RECORD)).ok()?;
    if length != bytes {
        return None;
    }
    let mut read = Vec::with_capacity(usize::try_from(bytes).ok()?);
    file.take(bytes).read_to_end(&mut read).ok()?;
    Some(read)
}

/// Removes a record. If that fails it comes back with the next start, and is sent or dropped then.
pub(super) fn remove(folder: &Path, number: u64) {
    let path = path(folder, number, RECORD);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("remove {}: {error}", path.display());
    }
}

/// Opens a file of a length that a record can have; no link, no pipe.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > RECORD_MAX {
        return Err(io::Error::other("no record is like that"));
    }
    Ok((file, metadata.len()))
}

fn path(folder: &Path, number: u64, ending: &str) -> PathBuf {
    folder.join(format!("{number:0DIGITS$}{ending}"))
}

fn number_of(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    let is_number = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than a number has room for are the largest: foobar writes none like that.
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}
