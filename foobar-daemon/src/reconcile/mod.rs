//! Compares what foobar counts with what the servers themselves count, for services with `reconcile`.
//!
//! Each server has a task of its own, which asks it every few seconds and never when somebody scrapes. Whatever a
//! server does or says there harms nobody but the comparison with it: answers are bounded in time and size, and not
//! believed beyond what they look like. [`interval`] has what follows from the counts.

mod credentials;
pub mod interval;
mod mysql;
mod nginx;
mod session;
mod watch;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use foobar_common::service::Protocol;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    dataplane::counters::CounterReader,
    rules::model::{CountingServer, PortProtocol, Service, ServicePort},
};

/// Within this time, what one side has counted the other has, too: the server has read what passed the interface, and
/// of a request whose first bytes it has read, the rest has passed. Requests that take longer are a difference until
/// they are through.
pub const SETTLE: Duration = Duration::from_secs(1);
/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much of an answer is read, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// The comparisons of the rules in force. Dropped, they end.
pub struct Reconciler {
    runtime: Handle,
    counters: CounterReader,
    /// Whether what this machine asks itself passes the filter.
    sees_loopback: bool,
    running: BTreeMap<CountingServer, Running>,
}

struct Running {
    compared: Compared,
    facts: Arc<Mutex<ReconcileFacts>>,
    task: JoinHandle<()>,
}

/// What is compared with the count of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Compared {
    server: CountingServer,
    every: Duration,
    /// Names of the services that have this server.
    services: Vec<String>,
    /// Ports whose requests or queries are counted.
    ports: Vec<ServicePort>,
    /// Ports under which requests inside of TLS are counted.
    decrypted: Vec<ServicePort>,
}

/// What is known of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileFacts {
    /// Whose count is compared with ours: `nginx` or `mysql`.
    pub source: String,
    /// Names of the services that the server has the traffic of.
    pub services: Vec<String>,
    /// Ours less theirs, as far as it is proven; `None` as long as the server does not tell.
    pub difference: Option<i64>,
    /// How much further from zero the difference can be.
    pub uncertainty: Option<u64>,
    /// Milliseconds since 1970 at which both were last compared.
    pub compared_unix_ms: Option<u64>,
    /// How often the comparison began anew, as the server's count did.
    pub baselines: u64,
    /// How often the server's count could not be had, by reason.
    pub failures: BTreeMap<Reason, u64>,
    /// Why the last attempt failed, if it did.
    pub problem: Option<String>,
}

/// Why two counts could not be compared; the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Nobody listens there.
    Connect,
    /// The server took too long.
    Timeout,
    /// The server answered with a status other than 200, a redirect for example.
    Status,
    /// The answer is too long, or not what such a server says.
    Answer,
    /// The server does not know this user or password, or knows them by other means.
    Login,
    /// The file with user and password cannot be used.
    Credentials,
    /// Our own counters could not be read.
    Counters,
}

impl Reason {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Timeout,
        Self::Status,
        Self::Answer,
        Self::Login,
        Self::Credentials,
        Self::Counters,
    ];

    /// Its word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Answer => "answer",
            Self::Login => "login",
            Self::Credentials => "credentials",
            Self::Counters => "counters",
        }
    }
}

/// Why a server's count could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    reason: Reason,
    /// With what to do.
    message: String,
}

impl Failure {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    fn late() -> Self {
        let seconds = PATIENCE.as_secs();
        Self::new(Reason::Timeout, format!("no answer within {seconds} s; see what keeps the server busy"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// What a server has counted that is ours to count, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// The least and the most that it can be.
    counted: (u64, u64),
    /// Whether it counts anew since it was last asked.
    anew: bool,
}

/// What a server has counted because it was asked for its count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Own {
    /// What has certainly been counted.
    sure: u64,
    /// What may have been.
    unsure: u64,
    /// Whether foobar counts all of it as well, so that there is nothing to take off.
    is_seen: bool,
}

impl Own {
    /// What is left of a server's count without these.
    fn taken_from(self, counted: u64) -> (u64, u64) {
        if self.is_seen {
            return (counted, counted);
        }
        let most = counted.saturating_sub(self.sure);
        (most.saturating_sub(self.unsure), most)
    }
}

impl Reconciler {
    /// Compares nothing yet. Tasks run on `runtime`; `interfaces` are those that are filtered.
    pub fn new(runtime: Handle, counters: CounterReader, interfaces: &[String]) -> Self {
        let sees_loopback = interfaces.iter().any(|name| name == "lo");
        Self { runtime, counters, sees_loopback, running: BTreeMap::new() }
    }

    /// Goes over to what a ruleset in force asks for. Comparisons of which nothing changes go on.
    pub fn follow(&mut self, services: &[Service]) {
        let mut wanted = compared(services);
        self.running.retain(|server, running| {
            let stays = wanted.get(server) == Some(&running.compared);
            if stays {
                wanted.remove(server);
            }
            stays
        });
        for (server, compared) in wanted {
            let facts = ReconcileFacts {
                source: server.label().to_owned(),
                services: compared.services.clone(),
                ..ReconcileFacts::default()
            };
            let facts = Arc::new(Mutex::new(facts));
            let watch =
                watch::watch(compared.clone(), self.sees_loopback, self.counters.clone(), Arc::clone(&facts));
            let task = self.runtime.spawn(watch);
            self.running.insert(server, Running { compared, facts, task });
        }
    }

    /// What is known.
    pub fn facts(&self) -> Vec<ReconcileFacts> {
        let of_one = |running: &Running| running.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.running.values().map(of_one).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is compared with the count of each server. Services that name the same server are counted together: it has
/// one count for all of them.
fn compared(services: &[Service]) -> BTreeMap<CountingServer, Compared> {
    let mut all: BTreeMap<CountingServer, Compared> = BTreeMap::new();
    for service in services {
        let Some(reconcile) = &service.reconcile else { continue };
        let compared = all.entry(reconcile.server.clone()).or_insert_with(|| Compared {
            server: reconcile.server.clone(),
            every: reconcile.every,
            services: Vec::new(),
            ports: Vec::new(),
            decrypted: Vec::new(),
        });
        compared.every = compared.every.min(reconcile.every);
        compared.services.push(service.name.clone());
        match service.protocol {
            Protocol::Tls => compared.decrypted.extend(service.ports.first()),
            Protocol::Raw | Protocol::Http1 | Protocol::H2c | Protocol::Mysql | Protocol::Dns => {
                compared.ports.extend(&service.ports);
            }
        }
    }
    all
}

impl Compared {
    /// Whether a connection to this TCP port is one to a service.
    fn has_port(&self, port: u16) -> bool {
        let port = ServicePort { protocol: PortProtocol::Tcp, port };
        self.ports.contains(&port) || self.decrypted.contains(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::bundle::Bundle;

    #[test]
    fn services_of_one_server_are_compared_together() {
        let service = |name: &str, port: u16, lines: &str| {
            format!("[[service]]\nname = \"{name}\"\nport = \"tcp/{port}\"\n{lines}\n")
        };
        let text = format!(
            "schema = 1\n{}{}{}{}",
            service(
                "www",
                80,
                "protocol = \"http1\"\nreconcile = { nginx_status = \"http://127.0.0.1:81/\" }"
            ),
            service("none", 8080, "protocol = \"http1\""),
            service(
                "https",
                443,
                "protocol = \"tls\"\ndecrypt_by = \"uprobe\"\n\
                 reconcile = { nginx_status = \"http://127.0.0.1:81/\", every = \"5s\" }"
            ),
            service("db", 3306, "protocol = \"mysql\"\nreconcile = { mysql = \"/etc/foobar/mysql.cnf\" }"),
        );
        let all: Vec<Compared> =
            compared(&Bundle::of_text("r.toml", &text).parse().unwrap().services).into_values().collect();
        let tcp = |port| ServicePort { protocol: PortProtocol::Tcp, port };
        let [web, database] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(web.services, ["www", "https"]);
        assert_eq!((web.ports.as_slice(), web.decrypted.as_slice()), (&[tcp(80)][..], &[tcp(443)][..]));
        assert_eq!(web.every, Duration::from_secs(5));
        assert!(web.has_port(443) && !web.has_port(81));
        assert_eq!(
            (database.services.as_slice(), database.ports.as_slice()),
            (&["db".to_owned()][..], &[tcp(3306)][..])
        );
        assert_eq!(database.every, Duration::from_secs(10));
    }

    #[test]
    fn what_the_question_itself_added_is_taken_off() {
        let own = Own { sure: 3, unsure: 2, is_seen: false };
        assert_eq!(own.taken_from(10), (5, 7));
        assert_eq!(own.taken_from(4), (0, 1));
        assert_eq!(own.taken_from(0), (0, 0));
        assert_eq!(Own { is_seen: true, ..own }.taken_from(10), (10, 10));
    }
}
