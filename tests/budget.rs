//! What the program costs the kernel: instructions that the verifier walks, and memory of the maps.
//!
//! The numbers are in `budget.toml`. A change that needs more says so there: `FOOBAR_BUDGET=renew` writes it anew.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
    time::Duration,
};

use foobar_common::{
    flow::{Direction, protocol},
    maps,
    service::Protocol,
    tracking::State,
    verdict::Verdict,
};
use foobar_daemon::{
    dataplane::load::LoadedRuleset,
    rules::{
        compile::compile,
        limit::{Per, RateLimit, RateSpan},
        log::OneIn,
        model::{
            AddressCondition, AddressMatch, AddressSet, Failsafe, FlagCondition, FragmentPolicy,
            IcmpCondition, PortProtocol, Rule, Ruleset, Service, ServicePort, SynCookies,
        },
    },
    slots::Slots,
};
use foobar_tests::mixed;
use toml::{Table, Value};

/// How much more than recorded is too much, in percent.
const TOLERANCE: u64 = 5;
/// The verifiers of other kernels walk other ways. Whatever they count, this much of their million must stay
/// free for them.
const INSTRUCTIONS_ANYWHERE: u64 = 500_000;
/// The maps of which every processor has its own copy.
const PER_CPU: [&str; 38] = [
    maps::RULE_COUNTERS,
    maps::MORE_RULE_COUNTERS,
    maps::VERDICT_COUNTERS,
    maps::PORT_COUNTERS,
    maps::HTTP_COUNTERS,
    maps::SERVICE_BYTES,
    "HEADERS",
    "SUBJECTS",
    "FIRST_FRAGMENTS",
    maps::FLOW_COUNTERS,
    maps::EVENT_COUNTERS,
    maps::BAN_COUNTERS,
    "PASSAGES",
    maps::SYN_COUNTERS,
    "SYN_READINGS",
    "HTTP_NEW",
    "HTTP1_READINGS",
    maps::TLS_COUNTERS,
    "TLS_READINGS",
    "TLS_NEW",
    maps::MYSQL_COUNTERS,
    "STREAM_READINGS",
    "MYSQL_NEW",
    maps::PROXY_HEADERS,
    "PROXY_READINGS",
    "NOTED_CLIENT",
    "BLOCK_CHANGES",
    "TLS_PLAINTEXTS",
    maps::DNS_COUNTERS,
    maps::PEER_CONNECTIONS,
    "DNS_READINGS",
    "DNS_MESSAGES",
    "DNS_NEW",
    "HTTP2_NEW",
    "TLS_HTTP2_NEW",
    "TLS_STREAM_READINGS",
    maps::REJECT_COUNTERS,
    "QUOTED",
];

/// Of the rulesets that are generated.
const SEED: u64 = 7;

/// What one ruleset costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    verified_instructions_in: u64,
    verified_instructions_out: u64,
    /// Of the program for a service that has most.
    verified_instructions_service: u64,
    map_bytes: u64,
    per_cpu_map_bytes: u64,
}

#[test]
fn the_program_costs_what_is_recorded() {
    let found = BTreeMap::from([
        ("nothing-used", cost(&Ruleset::default())),
        ("everything-used", cost(&everything())),
        ("everything-logged", cost(&logged(everything()))),
        ("rejects", cost(&rejects())),
        ("most-rules", cost(&most_rules())),
        ("services", cost(&services())),
        ("services-logged", cost(&logged(services()))),
        ("services-by-group", cost(&services_by_group())),
        ("services-with-cookies", cost(&services_with_cookies())),
        ("services-behind-proxies", cost(&services_behind_proxies())),
        // Every field, sets on both sides and both directions, in the tiers beyond.
        ("tier-of-words", cost(&mixed::ruleset(2_000, SEED))),
        ("tier-of-blocks", cost(&mixed::ruleset(17_000, SEED))),
    ]);
    if std::env::var_os("FOOBAR_BUDGET").is_some_and(|value| value == "renew") {
        fs::write(path(), written(&found)).unwrap();
        return;
    }
    let recorded: Table = fs::read_to_string(path()).unwrap().parse().unwrap();
    let same_verifier = recorded["kernel"].as_str() == Some(&kernel());
    let recorded_processors = number(&recorded["processors"]);
    let mut complaints = Vec::new();
    for (name, cost) in &found {
        let budget = recorded[*name].as_table().unwrap();
        let limit = |key: &str| number(&budget[key]) * (100 + TOLERANCE) / 100;
        let instructions = |key: &str| if same_verifier { limit(key) } else { INSTRUCTIONS_ANYWHERE };
        let per_cpu =
            limit("per_cpu_map_bytes") * processors().max(recorded_processors) / recorded_processors;
        for (what, found, limit) in [
            (
                "verified instructions of what comes in",
                cost.verified_instructions_in,
                instructions("verified_instructions_in"),
            ),
            (
                "verified instructions of what goes out",
                cost.verified_instructions_out,
                instructions("verified_instructions_out"),
            ),
            (
                "verified instructions of a service",
                cost.verified_instructions_service,
                instructions("verified_instructions_service"),
            ),
            ("bytes of maps", cost.map_bytes, limit("map_bytes")),
            ("bytes of per-CPU maps", cost.per_cpu_map_bytes, per_cpu),
        ] {
            if found > limit {
                complaints.push(format!("{name}: {found} {what}, allowed are {limit}"));
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "{}\nIf that is worth it, renew the record: FOOBAR_BUDGET=renew cargo test -p foobar-tests --test budget",
        complaints.join("\n")
    );
}

fn cost(ruleset: &Ruleset) -> Cost {
    let slots = Slots::for_once(ruleset, &["eth0".to_owned()]).unwrap();
    let runs = LoadedRuleset::for_test_runs(&compile(ruleset, &slots).unwrap(), "eth0").unwrap();
    let programs = runs.facts().unwrap();
    let verified = |name: &str| {
        let program = programs.iter().find(|program| program.program == name).unwrap();
        program.verified_instructions.unwrap().into()
    };
    let of_services =
        programs.iter().filter(|program| ![maps::INGRESS, maps::EGRESS].contains(&program.program.as_str()));
    let of_services = of_services.map(|program| program.verified_instructions.unwrap());
    let memory = runs.map_memory().unwrap();
    let (per_cpu, shared): (Vec<_>, Vec<_>) =
        memory.into_iter().partition(|(name, _)| PER_CPU.contains(&name.as_str()));
    let sum = |maps: Vec<(String, u64)>| maps.into_iter().map(|(_, bytes)| bytes).sum();
    Cost {
        verified_instructions_in: verified(maps::INGRESS),
        verified_instructions_out: verified(maps::EGRESS),
        verified_instructions_service: of_services.max().unwrap_or(0).into(),
        map_bytes: sum(shared),
        per_cpu_map_bytes: sum(per_cpu),
    }
}

/// A service of each protocol.
fn services() -> Ruleset {
    let services = Protocol::ALL.iter().zip(80..).map(|(protocol, port)| {
        let ports = vec![ServicePort { protocol: PortProtocol::Tcp, port }];
        Service { protocol: *protocol, ..Service::raw(protocol.label(), ports) }
    });
    Ruleset { services: services.collect(), ..Ruleset::default() }
}

/// The same, and who connects to them.
fn services_by_group() -> Ruleset {
    let group = |prefix: &str| vec![prefix.parse().unwrap()];
    let peers = BTreeMap::from([
        ("lb".to_owned(), group("192.0.2.8/29")),
        ("monitoring".to_owned(), group("2001:db8:9::/48")),
    ]);
    Ruleset { peers, ..services() }
}

/// The same, whose SYNs may be answered with cookies.
fn services_with_cookies() -> Ruleset {
    let mut ruleset = services();
    for service in &mut ruleset.services {
        service.syn_cookies = SynCookies::auto(1_000, 500);
    }
    ruleset
}

/// Those that a proxy may speak to, and a limit for clients that it speaks for.
fn services_behind_proxies() -> Ruleset {
    let limit = RateLimit {
        packets: 100,
        span: RateSpan::Second,
        burst: 200,
        per: Per::Client,
        over: Verdict::Reject,
        ban: Some(Duration::from_mins(10)),
    };
    let rule = Rule { limit: Some(limit), ..Rule::new("clients", Verdict::Accept) };
    let mut ruleset = Ruleset { rules: vec![rule], ..services() };
    for service in &mut ruleset.services {
        service.proxy_protocol = ![Protocol::Raw, Protocol::Dns].contains(&service.protocol);
    }
    ruleset
}

/// Asks for every field, so that no part of the program is left out.
fn everything() -> Ruleset {
    let addresses = |prefix: &str| AddressCondition {
        include: vec![AddressMatch::Prefix(prefix.parse().unwrap())],
        exclude: Vec::new(),
    };
    let ports = Rule {
        source: Some(addresses("192.0.2.0/24")),
        destination: Some(addresses("2001:db8::/32")),
        source_port: Some(vec![1024..=65_535]),
        destination_port: Some(vec![443..=443]),
        interface: Some(BTreeSet::from(["eth0".to_owned()])),
        vlan: Some(BTreeSet::from([10])),
        length: Some(40..=1_500),
        fragment: Some(false),
        limit: Some(RateLimit {
            packets: 100,
            span: RateSpan::Second,
            burst: 200,
            per: Per::SOURCE,
            over: Verdict::Drop,
            ban: Some(Duration::from_mins(10)),
        }),
        state: Some(BTreeSet::from([State::New])),
        ..Rule::new("ports", Verdict::Accept)
    };
    let flags =
        Rule { tcp_flags: Some(FlagCondition { set: 2, clear: 16 }), ..Rule::new("flags", Verdict::Drop) };
    let message = IcmpCondition { protocol: protocol::ICMP, kind: 8, code: Some(0) };
    let icmp = Rule { icmp: Some(vec![message]), ..Rule::new("icmp", Verdict::Accept) };
    let in_set = || {
        let include = vec![AddressMatch::Set("known".to_owned())];
        Some(AddressCondition { include, exclude: Vec::new() })
    };
    let sets = Rule { source: in_set(), destination: in_set(), ..Rule::new("sets", Verdict::Accept) };
    let out = Rule { direction: Direction::Out, ..Rule::new("out", Verdict::Drop) };
    let mut ruleset = Ruleset { rules: vec![ports, flags, icmp, sets, out], ..Ruleset::default() };
    let entries = ["192.0.2.0/24", "2001:db8::/32"].map(|prefix| prefix.parse().unwrap());
    ruleset
        .sets
        .insert("known".to_owned(), AddressSet { entries: entries.to_vec(), ..AddressSet::default() });
    ruleset.policy.inbound = Verdict::Drop;
    ruleset.policy.fragments = FragmentPolicy::Always(Verdict::Drop);
    ruleset.failsafe = Failsafe {
        ports: vec![ServicePort { protocol: PortProtocol::Tcp, port: 22 }],
        peers: vec!["198.51.100.10/32".parse().unwrap()],
        never_ban: Vec::new(),
    };
    ruleset
}

/// The same, with samples of every rule and of what is dropped.
fn logged(mut ruleset: Ruleset) -> Ruleset {
    for rule in &mut ruleset.rules {
        rule.log = OneIn::new(1_000);
    }
    ruleset.policy.log_drops = OneIn::new(1_000);
    ruleset
}

/// The same where all that is not accepted is rejected.
fn rejects() -> Ruleset {
    let mut ruleset = everything();
    (ruleset.policy.inbound, ruleset.policy.outbound) = (Verdict::Reject, Verdict::Reject);
    for rule in &mut ruleset.rules {
        if rule.action == Verdict::Drop {
            rule.action = Verdict::Reject;
        }
        if let Some(limit) = &mut rule.limit {
            (limit.over, limit.ban) = (Verdict::Reject, None);
        }
    }
    ruleset
}

/// As many rules as heads alone can decide, no two of which have a class in common.
fn most_rules() -> Ruleset {
    let rule = |number: u16| {
        let prefix = format!("10.0.{number}.0/24").parse().unwrap();
        let source = AddressCondition { include: vec![AddressMatch::Prefix(prefix)], exclude: Vec::new() };
        Rule {
            source: Some(source),
            destination_port: Some(vec![number * 2..=number * 2 + 100]),
            ..Rule::new(&format!("r{number}"), Verdict::Accept)
        }
    };
    Ruleset { rules: (0..256).map(rule).collect(), ..Ruleset::default() }
}

fn written(found: &BTreeMap<&str, Cost>) -> String {
    let mut text = String::from(
        "# What the program costs the kernel, as tests/budget.rs measures it. Renewed by:\n\
         # FOOBAR_BUDGET=renew cargo test -p foobar-tests --test budget\n",
    );
    writeln!(text, "kernel = \"{}\"\nprocessors = {}", kernel(), processors()).unwrap();
    for (name, cost) in found {
        let Cost {
            verified_instructions_in,
            verified_instructions_out,
            verified_instructions_service,
            map_bytes,
            per_cpu_map_bytes,
        } = cost;
        writeln!(
            text,
            "\n[{name}]\nverified_instructions_in = {verified_instructions_in}\n\
             verified_instructions_out = {verified_instructions_out}\n\
             verified_instructions_service = {verified_instructions_service}\nmap_bytes = {map_bytes}\n\
             per_cpu_map_bytes = {per_cpu_map_bytes}"
        )
        .unwrap();
    }
    text
}

/// Version and series of the kernel, as `6.12`: within a series the verifier is the same but for mends.
fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

/// Processors that the kernel has room for, which is how many copies a per-CPU map has.
fn processors() -> u64 {
    aya::util::nr_cpus().unwrap() as u64
}

fn number(value: &Value) -> u64 {
    value.as_integer().unwrap().try_into().unwrap()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("budget.toml")
}
