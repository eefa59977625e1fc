//! The daemon's side of the control socket.

use std::{convert::Infallible, os::unix::net::UnixListener as StdListener, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Extension, Path as UrlPath, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures_util::stream;
use ipnet::IpNet;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    bans::{self, BanRequest, LiftRequest},
    events::{self, Wanted},
    peer::{Allowed, GROUP, Peer},
    protocol::{self, ApplyRequest, Refusal, RefusalKind, SetEditRequest, SetRequest, SetShown},
};
use crate::{
    bans::request::{DEFAULT_TIME, WantedBans, WantedLifts, check_reason, parse_time},
    daemon::{
        handle::{AskedBans, AskedEdit, AskedLifts, Change, Handle},
        start::Rules,
    },
    http::{Endless, Limits, Places},
    outcome::InvalidInput,
    rules::{
        bundle::SourceFile,
        file::{SetEntries, parse_entries, parse_entry},
        names::prefix_words,
        sets::edit::SetEdit,
    },
};

/// How many clients are heard at a time, and how long.
const LIMITS: Limits = Limits {
    connections: 128,
    header: Duration::from_secs(3),
    whole: Duration::from_mins(2),
    buffer: 64 << 10,
};
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
                let endless = Endless::default();
                let router = router_for(&stream, handle).await.layer(Extension(endless.clone()));
                places.answer(stream, router, place, &endless).await;
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
        .route(protocol::TRAFFIC, get(traffic))
        .route(protocol::SETS, get(sets))
        .route(protocol::SET, get(set).post(edit_set))
        .route(bans::BANS, get(bans_in_force).post(ban))
        .route(bans::LIFT, post(lift))
        .route(events::EVENTS, get(watch))
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
    answer(move || handle.status()).await
}

async fn rules(State(handle): State<Handle>) -> Response {
    answer(move || handle.rules()).await
}

async fn traffic(State(handle): State<Handle>) -> Response {
    answer(move || handle.traffic()).await
}

async fn sets(State(handle): State<Handle>) -> Response {
    answer(move || handle.sets()).await
}

async fn set(State(handle): State<Handle>, UrlPath(name): UrlPath<String>) -> Response {
    answer(move || {
        let (set, entries) = handle.set(name)?;
        Ok(SetShown { set, addresses: entries.iter().map(prefix_words).collect() })
    })
    .await
}

async fn edit_set(
    State(handle): State<Handle>,
    Extension(peer): Extension<Peer>,
    UrlPath(name): UrlPath<String>,
    body: Body,
) -> Response {
    let arrived = match arrive(body).await {
        Ok(arrived) => arrived,
        Err(response) => return response,
    };
    answer(move || {
        let (edit, masked) = read_edit(arrived.read()?)?;
        handle.change(Change::EditSet(AskedEdit { name, edit, masked }), &peer.to_string())
    })
    .await
}

/// What a request to change a set means, and how many entries were masked.
fn read_edit(request: SetRequest) -> Result<(SetEdit, usize), Refusal> {
    let SetRequest { edit, lenient } = request;
    let addresses = |words: Vec<String>| -> Result<(Vec<IpNet>, usize), Refusal> {
        let (mut entries, mut masked, mut problems) = (Vec::new(), 0, Vec::new());
        for word in &words {
            match parse_entry(word, lenient) {
                Ok((entry, was_masked)) => {
                    entries.push(entry);
                    masked += usize::from(was_masked);
                }
                Err((message, help)) => problems.push(format!("{message}\n   = {help}")),
            }
        }
        if problems.is_empty() { Ok((entries, masked)) } else { Err(Refusal::invalid(problems.join("\n"))) }
    };
    match edit {
        SetEditRequest::Add(words) => {
            addresses(words).map(|(entries, masked)| (SetEdit::Add(entries), masked))
        }
        SetEditRequest::Remove(words) => {
            addresses(words).map(|(entries, masked)| (SetEdit::Remove(entries), masked))
        }
        SetEditRequest::Replace(SourceFile { name, text }) => {
            if text.trim().is_empty() {
                return Err(Refusal::invalid(format!(
                    "{name} says nothing; if the set is to have no entries, write a line that is a comment"
                )));
            }
            let SetEntries { entries, masked } = parse_entries(&name, &text, lenient)
                .map_err(|errors| Refusal::invalid(errors.to_string()))?;
            Ok((SetEdit::Replace(entries), masked))
        }
    }
}

async fn bans_in_force(State(handle): State<Handle>) -> Response {
    answer(move || handle.bans()).await
}

async fn ban(State(handle): State<Handle>, Extension(peer): Extension<Peer>, body: Body) -> Response {
    let arrived = match arrive(body).await {
        Ok(arrived) => arrived,
        Err(response) => return response,
    };
    answer(move || {
        let BanRequest { addresses, text, time, reason, partial } = arrived.read()?;
        let invalid = |error: InvalidInput| Refusal::invalid(error.0);
        let time = parse_time(time.as_deref().unwrap_or(DEFAULT_TIME)).map_err(invalid)?;
        reason.as_deref().map_or(Ok(()), check_reason).map_err(invalid)?;
        let mut wanted = WantedBans::default();
        for word in &addresses {
            wanted.add(word, time);
        }
        if let Some(SourceFile { name, text }) = &text {
            wanted.add_lines(name, text, time);
        }
        handle.change(Change::Ban(AskedBans { wanted, partial, reason }), &peer.to_string())
    })
    .await
}

async fn lift(State(handle): State<Handle>, Extension(peer): Extension<Peer>, body: Body) -> Response {
    let arrived = match arrive(body).await {
        Ok(arrived) => arrived,
        Err(response) => return response,
    };
    answer(move || {
        let LiftRequest { addresses, text, all } = arrived.read()?;
        let mut wanted = WantedLifts::default();
        for word in &addresses {
            wanted.add(word);
        }
        if let Some(SourceFile { name, text }) = &text {
            wanted.add_lines(name, text);
        }
        let lifts = if all { AskedLifts::All } else { AskedLifts::These(wanted) };
        handle.change(Change::Lift(lifts), &peer.to_string())
    })
    .await
}

/// Goes on as long as the client reads and the daemon runs.
async fn watch(
    State(handle): State<Handle>,
    Extension(endless): Extension<Endless>,
    Query(wanted): Query<Wanted>,
) -> Response {
    match handle.events.watch(wanted) {
        Ok(watch) => {
            endless.set(Duration::MAX);
            let lines = stream::unfold(watch, async |mut watch| {
                Some((Ok::<Bytes, Infallible>(watch.next_lines().await?), watch))
            });
            Body::from_stream(lines).into_response()
        }
        Err(refusal) => refused(refusal),
    }
}

/// The body of a request, and its place among those that arrive.
struct Arrived {
    bytes: Bytes,
    place: SemaphorePermit<'static>,
}

impl Arrived {
    fn read<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        let Self { bytes, place: _place } = self;
        serde_json::from_slice(&bytes)
            .map_err(|error| Refusal::invalid(format!("the request is no JSON of the right form: {error}")))
    }
}

async fn arrive(body: Body) -> Result<Arrived, Response> {
    let Ok(Ok(place)) = timeout(BODY_TIME, ARRIVING.acquire()).await else {
        let refusal = Refusal::failed("other rulesets arrive just now, slowly; try again later");
        return Err((StatusCode::SERVICE_UNAVAILABLE, Json(refusal)).into_response());
    };
    match timeout(BODY_TIME, to_bytes(body, protocol::BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(Arrived { bytes, place }),
        Ok(Err(error)) => {
            let limit = protocol::BODY_MAX;
            let text = format!("read the request: {error}; at most {limit} bytes are taken");
            Err((StatusCode::PAYLOAD_TOO_LARGE, Json(Refusal::invalid(text))).into_response())
        }
        Err(_) => {
            let text = format!("the request did not arrive within {} s", BODY_TIME.as_secs());
            Err((StatusCode::REQUEST_TIMEOUT, Json(Refusal::failed(text))).into_response())
        }
    }
}

async fn apply(State(handle): State<Handle>, Extension(peer): Extension<Peer>, body: Body) -> Response {
    let arrived = match arrive(body).await {
        Ok(arrived) => arrived,
        Err(response) => return response,
    };
    answer(move || {
        let request: ApplyRequest = arrived.read()?;
        let rules = Rules::new(request.bundle).map_err(|errors| Refusal::invalid(format!("{errors:#}")))?;
        let confirm_within = request.confirm_within_ms.map(Duration::from_millis);
        let guard = request.guard_ms.map(Duration::from_millis);
        handle.change(Change::Apply { rules: Box::new(rules), confirm_within, guard }, &peer.to_string())
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
        Ok(Err(refusal)) => refused(refusal),
        Err(error) => refused(Refusal::failed(format!("the request broke off: {error}"))),
    }
}

fn refused(refusal: Refusal) -> Response {
    let code = match refusal.kind {
        RefusalKind::Invalid => StatusCode::BAD_REQUEST,
        RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        RefusalKind::Conflict => StatusCode::CONFLICT,
    };
    (code, Json(refusal)).into_response()
}
