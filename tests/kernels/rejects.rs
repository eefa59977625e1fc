//! Rejected packets and what they are answered with.

use anyhow::{Context as _, Result, ensure};
use foobar_common::{flow::Direction, reject::Outcome};
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, test_runs::TestRuns},
    slots::Slots,
};

use crate::{frames, machine::FILTERED, report::Report, rulesets::Ruleset};

const SECTION: &str = "reject";
const RULES: Ruleset = Ruleset {
    name: SECTION,
    text: "schema = 1\n[policy]\nin = \"reject\"\nout = \"reject\"\n\
           [[rule]]\nid = \"limited\"\naction = \"accept\"\nover = \"reject\"\nlimit = { rate = \"1/d\" }\nprotocol = 47\n",
    many: 0,
    judged: &[],
    judged_out: &[],
};

/// A frame, and what comes of it.
const FRAMES: [(&str, Outcome); 9] = [
    ("tcp syn to 443", Outcome::Reset),
    ("tcp ack to 8080", Outcome::Reset),
    ("tcp of ipv6 from an office", Outcome::Reset),
    ("udp to 9999", Outcome::Icmp),
    ("udp of 28 bytes", Outcome::Icmp),
    ("udp in two vlans", Outcome::Icmp),
    ("udp of ipv6 behind options", Outcome::Icmpv6),
    ("ping of ipv6", Outcome::Icmpv6),
    ("later fragment", Outcome::NotAllowed),
];

/// Has frames of both directions rejected.
pub(crate) fn run(report: &mut Report) {
    let loaded = RULES
        .compile(&mut Slots::default())
        .and_then(|compiled| LoadedRuleset::for_test_runs(&compiled, FILTERED));
    let mut runs = match loaded {
        Ok(runs) => runs,
        Err(error) => {
            report.check(SECTION, "load", &Err(error));
            return;
        }
    };
    report.check(SECTION, "load", &Ok(String::new()));
    let most = runs
        .facts()
        .ok()
        .and_then(|facts| facts.iter().filter_map(|program| program.verified_instructions).max());
    Report::instructions(SECTION, most);
    for direction in Direction::ALL {
        for (name, outcome) in FRAMES {
            let seen = answer(&mut runs, name, outcome, direction);
            report.check(SECTION, &format!("{}: {name}", direction.label()), &seen);
        }
    }
}

fn answer(runs: &mut TestRuns, name: &str, outcome: Outcome, direction: Direction) -> Result<String> {
    let frame = frames::by_name(name).with_context(|| format!("there is no frame '{name}'"))?;
    let count = |runs: &TestRuns| -> Result<u64> {
        Ok(runs.rejects()?.of(direction).get(outcome.label()).copied().unwrap_or(0))
    };
    let before = count(runs)?;
    let answer = runs.answer(&frame, direction)?;
    ensure!(count(runs)? == before + 1, "it is not counted as {}", outcome.label());
    let Some(answer) = answer else {
        ensure!(!outcome.is_answer(), "there is no answer");
        return Ok("no answer".to_owned());
    };
    ensure!(outcome.is_answer(), "there is an answer");
    ensure!(answer.get(..6) == frame.get(6..12), "it does not go back");
    let packet = etherparse::SlicedPacket::from_ethernet(&answer).context("read the answer")?;
    let network = packet.net.context("the answer is not of IP")?;
    let payload = network.ip_payload_ref().context("the answer has no payload")?.payload;
    let (source, destination) = match &network {
        etherparse::NetSlice::Ipv4(slice) => {
            let header = slice.header();
            ensure!(header.header_checksum() == header.to_header().calc_header_checksum(), "the IP checksum");
            (header.source().to_vec(), header.destination().to_vec())
        }
        etherparse::NetSlice::Ipv6(slice) => {
            (slice.header().source().to_vec(), slice.header().destination().to_vec())
        }
        etherparse::NetSlice::Arp(_) => anyhow::bail!("the answer is ARP"),
    };
    // The whole of it adds up to zero (RFC 1071).
    let number = match outcome {
        Outcome::Reset => Some(6),
        Outcome::Icmpv6 => Some(58),
        Outcome::Icmp | Outcome::NotAllowed | Outcome::Rate | Outcome::Failed => None,
    };
    let mut summed = Vec::new();
    if let Some(number) = number {
        summed.extend([source, destination].concat());
        summed.extend(u32::try_from(payload.len())?.to_be_bytes());
        summed.extend([0, 0, 0, number]);
    }
    summed.extend(payload);
    let sum: u64 = summed
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    ensure!(sum > 0 && sum.is_multiple_of(0xffff), "the checksum of what is in it");
    Ok(format!("{} bytes", answer.len()))
}
