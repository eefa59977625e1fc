//! Which TLS library a process has in its memory.

use std::{fs, path::PathBuf};

/// What the file name of OpenSSL's library begins with.
const FILE_NAME: &str = "libssl.so";

/// A library, as the file that it is: the same for all processes that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Device and inode.
    pub file: (String, u64),
    /// A path that leads there as long as the process lives, from any mount namespace, even if the file was removed.
    pub path: PathBuf,
    /// Its path as the process has it.
    pub name: String,
}

/// The TLS library of a process, if it has one that can be watched.
pub fn tls_library(process: u32) -> Option<Library> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    maps.lines().find_map(|line| library(process, line))
}

/// From a line of `/proc/PID/maps`.
fn library(process: u32, line: &str) -> Option<Library> {
    let mut words = line.split_whitespace();
    let (range, rights, _offset) = (words.next()?, words.next()?, words.next()?);
    let (device, inode, name) = (words.next()?, words.next()?, words.next()?);
    let file_name = name.rsplit('/').next()?;
    if !rights.contains('x') || !file_name.starts_with(FILE_NAME) {
        return None;
    }
    // Here the kernel fills addresses with zeros, there it does not.
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).ok());
    let path = format!("/proc/{process}/map_files/{:x}-{:x}", start?, end?);
    Some(Library {
        file: (device.to_owned(), inode.parse().ok()?),
        path: PathBuf::from(path),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_the_library_is_found_among_mappings() {
        let code =
            "00401000-00460000 r-xp 0001f000 fe:00 12345                      /usr/lib/libssl.so.3 (deleted)";
        let found = library(7, code).unwrap();
        assert_eq!(found.file, ("fe:00".to_owned(), 12345));
        assert_eq!(found.path, PathBuf::from("/proc/7/map_files/401000-460000"));
        assert_eq!(found.name, "/usr/lib/libssl.so.3");
        assert_eq!(library(7, &code.replace("r-xp", "r--p")), None);
        assert_eq!(library(7, &code.replace("libssl", "libcrypto")), None);
        assert_eq!(library(7, "7ffd1000-7ffd2000 r-xp 00000000 00:00 0     [vdso]"), None);
    }
}
