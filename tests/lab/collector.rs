//! A service that takes what foobar pushes as OTLP and as Sumo Logic has it, and keeps the newest of each server.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::StatusCode,
    routing::post,
};
use foobar_tests::{
    metrics::Sample,
    pushed::{of_otlp, of_text},
};

use crate::hosts::Host;

/// Where it listens.
const PORT: u16 = 4318;
/// How many bodies of each server are kept: a gathering may be several.
const KEPT: u64 = 4;
/// No lab is up for longer.
const ATTACHED: Duration = Duration::from_hours(24);

/// A way of pushing that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// OTLP.
    Otlp,
    /// The text format, for Sumo Logic.
    Sumo,
}

/// What was taken.
struct Collector {
    folder: PathBuf,
    /// How many bodies.
    taken: Mutex<BTreeMap<(Way, IpAddr), u64>>,
}

/// Serves until it is ended; bodies go into this folder.
pub(crate) fn serve(folder: &Path) -> Result<()> {
    let collector = Arc::new(Collector { folder: folder.to_owned(), taken: Mutex::default() });
    let pages = Router::new()
        .route("/v1/metrics", post(otlp))
        .route("/receiver/v1/http/sumo", post(sumo))
        .with_state(collector)
        .into_make_service_with_connect_info::<SocketAddr>();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listen = SocketAddr::new(Host::Monitoring.address().into(), PORT);
        let listener =
            tokio::net::TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
        axum::serve(listener, pages).await.context("serve")
    })
}

async fn otlp(
    State(collector): State<Arc<Collector>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> StatusCode {
    collector.take(Way::Otlp, from.ip(), &body)
}

async fn sumo(
    State(collector): State<Arc<Collector>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> StatusCode {
    collector.take(Way::Sumo, from.ip(), &body)
}

impl Collector {
    fn take(&self, way: Way, from: IpAddr, body: &[u8]) -> StatusCode {
        // One at a time, so that what came later is later in the folder.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = taken.entry((way, from)).or_default();
        *number += 1;
        let place = self.folder.join(name(way, from, *number % KEPT));
        // Beside its place first, so that nobody reads a half.
        let part = place.with_extension("part");
        let kept: io::Result<()> = fs::write(&part, body).and_then(|()| fs::rename(&part, place));
        if kept.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

fn name(way: Way, from: IpAddr, number: u64) -> String {
    format!("{way:?}-{}-{number}", from.to_string().replace('.', "-"))
}

/// The series that a server has pushed this way last, and when that came.
///
/// # Errors
/// If it has pushed nothing, or what cannot be read.
pub(crate) fn newest(folder: &Path, way: Way, from: Ipv4Addr) -> Result<(Vec<Sample>, SystemTime)> {
    let mut bodies = Vec::new();
    for number in 0..KEPT {
        let path = folder.join(name(way, from.into(), number));
        if let Ok(told) = fs::metadata(&path) {
            bodies.push((told.modified()?, path));
        }
    }
    bodies.sort();
    let (time, _) = bodies.last().with_context(|| format!("{from} has pushed nothing as {way:?}"))?;
    let time = *time;
    let mut series = BTreeMap::new();
    for (_, path) in bodies {
        let body = fs::read(&path)?;
        let metrics = match way {
            Way::Otlp => of_otlp(&body, ATTACHED)?,
            Way::Sumo => of_text(&body)?,
        };
        series.extend(metrics.samples().iter().map(|sample| (sample.series(), sample.clone())));
    }
    Ok((series.into_values().collect(), time))
}
