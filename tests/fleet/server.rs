//! A server with nginx behind foobar, clients that ask it all the time, and a cable to where etcd is.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    daemon::Foobar,
    etcd::Etcd,
    namespace::Namespace,
    network::{Network, SERVER, SERVER_V4},
    wait,
    web_server::WebServer,
};
use serde_json::Value;

/// The prefix of the rules in etcd.
pub(crate) const PREFIX: &str = "/foobar/web";
/// The port that clients ask.
pub(crate) const PORT: u16 = 443;

/// What comes sooner on a machine that has nothing else to do.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Accepts what the service gets. Whatever more there is to say stands in front.
pub(crate) fn open(more: &str) -> String {
    rules(more, "accept")
}

/// Drops it.
pub(crate) fn closed(more: &str) -> String {
    rules(more, "drop")
}

fn rules(more: &str, action: &str) -> String {
    format!(
        "schema = 1\n{more}\n[policy]\nreplies = \"rules\"\n[[service]]\nname = \"www\"\nport = [\"tcp/{PORT}\"]\nprotocol = \"http1\"\n\
         [[rule]]\nid = \"www\"\naction = \"{action}\"\nprotocol = \"tcp\"\ndestination_port = [{PORT}]\n"
    )
}

/// The place of etcd in the middle of all servers.
pub(crate) struct Middle {
    pub(crate) namespace: Arc<Namespace>,
    servers: AtomicU64,
}

impl Middle {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { namespace: Arc::new(Namespace::new()?), servers: AtomicU64::new(0) })
    }

    /// Starts etcd, at an address that all servers reach.
    pub(crate) fn etcd(&self, members: usize) -> Result<Etcd> {
        self.namespace.ip("addr add 10.0.0.1/32 dev lo\n")?;
        Etcd::start(&self.namespace, "10.0.0.1", members)
    }

    /// Lays a cable to a server.
    pub(crate) fn connect(&self, server: &Namespace) -> Result<()> {
        let number = self.servers.fetch_add(1, Ordering::Relaxed) + 1;
        self.namespace.ip(&format!(
            "link add m{number} type veth peer name mgmt0 netns {}\naddr add 10.0.{number}.1/24 dev m{number}\n\
             link set m{number} up\n",
            server.path().display()
        ))?;
        server.ip(&format!(
            "addr add 10.0.{number}.2/24 dev mgmt0\nlink set mgmt0 up\nroute add 10.0.0.1/32 via 10.0.{number}.1\n"
        ))
    }
}

/// A member of the fleet.
pub(crate) struct Server {
    // Ended before the namespaces.
    clients: Option<Clients>,
    pub(crate) foobar: Foobar,
    pub(crate) name: String,
    _web: WebServer,
    pub(crate) network: Network,
}

impl Server {
    /// A server whose daemon does not run yet, with clients that ask some fifty times a second.
    pub(crate) fn new(middle: &Middle, name: &str, rules: &str, options: &[&str]) -> Result<Self> {
        let network = Network::new()?;
        middle.connect(&network.server)?;
        let web = WebServer::start(&network.server, &[PORT])?;
        let foobar = Foobar::new(&network.server, &[SERVER], &open(""))?
            .with_rules(rules)
            .with_options(&["--member", name])
            .with_options(options);
        Ok(Self { clients: None, foobar, name: name.to_owned(), _web: web, network })
    }

    /// Has clients ask from here on.
    pub(crate) fn busy(&mut self) {
        self.clients = Some(Clients::new(&self.network.client));
    }

    /// Whether a client is answered.
    pub(crate) fn answers(&self) -> bool {
        self.network.client.enter(|| Ok(ask())).unwrap_or(false)
    }

    /// Waits until the service is known for long enough to be judged.
    pub(crate) fn settle(&self) -> Result<()> {
        wait::until("there is traffic to be judged", LIMIT, || {
            let status = self.foobar.status()?;
            let service = &status["services"][0];
            Ok(service["total"].as_u64() > Some(150) && service["per_second"][1].as_f64() > Some(20.0))
        })?;
        // What the daemon waits for itself.
        let started = self.foobar.status()?["started_unix_ms"].as_u64().context("started_unix_ms")?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let since = now.saturating_sub(Duration::from_millis(started));
        thread::sleep(Duration::from_millis(5_200).saturating_sub(since));
        Ok(())
    }

    /// Waits until the rules in force have this hash.
    pub(crate) fn wait_for(&self, hash: &str) -> Result<()> {
        let waited = wait::until(&format!("{} has {hash}", self.name), LIMIT, || {
            Ok(self.foobar.status()?["ruleset"]["hash"] == hash)
        });
        waited.with_context(|| self.foobar.log().unwrap_or_default())
    }

    /// What `status --json` says of the fleet.
    pub(crate) fn fleet(&self) -> Result<Value> {
        Ok(self.foobar.status()?["fleet"].clone())
    }

    /// Waits until that is so of the fleet, as status says.
    pub(crate) fn wait_until(&self, what: &str, happened: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let waited = wait::until(what, LIMIT, || {
            last = self.fleet()?;
            Ok(happened(&last))
        });
        waited.with_context(|| format!("{last:#}\n{}", self.foobar.log().unwrap_or_default()))?;
        Ok(last)
    }

    pub(crate) fn hash(&self) -> Result<String> {
        let status = self.foobar.status()?;
        Ok(status["ruleset"]["hash"].as_str().context("a hash")?.to_owned())
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        self.foobar.scrape()?.value(name, &[])
    }
}

/// Clients that ask again and again, each time on a new connection.
struct Clients {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    fn new(namespace: &Arc<Namespace>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, namespace) = (Arc::clone(&is_over), Arc::clone(namespace));
        let thread = thread::spawn(move || {
            let asked = namespace.enter(|| {
                while !over.load(Ordering::Relaxed) {
                    ask();
                    thread::sleep(Duration::from_millis(18));
                }
                Ok(())
            });
            drop(asked);
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Asks once, from the namespace of the client.
fn ask() -> bool {
    let asked = || -> Result<()> {
        let address = SocketAddr::new(SERVER_V4.into(), PORT);
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(150))?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"));
        Ok(())
    };
    asked().is_ok()
}
