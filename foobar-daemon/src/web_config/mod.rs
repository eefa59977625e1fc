//! Who may read the metrics, and how: a web configuration file as Prometheus and its exporters have it.
//!
//! The format is that of exporter-toolkit (`docs/web-configuration.md` there). What is hostile: the file, which may be anything,
//! and everybody who can reach the port.

pub mod checks;
pub mod exposure;
pub mod live;
pub mod rate_limit;
pub mod users;

mod client_certificates;
mod document;
mod headers;
mod tls;

use std::{path::Path, sync::Arc};

use axum::http::HeaderMap;
use ring::hmac;
use rustls::ServerConfig;

use self::{
    client_certificates::Policy, document::Document, exposure::Protection, rate_limit::RateLimit, tls::Tls,
    users::Users,
};
use crate::watched_files::Files;

/// What a web configuration file says.
#[derive(Debug)]
pub struct WebConfig {
    tls: Option<Tls>,
    /// Who may ask; if there are none, everybody.
    pub users: Users,
    /// What each answer says besides.
    pub headers: HeaderMap,
    /// How many requests are answered.
    pub rate_limit: Option<RateLimit>,
}

impl WebConfig {
    /// That of no file: everybody may ask, in the clear.
    fn none(key: hmac::Key) -> Self {
        let users = Users::new([].into(), key);
        Self { tls: None, users, headers: HeaderMap::new(), rate_limit: None }
    }

    /// Reads a file and those that it names.
    ///
    /// # Errors
    /// The first thing that is wrong: file, line, column, and what to do.
    fn load(path: &Path, key: &hmac::Key, files: &mut Files) -> Result<Self, String> {
        let shown = path.display();
        let bytes = files.read(path).map_err(|error| {
            format!("read the web configuration {shown}: {error}; name a file that foobar may read with --web-config")
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Document::parse(&bytes)
            .and_then(|document| Self::of(document, folder, key, files))
            .map_err(|problem| problem.told(path))
    }

    fn of(
        document: Document,
        folder: &Path,
        key: &hmac::Key,
        files: &mut Files,
    ) -> Result<Self, document::Problem> {
        let Document { tls_server_config, http_server_config, basic_auth_users, rate_limit } = document;
        Ok(Self {
            tls: tls::build(tls_server_config.as_ref(), folder, files)?,
            users: Users::new(document::hashes(basic_auth_users)?, key.clone()),
            headers: headers::build(&http_server_config)?,
            rate_limit: rate_limit.build()?,
        })
    }

    /// What TLS is spoken by, if it is.
    pub fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| &tls.config)
    }

    /// What it asks for.
    fn protection(&self) -> Protection {
        Protection {
            tls: self.tls.is_some(),
            client_certificates: self.clients() == Policy::RequireAndVerify,
            passwords: !self.users.is_empty(),
        }
    }

    fn clients(&self) -> Policy {
        self.tls.as_ref().map_or(Policy::None, |tls| tls.clients)
    }

    /// What somebody may not have meant.
    fn warning(&self) -> Option<&'static str> {
        match self.clients() {
            Policy::Request => {
                Some("client_auth_type RequestClientCert verifies no certificate, and lets in who has none")
            }
            Policy::RequireAny => Some(
                "client_auth_type RequireAnyClientCert verifies no certificate: anybody can make one; \
                 RequireAndVerifyClientCert does",
            ),
            Policy::VerifyIfGiven => {
                Some("client_auth_type VerifyClientCertIfGiven lets in who has no certificate")
            }
            Policy::None | Policy::RequireAndVerify => None,
        }
    }
}

#[cfg(test)]
mod tests;
