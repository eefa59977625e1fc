//! The command line's side of the control socket.

use std::{fmt, io, ops::ControlFlow, path::Path, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures_util::future;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::UnixStream,
    runtime,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use super::{
    peer::GROUP,
    protocol::{Refusal, RefusalKind},
};
use crate::{
    config::{DEFAULT_CONTROL, Source},
    outcome::InvalidInput,
};

/// Longest answer, in bytes.
const ANSWER_MAX: usize = 256 << 20;
/// Longest line of an answer that goes on, in bytes.
const LINE_MAX: usize = 64 << 10;
/// Until the daemon has answered.
const PATIENCE: Duration = Duration::from_mins(2);

/// Which daemon a command is for.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Target {
    /// Control socket of the daemon [default: /run/foobar/control.sock]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Settings file that tells where the socket is [default: /etc/foobar/foobar.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Target {
    /// The settings that the flags and the settings file give.
    pub fn settings(&self) -> Result<Source> {
        let flags = Source { control: self.control.clone(), ..Source::default() };
        match (&self.control, &self.config) {
            // Only the socket is asked for, so a broken settings file is no hindrance.
            (Some(_), None) => Ok(flags),
            (_, config) => Ok(flags.or(Source::read(config.as_deref())?)),
        }
    }

    /// A client of that daemon.
    pub fn client(&self) -> Result<Client> {
        let control = self.settings()?.control.unwrap_or_else(|| DEFAULT_CONTROL.into());
        Ok(Client { control })
    }
}

/// Asks one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    /// Path of the control socket.
    pub control: PathBuf,
}

/// Nobody answers on the control socket.
#[derive(Debug)]
pub struct NotRunning {
    control: PathBuf,
    cause: io::Error,
}

impl fmt::Display for NotRunning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { control, cause } = self;
        write!(
            formatter,
            "no daemon answers on {} ({cause}); is foobar running? start it with `foobar run --interface NAME \
             --rules PATH`, or name its socket with --control",
            control.display()
        )
    }
}

impl std::error::Error for NotRunning {}

impl Client {
    /// Asks for something.
    ///
    /// # Errors
    /// [`NotRunning`], [`InvalidInput`] when the daemon says so, and everything else that can fail.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, Vec::new())
    }

    /// Has something changed.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: Option<&impl Serialize>) -> Result<T> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        self.ask(Method::POST, path, body)
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let control = self.control.display();
        let (status, bytes) = runtime.block_on(async {
            let connected = UnixStream::connect(&self.control).await;
            let stream = connected.map_err(|cause| not_connected(&self.control, cause))?;
            timeout(PATIENCE, exchange(stream, method, path, body))
                .await
                .unwrap_or_else(|_| bail!("no answer within {} s", PATIENCE.as_secs()))
                .with_context(|| format!("ask the daemon on {control}"))
        })?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&bytes).with_context(|| {
                format!("understand the daemon on {control}; is it of the version of this foobar?")
            });
        }
        Err(self.refused(status, &bytes))
    }

    fn refused(&self, status: StatusCode, answer: &[u8]) -> anyhow::Error {
        match serde_json::from_slice(answer) {
            Ok(Refusal { error, kind: RefusalKind::Invalid }) => InvalidInput(error).into(),
            Ok(Refusal { error, kind: RefusalKind::Failed | RefusalKind::Conflict }) => anyhow!(error),
            Err(_) => anyhow!("the daemon on {} answered with status {status}", self.control.display()),
        }
    }

    /// Asks for something that goes on line by line, and takes each line with the ones that have come together with it,
    /// until `take` has enough, `time` is over, a signal says to end, or the daemon does.
    ///
    /// # Errors
    /// As [`Client::get`], and what `take` fails with.
    pub fn follow(&self, path: &str, time: Option<Duration>, take: &mut TakeLines<'_>) -> Result<End> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listen = |kind| signal(kind).context("listen for signals");
            let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
                .map(listen)
                .into_iter()
                .collect::<Result<Vec<_>>>()?;
            let signalled = future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv())));
            let over = async {
                match time {
                    Some(time) => sleep(time).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                end = self.lines(path, take) => end,
                _ = signalled => Ok(End::Asked),
                () = over => Ok(End::Asked),
            }
        })
    }

    async fn lines(&self, path: &str, take: &mut TakeLines<'_>) -> Result<End> {
        let connected = UnixStream::connect(&self.control).await;
        let stream = connected.map_err(|cause| not_connected(&self.control, cause))?;
        let response = timeout(PATIENCE, send(stream, Method::GET, path, Vec::new()))
            .await
            .unwrap_or_else(|_| bail!("no answer within {} s", PATIENCE.as_secs()))
            .with_context(|| format!("ask the daemon on {}", self.control.display()))?;
        let (status, mut body) = (response.status(), response.into_body());
        if status != StatusCode::OK {
            let answer = Limited::new(body, ANSWER_MAX).collect().await;
            let answer = answer.map_err(|error| anyhow!("{error}")).context("read the answer")?;
            return Err(self.refused(status, &answer.to_bytes()));
        }
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            // A daemon that was killed ends in the middle.
            let Ok(frame) = frame else { return Ok(End::Closed) };
            let Ok(data) = frame.into_data() else { continue };
            rest.extend_from_slice(&data);
            let Some(whole) = rest.iter().rposition(|byte| *byte == b'\n') else {
                ensure!(rest.len() <= LINE_MAX, "the daemon sends a line of more than {LINE_MAX} bytes");
                continue;
            };
            let lines: Vec<&[u8]> = rest[..whole].split(|byte| *byte == b'\n').collect();
            if take(&lines)?.is_break() {
                return Ok(End::Enough);
            }
            rest.drain(..=whole);
        }
        Ok(End::Closed)
    }
}

/// Takes lines, and says whether there are enough.
type TakeLines<'t> = dyn FnMut(&[&[u8]]) -> Result<ControlFlow<()>> + 't;

/// Why lines are not followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There are as many as were wanted.
    Enough,
    /// The time is over, or a signal said so.
    Asked,
    /// The daemon has ended.
    Closed,
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes)> {
    let response = send(stream, method, path, body).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let bytes = body.map_err(|error| anyhow!("{error}")).context("read the answer")?.to_bytes();
    Ok((status, bytes))
}

async fn send(stream: UnixStream, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer.
    drop(tokio::spawn(connection));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "foobar")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    Ok(sender.send_request(request).await?)
}

fn not_connected(control: &Path, cause: io::Error) -> anyhow::Error {
    let kind = cause.kind();
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
        return NotRunning { control: control.to_path_buf(), cause }.into();
    }
    let hint = if kind == io::ErrorKind::PermissionDenied {
        format!("; be root or a member of the group {GROUP}")
    } else {
        String::new()
    };
    anyhow!("open {}: {cause}{hint}", control.display())
}
