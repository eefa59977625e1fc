//! Two namespaces with a cable between them: the server, where the filter runs, and the client, who sends.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{command::succeed, namespace::Namespace, wait};

/// The server's interface; the filter goes here.
pub const SERVER: &str = "srv0";
/// The client's interface.
pub const CLIENT: &str = "cli0";
/// Address of the server.
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Address of the client.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Address of the server.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Address of the client.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// Hardware address of the server.
pub const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Hardware address of the client.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// A server and a client. Checksums, segments and VLAN tags are on the cable as they would be on a real one.
#[derive(Debug)]
pub struct Network {
    /// Where the filter runs, on [`SERVER`].
    pub server: Arc<Namespace>,
    /// Who sends, from [`CLIENT`].
    pub client: Arc<Namespace>,
    mtu: u32,
}

impl Network {
    /// A server and a client with Ethernet's usual MTU.
    pub fn new() -> Result<Self> {
        Self::with_mtu(1500)
    }

    /// A server and a client with this MTU on both sides.
    pub fn with_mtu(mtu: u32) -> Result<Self> {
        let server = Arc::new(Namespace::new()?);
        let client = Arc::new(Namespace::new()?);
        for namespace in [&server, &client] {
            // Nobody speaks unless a test makes them: no link-local addresses, no solicitations, and the
            // reports of multicast groups, which cannot be switched off, at once instead of after seconds.
            namespace.set_variables(&[
                ("ipv6/conf/default/addr_gen_mode", "1"),
                ("ipv6/conf/default/accept_ra", "0"),
                ("ipv6/conf/default/router_solicitations", "0"),
                ("ipv6/conf/default/mldv2_unsolicited_report_interval", "1"),
            ])?;
        }
        let network = Self { server, client, mtu };
        network.plug()?;
        Ok(network)
    }

    /// Makes the interfaces of both sides, as they are at the beginning or were before [`Self::unplug`].
    pub fn plug(&self) -> Result<()> {
        let mtu = self.mtu;
        self.server.ip(&format!(
            "link add {SERVER} mtu {mtu} address {} type veth peer name {CLIENT} mtu {mtu} address {} netns {}\n",
            mac(SERVER_MAC),
            mac(CLIENT_MAC),
            self.client.path().display()
        ))?;
        self.bring_up()
    }

    /// Makes them with another namespace between them, where the other ends of their cables have these names.
    pub fn plug_into(&self, middle: &Namespace, [to_server, to_client]: [&str; 2]) -> Result<()> {
        let mtu = self.mtu;
        for (namespace, own, address, name) in
            [(&self.server, SERVER, SERVER_MAC, to_server), (&self.client, CLIENT, CLIENT_MAC, to_client)]
        {
            namespace.ip(&format!(
                "link add {own} mtu {mtu} address {} type veth peer name {name} mtu {mtu} netns {}\n",
                mac(address),
                middle.path().display()
            ))?;
            middle.ip(&format!("link set {name} up\n"))?;
        }
        self.bring_up()
    }

    /// Gives both interfaces their addresses.
    fn bring_up(&self) -> Result<()> {
        self.server.ip(&format!(
            "addr add {SERVER_V4}/24 dev {SERVER}\naddr add {SERVER_V6}/64 dev {SERVER} nodad\n\
             link set {SERVER} up\n"
        ))?;
        self.client.ip(&format!(
            "addr add {CLIENT_V4}/24 dev {CLIENT}\naddr add {CLIENT_V6}/64 dev {CLIENT} nodad\n\
             link set {CLIENT} up\n"
        ))?;
        for (namespace, interface) in [(&self.server, SERVER), (&self.client, CLIENT)] {
            succeed(
                namespace
                    .command("ethtool")
                    .args(["-K", interface])
                    .args(["tx", "off", "tso", "off", "gso", "off", "gro", "off", "txvlan", "off"]),
            )?;
        }
        wait::until("both ends of the cable are up", Duration::from_secs(5), || {
            Ok(self.link(&self.client, CLIENT)?["operstate"] == "UP")
        })
    }

    /// Tells both sides the hardware address of the other, so that neither asks or answers for it.
    pub fn introduce(&self) -> Result<()> {
        for (namespace, interface, v4, v6, address) in [
            (&self.server, SERVER, CLIENT_V4, CLIENT_V6, CLIENT_MAC),
            (&self.client, CLIENT, SERVER_V4, SERVER_V6, SERVER_MAC),
        ] {
            let address = mac(address);
            namespace.ip(&format!(
                "neigh replace {v4} lladdr {address} dev {interface} nud permanent\n\
                 neigh replace {v6} lladdr {address} dev {interface} nud permanent\n"
            ))?;
        }
        Ok(())
    }

    /// Takes the interfaces of both sides away, as when a network card is pulled out.
    pub fn unplug(&self) -> Result<()> {
        self.server.ip(&format!("link del {SERVER}\n"))
    }

    /// What the kernel says of the server's interface, as `ip -j -d -s link` prints it.
    pub fn server_link(&self) -> Result<Value> {
        self.link(&self.server, SERVER)
    }

    /// Id of the XDP program on the server's interface.
    pub fn xdp_program(&self) -> Result<Option<u64>> {
        Ok(self.server_link()?["xdp"]["prog"]["id"].as_u64())
    }

    #[expect(clippy::unused_self, reason = "reads better at the callers")]
    fn link(&self, namespace: &Namespace, interface: &str) -> Result<Value> {
        let text =
            succeed(namespace.command("ip").args(["-j", "-d", "-s", "link", "show", "dev", interface]))?;
        let links: Value = serde_json::from_str(&text).context("read the output of ip -j")?;
        Ok(links[0].clone())
    }
}

fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
