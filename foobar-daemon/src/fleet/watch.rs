//! A watch over the keys below the prefix: tells that something has changed, and not what.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{
    client::{Client, Failure, refused},
    messages::{CreateWatch, Streamed, WatchRequest, WatchResponse, bytes},
};

/// Longest line that is read, in bytes. One with large values is longer, and says only that something has changed.
const LINE_MAX: usize = 64 << 10;

/// A watch at one endpoint. It ends when it is dropped.
pub(super) struct Watch {
    /// Number and name of the endpoint.
    endpoint: (usize, String),
    body: Incoming,
    rest: Vec<u8>,
    /// Whether the present line is longer than what is read.
    is_long: bool,
}

impl Watch {
    /// Watches the keys from `key` up to `end` from a revision on.
    pub(super) async fn begin(
        client: &mut Client,
        key: &str,
        end: &str,
        revision: i64,
    ) -> Result<Self, Failure> {
        let message = WatchRequest {
            create_request: CreateWatch {
                key: bytes(key),
                range_end: bytes(end),
                start_revision: revision.to_string(),
            },
        };
        let endpoint = client.endpoint();
        let body = client.stream("/v3/watch", &message).await?.into_body();
        Ok(Self { endpoint, body, rest: Vec::new(), is_long: false })
    }

    /// Whether it is at the endpoint that this client asks.
    pub(super) fn is_at(&self, client: &Client) -> bool {
        self.endpoint == client.endpoint()
    }

    /// Waits until a key changes that `concerns` is true for. May be dropped and called again.
    ///
    /// # Errors
    /// When the watch has ended; [`Failure::Compacted`] when what it was to begin with is gone.
    pub(super) async fn changed(&mut self, concerns: impl Fn(&[u8]) -> bool) -> Result<(), Failure> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if std::mem::take(&mut self.is_long) || self.says_changed(&line, &concerns)? {
                    return Ok(());
                }
            }
            if self.rest.len() > LINE_MAX {
                self.is_long = true;
                self.rest.clear();
            }
            let away = |why: &str| Failure::Away(format!("{}: the watch has ended{why}", self.endpoint.1));
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(away(&format!(": {error}"))),
                None => return Err(away("")),
            }
        }
    }

    fn says_changed(&self, line: &[u8], concerns: &impl Fn(&[u8]) -> bool) -> Result<bool, Failure> {
        let (_, endpoint) = &self.endpoint;
        let streamed: Streamed<WatchResponse> = serde_json::from_slice(line).map_err(|error| {
            Failure::Answer(format!("{endpoint} tells of changes as etcd does not: {error}"))
        })?;
        if let Some(error) = streamed.error {
            return Err(refused(&error, endpoint));
        }
        let Some(response) = streamed.result else { return Ok(false) };
        if response.compact_revision != 0 {
            return Err(Failure::Compacted);
        }
        if response.canceled {
            let why: String =
                response.cancel_reason.chars().filter(|one| !one.is_control()).take(300).collect();
            return Err(Failure::Away(format!("{endpoint} has ended the watch: {why}")));
        }
        Ok(response.events.iter().any(|event| concerns(&event.kv.key)))
    }
}
