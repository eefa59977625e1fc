//! What bans cost a packet, how long it takes until one is in force, and to look at all of them.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::{bans::BANS_MAX, verdict::Verdict};
use foobar_daemon::{
    control::{
        bans::{BANS, BanRequest},
        client::Client,
        protocol::Changed,
    },
    dataplane::bans::Lengths,
    rules::model::Ruleset,
};
use foobar_tests::{
    classbench,
    command::stderr,
    daemon::Foobar,
    frames::Family,
    headers,
    network::{Network, SERVER},
    random::Random,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    cost::{Effort, measure},
    driver::Driver,
    figures::{Figure, Spread},
    plan::Plan,
    report::{Report, Row},
    rules::{SEED, label, load},
};

/// Packets: as many as there are places in the driver.
const PACKETS: usize = 65_536;
/// Bans that are made one after the other.
const SINGLE: usize = 1_000;
/// Bans that are made at once.
const MANY: u32 = 50_000;

/// Times that all are looked at.
const LOOKS: usize = 20;

/// Measures all three.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    // The plain reading looks at each ban.
    let effort = Effort { checked: 200, ..plan.effort };
    for family in Family::BOTH {
        for (name, bans) in [
            ("no ban", Vec::new()),
            ("1 address", bans(family, 1, &[32])),
            ("50,000 addresses", bans(family, 50_000, &[32])),
            ("1,000 prefixes of one length", bans(family, 1_000, &[24])),
            ("1,000 prefixes of eight lengths", bans(family, 1_000, &[16, 18, 20, 21, 22, 23, 24, 28])),
            (
                "50,000 addresses and 1,000 prefixes",
                [bans(family, 50_000, &[32]), bans(family, 1_000, &[24])].concat(),
            ),
        ] {
            cost(driver, report, family, name, &bans, effort)?;
        }
    }
    for (what, rows) in [("made", times(plan)), ("listed", lists())] {
        match rows {
            Ok(rows) => rows.into_iter().for_each(|row| report.add(row)),
            Err(why) => report.add(Row::refused("bans", what, &why)),
        }
    }
    Ok(())
}

/// Different bans, of these lengths in turns; of IPv6 twice as long, but for single addresses.
fn bans(family: Family, count: usize, lengths: &[u8]) -> Vec<IpNet> {
    let mut random = Random::new(SEED ^ count as u64);
    let mut bans = std::collections::BTreeSet::new();
    for length in lengths.iter().cycle() {
        if bans.len() == count {
            break;
        }
        let any = random.wide();
        let ban = match family {
            Family::V4 => {
                let [a, b, c, d, ..] = (any >> 1).to_be_bytes();
                Ipv4Net::new(Ipv4Addr::from([a, b, c, d]), *length).map(IpNet::from)
            }
            Family::V6 => {
                let length = if *length == 32 { 128 } else { length * 2 };
                Ipv6Net::new(Ipv6Addr::from_bits(0x2000 << 112 | any >> 3 >> 1), length).map(IpNet::from)
            }
        };
        bans.extend(ban.map(|ban| ban.trunc()));
    }
    let mut bans: Vec<IpNet> = bans.into_iter().collect();
    random.shuffle(&mut bans);
    bans
}

fn cost(
    driver: &mut Driver,
    report: &mut Report,
    family: Family,
    name: &str,
    bans: &[IpNet],
    effort: Effort,
) -> Result<()> {
    let (mut runs, _) = load(&Ruleset::default(), "load", name)?;
    for prefix in bans {
        runs.bans().set(prefix, None)?;
    }
    runs.bans().set_lengths(Lengths::of(bans.iter().copied()))?;
    // The other half of all addresses.
    let free: IpNet = match family {
        Family::V4 => "128.0.0.0/1".parse()?,
        Family::V6 => "3000::/4".parse()?,
    };
    let same = classbench::block_list_of(bans.to_vec(), Verdict::Accept);
    for (kind, from) in [("banned", bans), ("free", &[free])] {
        if from.is_empty() {
            continue;
        }
        let packets = headers::from_members(from, PACKETS, &mut Random::new(SEED + 2));
        let row = Row::new("bans", format!("{} {name}, {kind}", label(family)));
        report.add(measure(driver, &runs, &same, &packets, effort, row)?);
    }
    Ok(())
}

/// Of bans that are asked of a daemon: through its control socket, by a command each, and many by one command.
fn times(plan: &Plan) -> Result<Vec<Row>> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?;
    foobar.start()?;
    let client = Client { control: foobar.control_path() };
    let mut asked = Vec::new();
    for number in 0..SINGLE {
        let request = BanRequest {
            addresses: vec![format!("10.1.{}.{}", number / 250, number % 250)],
            ..BanRequest::default()
        };
        let start = Instant::now();
        let _changed: Changed = client.post(BANS, Some(&request))?;
        asked.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let mut commands = Vec::new();
    for number in 0..SINGLE {
        let address = format!("10.2.{}.{}", number / 250, number % 250);
        let start = Instant::now();
        foobar.succeed(&["ban", &address])?;
        commands.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let addresses = (0..MANY).map(|number| Ipv4Addr::from(0x0a80_0000 + number).to_string());
    let list = addresses.collect::<Vec<_>>().join("\n");
    let (mut whole, mut lifted) = (Vec::new(), Vec::new());
    for _ in 0..plan.swaps.min(10) {
        for (arguments, times) in [(["ban", "-"], &mut whole), (["unban", "-"], &mut lifted)] {
            let start = Instant::now();
            let output = foobar.command_with_input(&arguments, list.as_bytes())?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            ensure!(output.status.success(), "{}", stderr(&output));
        }
    }
    let row = |name, times| row("bans made", name, "asked to in force, ms", times);
    Ok(vec![
        row("one, asked over the socket", asked)?,
        row("one, by a command", commands)?,
        row("50,000, by a command", whole)?,
        row("50,000 lifted, by a command", lifted)?,
    ])
}

/// Of looks at as many bans as there can be: at the map alone, and by a command.
fn lists() -> Result<Vec<Row>> {
    let addresses = (0..BANS_MAX).map(|number| Ipv4Addr::from(0x0a00_0000 + number));
    let (mut runs, _) = load(&Ruleset::default(), "load", "listed")?;
    for address in addresses.clone() {
        runs.bans().set(&Ipv4Net::new(address, 32)?.into(), None)?;
    }
    let (mut read, mut shown) = (Vec::new(), Vec::new());
    for _ in 0..LOOKS {
        let start = Instant::now();
        let count = runs.bans().list()?.len();
        read.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(count == BANS_MAX as usize, "{count} are listed");
    }
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?;
    foobar.start()?;
    let list = addresses.map(|address| address.to_string()).collect::<Vec<_>>().join("\n");
    let output = foobar.command_with_input(&["ban", "-"], list.as_bytes())?;
    ensure!(output.status.success(), "{}", stderr(&output));
    for _ in 0..LOOKS {
        let start = Instant::now();
        let count = foobar.succeed(&["bans"])?.lines().count();
        shown.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(count == BANS_MAX as usize, "{count} are shown");
    }
    let row = |name, times| row("bans listed", name, "all, ms", times);
    Ok(vec![row("131,072 in the kernel", read)?, row("131,072, by a command", shown)?])
}

/// Times of which the later ones matter, too.
fn row(part: &'static str, name: &str, what: &'static str, mut times: Vec<f64>) -> Result<Row> {
    times.sort_by(f64::total_cmp);
    let percentile = |part: usize| times.get(times.len() * part / 100).context("nothing was measured");
    let (middle, late) = (percentile(50)?, percentile(99)?);
    Ok(Row::new(part, name)
        .with("times", Figure::Count(times.len() as u64))
        .with("p50, ms", Figure::Words(format!("{middle:.2}")))
        .with("p99, ms", Figure::Words(format!("{late:.2}")))
        .with(what, Figure::Milliseconds(Spread::of(times))))
}
