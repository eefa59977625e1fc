//! Sending one request to a target, over a connection that is kept.
//!
//! What is hostile: the target, or who answers in its place. Answers are bounded in time and length; redirects are not
//! followed, so no secret goes elsewhere.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    file::Target,
    record::{Media, Record},
    stats::Failure,
};

/// How long one address may take to answer a SYN, and a target its handshake.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long a request may take in all.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// A connection that was idle for longer may have been forgotten on the way.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 << 10;
/// How much of an answer is shown, in characters.
const SHOWN_MAX: usize = 300;

/// Who sends to one target.
#[derive(Debug)]
pub struct Client {
    target: Arc<Target>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    last_used: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a target answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What it said, up to some length.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Problem {
    /// In one word.
    pub failure: Failure,
    /// In words.
    pub words: String,
    /// Whether the request may have arrived all the same.
    pub may_have_arrived: bool,
}

impl Problem {
    fn before(failure: Failure, words: impl Into<String>) -> Self {
        Self { failure, words: words.into(), may_have_arrived: false }
    }
}

impl Client {
    /// One that is not connected yet.
    pub fn new(target: Arc<Target>) -> Self {
        Self { target, connection: None }
    }

    /// Sends a record and waits for the answer.
    ///
    /// # Errors
    /// When there is none that could be read.
    pub async fn send(&mut self, record: Record) -> Result<Answer, Problem> {
        let late = || Problem {
            failure: Failure::Timeout,
            words: format!("{} has not answered within {} s", self.target.endpoint, REQUEST_TIME.as_secs()),
            may_have_arrived: true,
        };
        let late = late();
        let sent = timeout(REQUEST_TIME, self.exchange(record)).await.unwrap_or(Err(late));
        if sent.is_err() {
            self.connection = None;
        }
        sent
    }

    async fn exchange(&mut self, Record { media, gzip, body, .. }: Record) -> Result<Answer, Problem> {
        let body = Bytes::from(body);
        if let Some(mut kept) = self.connection.take()
            && kept.last_used.elapsed() < IDLE_MAX
            && kept.sender.ready().await.is_ok()
        {
            // The target may close just then, which says nothing: the same goes over a new connection.
            let request = self.request(media, gzip, body.clone())?;
            if let Ok(response) = kept.sender.send_request(request).await {
                return self.read(kept, response).await;
            }
        }
        let mut connection = self.connect().await?;
        let request = self.request(media, gzip, body)?;
        let response = connection.sender.send_request(request).await.map_err(|error| Problem {
            failure: Failure::Answer,
            words: format!(
                "{} does not answer as HTTP/1.1 has it: {}",
                self.target.endpoint,
                with_cause(&error)
            ),
            may_have_arrived: true,
        })?;
        self.read(connection, response).await
    }

    fn request(&self, media: Media, gzip: bool, body: Bytes) -> Result<Request<Full<Bytes>>, Problem> {
        let Target { endpoint, headers, .. } = &*self.target;
        let usual = if endpoint.is_tls { 443 } else { 80 };
        let host = if endpoint.port == usual {
            endpoint.host.clone()
        } else {
            format!("{}:{}", endpoint.host, endpoint.port)
        };
        let user_agent = concat!("foobar/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::post(endpoint.path_and_query().as_str())
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, media.content_type());
        if media == Media::RemoteWrite {
            request = request
                .header(header::CONTENT_ENCODING, "snappy")
                .header("x-prometheus-remote-write-version", "0.1.0");
        } else if gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        let mut request = request.body(Full::new(body)).map_err(|error| {
            Problem::before(Failure::Connect, format!("make a request to {endpoint}: {error}"))
        })?;
        request.headers_mut().extend(headers.clone());
        request.headers_mut().entry(header::USER_AGENT).or_insert(HeaderValue::from_static(user_agent));
        Ok(request)
    }

    async fn connect(&self) -> Result<Connection, Problem> {
        let Target { endpoint, tls, .. } = &*self.target;
        let stream = self.tcp().await?;
        // Requests are written at once; waiting for more would only delay them. It is no loss if that cannot be set.
        drop(stream.set_nodelay(true));
        let Some(tls) = tls else { return handshake(stream, &self.target).await };
        let name = endpoint.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|error| {
            Problem::before(Failure::Tls, format!("{endpoint}: no certificate can be for this name: {error}"))
        })?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let opened = timeout(CONNECT_TIME, connector.connect(name, stream)).await;
        let late = |_| Problem::before(Failure::Timeout, format!("TLS with {endpoint}: no answer"));
        let stream = opened.map_err(late)?.map_err(|error| {
            let words = format!(
                "TLS with {endpoint}: {error}; `ca_file` names the authority of its certificate, if it is one of your own"
            );
            Problem::before(Failure::Tls, words)
        })?;
        handshake(stream, &self.target).await
    }

    /// Connects to the first address that answers.
    async fn tcp(&self) -> Result<TcpStream, Problem> {
        let endpoint = &self.target.endpoint;
        let unreachable = |error: io::Error| {
            Problem::before(
                Failure::Connect,
                format!("connect to {endpoint}: {error}; is it there, and let through?"),
            )
        };
        let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
        let addresses = timeout(CONNECT_TIME, lookup_host((host, endpoint.port))).await;
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
        let addresses = addresses.unwrap_or_else(|_| Err(late())).map_err(unreachable)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match timeout(CONNECT_TIME, TcpStream::connect(address)).await.unwrap_or_else(|_| Err(late())) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(unreachable(last))
    }

    /// Reads an answer, and keeps the connection if it can be used again.
    async fn read(
        &mut self,
        mut connection: Connection,
        response: Response<Incoming>,
    ) -> Result<Answer, Problem> {
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(retry_after);
        // What is too long or breaks off has said enough by its status; the connection is of no more use.
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = match body {
            Ok(body) => {
                connection.last_used = Instant::now();
                self.connection = Some(connection);
                body.to_bytes()
            }
            Err(_) => Bytes::new(),
        };
        Ok(Answer { status, retry_after, body })
    }
}

/// Begins HTTP on a stream.
async fn handshake<S>(stream: S, target: &Target) -> Result<Connection, Problem>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::Builder::new().max_buf_size(ANSWER_MAX).handshake(TokioIo::new(stream)).await.map_err(
            |error| Problem::before(Failure::Answer, format!("HTTP with {}: {error}", target.endpoint)),
        )?;
    let name = target.name.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("connection to the target {name}: {error}");
        }
    });
    Ok(Connection { sender, task, last_used: Instant::now() })
}

/// `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

fn with_cause(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})"));
    format!("{error}{}", cause.unwrap_or_default())
}

impl Answer {
    /// What the target said, for people: one line, not long, without secrets that it may repeat.
    pub fn words(&self, target: &Target) -> String {
        let line = shown(&String::from_utf8_lossy(&self.body), target);
        if line.is_empty() { self.status.to_string() } else { format!("{}: {line}", self.status) }
    }
}

/// What a target said, for people: one line, not long, without secrets that it may repeat.
pub fn shown(said: &str, target: &Target) -> String {
    let mut line: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|letter| !letter.is_control() && letter != char::REPLACEMENT_CHARACTER);
    let path = target.endpoint.path_and_query();
    let secrets = target
        .headers
        .values()
        .filter(|value| value.is_sensitive())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| [value, value.split_once(' ').map_or(value, |(_, secret)| secret)])
        .chain(path.as_str().split(['/', '?', '&', '=']).filter(|piece| piece.len() >= 16))
        .filter(|secret| !secret.is_empty());
    for secret in secrets {
        line = line.replace(secret, "(secret)");
    }
    if let Some((end, _)) = line.char_indices().nth(SHOWN_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_say_when_to_come_again() {
        let read = |text: &'static str| retry_after(&HeaderValue::from_static(text));
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert!(read("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|wait| wait > Duration::from_hours(1)));
        for none in ["", "soon", "-1", "99999999999999999999"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
