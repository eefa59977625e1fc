//! Records for systemd's journal, in its own protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
//!
//! Every value is written with its length before it, which the protocol has for values of several lines: whatever is in a value, text of a
//! packet or of a client included, it stays one, and makes no field.

use std::{
    env,
    fs::File,
    io::{self, IoSlice, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{fs::MetadataExt as _, net::UnixDatagram},
    },
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg},
    },
};
use tracing::Level;

use super::record::LogRecord;

/// Where the journal listens, of whatever version.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest text, in bytes: some of what is wrong with a thousand rules.
pub const TEXT_MAX: usize = 256 << 10;
/// What a field of foobar's begins with.
const PREFIX: &str = "FOOBAR_";
/// Longest name of a field that the journal takes, in bytes.
const NAME_MAX: usize = 64;

/// The way to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    address: UnixAddr,
}

impl Journal {
    /// Finds the journal of this machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn open() -> Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    /// The journal that listens here. Its socket is named anew for each record, so a journal that is started again is no loss.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(path: &Path) -> Result<Self> {
        if !path.exists() {
            bail!("there is no journal: {} is not there; systemd-journald makes it", path.display());
        }
        let socket = UnixDatagram::unbound().context("make a socket for the journal")?;
        // A journal that hangs must not hold up who logs.
        socket.set_nonblocking(true).context("make a socket for the journal")?;
        let address = UnixAddr::new(path).context("name the socket of the journal")?;
        Ok(Self { socket, address })
    }

    /// Writes a record.
    ///
    /// # Errors
    /// When the journal does not take it.
    pub fn send(&self, record: &LogRecord) -> io::Result<()> {
        let message = encode(record);
        match self.pass(&message, &[]) {
            // More than a datagram has room for: what is in a file is not copied.
            Err(Errno::EMSGSIZE | Errno::ENOBUFS) => self.send_file(&message),
            sent => Ok(sent?),
        }
    }

    /// Passes a message on as a file in memory that nobody can change any more, as the journal asks for.
    fn send_file(&self, message: &[u8]) -> io::Result<()> {
        let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
        let mut file = File::from(memfd_create("foobar-log", flags)?);
        file.write_all(message)?;
        let seals =
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        self.pass(&[], &[ControlMessage::ScmRights(&[file.as_raw_fd()])])?;
        Ok(())
    }

    fn pass(&self, message: &[u8], control: &[ControlMessage<'_>]) -> nix::Result<()> {
        let parts = [IoSlice::new(message)];
        sendmsg(self.socket.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, Some(&self.address))
            .map(drop)
    }
}

/// Whether stderr leads to the journal, as systemd says of the services that it starts (systemd.exec(5), `JOURNAL_STREAM`).
pub fn is_stderr() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    // The file of a descriptor: what is inherited may be another one, as in a script that writes into a file.
    let is_it = |file: std::fs::Metadata| is_stream(&stream, file.dev(), file.ino());
    std::fs::metadata("/proc/self/fd/2").is_ok_and(is_it)
}

fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    stream
        .split_once(':')
        .is_some_and(|(first, second)| first.parse() == Ok(device) && second.parse() == Ok(inode))
}

/// How bad an event is, as the journal has it (syslog(3)).
pub const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn encode(record: &LogRecord) -> Vec<u8> {
    let LogRecord { unix_ns: _, level, text, attributes } = record;
    let mut message = Vec::with_capacity(text.len() + 512);
    put(&mut message, "MESSAGE", text);
    put(&mut message, "PRIORITY", &priority(*level).to_string());
    put(&mut message, "SYSLOG_IDENTIFIER", "foobar");
    for (name, value) in attributes {
        put(&mut message, &field_name(name), value);
    }
    message
}

/// A name as the journal takes it: capital letters, digits and `_`.
fn field_name(name: &str) -> String {
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    PREFIX.chars().chain(name.chars().map(letter)).take(NAME_MAX).collect()
}

fn put(message: &mut Vec<u8>, name: &str, value: &str) {
    message.extend(name.as_bytes());
    message.push(b'\n');
    message.extend((value.len() as u64).to_le_bytes());
    message.extend(value.as_bytes());
    message.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_several_lines_makes_no_field() {
        let record = LogRecord {
            unix_ns: 1,
            level: Level::WARN,
            text: "a\nPRIORITY=0".to_owned(),
            attributes: vec![("source", "daemon".to_owned()), ("log.file-x", "\n\nB=1\n".to_owned())],
        };
        let expected = b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\nPRIORITY\n\x01\0\0\0\0\0\0\x004\n\
            SYSLOG_IDENTIFIER\n\x06\0\0\0\0\0\0\0foobar\nFOOBAR_SOURCE\n\x06\0\0\0\0\0\0\0daemon\n\
            FOOBAR_LOG_FILE_X\n\x06\0\0\0\0\0\0\0\n\nB=1\n\n";
        assert_eq!(String::from_utf8_lossy(&encode(&record)), String::from_utf8_lossy(expected));
        assert_eq!(field_name(&"x".repeat(100)).len(), NAME_MAX);
    }

    #[test]
    fn the_stream_is_told_by_device_and_inode() {
        for (stream, is) in
            [("8:77", true), ("8:7", false), ("77:8", false), ("8:77:1", false), ("", false), ("8", false)]
        {
            assert_eq!(is_stream(stream, 8, 77), is, "{stream}");
        }
    }
}
