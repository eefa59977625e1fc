//! Serving HTTP to peers that may be slow, broken or hostile: every connection carries one request, is bounded
//! in time, and has one of a bounded number of places.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
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
}

/// Whether the answer on a connection goes on without end. Who gives such an answer must bound how many there are, and what
/// it keeps for a peer that does not read.
#[derive(Clone, Debug, Default)]
pub struct Endless(Arc<AtomicBool>);

impl Endless {
    /// The answer has no end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The places for connections of one server.
#[derive(Clone, Debug)]
pub struct Places {
    limits: Limits,
    free: Arc<Semaphore>,
}

impl Places {
    /// All places, free.
    pub fn new(limits: Limits) -> Self {
        Self { free: Arc::new(Semaphore::new(limits.connections as usize)), limits }
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
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header)
                .keep_alive(false)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        );
        let mut answered = timeout(self.limits.whole, &mut connection).await;
        if answered.is_err() && endless.0.load(Ordering::Relaxed) {
            answered = Ok(connection.await);
        }
        match answered {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("answer a request: {error}"),
            Err(_) => tracing::debug!("a request took longer than {:?}", self.limits.whole),
        }
        drop(place);
    }

    /// Waits until all connections are answered, but not for long.
    pub async fn drained(&self, patience: Duration) {
        if timeout(patience, self.free.acquire_many(self.limits.connections)).await.is_err() {
            tracing::debug!("some requests were not answered before the end");
        }
    }
}
