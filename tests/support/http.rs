//! A plain HTTP client, for what foobar serves.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::namespace::Namespace;

/// Status and body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, as they came.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Asks for a path from inside a namespace.
pub fn get(namespace: &Namespace, server: SocketAddr, path: &str) -> Result<Answer> {
    let text = namespace.enter(|| {
        let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2))
            .with_context(|| format!("connect to {server}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).with_context(|| format!("read {path} of {server}"))?;
        Ok(text)
    })?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no end of header: {text}"))?;
    let status = head.split(' ').nth(1).with_context(|| format!("no status: {head}"))?;
    let status = status.parse().with_context(|| format!("status {status}"))?;
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body)?
    } else {
        body.to_owned()
    };
    Ok(Answer { status, head: head.to_owned(), body })
}

/// Puts a body in chunks (RFC 9112, section 7.1) together.
fn unchunk(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").context("a chunk without size")?;
        let size = usize::from_str_radix(size, 16).with_context(|| format!("chunk size {size}"))?;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(after.get(..size).context("a chunk that ends early")?);
        rest = after.get(size + 2..).context("a chunk without end")?;
    }
}
