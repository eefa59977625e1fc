//! A flood of SYNs to the site, from addresses that nobody has.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use etherparse::PacketBuilder;
use foobar_tests::{
    command::succeed, namespace::Namespace, random::Random, sender::PacketSocket, syns::LINUX_OPTIONS, wait,
};
use serde_json::Value;

use crate::hosts::{Host, INTERFACE};

/// SYNs per second: many times what a service may get before cookies are sent, and little enough for one processor to go on with
/// everything else.
const RATE: u32 = 4_000;
/// SYNs that are sent at once.
const BURST: u32 = 40;
/// How long a busy machine may take to tell an address.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// Sends until the process is ended.
pub(crate) fn send() -> Result<()> {
    let here = Namespace::open("/proc/self/ns/net".as_ref())?;
    let socket = PacketSocket::new(&here, INTERFACE)?;
    let (own, balancer) = (own_address(&here)?, address_of_balancer(&here)?);
    let mut random = Random::new(1);
    let mut next = Instant::now();
    loop {
        for _ in 0..BURST {
            let [source, numbers] = [random.number(), random.number()].map(u64::to_be_bytes);
            let [_, _, _, _, _, network, host, machine] = source;
            let [high, low, _, _, sequence @ ..] = numbers;
            let port = u16::from_be_bytes([high | 0x80, low]);
            let sequence = u32::from_be_bytes(sequence);
            let mut frame = Vec::new();
            PacketBuilder::ethernet2(own, balancer)
                .ipv4([10, network, host, machine], Host::Balancer.address().octets(), 64)
                .tcp(port, 443, sequence, 64_240)
                .syn()
                .options_raw(&LINUX_OPTIONS)?
                .write(&mut frame, &[])?;
            socket.send(&frame)?;
        }
        next += Duration::from_secs(1) * BURST / RATE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The hardware address of the balancer, asked for by speaking to it.
fn address_of_balancer(here: &Namespace) -> Result<[u8; 6]> {
    let balancer = Host::Balancer.address().to_string();
    let url = format!("https://{balancer}/");
    let mut address = None;
    wait::until("the balancer tells its address", KNOWN_WITHIN, || {
        // That it is asked is enough; it answers a client without the site's name as it likes.
        drop(here.command("curl").args(["--silent", "--insecure", "--max-time", "1", &url]).output()?);
        let neighbours: Value =
            serde_json::from_str(&succeed(here.command("ip").args(["-j", "neigh", "show", &balancer]))?)?;
        address = neighbours[0]["lladdr"].as_str().map(parse).transpose()?;
        Ok(address.is_some())
    })?;
    address.context("the balancer has no address")
}

fn own_address(here: &Namespace) -> Result<[u8; 6]> {
    let links: Value =
        serde_json::from_str(&succeed(here.command("ip").args(["-j", "link", "show", INTERFACE]))?)?;
    parse(links[0]["address"].as_str().context("the interface has no address")?)
}

fn parse(text: &str) -> Result<[u8; 6]> {
    let mut address = [0; 6];
    for (byte, word) in address.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(word, 16).with_context(|| format!("hardware address {text}"))?;
    }
    Ok(address)
}
