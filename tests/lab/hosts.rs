//! The hosts of the lab: a network namespace each, with a cable to a switch, which is another one.

use std::{net::Ipv4Addr, path::PathBuf, process::Command};

use anyhow::Result;
use foobar_tests::{
    command::{succeed, succeed_with_input},
    namespace::Namespace,
};

/// The interface of every host.
pub(crate) const INTERFACE: &str = "eth0";
/// Networks that every host reaches by its cable: the servers', and the clients'.
const NETWORKS: [&str; 2] = ["192.0.2.0/24", "198.51.100.0/24"];
/// The address from which the balancer speaks SQL.
pub(crate) const SQL_BALANCER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// A second address of the client.
pub(crate) const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 21);

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// haproxy, in front of all others.
    Balancer,
    /// One of three web servers, each with a node of the database cluster: its number, from 1.
    Web(u8),
    /// Who asks for the site.
    Client,
    /// Prometheus and alertmanager, and who is pushed to.
    Monitoring,
}

impl Host {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Balancer, Self::Web(1), Self::Web(2), Self::Web(3), Self::Client, Self::Monitoring];
    /// Those with a web server and a node of the database.
    pub(crate) const SERVERS: [Self; 3] = [Self::Web(1), Self::Web(2), Self::Web(3)];
    /// Those with a firewall.
    pub(crate) const FILTERED: [Self; 4] = [Self::Balancer, Self::Web(1), Self::Web(2), Self::Web(3)];

    /// Its name.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Balancer => "balancer".to_owned(),
            Self::Web(number) => format!("web{number}"),
            Self::Client => "client".to_owned(),
            Self::Monitoring => "monitoring".to_owned(),
        }
    }

    /// Its address.
    pub(crate) const fn address(self) -> Ipv4Addr {
        match self {
            Self::Balancer => Ipv4Addr::new(192, 0, 2, 10),
            Self::Web(number) => Ipv4Addr::new(192, 0, 2, 10 + number),
            Self::Client => Ipv4Addr::new(198, 51, 100, 20),
            Self::Monitoring => Ipv4Addr::new(192, 0, 2, 30),
        }
    }

    /// The addresses that it has besides.
    const fn further_addresses(self) -> &'static [Ipv4Addr] {
        match self {
            Self::Balancer => &[SQL_BALANCER],
            Self::Client => &[OTHER_CLIENT],
            Self::Web(_) | Self::Monitoring => &[],
        }
    }
}

/// The namespaces of one lab.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    prefix: String,
}

impl Hosts {
    /// Those of the lab of this name, whether they are there or not.
    pub(crate) fn of(lab: &str) -> Self {
        Self { prefix: format!("foobar-{lab}-") }
    }

    /// The namespace of a host.
    pub(crate) fn namespace(&self, host: Host) -> Result<Namespace> {
        Namespace::open(&self.path(&host.name()))
    }

    /// Where the file of a namespace is.
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}{name}", self.prefix))
    }

    /// Whether any of them is there.
    pub(crate) fn any(&self) -> bool {
        names().any(|name| self.path(&name).exists())
    }

    /// Makes all of them, with cables.
    pub(crate) fn make(&self) -> Result<()> {
        for name in names() {
            succeed(Command::new("ip").args(["netns", "add", &format!("{}{name}", self.prefix)]))?;
        }
        let switch = Namespace::open(&self.path(SWITCH))?;
        // No spanning tree, which would keep the cables dead for half a minute.
        switch
            .ip("link set lo up\nlink add br0 type bridge stp_state 0 forward_delay 0\nlink set br0 up\n")?;
        for host in Host::ALL {
            self.plug(&switch, host)?;
        }
        Ok(())
    }

    /// Lays the cable of a host.
    fn plug(&self, switch: &Namespace, host: Host) -> Result<()> {
        let namespace = self.namespace(host)?;
        let name = host.name();
        // Nobody speaks IPv6 here.
        namespace
            .set_variables(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])?;
        namespace.ip(&format!(
            "link set lo up\nlink add {INTERFACE} type veth peer name {name} netns {}\n",
            switch.path().display()
        ))?;
        for address in [&[host.address()], host.further_addresses()].concat() {
            namespace.ip(&format!("addr add {address}/32 dev {INTERFACE}\n"))?;
        }
        // Checksums and segments are on the cable as on a real one: what XDP sees is complete.
        succeed(
            namespace
                .command("ethtool")
                .args(["-K", INTERFACE])
                .args(["tx", "off", "tso", "off", "gso", "off", "gro", "off"]),
        )?;
        namespace.ip(&format!("link set {INTERFACE} up\n"))?;
        for network in NETWORKS {
            namespace.ip(&format!("route add {network} dev {INTERFACE} src {}\n", host.address()))?;
        }
        switch.ip(&format!("link set {name} master br0 up\n"))
    }

    /// Has what servers answer to a client go to the balancer, and the balancer take it for its own: for a balancer that asks with the
    /// addresses of its clients.
    pub(crate) fn carry_clients_addresses(&self) -> Result<()> {
        let balancer = Host::Balancer.address();
        for host in Host::SERVERS {
            let clients = NETWORKS[1];
            self.namespace(host)?.ip(&format!("route replace {clients} via {balancer} dev {INTERFACE}\n"))?;
        }
        let namespace = self.namespace(Host::Balancer)?;
        namespace.set_variables(&[
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            (RP_FILTER, "0"),
            ("ipv4/conf/all/send_redirects", "0"),
            (SEND_REDIRECTS, "0"),
        ])?;
        namespace.ip("rule add fwmark 1 lookup 100\nroute add local 0.0.0.0/0 dev lo table 100\n")?;
        succeed_with_input(namespace.command("nft").args(["-f", "-"]), DIVERT.as_bytes()).map(drop)
    }

    /// Removes all of them, and what was left running in them, whose names it tells.
    pub(crate) fn remove(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for name in names() {
            if !self.path(&name).exists() {
                continue;
            }
            let name = format!("{}{name}", self.prefix);
            // Whatever runs in a namespace of this lab is of this lab; without the namespace it would go on.
            for id in succeed(Command::new("ip").args(["netns", "pids", &name]))?.split_whitespace() {
                let command = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
                left.push(format!("{} ({id})", command.trim()));
                // It may have ended since.
                drop(Command::new("kill").args(["-KILL", id]).output());
            }
            succeed(Command::new("ip").args(["netns", "delete", &name]))?;
        }
        Ok(left)
    }
}

const RP_FILTER: &str = "ipv4/conf/eth0/rp_filter";
const SEND_REDIRECTS: &str = "ipv4/conf/eth0/send_redirects";
/// What belongs to a socket of this host goes to it, whatever address it has.
const DIVERT: &str = "table inet divert {
  chain before {
    type filter hook prerouting priority mangle
    meta l4proto tcp socket transparent 1 meta mark set 1 accept
  }
}
";
const SWITCH: &str = "switch";

fn names() -> impl Iterator<Item = String> {
    Host::ALL.into_iter().map(Host::name).chain([SWITCH.to_owned()])
}
