//! The daemon's side of the control socket.

use std::{os::unix::net::UnixListener as StdListener, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Extension, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::spawn_blocking,
    time::timeout,
};

use super::{
    peer::{Allowed, GROUP, Peer},
    protocol::{self, ApplyRequest, Refusal, RefusalKind},
};
use crate::{
    daemon::{
        handle::{Change, Handle},
        start::Rules,
    },
    http::{Limits, Places},
};

/// How many clients are heard at a time, and how long.
const LIMITS: Limits =
    Limits { connections: 128, header: Duration::from_secs(3), whole: Duration::from_mins(2) };
/// Rulesets that arrive or are read at a time, which bounds the memory that they take. The rest of the places is
/// left for requests without a body, such as a rollback.
static ARRIVING: Semaphore = Semaphore::const_new(4);
/// Until the body of a request is there.
const BODY_TIME: Duration = Duration::from_secs(15);

/// The server; it ends with its task.
pub struct Server {
    listener: UnixListener,
    places: Places,
    handle: Handle,
}

impl Server {
    /// Takes over a bound socket.
    pub fn new(listener: StdListener, handle: Handle) -> Result<Self> {
        let listener = UnixListener::from_std(listener).context("listen on the control socket")?;
        Ok(Self { listener, places: Places::new(LIMITS), handle })
    }

    /// The places of its connections.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Serves for ever.
    pub async fn serve(mut self) {
        loop {
            let (stream, place) = self.places.accept(&mut self.listener).await;
            let (places, handle) = (self.places.clone(), self.handle.clone());
            tokio::spawn(async move {
                let router = router_for(&stream, handle).await;
                places.answer(stream, router, place).await;
            });
        }
    }
}

/// What this peer gets to see.
async fn router_for(stream: &UnixStream, handle: Handle) -> Router {
    let credentials = match stream.peer_cred() {
        Ok(credentials) => credentials,
        Err(error) => return refuse_all(format!("the kernel does not tell who you are: {error}")),
    };
    // The user database may be on the network.
    let lookup = spawn_blocking(move || (Peer::from_credentials(&credentials), Allowed::here()));
    match lookup.await {
        Ok((peer, allowed)) if allowed.allows(&peer) => router(handle).layer(Extension(peer)),
        Ok((peer, _)) => {
            tracing::warn!("{peer} is not allowed to use the control socket");
            refuse_all(format!("{peer} may not control foobar; be root or a member of the group {GROUP}"))
        }
        Err(error) => refuse_all(format!("look up who you are: {error}")),
    }
}

fn refuse_all(error: String) -> Router {
    let refusal = Refusal::failed(error);
    Router::new().fallback(async move || (StatusCode::FORBIDDEN, Json(refusal)))
}

fn router(handle: Handle) -> Router {
    Router::new()
        .route(protocol::STATUS, get(status))
        .route(protocol::RULES, get(rules))
        .route(protocol::APPLY, post(apply))
        .route(protocol::CONFIRM, post(confirm))
        .route(protocol::ROLLBACK, post(rollback))
        .route(protocol::RELOAD, post(reload))
        .route(protocol::DETACH, post(detach))
        .fallback(async || {
            let refusal = Refusal::invalid("no such request; client and daemon may be of different versions");
            (StatusCode::NOT_FOUND, Json(refusal))
        })
        .method_not_allowed_fallback(async || {
            (
                StatusCode::METHOD_NOT_ALLOWED,
                Json(Refusal::invalid("no such request: GET shows, POST changes")),
            )
        })
        .with_state(handle)
}

async fn status(State(handle): State<Handle>) -> Response {
    answer(move || handle.facts().map(|facts| facts.status)).await
}

async fn rules(State(handle): State<Handle>) -> Response {
    answer(move || handle.rules()).await
}

async fn apply(State(handle): State<Handle>, Extension(peer): Extension<Peer>, body: Body) -> Response {
    let Ok(Ok(arriving)) = timeout(BODY_TIME, ARRIVING.acquire()).await else {
        let refusal = Refusal::failed("other rulesets arrive just now, slowly; try again later");
        return (StatusCode::SERVICE_UNAVAILABLE, Json(refusal)).into_response();
    };
    let bytes = match timeout(BODY_TIME, to_bytes(body, protocol::BODY_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => {
            let limit = protocol::BODY_MAX;
            let text = format!("read the request: {error}; at most {limit} bytes are taken");
            return (StatusCode::PAYLOAD_TOO_LARGE, Json(Refusal::invalid(text))).into_response();
        }
        Err(_) => {
            let text = format!("the request did not arrive within {} s", BODY_TIME.as_secs());
            return (StatusCode::REQUEST_TIMEOUT, Json(Refusal::failed(text))).into_response();
        }
    };
    answer(move || {
        let request: ApplyRequest = serde_json::from_slice(&bytes).map_err(|error| {
            Refusal::invalid(format!("the request is no JSON of the right form: {error}"))
        })?;
        drop((bytes, arriving));
        let rules = Rules::new(request.bundle).map_err(|errors| Refusal::invalid(format!("{errors:#}")))?;
        let confirm_within = request.confirm_within_ms.map(Duration::from_millis);
        handle.change(Change::Apply { rules: Box::new(rules), confirm_within }, &peer.to_string())
    })
    .await
}

async fn confirm(State(handle): State<Handle>, Extension(peer): Extension<Peer>) -> Response {
    answer(move || handle.change(Change::Confirm, &peer.to_string())).await
}

async fn rollback(State(handle): State<Handle>, Extension(peer): Extension<Peer>) -> Response {
    answer(move || handle.change(Change::Rollback, &peer.to_string())).await
}

async fn reload(State(handle): State<Handle>, Extension(peer): Extension<Peer>) -> Response {
    answer(move || handle.change(Change::Reload, &peer.to_string())).await
}

async fn detach(State(handle): State<Handle>, Extension(peer): Extension<Peer>) -> Response {
    answer(move || handle.change(Change::Detach, &peer.to_string())).await
}

/// Runs what waits for the writer on a thread that may wait.
async fn answer<T: Serialize + Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Response {
    match spawn_blocking(work).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(refusal)) => {
            let code = match refusal.kind {
                RefusalKind::Invalid => StatusCode::BAD_REQUEST,
                RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
                RefusalKind::Conflict => StatusCode::CONFLICT,
            };
            (code, Json(refusal)).into_response()
        }
        Err(error) => {
            let refusal = Refusal::failed(format!("the request broke off: {error}"));
            (StatusCode::INTERNAL_SERVER_ERROR, Json(refusal)).into_response()
        }
    }
}
