//! A cable with a filter at its end.

use std::any::Any;

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::{
    dataplane::{
        attach::Mode,
        filter::{Filter, FilterOptions, Pins},
        load::MapSizes,
    },
    rules::model::Ruleset,
};
use foobar_tests::{
    bpffs::PinFolder,
    command::succeed,
    network::{CLIENT, Network, SERVER},
};
use ipnet::IpNet;

use super::{nft, xdp_filter::XdpFilter};
use crate::{driver::Driver, figures::Spread, rules::compiled};

/// A cable, and who judges what arrives on it.
pub(super) struct Lane {
    // Dropped first, as long as its interface is there.
    judge: Judge,
    pub(super) network: Network,
}

/// Who judges, and what has to live as long as that.
pub(super) enum Judge {
    /// A chain of nftables, which goes with its namespace.
    Nftables,
    /// An XDP program.
    Xdp(#[expect(dead_code, reason = "kept until it is dropped")] Box<dyn Any>),
}

impl Lane {
    /// The least that XDP can do.
    pub(super) fn bare(driver: &mut Driver) -> Result<Self> {
        let network = cable()?;
        driver.attach_bare(&network.server, SERVER)?;
        Ok(Self { judge: Judge::Xdp(Box::new(())), network })
    }

    /// foobar with these rules.
    pub(super) fn foobar(ruleset: &Ruleset) -> Result<Self> {
        let compiled = compiled(ruleset, SERVER)?;
        let network = cable()?;
        let pins = PinFolder::new()?;
        let options = FilterOptions {
            interfaces: vec![SERVER.to_owned()],
            mode: Mode::Native,
            pins: Pins::Ephemeral(pins.path().to_owned()),
            sizes: MapSizes::default(),
        };
        let filter = network.server.enter(|| Filter::start(options, &compiled))?;
        Ok(Self { judge: Judge::Xdp(Box::new((filter, pins))), network })
    }

    /// A chain of nftables with these rules.
    pub(super) fn nftables(ruleset: &Ruleset) -> Result<Self> {
        let network = cable()?;
        // Without a native XDP program frames arrive only where GRO is on, since that is when a veth polls.
        succeed(network.server.command("ethtool").args(["-K", SERVER, "gro", "on"]))?;
        nft::load(&network, ruleset)?;
        Ok(Self { judge: Judge::Nftables, network })
    }

    /// xdp-filter with these addresses.
    pub(super) fn xdp_filter(addresses: &[IpNet]) -> Result<Self> {
        let network = cable()?;
        let filter = XdpFilter::load(&network, addresses)?;
        Ok(Self { judge: Judge::Xdp(Box::new(filter)), network })
    }

    /// How many frames it judges in so many seconds.
    pub(super) fn frames_in(&self, driver: &mut Driver, seconds: f64) -> Result<u32> {
        let Sample { nanoseconds, sent, judged } = self.sample(driver, 4_096)?;
        ensure!(judged > 0, "none of {sent} frames was judged");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        Ok((seconds * 1e9 / nanoseconds).clamp(4_096.0, 1_000_000.0) as u32)
    }

    /// Sends so many frames.
    pub(super) fn sample(&self, driver: &mut Driver, frames: u32) -> Result<Sample> {
        let before = self.judge.counted(self)?;
        let per_sent = driver.send(&self.network.client, CLIENT, frames)?;
        let judged = self.judge.counted(self)?.saturating_sub(before);
        Ok(Sample { nanoseconds: per_sent, sent: frames.into(), judged })
    }

    /// What the receiving end's driver counts of its XDP program.
    pub(super) fn dropped_by_xdp(&self) -> Result<u64> {
        let text = succeed(self.network.server.command("ethtool").args(["-S", SERVER]))?;
        let drops = text.lines().filter_map(|line| {
            let (name, count) = line.trim().split_once(": ")?;
            name.ends_with("_xdp_drops").then(|| count.parse::<u64>().ok()).flatten()
        });
        let counts: Vec<u64> = drops.collect();
        ensure!(!counts.is_empty(), "ethtool -S {SERVER} tells no xdp_drops");
        Ok(counts.into_iter().sum())
    }
}

fn cable() -> Result<Network> {
    let network = Network::new()?;
    network.introduce().context("prepare a cable")?;
    Ok(network)
}

/// What sending some frames took.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    nanoseconds: f64,
    sent: u64,
    judged: u64,
}

/// All samples of a lane.
#[derive(Clone)]
pub(super) struct Timing {
    frames: u32,
    samples: Vec<Sample>,
}

impl Timing {
    /// None yet, of so many frames each.
    pub(super) const fn new(frames: u32) -> Self {
        Self { frames, samples: Vec::new() }
    }

    /// How many frames a sample sends.
    pub(super) const fn frames(&self) -> u32 {
        self.frames
    }

    /// Adds one.
    pub(super) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Nanoseconds per frame.
    pub(super) fn spread(&self) -> Spread {
        Spread::of(self.samples.iter().map(|sample| sample.nanoseconds).collect())
    }

    /// Nanoseconds per frame more than the baseline took just before or after.
    pub(super) fn over(&self, baseline: &Self) -> Spread {
        let pairs = self.samples.iter().zip(&baseline.samples);
        Spread::of(pairs.map(|(one, other)| one.nanoseconds - other.nanoseconds).collect())
    }

    /// Frames that were judged.
    pub(super) fn judged(&self) -> u64 {
        self.samples.iter().map(|sample| sample.judged).sum()
    }

    /// Frames that were sent and not judged.
    pub(super) fn lost(&self) -> u64 {
        self.samples.iter().map(|sample| sample.sent.saturating_sub(sample.judged)).sum()
    }
}
