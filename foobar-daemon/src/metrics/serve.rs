//! `/metrics`, `/healthz` and `/readyz`.

use std::{net::TcpListener as StdListener, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus::{Registry, TextEncoder};
use tokio::{net::TcpListener, task::spawn_blocking};

use super::collect::ScrapeCollector;
use crate::{
    daemon::handle::Handle,
    http::{Endless, Limits, Places},
};

/// How many scrapers are heard at a time, and how long.
const LIMITS: Limits =
    Limits { connections: 32, header: Duration::from_secs(3), whole: Duration::from_secs(20) };

/// The server; it ends with its task.
pub struct Server {
    listener: TcpListener,
    places: Places,
    router: Router,
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    handle: Handle,
}

impl Server {
    /// Takes over a bound socket.
    pub fn new(listener: StdListener, handle: Handle) -> Result<Self> {
        let registry = Registry::new();
        ScrapeCollector::new(Box::new(handle.clone()))
            .and_then(|collector| registry.register(Box::new(collector)))
            .context("set up the metrics")?;
        let router = Router::new()
            .route("/", get(index))
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .with_state(Shared { registry: Arc::new(registry), handle });
        let listener = TcpListener::from_std(listener).context("listen for scrapes")?;
        Ok(Self { listener, places: Places::new(LIMITS), router })
    }

    /// The places of its connections.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Serves for ever.
    pub async fn serve(mut self) {
        loop {
            let (stream, place) = self.places.accept(&mut self.listener).await;
            let (places, router) = (self.places.clone(), self.router.clone());
            tokio::spawn(async move { places.answer(stream, router, place, &Endless::default()).await });
        }
    }
}

async fn index() -> &'static str {
    "foobar\n\n/metrics  for Prometheus\n/healthz  whether the daemon lives\n/readyz   whether rules are in force \
     on every interface\n"
}

async fn metrics(State(Shared { registry, .. }): State<Shared>) -> Response {
    let encoded = spawn_blocking(move || TextEncoder::new().encode_to_string(&registry.gather())).await;
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
