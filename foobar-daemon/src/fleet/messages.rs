//! What etcd's gRPC gateway says and is told, as far as it matters here: JSON with bytes in base64 and 64-bit numbers as
//! texts (etcd documentation, "API reference"; protocol buffers, "`ProtoJSON` format").

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// Bytes, which travel in base64.
pub(super) fn bytes(plain: impl AsRef<[u8]>) -> String {
    STANDARD.encode(plain)
}

fn from_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(D::Error::custom)
}

/// A number, as a text or not.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(i64),
    }
    match Either::deserialize(deserializer)? {
        Either::Text(text) => text.parse().map_err(D::Error::custom),
        Either::Number(number) => Ok(number),
    }
}

/// `RangeRequest`.
#[derive(Debug, Default, Serialize)]
pub(super) struct RangeRequest {
    pub(super) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) range_end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<String>,
    pub(super) keys_only: bool,
}

/// `TxnRequest` of look-ups, which are all of one revision.
#[derive(Debug, Serialize)]
pub(super) struct LookRequest {
    pub(super) success: Vec<LookOperation>,
}

/// `TxnRequest` that writes, if all conditions are met.
#[derive(Debug, Serialize)]
pub(super) struct WriteRequest {
    pub(super) compare: Vec<Untouched>,
    pub(super) success: Vec<WriteOperation>,
}

/// `Compare`, met if no key of a range was written at this revision or later (etcd 3.3).
#[derive(Debug, Serialize)]
pub(super) struct Untouched {
    key: String,
    range_end: String,
    target: &'static str,
    result: &'static str,
    mod_revision: String,
}

impl Untouched {
    /// Met if no key from one up to the other was written after a revision.
    pub(super) fn since(revision: i64, key: &str, range_end: &str) -> Self {
        Self {
            key: bytes(key),
            range_end: bytes(range_end),
            target: "MOD",
            result: "LESS",
            mod_revision: revision.saturating_add(1).to_string(),
        }
    }
}

/// `RequestOp` of a change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WriteOperation {
    RequestPut(PutRequest),
    RequestDeleteRange(DeleteRequest),
}

/// `DeleteRangeRequest` of one key.
#[derive(Debug, Serialize)]
pub(super) struct DeleteRequest {
    pub(super) key: String,
}

/// `TxnResponse` of a change.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WriteResponse {
    pub(super) header: Header,
    pub(super) succeeded: bool,
}

/// `RequestOp`.
#[derive(Debug, Serialize)]
pub(super) struct LookOperation {
    pub(super) request_range: RangeRequest,
}

/// `ResponseHeader`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "number")]
    pub(super) revision: i64,
}

/// `KeyValue`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    #[serde(deserialize_with = "from_bytes")]
    pub(super) key: Vec<u8>,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: i64,
    #[serde(deserialize_with = "from_bytes")]
    pub(super) value: Vec<u8>,
}

/// `RangeResponse`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeResponse {
    pub(super) header: Header,
    pub(super) kvs: Vec<KeyValue>,
    pub(super) more: bool,
}

/// `TxnResponse` of look-ups.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LookResponse {
    pub(super) header: Header,
    pub(super) responses: Vec<LookAnswer>,
}

/// `ResponseOp`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LookAnswer {
    pub(super) response_range: RangeResponse,
}

/// `AuthenticateRequest`.
#[derive(Serialize)]
pub(super) struct LoginRequest<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
}

/// `AuthenticateResponse`.
#[derive(Deserialize)]
pub(super) struct LoginResponse {
    pub(super) token: String,
}

/// `LeaseGrantRequest`.
#[derive(Debug, Serialize)]
pub(super) struct LeaseRequest {
    #[serde(rename = "TTL")]
    pub(super) seconds: String,
}

/// `LeaseGrantResponse` and `LeaseKeepAliveResponse`; without time to live there is no such lease any more.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lease {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: i64,
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub(super) seconds: i64,
}

/// `LeaseKeepAliveRequest` and `LeaseRevokeRequest`.
#[derive(Debug, Serialize)]
pub(super) struct OfLease {
    #[serde(rename = "ID")]
    pub(super) id: String,
}

/// An answer of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Streamed<T: Default> {
    pub(super) result: Option<T>,
    pub(super) error: Option<GatewayError>,
}

/// `PutRequest`.
#[derive(Debug, Serialize)]
pub(super) struct PutRequest {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) lease: String,
}

/// `PutResponse`, `LeaseRevokeResponse`.
#[derive(Debug, Deserialize)]
pub(super) struct Accepted {}

/// `WatchRequest`.
#[derive(Debug, Serialize)]
pub(super) struct WatchRequest {
    pub(super) create_request: CreateWatch,
}

/// `WatchCreateRequest`.
#[derive(Debug, Serialize)]
pub(super) struct CreateWatch {
    pub(super) key: String,
    pub(super) range_end: String,
    pub(super) start_revision: String,
}

/// `WatchResponse`, without the values.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchResponse {
    pub(super) canceled: bool,
    pub(super) cancel_reason: String,
    #[serde(deserialize_with = "number")]
    pub(super) compact_revision: i64,
    pub(super) events: Vec<WatchEvent>,
}

/// `Event`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchEvent {
    pub(super) kv: WatchedKey,
}

/// `KeyValue`, of which only the key matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchedKey {
    #[serde(deserialize_with = "from_bytes")]
    pub(super) key: Vec<u8>,
}

/// What the gateway says instead of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GatewayError {
    pub(super) message: String,
    /// A status code of gRPC; streams have it as `grpc_code`.
    #[serde(alias = "grpc_code")]
    pub(super) code: u32,
}
