//! xdp-filter of xdp-tools, which drops what comes from single addresses.

use std::{fs, sync::Arc};

use anyhow::{Context as _, Result};
use foobar_tests::{
    command::{succeed, succeed_with_input},
    namespace::Namespace,
    network::{Network, SERVER},
};
use ipnet::IpNet;

/// An xdp-filter that is loaded, until it is dropped.
pub(super) struct XdpFilter {
    server: Arc<Namespace>,
}

impl XdpFilter {
    /// Puts it on the server's interface with these addresses.
    pub(super) fn load(network: &Network, addresses: &[IpNet]) -> Result<Self> {
        let server = Arc::clone(&network.server);
        let mut load = server.command("xdp-filter");
        load.args([
            "load",
            "--policy",
            "allow",
            "--features",
            "ipv4,ipv6,tcp,udp",
            "--mode",
            "native",
            SERVER,
        ]);
        succeed(&mut load).context("load xdp-filter")?;
        let filter = Self { server };
        let list: Vec<String> = addresses.iter().map(|address| format!("{}\n", address.addr())).collect();
        // One process each, within one that is in the namespace already.
        let each = "while read -r address; do xdp-filter ip --mode src \"$address\" || exit 1; done";
        let mut fill = filter.server.command("sh");
        succeed_with_input(fill.args(["-c", each]), list.concat().as_bytes())
            .context("tell xdp-filter the addresses")?;
        Ok(filter)
    }
}

impl Drop for XdpFilter {
    fn drop(&mut self) {
        // It is gone with its interface, too; its pins would stay.
        drop(succeed(self.server.command("xdp-filter").args(["unload", SERVER])));
        // Folders of libxdp, which it leaves empty; those in use by others are not.
        for folder in ["/sys/fs/bpf/xdp-filter", "/sys/fs/bpf/xdp"] {
            drop(fs::remove_dir(folder));
        }
    }
}
