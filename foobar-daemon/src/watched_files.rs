//! Reading the files that a configuration is made of, and noticing that they have changed.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};

/// Longest file that is read, in bytes.
const SIZE_MAX: u64 = 1 << 20;
/// A file that was written less long ago may be written again in the same tick of the clock that stamps it, and then
/// looks as it did.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// The files that were read for a configuration up to now.
#[derive(Debug, Default)]
pub struct Files {
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    digest: Sha256,
}

/// The files that were read for a configuration: whether they are still the same.
#[derive(Debug)]
pub struct Seen {
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    /// Of all that was read.
    pub digest: [u8; 32],
    is_settled: bool,
}

/// What tells a file from the one that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds. The time of change cannot be set, so a file whose time of modification was is noticed.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// Reads a file. It is remembered also if it cannot be read.
    ///
    /// # Errors
    /// Why not, without its path: there is no such file, it is none, or it is too long.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let (stamp, bytes) = match open(path) {
            Ok((mut file, metadata)) => (Some(Stamp::of(&metadata)), read_bounded(&mut file, &metadata)),
            Err(error) => (Stamp::at(path), Err(error.to_string())),
        };
        self.stamps.push((path.to_owned(), stamp));
        let (said, told) = match &bytes {
            Ok(bytes) => (b'+', bytes.as_slice()),
            Err(why) => (b'-', why.as_bytes()),
        };
        self.digest.update([said]);
        self.digest.update((told.len() as u64).to_le_bytes());
        self.digest.update(told);
        bytes
    }

    /// No more files are read.
    pub fn finish(self) -> Seen {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_settled = |stamp: &Option<Stamp>| {
            stamp.is_none_or(|Stamp { changed: (seconds, _), .. }| {
                u64::try_from(seconds)
                    .is_ok_and(|seconds| now > Duration::from_secs(seconds + 1) + SETTLED_AFTER)
            })
        };
        Seen {
            is_settled: self.stamps.iter().all(|(_, stamp)| is_settled(stamp)),
            stamps: self.stamps,
            digest: self.digest.finalize().into(),
        }
    }
}

impl Seen {
    /// Whether reading again would give the same for certain.
    pub fn is_current(&self) -> bool {
        self.is_settled && self.stamps.iter().all(|(path, stamp)| Stamp::at(path) == *stamp)
    }
}

impl Stamp {
    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Not to wait for somebody to write, if it is a pipe.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn read_bounded(file: &mut File, metadata: &Metadata) -> Result<Vec<u8>, String> {
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(format!("it is longer than {SIZE_MAX} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    fn seen(path: &Path) -> Seen {
        let mut files = Files::default();
        drop(files.read(path));
        // As if all had been written long ago.
        Seen { is_settled: true, ..files.finish() }
    }

    #[test]
    fn what_changes_a_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let before = seen(&path);
        assert!(before.is_current());
        let modified = fs::metadata(&path).unwrap().modified().unwrap();

        // The same length and time of modification, as `cp --preserve` leaves them.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "two").unwrap();
        File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert!(!before.is_current());
        let after = seen(&path);
        assert!(after.is_current());
        assert_ne!(after.digest, before.digest);

        // Another file behind the same name.
        let other = folder.path().join("b");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!after.is_current());
        assert_eq!(seen(&path).digest, after.digest);

        fs::remove_file(&path).unwrap();
        let none = seen(&path);
        assert!(none.is_current());
        symlink("nowhere", &path).unwrap();
        assert!(none.is_current(), "a link to nothing is nothing, too");
        fs::write(folder.path().join("nowhere"), "").unwrap();
        assert!(!none.is_current());
    }

    #[test]
    fn what_was_just_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let mut files = Files::default();
        assert_eq!(files.read(&path), Ok(b"one".to_vec()));
        assert!(!files.finish().is_current());
    }

    #[test]
    fn what_is_no_file_of_a_sensible_length_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        mkfifo(&path("pipe"), Mode::S_IRWXU).unwrap();
        File::create(path("long")).unwrap().set_len(1 << 30).unwrap();
        for (name, said) in [
            ("none", "No such file"),
            ("pipe", "no file"),
            (".", "no file"),
            ("long", "longer than 1048576 bytes"),
            ("/dev/zero", "no file"),
        ] {
            let why = Files::default().read(&path(name)).unwrap_err();
            assert!(why.contains(said), "{name}: {why}");
        }
    }
}
