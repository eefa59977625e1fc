//! SYNs to services with `syn_cookies` by `BPF_PROG_TEST_RUN`: the sockets are those of this machine.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::{
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::{
    dataplane::{
        counters::ProtocolCounters, load::LoadedRuleset, programs::ProgramFacts, test_runs::TestRuns,
    },
    slots::Slots,
};
use foobar_tests::packets::{Packet, flag, packet, tcp_header};

use crate::{
    machine::FILTERED,
    report::Report,
    rulesets::{self, Ruleset},
};

/// Where somebody listens, and cookies are sent.
const MAIL: u16 = 25;
/// Where nobody does.
const NOBODY: u16 = 8443;
/// Above so many SYNs in a second cookies are sent there.
const AUTO: u16 = 8080;
const START: u32 = 20;
/// What Linux asks for.
const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

/// Loads rules with cookies, and sends SYNs and what answers the answers.
pub(crate) fn run(report: &mut Report) {
    for ruleset in [&rulesets::SYN_COOKIES, &rulesets::EVERYTHING_WITH_SYN_COOKIES] {
        run_one(report, ruleset);
    }
}

fn run_one(report: &mut Report, ruleset: &Ruleset) {
    let section = ruleset.name;
    let prepared = prepare();
    let loaded = ruleset
        .compile(&mut Slots::default())
        .and_then(|compiled| LoadedRuleset::for_test_runs(&compiled, FILTERED));
    let (mut runs, _listeners) = match prepared.and_then(|listeners| Ok((loaded?, listeners))) {
        Ok(ready) => ready,
        Err(error) => {
            report.check(section, "load", &Err(error));
            return;
        }
    };
    report.check(section, "load", &Ok(String::new()));
    let most =
        |facts: Vec<ProgramFacts>| facts.iter().filter_map(|program| program.verified_instructions).max();
    Report::instructions(section, runs.facts().ok().and_then(most));
    report.check(section, "a cookie comes back, and a connection begins", &handshakes(&mut runs));
    report.check(section, "without a listener a SYN goes its way", &nobody_listens(&mut runs));
    report.check(section, "cookies begin above the limit", &many(&mut runs));
}

/// What the kernel needs, and who listens.
fn prepare() -> Result<Vec<TcpListener>> {
    for name in ["tcp_syncookies", "tcp_timestamps"] {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), "2").with_context(|| format!("set {name}"))?;
    }
    let mut listeners = Vec::new();
    for port in [MAIL, AUTO] {
        listeners.push(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listen")?);
    }
    Ok(listeners)
}

fn syn(port: u16, client: u16) -> Packet {
    let mut header = tcp_header(client, port, flag::SYN);
    if let Some(place) = header.get_mut(12) {
        *place = 0xa0;
    }
    header.extend(OPTIONS);
    packet("192.0.2.7", "192.0.2.1", 6, header)
}

/// The client's ACK of a SYN-ACK with this number.
fn ack(port: u16, client: u16, cookie: u32) -> Vec<u8> {
    let mut header = tcp_header(client, port, flag::ACK);
    let numbers = [2_u32.to_be_bytes(), cookie.wrapping_add(1).to_be_bytes()].concat();
    for (place, byte) in header.iter_mut().skip(4).zip(numbers) {
        *place = byte;
    }
    packet("192.0.2.7", "192.0.2.1", 6, header).frame()
}

/// The number of the SYN-ACK that a SYN becomes, whose headers before TCP are so long.
fn cookie(runs: &mut TestRuns, frame: &[u8], before: usize) -> Result<u32> {
    let judgement = runs.judge(frame, Direction::In)?;
    let answer = runs.answer(frame, Direction::In)?.context("it is not answered")?;
    ensure!(
        (judgement.verdict, judgement.reason) == (Verdict::Answer, Reason::SynCookie),
        "judged as {judgement:?}"
    );
    ensure!(answer.len() == before + 40, "an answer of {} bytes", answer.len());
    ensure!(answer.get(12..before - 20) == frame.get(12..before - 20), "other tags in {answer:02x?}");
    let number = answer.get(before + 4..before + 8).context("a number")?;
    Ok(u32::from_be_bytes(number.try_into()?))
}

fn handshakes(runs: &mut TestRuns) -> Result<String> {
    let before = opened(runs)?;
    let mut cookies = Vec::new();
    for (client, tags) in [(40_000, 0), (40_001, 1), (40_002, 2)] {
        let mut packet = syn(MAIL, client);
        for tag in 0..tags {
            packet = packet.vlan(10 + tag);
        }
        let cookie = cookie(runs, &packet.frame(), 34 + 4 * usize::from(tags))?;
        cookies.push(cookie);
        // A number that nobody gave, then the right one, and again.
        for number in [cookie.wrapping_add(0x0100_0001), cookie, cookie] {
            runs.judge(&ack(MAIL, client, number), Direction::In)?;
        }
    }
    let counted = opened(runs)? - before;
    ensure!(counted == 3, "{counted} connections of {} began", cookies.len());
    Ok(String::new())
}

fn opened(runs: &TestRuns) -> Result<u64> {
    let services = runs.counters()?.services;
    let mut services = services.iter();
    let (_, service) = services.find(|(port, _)| port.port == MAIL).context("no counters of mail")?;
    let ProtocolCounters::Raw(counters) = &service.of_protocol else {
        anyhow::bail!("counters of another protocol: {:?}", service.of_protocol);
    };
    Ok(counters.opened)
}

fn nobody_listens(runs: &mut TestRuns) -> Result<String> {
    let judgement = runs.judge(&syn(NOBODY, 40_000).frame(), Direction::In)?;
    ensure!(judgement.verdict == Verdict::Accept, "judged as {judgement:?}");
    Ok(String::new())
}

fn many(runs: &mut TestRuns) -> Result<String> {
    let mut answered = 0;
    for client in 0..200 {
        let judgement = runs.judge(&syn(AUTO, 41_000 + client).frame(), Direction::In)?;
        answered += u32::from(judgement.verdict == Verdict::Answer);
        ensure!(
            (judgement.verdict == Verdict::Answer) == (u32::from(client) >= START) || answered == 0,
            "SYN number {client}: {judgement:?}"
        );
    }
    ensure!(answered > 0, "none of 200 was answered");
    Ok(format!("{answered} of 200 answered"))
}
