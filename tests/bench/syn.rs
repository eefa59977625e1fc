//! SYNs that are answered in a second: by foobar, and by the kernel's own cookies, with frames that travel over a cable.
//!
//! The sender's processor does all the work, so the time of a frame is that of sending, judging and answering it. Answers are
//! dropped where they arrive.

use std::{net::TcpListener, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::{
    dataplane::{
        attach::Mode,
        filter::{Filter, FilterOptions, Pins},
        load::MapSizes,
    },
    rules::bundle::Bundle,
};
use foobar_tests::{
    bpffs::PinFolder,
    command::succeed,
    frames::Family,
    network::{CLIENT, CLIENT_V4, Network, SERVER},
    syns,
};

use crate::{
    driver::Driver,
    figures::{Figure, Spread},
    plan::RivalPlan,
    report::{Report, Row},
    rules::{SEED, compiled},
};

const PORT: u16 = 8080;
/// SYNs that take turns.
const FRAMES: usize = 16_384;
const RULES: &str =
    "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/8080\"\nsyn_cookies = \"always\"\n";

/// Measures both, in turns.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &RivalPlan) -> Result<()> {
    driver.feed(&syns::invented(PORT, &[Family::V4], FRAMES, SEED + 9)?)?;
    let foobar = Lane::new(driver, Some(RULES))?;
    let kernel = Lane::new(driver, None)?;
    let (mut by_foobar, mut by_kernel, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=plan.samples {
        report.say(&format!("syn: turn {turn} of {}", plan.samples));
        let (ours, theirs) = (foobar.answered(driver, plan)?, kernel.answered(driver, plan)?);
        // The first turn warms up.
        if turn > 0 {
            by_foobar.push(ours);
            by_kernel.push(theirs);
            ratios.push(ours / theirs);
        }
    }
    report.add(
        Row::new("syn", "SYNs answered per second, by foobar")
            .with("rate", Figure::Rate(Spread::of(by_foobar))),
    );
    report.add(
        Row::new("syn", "SYNs answered per second, by the kernel's cookies")
            .with("rate", Figure::Rate(Spread::of(by_kernel))),
    );
    report.add(
        Row::new("comparison", "foobar / kernel").with("in all", Figure::Ratio(Spread::of(ratios).median)),
    );
    Ok(())
}

/// A cable with somebody who listens at its end.
struct Lane {
    // Dropped first, as long as its interface is there.
    filter: Option<(Filter, PinFolder)>,
    _listener: TcpListener,
    network: Network,
}

impl Lane {
    fn new(driver: &mut Driver, rules: Option<&str>) -> Result<Self> {
        let network = Network::new()?;
        network.introduce()?;
        network.server.set_variables(&[("ipv4/tcp_syncookies", "2"), ("ipv4/tcp_timestamps", "2")])?;
        network.server.ip(&format!("route add default via {CLIENT_V4} dev {SERVER}\n"))?;
        let listener = network.server.enter(|| Ok(TcpListener::bind(("0.0.0.0", PORT))?))?;
        driver.attach_bare(&network.client, CLIENT)?;
        let filter = if let Some(rules) = rules {
            let ruleset = Bundle::of_text("rules", rules).parse().context("read the rules")?;
            let compiled = compiled(&ruleset, SERVER)?;
            let pins = PinFolder::new()?;
            let options = FilterOptions {
                interfaces: vec![SERVER.to_owned()],
                mode: Mode::Native,
                pins: Pins::Ephemeral(pins.path().to_owned()),
                sizes: MapSizes::default(),
            };
            Some((network.server.enter(|| Filter::start(options, &compiled))?, pins))
        } else {
            // Without a native XDP program frames arrive only where GRO is on, since that is when a veth polls.
            succeed(network.server.command("ethtool").args(["-K", SERVER, "gro", "on"]))?;
            None
        };
        Ok(Self { filter, _listener: listener, network })
    }

    /// How many SYNs are answered in a second.
    fn answered(&self, driver: &mut Driver, plan: &RivalPlan) -> Result<f64> {
        let probe = driver.send(&self.network.client, CLIENT, 4_096)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let frames = (plan.seconds * 1e9 / probe).clamp(4_096.0, 1_000_000.0) as u32;
        // What is still under way belongs to the frames before.
        std::thread::sleep(Duration::from_millis(20));
        let before = self.count()?;
        let nanoseconds = driver.send(&self.network.client, CLIENT, frames)?;
        std::thread::sleep(Duration::from_millis(20));
        let answered = self.count()? - before;
        ensure!(answered > 0, "none of {frames} SYNs was answered");
        let share = Duration::from_secs(answered).as_secs_f64() / f64::from(frames);
        Ok(share * 1e9 / nanoseconds)
    }

    fn count(&self) -> Result<u64> {
        if let Some((filter, _)) = &self.filter {
            let services = filter.counters()?.services;
            let cookies = services.values().filter_map(|service| service.syn_cookies);
            return Ok(cookies.map(|counted| counted.counters.answered).sum());
        }
        let text =
            self.network.server.enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/netstat")?))?;
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let (_, sent) = pairs.find(|(name, _)| *name == "SyncookiesSent").context("SyncookiesSent")?;
        sent.parse().context("read a number of the kernel")
    }
}
