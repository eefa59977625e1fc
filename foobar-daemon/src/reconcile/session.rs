//! A session with MySQL or MariaDB, as far as reading its counters takes: a login and `SHOW STATUS` (MySQL Internals,
//! "Client/Server Protocol"). Of what the server sends no more is read, and none of it longer, than these can have.

use std::{collections::BTreeMap, io};

use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

use super::{
    ANSWER_MAX, Failure, Reason,
    credentials::{Credentials, ServerPlace},
};

/// `CLIENT_LONG_PASSWORD`, `CLIENT_PROTOCOL_41`, `CLIENT_SECURE_CONNECTION` and `CLIENT_PLUGIN_AUTH`: no TLS, no
/// compression, no files of ours, one statement at a time.
const CAPABILITIES: u32 = 1 | 1 << 9 | 1 << 15 | 1 << 19;
/// `utf8_general_ci`, which all servers have.
const COLLATION: u8 = 33;
const PROTOCOL_VERSION: u8 = 10;
const NONCE: usize = 20;
/// How often a server may ask for another way to log in.
const SWITCHES: usize = 2;
const NATIVE: &[u8] = b"mysql_native_password";
const CACHING_SHA2: &[u8] = b"caching_sha2_password";

const OK: u8 = 0x00;
const MORE_DATA: u8 = 0x01;
const EOF: u8 = 0xfe;
const ERROR: u8 = 0xff;
const COM_QUIT: [u8; 5] = [1, 0, 0, 0, 1];
const COM_QUERY: u8 = 3;

/// A session; it ends when it is dropped.
pub(super) struct Session {
    stream: Stream,
    /// Number of the next packet.
    sequence: u8,
    /// How many more bytes are read of this answer.
    budget: usize,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Session {
    /// Logs in.
    pub(super) async fn open(credentials: &Credentials) -> Result<Self, Failure> {
        let Credentials { user, password, place } = credentials;
        let unreachable = |error: io::Error| {
            let message = format!("connect to MySQL on {place}: {error}; does it run, and listen there?");
            Failure::new(Reason::Connect, message)
        };
        let stream = match place {
            ServerPlace::Socket(path) => Stream::Unix(UnixStream::connect(path).await.map_err(unreachable)?),
            ServerPlace::Loopback(address) => {
                Stream::Tcp(TcpStream::connect(address).await.map_err(unreachable)?)
            }
        };
        let mut session = Self { stream, sequence: 0, budget: ANSWER_MAX };
        let greeting = session.receive().await?;
        let Some(Greeting { mut nonce, mut plugin }) = Greeting::read(&greeting) else {
            return Err(refusal(&greeting, Reason::Answer).unwrap_or_else(unexpected));
        };
        let response = login(user, &scrambled(&plugin, password.reveal(), &nonce), &plugin);
        session.send(&response).await?;
        let mut switches = 0;
        loop {
            let packet = session.receive().await?;
            match packet.split_first() {
                Some((&OK, _)) => return Ok(session),
                Some((&EOF, rest)) if switches < SWITCHES => {
                    switches += 1;
                    let mut rest = rest;
                    plugin = until_zero(&mut rest).ok_or_else(unexpected)?.to_vec();
                    nonce = rest.get(..NONCE).ok_or_else(unexpected)?.to_vec();
                    session.send(&scrambled(&plugin, password.reveal(), &nonce)).await?;
                }
                // The server has our password in its cache, and says so before the end.
                Some((&MORE_DATA, &[3])) if plugin == CACHING_SHA2 => {}
                Some((&MORE_DATA, &[4])) if plugin == CACHING_SHA2 => {
                    session.send_password(password.reveal()).await?;
                }
                _ => return Err(refusal(&packet, Reason::Login).unwrap_or_else(unexpected)),
            }
        }
    }

    /// Allows for the next answers as much as one may have in all.
    pub(super) fn begin_answers(&mut self) {
        self.budget = ANSWER_MAX;
    }

    /// What a statement that gives names and values gives.
    pub(super) async fn rows(&mut self, statement: &str) -> Result<BTreeMap<String, String>, Failure> {
        self.sequence = 0;
        self.send(&[&[COM_QUERY], statement.as_bytes()].concat()).await?;
        let packet = self.receive().await?;
        if packet != [2] {
            return Err(refusal(&packet, Reason::Answer).unwrap_or_else(unexpected));
        }
        for _column in 0..2 {
            self.receive().await?;
        }
        if !is_end(&self.receive().await?) {
            return Err(unexpected());
        }
        let mut rows = BTreeMap::new();
        loop {
            let packet = self.receive().await?;
            if is_end(&packet) {
                return Ok(rows);
            }
            let mut rest = packet.as_slice();
            let texts = (text(&mut rest), text(&mut rest));
            let (Some(name), Some(value)) = texts else {
                return Err(refusal(&packet, Reason::Answer).unwrap_or_else(unexpected));
            };
            rows.insert(name, value);
        }
    }

    /// Gives the password itself, which nobody but the server can read on a Unix socket.
    async fn send_password(&mut self, password: &str) -> Result<(), Failure> {
        if matches!(self.stream, Stream::Tcp(_)) {
            let message = "the server wants the password itself, which is not sent over TCP; name its socket in the \
                           credentials (socket = /run/mysqld/mysqld.sock)";
            return Err(Failure::new(Reason::Login, message));
        }
        self.send(&[password.as_bytes(), &[0]].concat()).await
    }

    /// Receives a packet: three bytes of length, its number, its payload.
    async fn receive(&mut self) -> Result<Vec<u8>, Failure> {
        let mut header = [0; 4];
        self.read(&mut header).await?;
        let [low, middle, high, number] = header;
        let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
        self.budget = self.budget.checked_sub(length + header.len()).ok_or_else(|| {
            let message =
                format!("the server says more than {ANSWER_MAX} bytes; is it MySQL that listens there?");
            Failure::new(Reason::Answer, message)
        })?;
        self.sequence = number.wrapping_add(1);
        let mut payload = vec![0; length];
        self.read(&mut payload).await?;
        Ok(payload)
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        let read = match &mut self.stream {
            Stream::Unix(stream) => stream.read_exact(bytes).await,
            Stream::Tcp(stream) => stream.read_exact(bytes).await,
        };
        read.map(drop).map_err(|error| broken(&error))
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let [low, middle, high, _] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        let packet = [&[low, middle, high, self.sequence], payload].concat();
        let sent = match &mut self.stream {
            Stream::Unix(stream) => stream.write_all(&packet).await,
            Stream::Tcp(stream) => stream.write_all(&packet).await,
        };
        sent.map_err(|error| broken(&error))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Without, the server complains in its log. Who cannot be told is not told.
        let _told: io::Result<usize> = match &self.stream {
            Stream::Unix(stream) => stream.try_write(&COM_QUIT),
            Stream::Tcp(stream) => stream.try_write(&COM_QUIT),
        };
    }
}

/// What a server says first (`Protocol::HandshakeV10`).
struct Greeting {
    nonce: Vec<u8>,
    /// How it would have us log in.
    plugin: Vec<u8>,
}

impl Greeting {
    fn read(packet: &[u8]) -> Option<Self> {
        let (version, mut rest) = packet.split_first()?;
        if *version != PROTOCOL_VERSION {
            return None;
        }
        until_zero(&mut rest)?;
        // Number of the session, first part of the nonce and a zero, then capabilities, collation and the like.
        take(&mut rest, 4)?;
        let first = take(&mut rest, 8)?;
        take(&mut rest, 1 + 2 + 1 + 2 + 2 + 1 + 10)?;
        let second = take(&mut rest, NONCE - 8)?;
        // A zero is behind the nonce, and not always one behind the name.
        let name = rest.get(1..).unwrap_or_default();
        let plugin = name.split(|byte| *byte == 0).next().filter(|name| !name.is_empty()).unwrap_or(NATIVE);
        Some(Self { nonce: [first, second].concat(), plugin: plugin.to_vec() })
    }
}

/// `Protocol::HandshakeResponse41`.
fn login(user: &str, proof: &[u8], plugin: &[u8]) -> Vec<u8> {
    // The longest proof has 32 bytes.
    let length = u8::try_from(proof.len()).unwrap_or_default();
    let most = u32::try_from(ANSWER_MAX).unwrap_or(u32::MAX);
    [
        &CAPABILITIES.to_le_bytes()[..],
        &most.to_le_bytes(),
        &[COLLATION],
        &[0; 23],
        user.as_bytes(),
        &[0, length],
        proof,
        plugin,
        &[0],
    ]
    .concat()
}

/// What proves that we know the password, and does not tell it. Nothing without a password, and nothing for a server
/// that knows us by other means, as by the user at the other end of its socket.
fn scrambled(plugin: &[u8], password: &str, nonce: &[u8]) -> Vec<u8> {
    let exclusive_or =
        |one: &[u8], other: &[u8]| one.iter().zip(other).map(|(one, other)| one ^ other).collect();
    if password.is_empty() {
        return Vec::new();
    }
    if plugin == NATIVE {
        let once = Sha1::digest(password);
        let twice = Sha1::digest(once);
        return exclusive_or(&once, &Sha1::new().chain_update(nonce).chain_update(twice).finalize());
    }
    if plugin == CACHING_SHA2 {
        let once = Sha256::digest(password);
        let twice = Sha256::digest(once);
        return exclusive_or(&once, &Sha256::new().chain_update(twice).chain_update(nonce).finalize());
    }
    Vec::new()
}

/// What a server says that refuses something (`ERR_Packet`); `None` if it is no such packet.
fn refusal(packet: &[u8], reason: Reason) -> Option<Failure> {
    let mut rest = packet.strip_prefix(&[ERROR])?;
    let code = u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?);
    let what = if reason == Reason::Login {
        "does not let us in; see user and password in the credentials"
    } else {
        "refuses to tell its count; see what it says of this error"
    };
    Some(Failure::new(reason, format!("MySQL {what} (error {code})")))
}

/// Of an answer that is none of those that there can be.
fn unexpected() -> Failure {
    let message = "the answer is not one of MySQL; is it MySQL or MariaDB that listens there?";
    Failure::new(Reason::Answer, message)
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(
        Reason::Answer,
        format!("the session with MySQL broke off: {error}; see the log of the server"),
    )
}

/// Whether a packet ends columns or rows (`EOF_Packet`).
fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&EOF) && packet.len() < 9
}

/// A text with its length in front, of less than 251 bytes.
fn text(rest: &mut &[u8]) -> Option<String> {
    let length = *take(rest, 1)?.first()?;
    let bytes = if length < 251 { take(rest, length.into())? } else { return None };
    String::from_utf8(bytes.to_vec()).ok()
}

fn take<'p>(rest: &mut &'p [u8], length: usize) -> Option<&'p [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// What is before the next zero; the rest is behind it.
fn until_zero<'p>(rest: &mut &'p [u8]) -> Option<&'p [u8]> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let before = take(rest, end)?;
    take(rest, 1)?;
    Some(before)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Of MariaDB 10.11.
    fn greeting() -> Vec<u8> {
        let parts: [&[u8]; 9] = [
            b"\x0a5.5.5-10.11\0",
            &7_u32.to_le_bytes(),
            b"12345678",
            &[0, 0xfe, 0xf7, 33, 2, 0, 0xff, 0x81, 21],
            &[0; 10],
            b"abcdefghijkl",
            &[0],
            NATIVE,
            &[0],
        ];
        parts.concat()
    }

    #[test]
    fn a_greeting_is_read() {
        let Greeting { nonce, plugin } = Greeting::read(&greeting()).unwrap();
        assert_eq!((nonce.as_slice(), plugin.as_slice()), (&b"12345678abcdefghijkl"[..], NATIVE));
        assert!(Greeting::read(&[9]).is_none());
    }

    /// As Python's hashlib computes them.
    #[test]
    fn proofs_are_those_of_the_protocol() {
        let hexadecimal = |plugin, password| {
            crate::rules::bundle::hexadecimal(&scrambled(plugin, password, b"12345678abcdefghijkl"))
        };
        assert_eq!(hexadecimal(NATIVE, "secret"), "4f1522d6eb54737eda413b3e219ca6caebe3df2c");
        assert_eq!(
            hexadecimal(CACHING_SHA2, "secret"),
            "7f7e3878fe488ed45081455d0d6e89e26d4ef86ef6c6aeed02397b6fe8ad5422"
        );
        assert_eq!(hexadecimal(NATIVE, ""), "");
        assert_eq!(hexadecimal(b"unix_socket", "secret"), "");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), cut in 0..90_usize) {
            let _any: Option<Greeting> = Greeting::read(&bytes);
            let mut known = greeting();
            known.truncate(cut);
            let _cut: Option<Greeting> = Greeting::read(&known);
            let _refused: Option<Failure> = refusal(&bytes, Reason::Login);
            let mut rest = bytes.as_slice();
            while text(&mut rest).is_some() {}
        }
    }
}
