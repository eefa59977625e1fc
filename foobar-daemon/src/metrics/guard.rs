//! What stands before every answer, of the metrics and of the live page: the rate limit, the password, the headers of the web configuration.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::web_config::{
    WebConfig,
    checks::{Checked, Checks},
    users::Login,
};

/// Somebody who asks.
#[derive(Clone)]
pub(super) struct Visit {
    /// What is in force for this connection.
    pub(super) config: Arc<WebConfig>,
    /// Where passwords are checked.
    pub(super) checks: Checks,
    /// From where.
    pub(super) from: IpAddr,
}

/// Has the request answered if it may be, and puts the headers on whatever is answered.
pub(super) async fn guard(State(visit): State<Visit>, request: Request, next: Next) -> Response {
    let mut response = match visit.admit(request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal,
    };
    // What an answer says by itself stays: the live page runs under a policy of its own.
    for (name, value) in &visit.config.headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

impl Visit {
    async fn admit(&self, headers: &HeaderMap) -> Result<(), Response> {
        let Self { config, checks, from } = self;
        if config.rate_limit.as_ref().is_some_and(|limit| !limit.allows(Instant::now())) {
            return Err(too_many("more requests than rate_limit allows\n"));
        }
        if config.users.is_empty() {
            return Ok(());
        }
        let login = headers.get(header::AUTHORIZATION).and_then(|value| Login::from_header(value.as_bytes()));
        let Some(login) = login else { return Err(unauthorized()) };
        match checks.check(Arc::clone(config), login, *from).await {
            Checked::Right => Ok(()),
            Checked::Wrong => {
                tracing::debug!("a wrong password from {from}");
                Err(unauthorized())
            }
            Checked::Busy => Err(too_many("too many passwords are being checked\n")),
        }
    }
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"foobar\"")], "unauthorized\n")
        .into_response()
}

fn too_many(why: &'static str) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], why).into_response()
}
