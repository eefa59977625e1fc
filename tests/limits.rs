//! Rules that hold up to a rate: what passes, whose packets are counted together, and what survives.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::{
    bans::{BANS_MAX, BanCounters},
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::{
    dataplane::{bans::now_ns, load::LoadedRuleset, test_runs::TestRuns, timed_runs::TimedRuns},
    rules::{bundle::Bundle, compile::CompiledRuleset, compile::compile},
    slots::Slots,
};
use foobar_tests::{
    daemon::Foobar,
    figures::say,
    network::{Network, SERVER},
    packets,
    random::Random,
};
use nix::{
    sys::time::TimeValLike as _,
    time::{ClockId, clock_gettime},
};

const HEAD: &str = "schema = 1\n[policy]\nin = \"drop\"\n";

fn compiled(rules: &str) -> CompiledRuleset {
    let ruleset = Bundle::of_text("rules", rules).parse().expect("rules");
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()]).expect("slots");
    compile(&ruleset, &slots).expect("compiled rules")
}

fn test_runs(rules: &str) -> TestRuns {
    LoadedRuleset::for_test_runs(&compiled(rules), "eth0").expect("loaded programs")
}

/// A rule for a port, whose limit never lets more through than the burst while a test runs.
fn rule(id: &str, port: u16, rest: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\nprotocol = \"udp\"\ndestination_port = {port}\n{rest}\n")
}

fn datagram(source: &str, port: u16) -> Vec<u8> {
    let destination = if source.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
    packets::packet(source, destination, 17, packets::udp_header(40_000, port, 8)).frame()
}

/// How many of so many datagrams pass, by what is said of each.
fn passed(runs: &mut TestRuns, source: &str, port: u16, times: usize) -> usize {
    let frame = datagram(source, port);
    let judged = (0..times).map(|_| runs.judge(&frame, Direction::In).expect("a test run"));
    judged.filter(|judged| judged.verdict == Verdict::Accept).count()
}

#[test]
fn a_source_has_its_burst_and_others_have_theirs() {
    let limit =
        |per: &str| format!("action = \"accept\"\nlimit = {{ rate = \"1/d\", burst = 3, per = \"{per}\" }}");
    let rules = [
        HEAD.to_owned(),
        "[failsafe]\nnever_ban = [\"198.51.100.0/28\"]\npeers = [\"203.0.113.99\"]\n".to_owned(),
        rule("one", 1, &limit("source")),
        rule("net", 2, &limit("source/24")),
        rule("wide", 3, &limit("source/48")),
        rule("all", 4, &limit("rule")),
        rule("inverse", 5, "action = \"drop\"\nover = \"accept\"\nlimit = { rate = \"1/d\", burst = 2 }"),
    ]
    .concat();
    let runs = &mut test_runs(&rules);
    // Each address of IPv4, each /64 of IPv6.
    assert_eq!(passed(runs, "203.0.113.1", 1, 5), 3);
    assert_eq!(passed(runs, "203.0.113.2", 1, 5), 3);
    assert_eq!(passed(runs, "2001:db8:1:2::1", 1, 2), 2);
    assert_eq!(passed(runs, "2001:db8:1:2:ffff::9", 1, 5), 1);
    assert_eq!(passed(runs, "2001:db8:1:3::1", 1, 5), 3);
    // Each rule by itself; a shorter prefix of one family leaves the other as it is.
    assert_eq!(passed(runs, "203.0.113.1", 2, 5), 3);
    assert_eq!(passed(runs, "203.0.113.200", 2, 5), 0);
    assert_eq!(passed(runs, "203.0.114.200", 2, 5), 3);
    assert_eq!(passed(runs, "2001:db8:1:2::1", 2, 5), 3);
    assert_eq!(passed(runs, "2001:db8:1:3::1", 2, 5), 3);
    assert_eq!(passed(runs, "2001:db8:1:2::1", 3, 5), 3);
    assert_eq!(passed(runs, "2001:db8:1:3::1", 3, 5), 0);
    assert_eq!(passed(runs, "203.0.113.200", 3, 5), 3);
    // All together, of whatever family.
    assert_eq!(passed(runs, "203.0.113.1", 4, 2), 2);
    assert_eq!(passed(runs, "2001:db8:1:2::1", 4, 5), 1);
    // What is over gets another verdict, whichever it is.
    assert_eq!(passed(runs, "203.0.113.1", 5, 6), 4);
    // Whom no limit reaches.
    assert_eq!(passed(runs, "198.51.100.15", 1, 9), 9);
    assert_eq!(passed(runs, "198.51.100.16", 1, 9), 3);
    assert_eq!(passed(runs, "203.0.113.99", 1, 9), 9);

    let judged = runs.judge(&datagram("203.0.113.1", 1), Direction::In).expect("a test run");
    assert_eq!((judged.verdict, judged.reason, judged.rule), (Verdict::Drop, Reason::Limit, None));
    let counters = runs.counters().expect("counters");
    let counted = |id: &str| (counters.rules[id].packets, counters.over[id].packets);
    // Four buckets of three and one that took three of seven, and the addresses without a limit.
    assert_eq!(counted("one"), (4 * 3 + 9 + 3, 2 + 2 + 4 + 2 + 6 + 1));
    assert_eq!(counted("inverse"), (2, 4));
}

#[test]
fn what_goes_out_has_limits_of_rules() {
    let rules = "schema = 1\n[[rule]]\nid = \"out\"\ndirection = \"out\"\nprotocol = \"udp\"\naction = \"accept\"\n\
                 limit = { rate = \"1/d\", burst = 4 }\n";
    let mut runs = test_runs(rules);
    let frame = datagram("192.0.2.1", 53);
    let judged = (0..9).map(|_| runs.judge(&frame, Direction::Out).expect("a test run").reason);
    let reasons: Vec<Reason> = judged.collect();
    assert_eq!(reasons, [[Reason::Rule; 4].as_slice(), &[Reason::Limit; 5]].concat());
}

/// Of bans, by single frames: what is banned, that one which is over holds again, and what happens without room.
#[test]
fn who_is_over_a_limit_is_banned_as_far_as_the_bucket_reaches() {
    let limit = |per: &str| {
        format!(
            "action = \"accept\"\nlimit = {{ rate = \"1/d\", burst = 2, per = \"{per}\" }}\nover = {{ ban = \"10m\" }}"
        )
    };
    let rules = format!(
        "{HEAD}[failsafe]\nnever_ban = [\"198.18.0.9\"]\n{}{}{}",
        rule("one", 1, &limit("source")),
        rule("wide", 2, &limit("source/24")),
        rule("long", 3, &limit("source/56")),
    );
    let mut runs = test_runs(&rules);
    let mut reasons = |source: &str, port: u16, times: usize| -> Vec<&str> {
        let frame = datagram(source, port);
        (0..times).map(|_| runs.judge(&frame, Direction::In).expect("a test run").reason.label()).collect()
    };
    assert_eq!(reasons("203.0.113.1", 1, 5), ["rule", "rule", "limit", "ban", "ban"]);
    assert_eq!(reasons("203.0.113.1", 2, 1), ["ban"], "of everything");
    assert_eq!(reasons("203.0.113.2", 1, 1), ["rule"], "another source");
    assert_eq!(reasons("2001:db8:1::1", 1, 4), ["rule", "rule", "limit", "ban"]);
    assert_eq!(reasons("2001:db8:1::2", 1, 1), ["ban"], "of the same /64");
    assert_eq!(reasons("2001:db8:1:1::2", 1, 1), ["rule"], "of another /64");
    assert_eq!(reasons("198.18.0.1", 2, 4), ["rule", "rule", "limit", "ban"]);
    assert_eq!(reasons("198.18.0.2", 1, 1), ["ban"], "of the same /24");
    assert_eq!(reasons("198.18.0.9", 2, 4), ["rule"; 4], "who is spared inside of it");
    assert_eq!(reasons("198.18.1.2", 2, 1), ["rule"], "of another /24");
    assert_eq!(reasons("2001:db8:2:1::1", 3, 4), ["rule", "rule", "limit", "ban"]);
    assert_eq!(reasons("2001:db8:2:ff::1", 3, 1), ["ban"], "of the same /56");
    let mut bans = runs.bans().list().expect("bans");
    bans.sort_by_key(|ban| ban.prefix);
    let prefixes: Vec<String> = bans.iter().map(|ban| ban.prefix.to_string()).collect();
    assert_eq!(prefixes, ["198.18.0.0/24", "203.0.113.1/32", "2001:db8:1::/64", "2001:db8:2::/56"]);
    let now = now_ns().expect("a clock");
    for ban in &bans {
        let left = ban.until_ns.expect("an end") - now;
        assert!(ban.by_rule.is_some() && (590..=600).contains(&(left / 1_000_000_000)), "{ban:?}");
    }

    // One that is over, and that nobody has removed.
    let address = "203.0.113.1/32".parse().expect("a prefix");
    runs.bans().set(&address, Some(now)).expect("a ban");
    let frame = datagram("203.0.113.1", 1);
    let mut again = || runs.judge(&frame, Direction::In).expect("a test run").reason;
    assert_eq!([again(), again()], [Reason::Limit, Reason::Ban]);
    let listed = runs.bans().list().expect("bans");
    let ban = listed.iter().find(|ban| ban.prefix == address).expect("the ban");
    assert!(ban.by_rule.is_some() && ban.until_ns > Some(now), "{ban:?}");
    assert_eq!(runs.bans().counters().expect("counters"), BanCounters { made: 5, no_room: 0 });

    // No room for another one.
    for number in 0..BANS_MAX {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + number);
        if runs.bans().set(&IpAddr::V4(address).into(), None).is_err() {
            break;
        }
    }
    let begun = Instant::now();
    let all = runs.bans().list().expect("bans").len();
    say(&format!("{all} bans were listed in {:.2?}", begun.elapsed()));
    assert_eq!(all, BANS_MAX as usize);
    let frame = datagram("203.0.113.77", 1);
    let mut next = || runs.judge(&frame, Direction::In).expect("a test run");
    let seen = [next(), next(), next(), next()].map(|judged| (judged.verdict, judged.reason));
    let (within, over) = ((Verdict::Accept, Reason::Rule), (Verdict::Drop, Reason::Limit));
    assert_eq!(seen, [within, within, over, over]);
    assert_eq!(runs.bans().counters().expect("counters"), BanCounters { made: 5, no_room: 2 });
}

/// A rate, and how it is shared.
struct Rated {
    id: &'static str,
    port: u16,
    /// Packets per second of a bucket, or [`FAST`].
    rate: u32,
    per: &'static str,
    /// How many of these there are, or [`MANY`].
    sources: u32,
    buckets: u32,
}

/// Seconds that a burst is worth: more than packets fail to come while the machine is busy.
const BURST: u32 = 2;
/// As many as the test has time for.
const MANY: u32 = u32::MAX;
/// As fast as the test has time for.
const FAST: u32 = u32::MAX;
const RATED: [Rated; 4] = [
    Rated { id: "slow", port: 1, rate: 100, per: "rule", sources: 1, buckets: 1 },
    Rated { id: "fast", port: 2, rate: FAST, per: "rule", sources: MANY, buckets: 1 },
    Rated { id: "slow-each", port: 3, rate: 100, per: "source", sources: MANY, buckets: MANY },
    Rated { id: "fast-each", port: 4, rate: FAST, per: "source", sources: 1, buckets: 1 },
];

/// Each verdict is one that tokens give at some time between the question and the answer.
#[test]
fn each_packet_gets_what_tokens_say() {
    const INTERVAL: u64 = 1_000_000;
    const BURST: u64 = 5;
    let limit = "action = \"accept\"\nlimit = { rate = \"1000/s\", burst = 5, per = \"source\" }";
    let mut runs = test_runs(&format!("{HEAD}{}", rule("one", 1, limit)));
    let mut random = Random::new(7);
    // When the bucket is full again, at the earliest and at the latest, by source.
    let mut buckets = [[0_u64; 2]; 3];
    for number in 0..6_000 {
        if random.percent(20) {
            thread::sleep(Duration::from_micros(random.index(3_000) as u64));
        }
        let source = random.index(buckets.len());
        let frame = datagram(&format!("203.0.113.{source}"), 1);
        let asked = monotonic();
        let judged = runs.judge(&frame, Direction::In).expect("a test run");
        let answered = monotonic();
        let [earliest, latest] = &mut buckets[source];
        let text = format!("packet {number} of source {source}: {judged:?}");
        if judged.verdict == Verdict::Accept {
            assert!(earliest.saturating_sub(answered) <= INTERVAL * (BURST - 1), "{text}");
            *earliest = asked.max(*earliest) + INTERVAL;
            *latest = answered.max(*latest) + INTERVAL;
        } else {
            assert_eq!(judged.reason, Reason::Limit, "{text}");
            assert!(latest.saturating_sub(asked) > INTERVAL * (BURST - 1), "{text}");
        }
    }
    let counters = runs.counters().expect("counters");
    assert!(counters.rules["one"].packets > 100 && counters.over["one"].packets > 100, "{counters:?}");
}

/// Nanoseconds of the clock that the kernel has.
fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    u64::try_from(time.num_nanoseconds()).expect("a time after the start")
}

/// With packets from two processors at once, far more than pass.
#[test]
fn the_rate_is_kept() {
    let is_long = std::env::var_os("FOOBAR_LONG").is_some();
    // On a machine that others use, packets have to come much faster than they pass.
    let (seconds, sources, fast) = if is_long { (10, 1_000, 100_000) } else { (2, 50, 20_000) };
    let many = |few: u32| if few == MANY { sources } else { few };
    let fast = |rate: u32| if rate == FAST { fast } else { rate };
    let rules: Vec<String> = RATED
        .iter()
        .map(|Rated { id, port, rate, per, .. }| {
            let rate = fast(*rate);
            let limit =
                format!("limit = {{ rate = \"{rate}/s\", burst = {}, per = \"{per}\" }}", BURST * rate);
            rule(id, *port, &format!("action = \"accept\"\n{limit}"))
        })
        .collect();
    let rules = format!("{HEAD}{}", rules.concat());
    let runs = LoadedRuleset::for_timed_runs(&compiled(&rules), "eth0").expect("loaded programs");
    let offers: Vec<Offer> = RATED.iter().map(|rated| Offer::of(rated, many(rated.sources))).collect();
    let start = Instant::now();
    // Each rule by two threads of its own: a round over all of them takes longer than a burst lasts.
    thread::scope(|scope| {
        for offer in offers.iter().chain(&offers) {
            let runs = &runs;
            scope.spawn(move || while offer.send(runs, start, Duration::from_secs(seconds)) {});
        }
    });
    let counters = runs.counters().expect("counters");
    for (Rated { id, rate, buckets, .. }, offer) in RATED.iter().zip(&offers) {
        let (passed, over) = (counters.rules[*id].packets, counters.over[*id].packets);
        let (begun, ended) = *offer.last.lock().expect("the last offer");
        let wanted =
            |seconds: f64| f64::from(fast(*rate)) * (seconds + f64::from(BURST)) * f64::from(many(*buckets));
        #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
        let shares = [begun, ended].map(|time| passed as f64 / wanted(time.as_secs_f64()));
        say(&format!(
            "{id}: {passed} passed, {shares:.4?} of what was to by {begun:.2?} and {ended:.2?}, {over} were over"
        ));
        assert!(shares[1] <= 1.02 && over > 0, "{id}: {passed} passed, {shares:?} of what was to");
        // Where the machine stands still for longer than a burst, a bucket is full for a while.
        assert!(!is_long || shares[0] >= 0.98, "{id}: {passed} passed, {shares:?} of what was to");
    }
}

/// The packets that a rule is offered in turn.
struct Offer {
    frames: Vec<Vec<u8>>,
    /// How often each.
    times: u32,
    /// When the last of them were begun and ended to be sent.
    last: Mutex<(Duration, Duration)>,
}

impl Offer {
    fn of(rated: &Rated, sources: u32) -> Self {
        let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let addresses = (first..first + sources).map(Ipv4Addr::from_bits);
        let frames = addresses.map(|address| datagram(&address.to_string(), rated.port)).collect();
        // Of one source as many as of all.
        Self { frames, times: 8_000 / sources, last: Mutex::default() }
    }

    /// Sends all of them, unless so much time is over.
    fn send(&self, runs: &TimedRuns, start: Instant, span: Duration) -> bool {
        let begun = start.elapsed();
        if begun >= span {
            return false;
        }
        for frame in &self.frames {
            runs.goes_in_often(frame, self.times).expect("a test run");
        }
        let mut last = self.last.lock().expect("the last offer");
        *last = (last.0.max(begun), last.1.max(start.elapsed()));
        true
    }
}

/// Real packets; what a source has used up stays so over a swap of the rules and a daemon that is killed.
#[test]
fn a_bucket_outlives_rulesets_and_daemons() -> Result<()> {
    const PINGS: &str = "schema = 1\n[[rule]]\nid = \"ping\"\naction = \"accept\"\nicmp = [\"echo-request\"]\n\
                         limit = { rate = \"1/h\", burst = 3, per = \"source\" }\n";
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], PINGS)?;
    foobar.start()?;
    ensure!(answered(&network, 5)? == 3, "a burst of three");
    foobar
        .apply(&format!("{PINGS}[[rule]]\nid = \"other\"\naction = \"drop\"\nsource = \"198.51.100.1\"\n"))?;
    ensure!(answered(&network, 2)? == 0, "after a swap");
    foobar.kill()?;
    ensure!(answered(&network, 2)? == 0, "without a daemon");
    foobar.start()?;
    ensure!(answered(&network, 2)? == 0, "after a restart");
    let metrics = foobar.scrape()?;
    let over = metrics.count("foobar_firewall_rule_over_limit_total", &[("rule", "ping")]);
    let within = metrics.rule("ping");
    ensure!((within, over) == (3, 8), "{within} within and {over} over the limit");
    let dropped = metrics.count("foobar_firewall_packets_total", &[("reason", "limit"), ("action", "drop")]);
    ensure!(dropped == over, "{dropped} dropped for the limit");
    // Another limit begins with full buckets.
    foobar.apply(&PINGS.replace("1/h", "100/s"))?;
    ensure!(answered(&network, 3)? == 3, "after another rate");
    Ok(())
}

/// How many of so many pings are answered.
fn answered(network: &Network, times: u32) -> Result<usize> {
    let server: IpAddr = foobar_tests::frames::Family::V4.server();
    let output = network
        .client
        .command("ping")
        .args(["-n", "-c", &times.to_string(), "-i", "0.01", "-W", "0.3", &server.to_string()])
        .output()
        .context("run ping")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter(|line| line.contains(" bytes from ")).count())
}
