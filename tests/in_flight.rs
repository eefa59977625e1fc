//! Requests that a real nginx has not answered to the end, and the gauge that shows just them.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    daemon::Foobar,
    frames::Family,
    network::{Network, SERVER},
    wait,
    web_server::{PAGE, WebServer},
};

const PORT: u16 = 8080;
/// Where nginx asks for what it has not.
const BACKEND: &str = "127.0.0.1:9100";
const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = [\"tcp/8080\"]\nprotocol = \"http1\"\n";
const LIMIT: Duration = Duration::from_secs(20);
/// Bytes of an answer that takes some seconds.
const DRIPS: usize = 60_000;

/// A client, who asks and waits.
struct Client {
    stream: TcpStream,
}

impl Client {
    fn connect(network: &Network, family: Family) -> Result<Self> {
        let server = SocketAddr::new(family.server(), PORT);
        let stream = network.client.enter(|| Ok(TcpStream::connect(server)?))?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream })
    }

    fn ask(&mut self, path: &str) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: www\r\n\r\n");
        self.stream.write_all(request.as_bytes()).with_context(|| format!("ask for {path}"))
    }

    /// Reads an answer that ends in this.
    fn read_answer(&mut self, end: &str) -> Result<()> {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let mut more = [0; 4096];
            let length = self.stream.read(&mut more)?;
            ensure!(length > 0, "the answer ended early: {}", String::from_utf8_lossy(&answer));
            answer.extend(more.iter().take(length));
        }
        Ok(())
    }
}

/// What stands behind nginx, and answers when it is told to.
struct Backend {
    listener: TcpListener,
    held: Vec<TcpStream>,
}

impl Backend {
    fn start(network: &Network) -> Result<Self> {
        let listener = network.server.enter(|| TcpListener::bind(BACKEND).context("listen behind nginx"))?;
        Ok(Self { listener, held: Vec::new() })
    }

    /// Takes so many questions of nginx.
    fn hold(&mut self, number: usize) -> Result<()> {
        for _ in 0..number {
            self.held.push(self.listener.accept()?.0);
        }
        Ok(())
    }

    /// Answers all of them.
    fn answer(&mut self) -> Result<()> {
        for mut question in self.held.drain(..) {
            // It may be of a client who has gone.
            drop(question.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nslow\n"));
            let mut asked = [0; 4096];
            ensure!(question.read(&mut asked)? > 0, "nginx asked nothing");
        }
        Ok(())
    }
}

/// Requests in flight and open connections, as a scrape has them.
fn told(foobar: &Foobar) -> Result<[u64; 2]> {
    let metrics = foobar.scrape()?;
    let labels = [("port", "8080")];
    ensure!(metrics.select("foobar_http_requests_in_flight", &labels).count() == 1, "there is no gauge");
    Ok(["foobar_http_requests_in_flight", "foobar_connections_active"]
        .map(|metric| metrics.count(metric, &labels)))
}

fn wait_for(foobar: &Foobar, requests: u64, connections: u64) -> Result<()> {
    let what = format!("{requests} requests in flight on {connections} connections");
    let mut last = [0; 2];
    wait::until(&what, LIMIT, || {
        last = told(foobar)?;
        Ok(last == [requests, connections])
    })
    .with_context(|| format!("last there were {last:?}"))
}

#[test]
fn requests_are_in_flight_until_they_are_answered() -> Result<()> {
    for mode in ["native", "generic"] {
        let network = Network::new()?;
        let mut backend = Backend::start(&network)?;
        let page = PAGE.escape_default();
        let lines = format!(
            "location = / {{ return 200 \"{page}\"; }} location /slow {{ proxy_pass http://{BACKEND}; }} \
             location /drips {{ limit_rate 20k; }}"
        );
        let server = WebServer::serving(&network.server, &[PORT], &lines)?;
        server.put_file("drips", DRIPS)?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
        foobar.start()?;
        ensure!(told(&foobar)? == [0, 0], "{mode}: {:?} before anybody has asked", told(&foobar)?);
        let connect = |number: usize| -> Result<Vec<Client>> {
            let families = Family::BOTH.into_iter().cycle().take(number);
            families.map(|family| Client::connect(&network, family)).collect()
        };

        let mut waiting = connect(12)?;
        for client in &mut waiting {
            client.ask("/slow")?;
        }
        backend.hold(12)?;
        wait_for(&foobar, 12, 12)?;
        // Who has been answered, and stays, waits for nothing.
        let mut idle = connect(5)?;
        for client in &mut idle {
            client.ask("/")?;
            client.read_answer(PAGE)?;
        }
        wait_for(&foobar, 12, 17)?;
        // The second and third are asked while the first waits.
        for path in ["/slow", "/", "/"] {
            idle[0].ask(path)?;
        }
        backend.hold(1)?;
        wait_for(&foobar, 15, 17)?;
        let status = foobar.status()?;
        let service = &status["services"][0];
        ensure!(service["requests_in_flight"] == 15 && service["connections_active"] == 17, "{service}");
        // Who goes waits no more.
        waiting.truncate(10);
        wait_for(&foobar, 13, 15)?;
        // Nothing is remembered that could drift.
        foobar.kill()?;
        foobar.start()?;
        wait_for(&foobar, 13, 15)?;
        backend.answer()?;
        for client in &mut waiting {
            client.read_answer("slow\n")?;
        }
        wait_for(&foobar, 0, 15)?;
        drop(waiting);

        // An answer that has begun is not over.
        idle[1].ask("/drips")?;
        idle[1].read_answer("x")?;
        wait_for(&foobar, 1, 5)?;
        idle[1].stream.write_all(b"POST /slow HTTP/1.1\r\nHost: www\r\nContent-Length: 4\r\n\r\nhalf")?;
        wait_for(&foobar, 2, 5)?;
        backend.hold(1)?;
        wait_for(&foobar, 1, 5)?;
        backend.answer()?;
        wait_for(&foobar, 0, 5)?;
        drop(idle);
        wait_for(&foobar, 0, 0)?;
    }
    Ok(())
}
