//! A viewer that is no browser.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::namespace::Namespace;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt::RcvBuf,
};
use serde_json::Value;

/// A connection on which events come.
pub(crate) struct Stream {
    lines: BufReader<TcpStream>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; `message` if it says none.
    pub(crate) kind: String,
    pub(crate) data: String,
}

impl Stream {
    /// One from this namespace, once there is an answer with status 200. In HTTP/1.0, so that there are no chunks.
    pub(crate) fn open(namespace: &Namespace, server: SocketAddr) -> Result<Self> {
        Self::with_buffer(namespace, server, 1 << 20)
    }

    /// The same where the kernel keeps about so many bytes until they are read.
    pub(crate) fn with_buffer(namespace: &Namespace, server: SocketAddr, bytes: usize) -> Result<Self> {
        let mut stream = Self { lines: ask(namespace, server, bytes)? };
        let status = stream.line()?.context("no answer")?;
        ensure!(status.contains(" 200 "), "{status}");
        while !stream.line()?.context("an answer without end of its head")?.is_empty() {}
        Ok(stream)
    }

    /// The next event; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Event>> {
        let mut event = Event { kind: "message".to_owned(), data: String::new() };
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            match line.split_once(':') {
                Some(("event", kind)) => kind.trim().clone_into(&mut event.kind),
                Some(("data", data)) => event.data.push_str(data.trim_start()),
                _ if line.is_empty() && !event.data.is_empty() => return Ok(Some(event)),
                // A comment that says that the connection lives, or when to ask again.
                _ => {}
            }
        }
    }

    /// The next snapshot.
    pub(crate) fn snapshot(&mut self) -> Result<Value> {
        let event = self.next()?.context("the stream has ended")?;
        ensure!(event.kind == "message", "{event:?}");
        serde_json::from_str(&event.data).with_context(|| format!("read {}", event.data))
    }

    /// The next snapshot for which this is true, within half a minute.
    pub(crate) fn snapshot_where(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        for _ in 0..30 {
            last = self.snapshot()?;
            if is_it(&last) {
                return Ok(last);
            }
        }
        anyhow::bail!("none is so: {last}")
    }

    fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).context("read events")?;
        Ok((length > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Asks for events, and gives the whole answer of who gets none.
pub(crate) fn refused(namespace: &Namespace, server: SocketAddr) -> Result<String> {
    let mut answer = String::new();
    ask(namespace, server, 1 << 16)?.read_to_string(&mut answer)?;
    Ok(answer)
}

fn ask(namespace: &Namespace, server: SocketAddr, bytes: usize) -> Result<BufReader<TcpStream>> {
    let mut stream = namespace.enter(|| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // Before the first window is told.
        setsockopt(&socket, RcvBuf, &bytes)?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
        Ok(TcpStream::from(socket))
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET /events HTTP/1.0\r\nHost: {server}\r\n\r\n")?;
    Ok(BufReader::new(stream))
}

/// The service of this name in a snapshot or in what `status --json` says.
pub(crate) fn service<'v>(told: &'v Value, name: &str) -> Result<&'v Value> {
    let services = told["services"].as_array().context("services")?;
    services
        .iter()
        .find(|service| service["service"] == name)
        .with_context(|| format!("no service {name}: {told}"))
}
