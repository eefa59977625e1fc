//! `/metrics`, `/healthz`, `/readyz` and the live page, behind what the web configuration asks for.

use std::{io, net::TcpListener as StdListener, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Extension, Router,
    extract::State,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus::{Registry, TextEncoder};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    collect::ScrapeCollector,
    guard::{Visit, guard},
};
use crate::{
    daemon::handle::Handle,
    http::{Endless, Limits, Places},
    memory,
    page::{self, viewers::VIEWERS_MAX},
    web_config::{checks::Checks, live::Live},
};

/// How many scrapers are heard at a time, and how long; those who look at the live page have places besides. A TLS handshake
/// takes as long as the head of a request at most.
const LIMITS: Limits = Limits {
    connections: 32 + VIEWERS_MAX,
    header: Duration::from_secs(3),
    whole: Duration::from_secs(20),
    buffer: 16 << 10,
};
/// So many bytes of an answer wait in the kernel at most before they are sent, so that what the live page shows is hardly older for
/// who is slow.
const UNSENT_MAX: u32 = 16 << 10;

/// The server; it ends with its task.
pub struct Server {
    listener: TcpListener,
    desk: Desk,
}

/// Bytes of an answer for which more memory was used than is to be kept for the next.
const LONG_TEXT: usize = 256 << 10;

/// What answering a connection takes.
#[derive(Clone)]
struct Desk {
    places: Places,
    router: Router,
    web: Arc<Live>,
    checks: Checks,
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    handle: Handle,
}

/// All metrics, to be gathered for a scrape or to be pushed.
///
/// # Errors
/// When the catalogue has a name that Prometheus does not take.
pub fn registry(handle: Handle) -> Result<Arc<Registry>> {
    let registry = Registry::new();
    ScrapeCollector::new(Box::new(handle))
        .and_then(|collector| registry.register(Box::new(collector)))
        .context("set up the metrics")?;
    Ok(Arc::new(registry))
}

impl Server {
    /// Takes over a bound socket, to serve what is in a registry.
    pub fn new(listener: StdListener, registry: Arc<Registry>, handle: Handle) -> Result<Self> {
        let web = Arc::clone(&handle.web);
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .with_state(Shared { registry, handle: handle.clone() })
            .merge(page::router(handle));
        let listener = TcpListener::from_std(listener).context("listen for scrapes")?;
        let desk = Desk { places: Places::new(LIMITS), router, web, checks: Checks::default() };
        Ok(Self { listener, desk })
    }

    /// The places of its connections.
    pub fn places(&self) -> Places {
        self.desk.places.clone()
    }

    /// Serves for ever.
    pub async fn serve(mut self) {
        loop {
            let (stream, place) = self.desk.places.accept(&mut self.listener).await;
            let desk = self.desk.clone();
            tokio::spawn(async move {
                if let Err(error) = desk.answer(stream, place).await {
                    tracing::debug!("a connection for metrics: {error}");
                }
            });
        }
    }
}

impl Desk {
    /// Answers a connection by what is in force when it comes.
    async fn answer(self, stream: TcpStream, place: OwnedSemaphorePermit) -> io::Result<()> {
        let from = stream.peer_addr()?.ip();
        SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX)?;
        let web = Arc::clone(&self.web);
        let opened = timeout(LIMITS.header, async {
            let config = spawn_blocking(move || web.current()).await?;
            let stream = match config.tls() {
                Some(tls) => Opened::of(stream, Arc::clone(tls)).await?,
                None => Opened::Plain(stream),
            };
            io::Result::Ok((config, stream))
        });
        let (config, stream) = opened.await??;
        let visit = Visit { config, checks: self.checks, from };
        let endless = Endless::default();
        let router = self.router.layer(Extension(endless.clone())).layer(from_fn_with_state(visit, guard));
        match stream {
            Opened::Plain(stream) => self.places.answer(stream, router, place, &endless).await,
            Opened::Tls(stream) => self.places.answer(*stream, router, place, &endless).await,
            Opened::NotTls(stream) => {
                let router = Router::new().fallback(async || (StatusCode::BAD_REQUEST, NOT_TLS));
                self.places.answer(stream, router, place, &endless).await;
            }
        }
        Ok(())
    }
}

/// What is said to who speaks HTTP where TLS is spoken.
const NOT_TLS: &str = "TLS is spoken here: ask for https://\n";
/// The first byte of a TLS connection: a record of the handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// How long a client that was refused may take to read why.
const FAREWELL: Duration = Duration::from_millis(500);

/// A connection on which a request can come.
enum Opened {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS should be spoken, and is not.
    NotTls(TcpStream),
}

impl Opened {
    /// Shakes hands, unless the client does not speak TLS.
    async fn of(stream: TcpStream, tls: Arc<ServerConfig>) -> io::Result<Self> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            return Ok(Self::NotTls(stream));
        }
        match TlsAcceptor::from(tls).accept(stream).into_fallible().await {
            Ok(stream) => Ok(Self::Tls(Box::new(stream))),
            Err((error, stream)) => {
                // Who is not let in may have asked already. Closed with that unread, the connection would be reset, and the
                // alert that says why be lost.
                drop(timeout(FAREWELL, drain(stream)).await);
                Err(error)
            }
        }
    }
}

/// Says that nothing more is written, and reads what comes until the client has closed.
async fn drain(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

async fn metrics(State(Shared { registry, .. }): State<Shared>) -> Response {
    let encode = move || {
        let text = TextEncoder::new().encode_to_string(&registry.gather())?;
        // A scrape takes about five times as much for a moment.
        if text.len() >= LONG_TEXT {
            memory::much_is_free();
        }
        Ok(text)
    };
    let encoded: Result<Result<String, prometheus::Error>, _> = spawn_blocking(encode).await;
    match encoded {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

async fn readyz(State(Shared { handle, .. }): State<Shared>) -> Response {
    match spawn_blocking(move || handle.facts()).await {
        Ok(Ok(facts)) if facts.status.ready => "ready\n".into_response(),
        Ok(Ok(facts)) => {
            let why = facts.status.not_ready.join("\n");
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{why}\n")).into_response()
        }
        Ok(Err(refusal)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", refusal.error)).into_response()
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}
