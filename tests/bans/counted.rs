//! What each ban has stopped: to the packet up to a number, whoever is at work beside, and nearly so above.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_common::{
    bans::COUNTED_SINGLY,
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::{
    dataplane::{
        bans::{BanMaps, Lengths, now_ns},
        load::LoadedRuleset,
    },
    rules::{
        bundle::Bundle,
        compile::{CompiledRuleset, compile},
    },
    slots::Slots,
};
use foobar_tests::{figures::say, network::CLIENT, sender::Flood};
use ipnet::IpNet;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::Value;

use crate::{RULES, Site, from};

/// [`RULES`] after a change that nobody banned notices.
fn other_rules() -> String {
    format!("{RULES}[[rule]]\nid = \"more\"\naction = \"accept\"\nprotocol = \"tcp\"\n")
}

fn compiled(rules: &str) -> Result<CompiledRuleset> {
    let ruleset = Bundle::of_text("rules", rules).parse()?;
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()])?;
    compile(&ruleset, &slots)
}

/// Bans these for ever.
fn ban(bans: &mut BanMaps, prefixes: &[&str]) -> Result<()> {
    let prefixes = prefixes.iter().map(|text| Ok(text.parse()?)).collect::<Result<Vec<IpNet>>>()?;
    prefixes.iter().try_for_each(|prefix| bans.set(prefix, None))?;
    bans.set_lengths(Lengths::of(prefixes))
}

/// What these have stopped.
fn counts<const N: usize>(bans: &BanMaps, prefixes: [&str; N]) -> Result<[u64; N]> {
    let list = bans.list()?;
    let mut counts = [0; N];
    for (count, text) in counts.iter_mut().zip(prefixes) {
        let prefix: IpNet = text.parse()?;
        *count = list.iter().find(|ban| ban.prefix == prefix).context("no such ban")?.packets;
    }
    Ok(counts)
}

/// Which processors this process may run on.
fn processors() -> Result<Vec<usize>> {
    let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|number| allowed.is_set(*number).unwrap_or(false)).collect())
}

/// A half of the packets on each of two processors, at the same time, of the same bans: as many as are counted one by one.
#[test]
fn two_processors_count_together() -> Result<()> {
    assert_eq!(counted_together(32, 1_024)?, [COUNTED_SINGLY; 3]);
    Ok(())
}

/// What is drawn is right to five of its standard deviations, each of 64 times the root of 29,000 draws.
#[test]
fn more_packets_are_estimated() -> Result<()> {
    let (rounds, times) = (40, 24_576);
    let sent = u64::from(2 * rounds * times);
    for counted in counted_together(rounds, times)? {
        say(&format!("{sent} packets were stopped, {counted} counted"));
        ensure!(counted != sent && counted.abs_diff(sent) <= 5 * 64 * 171, "{counted} of {sent}");
    }
    Ok(())
}

/// What three bans count, when each of two processors sends so many packets in each of so many rounds.
fn counted_together(rounds: u32, times: u32) -> Result<[u64; 3]> {
    let banned = ["203.0.113.7/32", "198.18.0.0/15", "2001:db8:bad::/48"];
    let mut runs = LoadedRuleset::for_timed_runs(&compiled(RULES)?, "eth0")?;
    ban(runs.bans(), &banned)?;
    let frames = ["203.0.113.7", "198.19.1.1", "2001:db8:bad::1", "203.0.113.8"].map(from);
    let processors = processors()?;
    ensure!(processors.len() >= 2, "the kernel has one processor only");
    thread::scope(|scope| {
        let threads: Vec<_> = processors
            .iter()
            .take(2)
            .map(|processor| {
                let (runs, frames) = (&runs, &frames);
                scope.spawn(move || -> Result<()> {
                    let mut only = CpuSet::new();
                    only.set(*processor)?;
                    sched_setaffinity(Pid::from_raw(0), &only)?;
                    for _ in 0..rounds {
                        frames.iter().try_for_each(|frame| runs.goes_in_often(frame, times))?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_payload| anyhow!("a thread panicked"))?)
    })?;
    counts(runs.bans(), banned)
}

/// A packet is counted by the ban of its address, or else by that of the shortest prefix; and not by bans that are over, nor
/// where it is spared.
#[test]
fn a_packet_is_counted_once_and_only_if_it_is_stopped() -> Result<()> {
    let prefixes = ["198.18.0.0/15", "198.18.0.0/16", "198.18.1.1/32", "2001:db8:bad::/48", "203.0.113.7/32"];
    let spares = RULES.replace("never_ban = [", "never_ban = [\"198.18.7.0/24\", \"2001:db8:bad:7::/64\", ");
    // Whether addresses are looked up for other reasons makes another way.
    let asks = format!("{spares}[[rule]]\nid = \"one\"\naction = \"drop\"\nsource = \"192.0.2.77\"\n");
    for rules in [&spares, &asks] {
        let mut runs = LoadedRuleset::for_test_runs(&compiled(rules)?, "eth0")?;
        ban(runs.bans(), &prefixes)?;
        runs.bans().set(&"203.0.113.7/32".parse()?, Some(now_ns()?))?;
        for (source, is_stopped, counted) in [
            ("198.18.1.1", true, [0, 0, 1, 0, 0]),
            ("198.18.1.2", true, [1, 0, 0, 0, 0]),
            ("198.19.1.2", true, [1, 0, 0, 0, 0]),
            ("198.18.7.1", false, [0; 5]),
            ("198.20.0.1", false, [0; 5]),
            ("2001:db8:bad:1::1", true, [0, 0, 0, 1, 0]),
            ("2001:db8:bad:7::1", false, [0; 5]),
            ("203.0.113.7", false, [0; 5]),
        ] {
            let before = counts(runs.bans(), prefixes)?;
            for round in 1..=3 {
                let judged = runs.judge(&from(source), Direction::In)?;
                assert_eq!(
                    (judged.reason == Reason::Ban, judged.verdict == Verdict::Drop),
                    (is_stopped, is_stopped),
                    "{source}"
                );
                let after = counts(runs.bans(), prefixes)?;
                let more: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
                assert_eq!(more, counted.map(|count| round * count), "{source}");
            }
        }
    }
    Ok(())
}

/// A ban that is over and not removed yet, and that a limit makes hold again, counts on; so does one that is made longer.
#[test]
fn a_ban_that_is_renewed_counts_on() -> Result<()> {
    let limited = "[[rule]]\nid = \"flood\"\naction = \"accept\"\nprotocol = \"udp\"\n\
                   limit = { rate = \"1/h\", burst = 2, per = \"source\" }\nover = { ban = \"10m\" }\n";
    let mut runs = LoadedRuleset::for_test_runs(&compiled(&format!("schema = 1\n{limited}"))?, "eth0")?;
    let (source, prefix) = ("203.0.113.7", "203.0.113.7/32");
    let net: IpNet = prefix.parse()?;
    runs.bans().set_lengths(Lengths::of([net]))?;
    let mut reasons = |count: usize| -> Result<Vec<Reason>> {
        (0..count).map(|_| Ok(runs.judge(&from(source), Direction::In)?.reason)).collect()
    };
    assert_eq!(reasons(5)?, [Reason::Rule, Reason::Rule, Reason::Limit, Reason::Ban, Reason::Ban]);
    assert_eq!(counts(runs.bans(), [prefix])?, [2]);
    runs.bans().set(&net, Some(now_ns()?))?;
    assert_eq!(counts(runs.bans(), [prefix])?, [2], "over");
    let reasons: Vec<_> =
        (0..3).map(|_| Ok(runs.judge(&from(source), Direction::In)?.reason)).collect::<Result<_>>()?;
    assert_eq!(reasons, [Reason::Limit, Reason::Ban, Reason::Ban], "renewed");
    assert_eq!(counts(runs.bans(), [prefix])?, [4], "renewed");
    runs.bans().set(&net, None)?;
    runs.judge(&from(source), Direction::In)?;
    assert_eq!(counts(runs.bans(), [prefix])?, [5], "made longer");
    // One that is lifted begins anew.
    runs.bans().lift(&net)?;
    runs.bans().set(&net, None)?;
    assert_eq!(counts(runs.bans(), [prefix])?, [0], "made anew");
    Ok(())
}

impl Site {
    /// What the bans of these addresses have stopped, as `foobar bans --json` tells.
    pub(crate) fn stopped<const N: usize>(&self, addresses: [&str; N]) -> Result<[u64; N]> {
        let bans = self.bans()?;
        let mut counts = [0; N];
        for (count, address) in counts.iter_mut().zip(addresses) {
            let ban = bans.iter().find(|ban| ban["address"] == address).context("it is not banned")?;
            *count = ban["packets"].as_u64().context("no count")?;
        }
        Ok(counts)
    }

    /// All that bans have stopped, as packets are counted by their reasons.
    fn stopped_in_all(&self) -> Result<u64> {
        let labels = [("action", "drop"), ("reason", "ban"), ("direction", "in")];
        Ok(self.foobar.scrape()?.count("foobar_firewall_packets_total", &labels))
    }
}

/// Real packets, at a rate that goes on while rules are swapped, the daemon is killed, and bans are made longer.
#[test]
fn a_flood_is_counted_over_swaps_and_restarts() -> Result<()> {
    let mut site = Site::new()?;
    let banned = ["203.0.113.7", "2001:db8:bad::/48", "203.0.113.9"];
    site.says(&["ban", banned[0], banned[1], banned[2], "198.51.100.77", "--for", "1h"], 0)?;
    site.says(&["ban", banned[1], "--for", "2h", "--reason", "loud"], 0)?;
    assert_eq!(site.stopped(banned)?, [0; 3]);
    // Two of the first for one of the second; nobody else's, and of the third none yet.
    let frames = ["203.0.113.7", "203.0.113.7", "2001:db8:bad::5", "203.0.113.8"].map(from);
    // Slow enough that no ban gets beyond what is counted one by one, however long all this takes.
    let flood = Flood::start(&site.network.client, CLIENT, frames.to_vec(), 6_000)?;
    let mut last = [0; 3];
    for what in ["swapped", "killed", "swapped back", "ended"] {
        thread::sleep(Duration::from_millis(300));
        match what {
            "swapped" => drop(site.foobar.apply(&other_rules())?),
            "swapped back" => drop(site.foobar.succeed(&["rules", "rollback"])?),
            "killed" => {
                site.foobar.kill()?;
                thread::sleep(Duration::from_millis(300));
                site.foobar.start()?;
            }
            _ => {
                site.foobar.terminate()?;
                site.foobar.start()?;
            }
        }
        let now = site.stopped(banned)?;
        ensure!(now[0] > last[0] + 500 && now[1] > last[1] + 250 && now[2] == 0, "{what}: {last:?} {now:?}");
        last = now;
    }
    let sent = flood.stop()?;
    let [first, second, third] = site.stopped(banned)?;
    let in_all = site.stopped_in_all()?;
    say(&format!(
        "{sent} packets were sent, {first} and {second} were stopped by their bans, {in_all} by any"
    ));
    assert_eq!((first + second, third), (in_all, 0), "as many as packets were dropped for this reason");
    ensure!(first.abs_diff(2 * second) <= 64 && first + second <= sent, "{first} {second} of {sent}");

    // Made longer while packets come: few are missed, and none is counted twice.
    let flood = Flood::start(&site.network.client, CLIENT, vec![from(banned[0])], 5_000)?;
    for hours in 3..13 {
        thread::sleep(Duration::from_millis(50));
        let [out, _] = site.says(&["ban", banned[0], "--for", &format!("{hours}h")], 0)?;
        ensure!(out.starts_with("1 extended"), "{out}");
    }
    flood.stop()?;
    let [after, ..] = site.stopped(banned)?;
    let dropped = site.stopped_in_all()? - in_all;
    say(&format!(
        "{} of {dropped} packets were counted while the ban was made longer ten times",
        after - first
    ));
    ensure!(after < COUNTED_SINGLY, "{after} are more than are counted one by one");
    ensure!(
        after - first <= dropped && dropped - (after - first) <= 200 && dropped > 2_000,
        "{first} {after} {dropped}"
    );

    // Who asks is told, those that have stopped most first.
    site.sender.send_times(&from(banned[2]), 5)?;
    let order = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    };
    let shown = site.foobar.succeed(&["bans", "--sort", "packets"])?;
    assert_eq!(order(&shown), [banned[0], banned[1], banned[2], "198.51.100.77"]);
    ensure!(shown.contains(" 5 packets  by ") && shown.contains(" 0 packets  by "), "{shown}");
    let shown = order(&site.foobar.succeed(&["bans"])?);
    assert_eq!(shown, ["198.51.100.77", banned[0], banned[2], banned[1]]);
    let sorted: Vec<Value> =
        serde_json::from_str(&site.foobar.succeed(&["bans", "--json", "--sort", "packets"])?)?;
    let packets: Vec<_> = sorted.iter().filter_map(|ban| ban["packets"].as_u64()).collect();
    ensure!(packets.is_sorted_by(|one, other| one >= other) && packets.len() == 4, "{packets:?}");
    let status = site.foobar.status()?;
    let busiest: Vec<_> = status["busiest_bans"].as_array().context("a list")?.iter().collect();
    assert_eq!(busiest.iter().map(|ban| &ban["address"]).collect::<Vec<_>>(), banned);
    assert_eq!((&busiest[1]["reason"], &busiest[2]["packets"]), (&"loud".into(), &5.into()));
    let status = site.foobar.succeed(&["status"])?;
    for address in banned {
        ensure!(
            status.lines().any(|line| line.contains(address) && line.contains(" packets stopped, by ")),
            "{status}"
        );
    }
    // One that is made anew counts anew.
    site.says(&["unban", banned[2]], 0)?;
    site.says(&["ban", banned[2]], 0)?;
    assert_eq!(site.stopped([banned[2]])?, [0]);
    Ok(())
}
