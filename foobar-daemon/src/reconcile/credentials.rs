//! User, password and place of a server of MySQL, from an option file as its own clients have it (MySQL Reference
//! Manual, "Using Option Files"): the group `[client]` with `user`, `password`, `socket`, `host` and `port`.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

/// Longest file that is read, in bytes.
const SIZE_MAX: u64 = 64 << 10;
/// Where Debian's servers listen.
const DEFAULT_SOCKET: &str = "/run/mysqld/mysqld.sock";
const DEFAULT_PORT: u16 = 3306;
/// Rights of those who are neither owner nor group.
const OTHERS: u32 = 0o007;

/// What it takes to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Password,
    pub(super) place: ServerPlace,
}

/// Where a server listens on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerPlace {
    /// A Unix socket.
    Socket(PathBuf),
    /// An address of the loopback interface.
    Loopback(SocketAddr),
}

/// A password, which is never shown. Empty if there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Password(String);

impl Password {
    /// For whoever logs in.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

impl fmt::Display for ServerPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(formatter, "{}", path.display()),
            Self::Loopback(address) => write!(formatter, "{address}"),
        }
    }
}

impl Credentials {
    /// Reads the file.
    ///
    /// # Errors
    /// Why it cannot be used, and what to do. Nothing of what it says is told.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let unread = |error: std::io::Error| {
            format!("read {shown}: {error}; it has to be there and belong to the user that foobar runs as")
        };
        // Not to wait for somebody to write, if it is a pipe.
        let mut file =
            File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(unread)?;
        let metadata = file.metadata().map_err(unread)?;
        if !metadata.is_file() {
            return Err(format!("{shown} is no file; name an option file of MySQL"));
        }
        if metadata.mode() & OTHERS != 0 {
            let mode = metadata.mode() & 0o7777;
            return Err(format!(
                "{shown} can be read or written by others (mode {mode:04o}); do `chmod 600 {shown}`, and give it \
                 another password if somebody may have seen it"
            ));
        }
        let mut text = String::new();
        let read = file.by_ref().take(SIZE_MAX + 1).read_to_string(&mut text).map_err(unread)?;
        if read as u64 > SIZE_MAX {
            return Err(format!("{shown} is longer than {SIZE_MAX} bytes; name an option file of MySQL"));
        }
        Self::parse(&text).map_err(|problem| format!("{shown}: {problem}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (mut user, mut password, mut socket, mut host, mut port) = (None, None, None, None, None);
        let mut is_client = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                is_client = line == "[client]";
                continue;
            }
            if !is_client || line.is_empty() || line.starts_with(['#', ';', '!']) {
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let slot = match key.trim().replace('_', "-").as_str() {
                "user" => &mut user,
                "password" => &mut password,
                "socket" => &mut socket,
                "host" => &mut host,
                "port" => &mut port,
                // What clients of other kinds need.
                _ => continue,
            };
            *slot = Some(unquoted(value));
        }
        let user =
            user.filter(|user| !user.is_empty()).ok_or("no user; write user = foobar below [client]")?;
        let place = match (socket, host.as_deref()) {
            (Some(socket), _) => ServerPlace::Socket(socket.into()),
            (None, None | Some("" | "localhost")) => ServerPlace::Socket(DEFAULT_SOCKET.into()),
            (None, Some(host)) => ServerPlace::Loopback(loopback(host, port.as_deref())?),
        };
        Ok(Self { user, password: Password(password.unwrap_or_default()), place })
    }
}

/// An address of this machine; over any other, what foobar itself asks would pass the filter.
fn loopback(host: &str, port: Option<&str>) -> Result<SocketAddr, String> {
    let address = host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback);
    let address = address.ok_or_else(|| {
        let example = Ipv4Addr::LOCALHOST;
        format!("the host is not on this machine's loopback interface; write socket = {DEFAULT_SOCKET}, or host = {example}")
    })?;
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0),
        None => Some(DEFAULT_PORT),
    };
    let port =
        port.ok_or_else(|| format!("the port is no number from 1 to 65535; write port = {DEFAULT_PORT}"))?;
    Ok(SocketAddr::new(address, port))
}

/// A value without its quotes, without the comment behind it, and with its escapes resolved.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let quoted = value.chars().next().filter(|first| matches!(first, '"' | '\'')).and_then(|quote| {
        let inside = value.strip_prefix(quote)?;
        inside.rfind(quote).and_then(|end| inside.get(..end))
    });
    let bare = || value.split('#').next().unwrap_or_default().trim_end();
    let mut text = String::new();
    let mut characters = quoted.unwrap_or_else(bare).chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('b') => text.push('\u{8}'),
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('s') => text.push(' '),
            Some('\\') | None => text.push('\\'),
            Some(other) => text.extend(['\\', other]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn an_option_file_is_read_as_clients_of_mysql_do() {
        let read = |text: &str| {
            let Credentials { user, password, place } = Credentials::parse(text).unwrap();
            (user, password.0, place.to_string())
        };
        let row = |user: &str, password: &str, place: &str| {
            (user.to_owned(), password.to_owned(), place.to_owned())
        };
        for (text, expected) in [
            ("[client]\nuser=a\npassword=b\nsocket=/s", row("a", "b", "/s")),
            ("[client]\nuser = a\npassword = \"b # c\" # d\n", row("a", "b # c", DEFAULT_SOCKET)),
            ("[client]\nuser='a'\npassword=b#c\nhost=127.0.0.1", row("a", "b", "127.0.0.1:3306")),
            ("[client]\nuser=a\nhost=::1\nport=3307", row("a", "", "[::1]:3307")),
            ("[client]\nuser=a\nhost=localhost\nport=1", row("a", "", DEFAULT_SOCKET)),
            (
                "[mysqld]\nuser=x\n[client]\n; b\n!include c\nuser=a\nuser=b\nssl\n",
                row("b", "", DEFAULT_SOCKET),
            ),
            ("[client]\nuser=a\npassword=\\s\\\\\\x", row("a", " \\\\x", DEFAULT_SOCKET)),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for (text, said) in [
            ("", "no user"),
            ("user=a", "no user"),
            ("[client]\nuser=a\nhost=192.0.2.1", "not on this machine"),
            ("[client]\nuser=a\nhost=db.example", "not on this machine"),
            ("[client]\nuser=a\nhost=127.0.0.1\nport=0", "no number"),
        ] {
            let problem = Credentials::parse(text).unwrap_err();
            assert!(problem.contains(said), "{text}: {problem}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials::parse("[client]\nuser=a\npassword=secret").unwrap();
        assert!(!format!("{credentials:?}").contains("secret"), "{credentials:?}");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mysql.cnf");
        fs::write(&path, "[client]\nuser=a\npassword=secret\n").unwrap();
        for (mode, refused) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true), (0o601, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match Credentials::read(&path) {
                Ok(read) => assert!(!refused && read.user == "a", "{mode:o}"),
                Err(problem) => {
                    assert!(refused && problem.contains("chmod 600"), "{mode:o}: {problem}");
                    assert!(!problem.contains("secret"), "{problem}");
                }
            }
        }
        let pipe = folder.path().join("pipe");
        mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
        let long = folder.path().join("long");
        fs::write(&long, "#".repeat(70_000)).unwrap();
        fs::set_permissions(&long, fs::Permissions::from_mode(0o600)).unwrap();
        for (path, said) in
            [(&pipe, "no file"), (&long, "longer"), (&folder.path().join("none"), "has to be there")]
        {
            let problem = Credentials::read(path).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
    }
}
