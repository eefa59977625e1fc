//! Serving HTTP to peers that may be slow, broken or hostile: every connection carries one request, is bounded
//! in time, and has one of a bounded number of places.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

/// The bounds of one server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// Until the head of the request is there.
    pub header: Duration,
    /// Until the answer is sent.
    pub whole: Duration,
    /// Longest head of a request, and most of an answer that waits until the peer reads, in bytes.
    pub buffer: usize,
}

/// Whether the answer on a connection goes on without end. Who gives such an answer must bound how many there are, and what
/// it keeps for a peer that does not read.
#[derive(Clone, Debug, Default)]
pub struct Endless(Arc<OnceLock<Duration>>);

impl Endless {
    /// The answer has no end, but for this one, behind which the connection is closed however much has been read.
    pub fn set(&self, longest: Duration) {
        // One request, one answer.
        self.0.get_or_init(|| longest);
    }
}

/// The places for connections of one server.
#[derive(Clone, Debug)]
pub struct Places {
    limits: Limits,
    free: Arc<Semaphore>,
    /// True once no more answers are waited for that have no end.
    ending: Arc<watch::Sender<bool>>,
}

/// How long a peer may take, at the end, to read what is left of an answer without end.
const FAREWELL: Duration = Duration::from_millis(200);

impl Places {
    /// All places, free.
    pub fn new(limits: Limits) -> Self {
        let free = Arc::new(Semaphore::new(limits.connections as usize));
        Self { free, limits, ending: Arc::new(watch::Sender::new(false)) }
    }

    /// Waits for a free place, then for a connection.
    pub async fn accept<L: Listener>(&self, listener: &mut L) -> (L::Io, OwnedSemaphorePermit) {
        let Ok(place) = Arc::clone(&self.free).acquire_owned().await else {
            // Nobody closes the semaphore.
            return std::future::pending().await;
        };
        // What cannot be accepted is passed over there: a peer that went away, or a shortage that ends.
        let (stream, _) = listener.accept().await;
        (stream, place)
    }

    /// Answers the one request of a connection. The router may say that the answer is endless.
    pub async fn answer<S>(&self, stream: S, router: Router, place: OwnedSemaphorePermit, endless: &Endless)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header)
            .keep_alive(false)
            .max_buf_size(self.limits.buffer)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::select! {
            answered = connection => {
                if let Err(error) = answered {
                    tracing::debug!("answer a request: {error}");
                }
            }
            () = self.is_over(endless) => tracing::debug!("a request took too long, or had no end"),
        }
        drop(place);
    }

    /// Waits until a connection has had all its time.
    async fn is_over(&self, endless: &Endless) {
        let begun = Instant::now();
        let mut ending = self.ending.subscribe();
        // Whoever ends has dropped nobody's channel before this.
        let ends = async { drop(ending.wait_for(|ending| *ending).await) };
        let longest = async {
            sleep_until(begun + self.limits.whole).await;
            if let Some(longest) = endless.0.get() {
                sleep(longest.saturating_sub(self.limits.whole)).await;
            }
        };
        tokio::select! {
            () = longest => {}
            () = ends => {
                // An answer that has an end gets there, or the others do not wait for it.
                let left = if endless.0.get().is_some() { FAREWELL } else { self.limits.whole };
                sleep(left).await;
            }
        }
    }

    /// Waits until all connections are answered, but not for long, and for answers without end hardly at all.
    pub async fn drained(&self, patience: Duration) {
        self.ending.send_replace(true);
        if timeout(patience, self.free.acquire_many(self.limits.connections)).await.is_err() {
            tracing::debug!("some requests were not answered before the end");
        }
    }
}
