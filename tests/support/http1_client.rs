//! Clients of HTTP/1.1 that ask in every way, and know what the answers have to be.

use std::{
    io::{Read, Write},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{
    random::Random,
    web_server::{PAGE, WebServer},
};

/// Bytes of the large answer.
pub const LARGE: usize = 10_000_000;
/// Bytes of an answer of several segments.
pub const MEDIUM: usize = 30_000;
/// What looks like messages, and is none.
const DECOY: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";

/// How a client speaks.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// How many connections it makes.
    pub connections: usize,
    /// On each connection.
    pub requests: usize,
    /// How many requests are sent before the first answer is awaited.
    pub pipelined: usize,
    /// Longest piece that is written at once.
    pub piece: usize,
    /// What the requests are, in turn.
    pub kinds: &'static [Kind],
}

/// What a request is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A page.
    Get,
    /// The headers of a page.
    Head,
    /// What there is none of.
    Missing,
    /// [`MEDIUM`].
    Medium,
    /// [`LARGE`].
    Large,
    /// A body of known length that looks like messages.
    Post,
    /// The same in chunks.
    Chunked,
    /// `OPTIONS`.
    Options,
    /// A method that nobody knows.
    Unknown,
}

/// All but the large one.
pub const ALL_KINDS: &[Kind] = &[
    Kind::Get,
    Kind::Head,
    Kind::Missing,
    Kind::Medium,
    Kind::Post,
    Kind::Chunked,
    Kind::Options,
    Kind::Unknown,
];

impl Scenario {
    /// How many requests it has in all.
    pub fn sent(&self) -> u64 {
        (self.connections * self.requests) as u64
    }
}

/// What an nginx is to be told so that it has what the requests ask for, besides [`put_files`].
pub fn locations() -> String {
    let page = PAGE.escape_default();
    format!(
        "location = /medium {{ }} location = /large {{ }} location = /missing {{ }} \
         location / {{ client_max_body_size 1m; return 200 \"{page}\"; }}"
    )
}

/// Puts the files there that the requests ask for.
pub fn put_files(server: &WebServer) -> Result<()> {
    server.put_file("medium", MEDIUM)?;
    server.put_file("large", LARGE)
}

/// A connection to a server.
pub trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// Every connection of a scenario, a few at a time. `connect` makes one, by its number.
pub fn load(scenario: &Scenario, connect: &(impl Fn(usize) -> Result<Box<dyn Stream>> + Sync)) -> Result<()> {
    const CLIENTS: usize = 8;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    (client..scenario.connections)
                        .step_by(CLIENTS)
                        .try_for_each(|number| talk(scenario, &mut *connect(number)?, number as u64))
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| {
            client.join().map_err(|_payload| anyhow!("a client panicked"))?.context(scenario.name)
        })
    })
}

/// One connection.
fn talk(scenario: &Scenario, stream: &mut dyn Stream, number: u64) -> Result<()> {
    let mut random = Random::new(number);
    let first = usize::try_from(number)?;
    let kinds: Vec<Kind> =
        scenario.kinds.iter().copied().cycle().skip(first % 8).take(scenario.requests).collect();
    let mut unread = Vec::new();
    for (batch, kinds) in kinds.chunks(scenario.pipelined).enumerate() {
        let bytes: Vec<u8> = kinds.iter().flat_map(|kind| kind.request(batch).into_bytes()).collect();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let longest = scenario.piece.min(rest.len());
            let (piece, behind) = rest.split_at(1 + random.index(longest));
            stream.write_all(piece)?;
            stream.flush()?;
            rest = behind;
        }
        for kind in kinds {
            kind.read_answer(stream, &mut unread)?;
        }
    }
    ensure!(unread.is_empty(), "{} bytes too many", unread.len());
    Ok(())
}

impl Kind {
    /// Its bytes; `number` makes them differ.
    pub fn request(self, number: usize) -> String {
        let host = "Host: www.foobar.com\r\nUser-Agent: a client that says who it is\r\nAccept: */*\r\n";
        match self {
            Self::Get => format!("GET /page?{number} HTTP/1.1\r\n{host}\r\n"),
            Self::Head => format!("HEAD /medium HTTP/1.1\r\n{host}\r\n"),
            Self::Missing => format!("GET /missing HTTP/1.1\r\n{host}\r\n"),
            Self::Medium => {
                format!("GET /medium HTTP/1.1\r\n{host}Cookie: {}\r\n\r\n", "c".repeat(number % 700))
            }
            Self::Large => format!("GET /large HTTP/1.1\r\n{host}\r\n"),
            Self::Options => format!("OPTIONS / HTTP/1.1\r\n{host}\r\n"),
            Self::Unknown => format!("PURGE http://www.foobar.com/a HTTP/1.1\r\n{host}\r\n"),
            Self::Post => {
                let body = DECOY.repeat(1 + number % 40);
                format!("POST /form HTTP/1.1\r\n{host}Content-Length: {}\r\n\r\n{body}", body.len())
            }
            Self::Chunked => {
                let chunk = format!("{:x};name=value\r\n{DECOY}\r\n", DECOY.len());
                let chunks = chunk.repeat(1 + number % 20);
                format!(
                    "PUT /form HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\nX: trailer\r\n\r\n"
                )
            }
        }
    }

    /// Reads an answer and looks whether it is the right one.
    ///
    /// # Errors
    /// Says what was answered.
    pub fn read_answer(self, stream: &mut dyn Stream, unread: &mut Vec<u8>) -> Result<()> {
        let head_end = loop {
            if let Some(end) = unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            more(stream, unread)?;
        };
        let head = String::from_utf8_lossy(&unread[..head_end]).to_ascii_lowercase();
        let (status, body) = match self {
            Self::Get | Self::Post | Self::Chunked => ("200", Some(PAGE.len())),
            // nginx answers OPTIONS and unknown methods as it likes; they are requests all the same.
            Self::Options | Self::Unknown => ("", None),
            Self::Missing => ("404", None),
            Self::Head | Self::Medium => ("200", Some(MEDIUM)),
            Self::Large => ("200", Some(LARGE)),
        };
        ensure!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.with_context(|| format!("no length: {head}"))?.parse()?;
        ensure!(body.is_none_or(|body| body == length), "{head}");
        unread.drain(..head_end);
        let length = if matches!(self, Self::Head) { 0 } else { length };
        while unread.len() < length {
            more(stream, unread)?;
        }
        unread.drain(..length);
        Ok(())
    }
}

fn more(stream: &mut dyn Stream, unread: &mut Vec<u8>) -> Result<()> {
    let mut bytes = vec![0; 65_536];
    let length = stream.read(&mut bytes)?;
    ensure!(length > 0, "the server ended the connection");
    unread.extend(&bytes[..length]);
    Ok(())
}
