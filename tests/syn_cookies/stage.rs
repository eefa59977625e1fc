//! A real nginx behind foobar, and a client whose end of the cable takes what XDP sends.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};
use foobar_tests::{
    daemon::Foobar,
    http1_client,
    network::{CLIENT, CLIENT_V4, CLIENT_V6, Network, SERVER},
    web_server::WebServer,
};

/// Where nginx listens.
pub(crate) const PORT: u16 = 8080;

/// What the client's end counts.
const TAKER: &str = "schema = 1\n[policy]\nmalformed = \"accept\"\n[[rule]]\nid = \"single\"\naction = \"accept\"\nvlan = [10]\n\
                     [[rule]]\nid = \"double\"\naction = \"accept\"\nvlan = [20]\n";

/// Everybody who takes part.
pub(crate) struct Stage {
    pub(crate) foobar: Foobar,
    pub(crate) server: WebServer,
    /// A veth takes frames of XDP only where its other end has an XDP program of its own, in native mode.
    pub(crate) taker: Foobar,
    pub(crate) network: Network,
}

impl Stage {
    /// nginx and foobar with these rules and flags, where the kernel's settings are `variables`.
    pub(crate) fn new(rules: &str, options: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let network = Network::new()?;
        network.introduce()?;
        network.server.set_variables(variables)?;
        for namespace in [&network.server, &network.client] {
            // Nobody is to be known from before: the kernel would let such a client in where it lets in no other.
            namespace.set_variables(&[("ipv4/tcp_no_metrics_save", "1")])?;
        }
        // Answers to invented clients go to the real one, which they do not concern.
        network.server.ip(&format!(
            "route add default via {CLIENT_V4} dev {SERVER}\nroute add default via {CLIENT_V6} dev {SERVER}\n"
        ))?;
        let server = WebServer::serving(&network.server, &[PORT], &http1_client::locations())?;
        http1_client::put_files(&server)?;
        let mut taker = Foobar::new(&network.client, &[CLIENT], TAKER)?.with_options(&[
            "--mode",
            "native",
            "--ephemeral",
        ]);
        taker.start()?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?.with_options(options);
        foobar.start()?;
        Ok(Self { foobar, server, taker, network })
    }

    /// Sockets of nginx's side of connections, as `ss -i` tells of them.
    pub(crate) fn sockets(&self) -> Result<String> {
        let mut command = self.network.server.command("ss");
        command.args(["-tinoH", "state", "established", &format!("sport = :{PORT}")]);
        foobar_tests::command::succeed(&mut command)
    }
}

/// A connection of a real client, within so long.
pub(crate) fn connect(server: IpAddr, limit: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(server, PORT), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks for a page, and waits for it.
pub(crate) fn ask(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: foobar\r\n\r\n")?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "{:?}", &answer[..length]);
    Ok(())
}
