//! When the certificates of servers expire: each is looked at by a handshake, as a client sees it, once an hour.
//!
//! The file on the disk would not do: a server goes on with the one that it read when it started.

mod handshake;

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::push::pace::chance;

/// How often one is looked at.
const INTERVAL: Duration = Duration::from_hours(1);
/// How soon again, if it could not be.
const AGAIN: Duration = Duration::from_mins(5);
/// How many can be; each is two series.
pub const CERTIFICATES_MAX: usize = 64;

/// A certificate to be looked at: the name that a client asks for, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Wanted {
    name: String,
    address: String,
}

impl Wanted {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Wanted {
    type Err = String;

    /// Reads `NAME` or `NAME@ADDRESS:PORT`.
    ///
    /// # Errors
    /// Says how it is written.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = match text.split_once('@') {
            Some((name, address)) => (name, address.to_owned()),
            None => (text, format!("{text}:443")),
        };
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let has_port = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port));
        if !handshake::is_name(name) || !has_port {
            return Err(format!(
                "no certificate is named {text:?}: write a name as www.foobar.com, or with where it is, as \
                 www.foobar.com@127.0.0.1:443"
            ));
        }
        Ok(Self { name: name.to_owned(), address })
    }
}

impl TryFrom<String> for Wanted {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address } = self;
        write!(formatter, "{name}@{address}")
    }
}

/// What is known of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// The name that was asked for.
    pub name: String,
    /// Where.
    pub address: String,
    /// When it, or one that it depends on, expires first, in seconds since 1970, as was last seen.
    pub not_after: Option<u64>,
    /// Why the last look failed, if it did.
    pub problem: Option<String>,
}

/// Looks at certificates.
#[derive(Debug)]
pub struct Certificates {
    wanted: Vec<Wanted>,
    found: Mutex<BTreeMap<Wanted, CertificateFacts>>,
    asked: Notify,
}

impl Certificates {
    /// To look at these.
    pub fn new(wanted: Vec<Wanted>) -> Self {
        Self { wanted, found: Mutex::default(), asked: Notify::new() }
    }

    /// Whether there are any.
    pub fn is_any(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Has all of them looked at now.
    pub fn look_now(&self) {
        self.asked.notify_one();
    }

    /// What is known of those that were looked at.
    pub fn facts(&self) -> Vec<CertificateFacts> {
        self.lock().values().cloned().collect()
    }

    /// Looks for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            let mut is_well = true;
            for wanted in &self.wanted {
                is_well &= self.look(wanted).await;
                // Several names of one server do not come at once.
                sleep(Duration::from_millis(100).mul_f64(chance())).await;
            }
            let pause = if is_well { INTERVAL } else { AGAIN };
            // Nobody needs to know sooner or later; many servers do not come at once.
            drop(timeout(pause.mul_f64(0.9 + chance() / 5.0), self.asked.notified()).await);
        }
    }

    /// Looks at one; says whether it was seen.
    async fn look(&self, wanted: &Wanted) -> bool {
        let seen = handshake::not_after(&wanted.name, &wanted.address).await;
        let mut found = self.lock();
        let facts = found.entry(wanted.clone()).or_default();
        facts.name.clone_from(&wanted.name);
        facts.address.clone_from(&wanted.address);
        match seen {
            Ok(not_after) => {
                facts.not_after = Some(not_after);
                facts.problem = None;
                true
            }
            Err(problem) => {
                if facts.problem.is_none() {
                    tracing::warn!("look at the certificate of {wanted}: {problem}");
                }
                facts.problem = Some(problem);
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Wanted, CertificateFacts>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_say_where_it_is() {
        let read = |text: &str| text.parse().map(|wanted: Wanted| wanted.to_string());
        assert_eq!(read("www.foobar.com").as_deref(), Ok("www.foobar.com@www.foobar.com:443"));
        assert_eq!(read("www.foobar.com@127.0.0.1:8443").as_deref(), Ok("www.foobar.com@127.0.0.1:8443"));
        assert_eq!(read("192.0.2.1@[::1]:443").as_deref(), Ok("192.0.2.1@[::1]:443"));
        for wrong in ["", "@", "a b", "a@", "a@b", "a@:443", "a@b:0", "a@b:65536", "a@b:x", "https://a"] {
            assert!(read(wrong).unwrap_err().contains("www.foobar.com@127.0.0.1:443"), "{wrong}");
        }
    }
}
