//! The live page: what passes, in a browser, once a second. It shows, and changes nothing.
//!
//! [`document`] is what the browser gets, once; [`viewers`] are those who look; [`feed`] looks at the counters as long as there are
//! some, and makes a [`snapshot`] for all of them, from the same rates that `foobar top` shows ([`crate::rates::view`]).

pub mod document;
pub mod feed;
pub mod snapshot;
pub mod viewers;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use self::{
    document::Document,
    viewers::{LONGEST, Viewers},
};
use crate::{daemon::handle::Handle, http::Endless};

/// `/`, the document, and `/events`, what it shows, as server-sent events
/// (<https://html.spec.whatwg.org/multipage/server-sent-events.html>). What may be seen and by whom is not asked here.
pub fn router(handle: Handle) -> Router {
    Router::new()
        .route("/", get(document))
        .route(
            "/events",
            get(events).head(async || (headers(), [(header::CONTENT_TYPE, "text/event-stream")])),
        )
        .with_state(handle.viewers)
        .layer(Extension(Arc::new(Document::new())))
}

async fn document(Extension(document): Extension<Arc<Document>>) -> Response {
    let about = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, document.policy.clone()),
    ];
    (headers(), about, document.html.clone()).into_response()
}

async fn events(State(viewers): State<Arc<Viewers>>, Extension(endless): Extension<Endless>) -> Response {
    match viewers.arrive() {
        Ok(viewer) => {
            endless.set(LONGEST);
            // The header tells nginx, as a reverse proxy, not to keep events until there are many.
            (headers(), [(X_ACCEL_BUFFERING, "no")], viewer.events()).into_response()
        }
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, headers(), format!("{why}\n")).into_response(),
    }
}

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What is said with every answer of the page: it is of this moment, and for nobody else.
fn headers() -> HeaderMap {
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}
