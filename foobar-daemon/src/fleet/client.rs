//! Asks etcd over its gRPC gateway: JSON over HTTP/1.1, one request after the other on one connection that is kept.

use std::{fmt, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    access::Keys,
    messages::{GatewayError, LoginRequest, LoginResponse},
    place::{Endpoint, EtcdPlace},
};

/// Until a connection is there, TLS included.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Until the head of an answer is there, and again until all of it is.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Longest answer to a request that has short ones, in bytes.
pub(super) const SHORT: usize = 64 << 10;
/// Longest buffer for the head of an answer, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// With this, a member of etcd that has lost the others says so and does not fall silent.
const REQUIRE_LEADER: &str = "grpc-metadata-hasleader";

/// Why etcd gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody answers there, or a server that has no cluster behind it.
    Away(String),
    /// User and password are wrong, missing, or no longer good.
    Login(String),
    /// The user may not do that.
    Denied(String),
    /// What was asked for is so old that it is gone.
    Compacted,
    /// The answer is longer than what is read.
    Long(String),
    /// The answer is none that was expected.
    Answer(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(text)
            | Self::Login(text)
            | Self::Denied(text)
            | Self::Long(text)
            | Self::Answer(text) => formatter.write_str(text),
            Self::Compacted => formatter.write_str("what was asked for is gone by compaction"),
        }
    }
}

/// Asks one member of the cluster after the other until one answers, and stays with it.
pub(super) struct Client {
    place: Arc<EtcdPlace>,
    keys: Arc<Keys>,
    /// Number of the endpoint that is asked.
    current: usize,
    connection: Option<Sender>,
    token: Option<HeaderValue>,
}

type Sender = SendRequest<Full<Bytes>>;

impl Client {
    /// A client that asks this endpoint first; the number may be any.
    pub(super) fn new(place: Arc<EtcdPlace>, keys: Arc<Keys>, first: usize) -> Self {
        let current = first.checked_rem(place.endpoints.len()).unwrap_or_default();
        Self { place, keys, current, connection: None, token: None }
    }

    /// Number and name of the endpoint that is asked.
    pub(super) fn endpoint(&self) -> (usize, String) {
        (self.current, self.place.endpoints.get(self.current).map(Endpoint::to_string).unwrap_or_default())
    }

    /// Goes on with the next endpoint.
    pub(super) fn turn(&mut self) {
        self.connection = None;
        self.token = None;
        self.current = (self.current + 1).checked_rem(self.place.endpoints.len()).unwrap_or_default();
    }

    /// Asks whoever answers, at most once each; `longest` is in bytes.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        message: &impl Serialize,
        longest: usize,
    ) -> Result<T, Failure> {
        let body =
            Bytes::from(serde_json::to_vec(message).map_err(|error| Failure::Answer(error.to_string()))?);
        let mut whys = Vec::new();
        for _ in 0..self.place.endpoints.len() {
            match self.ask_here(path, body.clone(), longest).await {
                Ok(answer) => {
                    return serde_json::from_slice(&answer).map_err(|error| {
                        let (_, endpoint) = self.endpoint();
                        Failure::Answer(format!("{endpoint} answers {path} as etcd does not: {error}"))
                    });
                }
                Err(Failure::Away(why)) => {
                    whys.push(why);
                    self.turn();
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Away(whys.join("; ")))
    }

    /// Asks the present endpoint, and logs in before if that is needed.
    async fn ask_here(&mut self, path: &str, body: Bytes, longest: usize) -> Result<Bytes, Failure> {
        let has_user = self.keys.user.is_some();
        if has_user && self.token.is_none() {
            self.log_in().await?;
        }
        let was_known = has_user && self.token.is_some();
        match self.exchange(path, body.clone(), longest).await {
            // Tokens end, and with a change of users all of them do.
            Err(Failure::Login(_)) if was_known => {
                self.log_in().await?;
                self.exchange(path, body, longest).await
            }
            other => other,
        }
    }

    async fn log_in(&mut self) -> Result<(), Failure> {
        self.token = None;
        let Some(user) = &self.keys.user else { return Ok(()) };
        let message = LoginRequest { name: &user.name, password: &user.password };
        let body = serde_json::to_vec(&message).map_err(|error| Failure::Answer(error.to_string()))?;
        let user = user.name.clone();
        let answer = self.exchange("/v3/auth/authenticate", Bytes::from(body), SHORT).await;
        let answer = answer.map_err(|failure| match failure {
            Failure::Answer(_)
            | Failure::Long(_)
            | Failure::Denied(_)
            | Failure::Login(_)
            | Failure::Compacted => {
                Failure::Login(format!("log in to etcd as {user}: {failure}; check --etcd-user-file"))
            }
            Failure::Away(_) => failure,
        })?;
        let token = serde_json::from_slice(&answer)
            .ok()
            .and_then(|LoginResponse { token }| HeaderValue::from_str(&token).ok());
        let mut token =
            token.ok_or_else(|| Failure::Answer("etcd gives no token for the login".to_owned()))?;
        token.set_sensitive(true);
        self.token = Some(token);
        Ok(())
    }

    /// One request and its whole answer. A kept connection that has ended meanwhile is made anew once.
    async fn exchange(&mut self, path: &str, body: Bytes, longest: usize) -> Result<Bytes, Failure> {
        let (_, endpoint) = self.endpoint();
        let away = |why: String| Failure::Away(format!("{endpoint}: {why}"));
        let response = match self.connection.take() {
            Some(mut kept) => match self.send(&mut kept, path, body.clone(), &[]).await {
                Ok(response) => {
                    self.connection = Some(kept);
                    Ok(response)
                }
                Err(_) => self.send_anew(path, body).await,
            },
            None => self.send_anew(path, body).await,
        };
        let response = response.map_err(away)?;
        let status = response.status();
        let whole = timeout(ANSWER_TIME, Limited::new(response.into_body(), longest).collect()).await;
        let collected = match whole {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) => {
                self.connection = None;
                if error.is::<http_body_util::LengthLimitError>() {
                    return Err(Failure::Long(format!("it has more than {longest} bytes as etcd sends it")));
                }
                return Err(away(error.to_string()));
            }
            Err(_) => {
                self.connection = None;
                return Err(away(format!("no whole answer within {} s", ANSWER_TIME.as_secs())));
            }
        };
        if status == StatusCode::OK { Ok(collected) } else { Err(failure(status, &collected, &endpoint)) }
    }

    async fn send_anew(&mut self, path: &str, body: Bytes) -> Result<Response<Incoming>, String> {
        let mut sender = self.connect().await?;
        let response = self.send(&mut sender, path, body, &[]).await?;
        self.connection = Some(sender);
        Ok(response)
    }

    /// Has an answer begin that goes on: on a connection of its own, which ends with it.
    pub(super) async fn stream(
        &mut self,
        path: &str,
        message: &impl Serialize,
    ) -> Result<Response<Incoming>, Failure> {
        let body = serde_json::to_vec(message).map_err(|error| Failure::Answer(error.to_string()))?;
        let (_, endpoint) = self.endpoint();
        let away = |why: String| Failure::Away(format!("{endpoint}: {why}"));
        let mut sender = self.connect().await.map_err(away)?;
        let response =
            self.send(&mut sender, path, Bytes::from(body), &[REQUIRE_LEADER]).await.map_err(away)?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let text = timeout(ANSWER_TIME, Limited::new(response.into_body(), SHORT).collect()).await;
        let text = text.ok().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
        Err(failure(status, &text, &endpoint))
    }

    async fn send(
        &self,
        sender: &mut Sender,
        path: &str,
        body: Bytes,
        flags: &[&'static str],
    ) -> Result<Response<Incoming>, String> {
        let host = self.endpoint().1;
        let mut request = Request::post(path).header(HOST, host).header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        for flag in flags {
            request = request.header(*flag, "true");
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let answered = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        match timeout(ANSWER_TIME, answered).await {
            Ok(answered) => answered.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", ANSWER_TIME.as_secs())),
        }
    }

    async fn connect(&self) -> Result<Sender, String> {
        let endpoint = self.place.endpoints.get(self.current).ok_or("there is no such endpoint")?;
        timeout(CONNECT_TIME, connect(endpoint, &self.keys))
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {} s", CONNECT_TIME.as_secs())))
    }
}

/// Asks one endpoint whether it has a cluster behind it.
pub(super) async fn is_healthy(endpoint: &Endpoint, keys: &Keys) -> bool {
    let asked = async {
        let mut sender = connect(endpoint, keys).await.ok()?;
        let request = Request::get("/health").header(HOST, endpoint.to_string());
        let request = request.body(Full::new(Bytes::new())).ok()?;
        let body = sender.send_request(request).await.ok()?.into_body();
        let bytes = Limited::new(body, SHORT).collect().await.ok()?.to_bytes();
        let health: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        Some(health.get("health")?.as_str()? == "true")
    };
    timeout(CONNECT_TIME, asked).await.ok().flatten().unwrap_or(false)
}

async fn connect(endpoint: &Endpoint, keys: &Keys) -> Result<Sender, String> {
    let Endpoint { host, port } = endpoint;
    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(config) = &keys.tls else { return begin(stream).await };
    let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    begin(stream.map_err(|error| format!("TLS: {error}"))?).await
}

async fn begin<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|error| error.to_string())?;
    // It ends with the sender and the last answer.
    drop(tokio::spawn(connection));
    Ok(sender)
}

/// What a status that is not 200 means.
fn failure(status: StatusCode, body: &[u8], endpoint: &str) -> Failure {
    let error = match serde_json::from_slice::<GatewayError>(body) {
        Ok(error) if !error.message.is_empty() => error,
        _ => {
            return Failure::Answer(format!(
                "{endpoint} answers with status {status}; is it etcd 3.4 or newer?"
            ));
        }
    };
    refused(&error, endpoint)
}

/// What etcd means (`etcd/api/v3rpc/rpctypes/error.go`, with status codes of gRPC).
pub(super) fn refused(error: &GatewayError, endpoint: &str) -> Failure {
    let GatewayError { message, code } = error;
    // It is shown to people.
    let message: String = message.chars().filter(|one| !one.is_control()).take(300).collect();
    let said = format!("{endpoint} says: {message}");
    match code {
        // Cancelled, deadline exceeded, unavailable.
        1 | 4 | 14 => Failure::Away(said),
        7 => Failure::Denied(said),
        // The gateway's own bound.
        8 => Failure::Long(said),
        16 => Failure::Login(said),
        _ if message.contains("has been compacted") => Failure::Compacted,
        _ if message.contains("user name is empty") || message.contains("auth store is old") => {
            Failure::Login(format!("{said}; etcd wants a user: name a file with --etcd-user-file"))
        }
        _ => Failure::Answer(said),
    }
}
