//! `foobar status`.

mod certificates;
mod push;

use std::{
    io::Write,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, anyhow};
use foobar_common::flow::Direction;
use serde::Serialize;
use serde_json::json;

use crate::{
    control::{
        bans::{BanCounts, BanInForce},
        client::{NotRunning, Target},
        events::EventFacts,
        protocol::{
            self, PendingFacts, Rates, Reload, Resets, RulesetFacts, ServiceFacts, Status, SynCookieFacts,
            SynFacts,
        },
    },
    daemon::{guarding::GuardFacts, summary::bits},
    dataplane::{
        attach::Attachment,
        fill::MapFill,
        flows::{FlowFacts, FlowMapFacts},
        pins,
        probes::{DecryptionFacts, ProcessFacts},
        programs::ProgramFacts,
        rejects::RejectFacts,
    },
    env::Env,
    fleet::FleetFacts,
    guard::Watched,
    outcome::Outcome,
    reconcile::ReconcileFacts,
    state::EtcdDecision,
    web_config::live::{WebConfigFacts, url},
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show what is attached, loaded and counted: interfaces and how they are filtered, the program that \
     should be there and the one that is, the rules in force, a confirmation that is waited for, how \
     full the maps are.\n\nWithout a daemon: what an earlier one left in force, and exit code 1.";

/// Flags of `foobar status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Folder of the pins to look into when no daemon runs [default: below /sys/fs/bpf/foobar, by version]
    #[arg(long, value_name = "DIR")]
    pins: Option<std::path::PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Bans that are shown with what they have stopped; `--json` has more.
const BANS_SHOWN: usize = 3;

/// What `--json` prints of a daemon that runs.
#[derive(Serialize)]
struct Running<'a> {
    running: bool,
    #[serde(flatten)]
    status: &'a Status,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let not_running = match args.target.client()?.get::<Status>(protocol::STATUS) {
        Ok(status) => {
            if args.json {
                let running = Running { running: true, status: &status };
                writeln!(env.out, "{}", serde_json::to_string_pretty(&running)?)?;
            } else {
                print(&status, (env.now)(), env.out)?;
            }
            return Ok(Outcome::Done);
        }
        Err(error) => error.downcast::<NotRunning>()?,
    };
    let folder = args.pins.clone().or(args.target.settings()?.pins).unwrap_or_else(pins::default_folder);
    let interfaces = pinned(&folder)?;
    if args.json {
        let words = json!({ "running": false, "pins": folder, "pinned": interfaces });
        writeln!(env.out, "{}", serde_json::to_string_pretty(&words)?)?;
    } else if interfaces.is_empty() {
        writeln!(env.out, "no daemon, and no filter is pinned in {}", folder.display())?;
    } else {
        writeln!(
            env.out,
            "no daemon, but a filter is in force on {} (pinned in {}); `foobar run` takes it over, `foobar \
             detach` takes it away",
            interfaces.join(", "),
            folder.display()
        )?;
    }
    Err(anyhow!(not_running))
}

/// The interfaces that have a pinned link.
fn pinned(folder: &Path) -> Result<Vec<String>> {
    pins::PinFolder::new(folder).interfaces()
}

fn print(status: &Status, now: SystemTime, out: &mut dyn Write) -> Result<()> {
    let Status {
        version,
        object,
        pid,
        started_unix_ms,
        ready,
        not_ready,
        mode: _,
        interfaces,
        ruleset,
        pending,
        guard,
        few_sources,
        fleet,
        last_reload,
        maps,
        flows,
        rejects,
        programs,
        rates,
        services,
        decryption,
        bans,
        busiest_bans,
        events,
        reconcile,
        syn_cookies,
        problems,
        listen,
        web_config,
        push,
        certificates,
        page_viewers,
        control,
        state,
        pins,
        ephemeral,
    } = status;
    let lasts = if *ephemeral { "goes away with the daemon" } else { "outlives the daemon" };
    writeln!(out, "foobar {version} (BPF object: {object}), pid {pid}, since {}", time(*started_unix_ms))?;
    writeln!(out, "{}; the filter {lasts}", if *ready { "ready" } else { "NOT READY" })?;
    for why in not_ready {
        writeln!(out, "  {why}")?;
    }

    write_interfaces(out, interfaces, programs)?;

    write_ruleset(out, ruleset)?;
    write_guard(out, pending.as_ref(), guard)?;
    if let Some(PendingFacts { seconds_left, guarded: false, .. }) = pending {
        writeln!(
            out,
            "  NOT CONFIRMED: taken back in {seconds_left:.0} s; `foobar rules confirm` keeps it, `foobar rules \
             rollback` takes it back now"
        )?;
    }
    let Reload { success, unix_ms, what, error } = last_reload;
    let word = if *success { "succeeded" } else { "FAILED" };
    writeln!(out, "  last change ({what}) {word} {} ago", age(*unix_ms, now))?;
    for line in error.iter().flat_map(|error| error.lines()) {
        writeln!(out, "    {line}")?;
    }

    if let Some(fleet) = fleet {
        write_fleet(out, fleet, now)?;
    }
    if let Some(Rates { packets_per_second, bits_per_second, dropped_packets_per_second, seconds }) = rates {
        writeln!(
            out,
            "\npassing {packets_per_second:.0} packets/s, {}; {dropped_packets_per_second:.0} dropped/s (over \
             {seconds:.0} s)",
            bits(*bits_per_second)
        )?;
    }
    write_bans(out, bans, busiest_bans)?;
    for few in few_sources {
        writeln!(out, "  WARNING: {}", few.words())?;
    }
    write_events(out, events)?;
    write_services(out, services)?;
    write_syn_cookies(out, syn_cookies.as_ref())?;
    write_decryption(out, decryption)?;
    write_reconcile(out, reconcile, now)?;
    write_flows(out, flows.as_ref())?;
    write_rejects(out, rejects.as_ref())?;
    writeln!(out, "\nmaps")?;
    for MapFill { map, entries, max_entries, bytes } in maps {
        writeln!(out, "  {map:<18} {entries:>8} of {max_entries:>8}  {:>8} KiB", bytes / 1024)?;
    }
    write_metrics(out, listen, web_config.as_ref(), *page_viewers, now)?;
    if let Some(push) = push {
        push::write(out, push, now)?;
    }
    certificates::write(out, certificates, now)?;
    writeln!(out, "control  {control}\nstate    {state}\npins     {pins}")?;
    for problem in problems {
        writeln!(out, "problem  {problem}")?;
    }
    Ok(())
}

/// Where the metrics are, and who may read them.
fn write_metrics(
    out: &mut dyn Write,
    listen: &str,
    web_config: Option<&WebConfigFacts>,
    viewers: u64,
    now: SystemTime,
) -> Result<()> {
    let protection = web_config.map(|web| web.protection).unwrap_or_default();
    let url = url(protection, listen);
    writeln!(out, "\nmetrics  {url}metrics")?;
    writeln!(out, "page     {url}  ({viewers} look at it)")?;
    let Some(web) = web_config else { return Ok(()) };
    writeln!(out, "  {protection}, as {} says", web.path)?;
    if let Some(error) = &web.error {
        writeln!(out, "  NOT READ {} ago, what it said before stays in force:", age(web.read_unix_ms, now))?;
        writeln!(out, "    {error}")?;
    }
    Ok(())
}

/// What is guarded, and what the last guard has found.
fn write_guard(out: &mut dyn Write, pending: Option<&PendingFacts>, guard: &GuardFacts) -> Result<()> {
    let GuardFacts { watched, taken_back, fallen } = guard;
    if let Some(PendingFacts { seconds_left, guarded: true, .. }) = pending {
        writeln!(
            out,
            "  guarded for {seconds_left:.0} s: taken back if one of these services loses its traffic"
        )?;
        for Watched { service, port, what, before, lowest: _ } in watched {
            writeln!(out, "    {service} ({port}): {before} {what} per second before")?;
        }
    }
    if *taken_back > 0 {
        writeln!(out, "  rules were taken back {taken_back} times by a guard, last as")?;
        for fallen in fallen {
            writeln!(out, "    {fallen}")?;
        }
    }
    Ok(())
}

/// How the fleet is told to be, as far as this member knows.
fn write_fleet(out: &mut dyn Write, fleet: &FleetFacts, now: SystemTime) -> Result<()> {
    let FleetFacts {
        place,
        member,
        connected,
        problem,
        last_contact_unix_ms,
        revision,
        hash,
        invalid,
        untold,
        endpoints,
        decision,
    } = fleet;
    writeln!(out, "\nfleet    {place}, as {member}")?;
    let contact = match last_contact_unix_ms {
        Some(unix_ms) => format!("last {} ago", age(*unix_ms, now)),
        None => "never since the start".to_owned(),
    };
    writeln!(out, "  {}, {contact}", if *connected { "etcd answers" } else { "ETCD DOES NOT ANSWER" })?;
    if let Some(why) = problem {
        writeln!(out, "    {why}")?;
    }
    if let (Some(revision), Some(hash)) = (revision, hash) {
        writeln!(out, "  etcd has ruleset {hash}, revision {revision}")?;
    }
    if let Some(why) = invalid {
        writeln!(out, "  INVALID in etcd, the rules in force stay:")?;
        for line in why.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    if let Some(EtcdDecision { hash: _, revision, refused: Some(why) }) = decision {
        writeln!(out, "  REFUSED revision {revision} until a key of it is written: {why}")?;
    }
    if let Some(why) = untold {
        writeln!(out, "  the others are not told what is in force here: {why}")?;
    }
    for (endpoint, _) in endpoints.iter().filter(|(_, is_up)| *is_up == Some(false)) {
        writeln!(out, "  the member {endpoint} of etcd does not answer, or has lost the others")?;
    }
    Ok(())
}

/// Which rules are in force, since when, and which may be.
fn write_ruleset(out: &mut dyn Write, ruleset: &RulesetFacts) -> Result<()> {
    let RulesetFacts { hash, generation, applied, previous, path, rules, services, sets, edited_sets } =
        ruleset;
    writeln!(out, "\nruleset {hash}")?;
    writeln!(out, "  generation {generation}, {rules} rules, {services} services, {sets} sets")?;
    if let Some(applied) = applied {
        writeln!(out, "  in force since {} by {}", time(applied.unix_ms), applied.by)?;
    }
    if !edited_sets.is_empty() {
        writeln!(out, "  sets changed at runtime: {} (`foobar set list`)", edited_sets.join(", "))?;
    }
    writeln!(out, "  a reload reads {path}")?;
    if let Some(previous) = previous {
        writeln!(out, "  a rollback brings back {previous}")?;
    }
    Ok(())
}

fn time(unix_ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(unix_ms)).to_string()
}

/// How many flows are known, where they are tracked.
fn write_flows(out: &mut dyn Write, flows: Option<&FlowFacts>) -> Result<()> {
    let Some(flows) = flows else { return Ok(()) };
    let FlowFacts { begun, proved, proved_v4, proved_v6, unproved } = flows;
    writeln!(out, "\nflows    {begun} began, {proved} were proved")?;
    for (what, FlowMapFacts { known, room, failed, evicted }) in
        [("with proof, IPv4", proved_v4), ("with proof, IPv6", proved_v6), ("without proof", unproved)]
    {
        writeln!(
            out,
            "         {what}: {known} (room for {room}); {failed} found no room, {evicted} were pushed out by others"
        )?;
    }
    Ok(())
}

/// What came of rejected packets, where some are.
fn write_rejects(out: &mut dyn Write, rejects: Option<&RejectFacts>) -> Result<()> {
    let Some(rejects) = rejects else { return Ok(()) };
    writeln!(out)?;
    for (title, direction) in [("rejected", Direction::In), ("", Direction::Out)] {
        let counted: Vec<_> = rejects
            .of(direction)
            .iter()
            .filter(|(_, packets)| **packets > 0)
            .map(|(outcome, packets)| format!("{packets} {}", outcome.replace('_', " ")))
            .collect();
        let counted = if counted.is_empty() { "none".to_owned() } else { counted.join(", ") };
        writeln!(out, "{title:<8} {:<3} {counted}", direction.label())?;
    }
    Ok(())
}

/// How many bans there are, once there has been one, and which have stopped most.
fn write_bans(out: &mut dyn Write, bans: &BanCounts, busiest: &[BanInForce]) -> Result<()> {
    let BanCounts { addresses, prefixes, room, made, by_rules, no_room, expired, lifted, refused } = bans;
    let of = |kind: &[u64; 2]| kind.iter().sum::<u64>();
    if made + refused == 0 && of(addresses) + of(prefixes) == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "\nbans     {} addresses and {} prefixes, of {room} that there is room for (`foobar bans`)",
        of(addresses),
        of(prefixes)
    )?;
    let of_rules = if *by_rules > 0 { format!(" ({by_rules} by rules)") } else { String::new() };
    writeln!(
        out,
        "  {made} were made{of_rules}, {expired} have expired, {lifted} were lifted, {refused} refused"
    )?;
    if *no_room > 0 {
        writeln!(out, "  {no_room} more that rules were to make found no room")?;
    }
    for BanInForce { address, packets, made, .. } in busiest.iter().take(BANS_SHOWN) {
        writeln!(out, "  {address:<36} {packets:>12} packets stopped, by {}", made.words())?;
    }
    if busiest.len() > BANS_SHOWN {
        writeln!(out, "  and others that stopped fewer (`foobar bans --sort packets`)")?;
    }
    Ok(())
}

/// How many packets were drawn, where rules ask for that or have asked.
fn write_events(out: &mut dyn Write, events: &EventFacts) -> Result<()> {
    let EventFacts { draws, drawn, lost_in_ring, unwatched, lost_by_watchers, watchers } = events;
    if !draws && *drawn == 0 {
        return Ok(());
    }
    let draws = if *draws { "" } else { "; the rules in force draw none" };
    writeln!(out, "\nevents   {drawn} packets were drawn, {watchers} watch (`foobar watch`){draws}")?;
    writeln!(
        out,
        "  {unwatched} while nobody watched; lost: {lost_in_ring} in the full buffer, {lost_by_watchers} by slow watchers"
    )?;
    Ok(())
}

/// What was counted of services, and how fast.
fn write_services(out: &mut dyn Write, services: &[ServiceFacts]) -> Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nservices {:>41}{:>12}{:>10}{:>10}{:>10}", "", "in all", "over 1 s", "10 s", "60 s")?;
    for facts in services {
        let ServiceFacts { service, port, protocol, what, total, per_second, framing_lost, .. } = facts;
        let rate = |rate: &Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}/s"));
        let [one, ten, sixty] = per_second.each_ref().map(rate);
        let name = format!("{service} {port} {protocol}");
        writeln!(out, "  {name:<36} {what:<11}{total:>12}{one:>10}{ten:>10}{sixty:>10}")?;
        if *framing_lost > 0 {
            writeln!(
                out,
                "    not followed to the end: {framing_lost} times (foobar_l7_framing_lost_total)"
            )?;
        }
        let mut words: Vec<String> = Vec::new();
        words.extend(facts.connections_active.map(|open| format!("{open} connections open")));
        words.extend(facts.requests_in_flight.map(|requests| format!("{requests} requests in flight")));
        words.extend(facts.resets.map(|Resets { inbound, outbound, refused }| {
            format!("{inbound} were reset by clients, {outbound} by the server, {refused} refused")
        }));
        if !words.is_empty() {
            writeln!(out, "    {}", words.join("; "))?;
        }
        if let Some(SynFacts { active, answered, returned, passed }) = &facts.syn_cookies {
            let now = if *active { "sends SYN cookies" } else { "sends no SYN cookies" };
            let causes: Vec<String> = passed
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(cause, count)| format!("{cause} {count}"))
                .collect();
            let passed = if causes.is_empty() { "none".to_owned() } else { causes.join(", ") };
            writeln!(
                out,
                "    {now}; {answered} SYNs answered, {returned} cookies came back; to the kernel: {passed}"
            )?;
        }
        let names: Vec<String> =
            facts.names.iter().take(NAMES_SHOWN).map(|(name, count)| format!("{name} {count}")).collect();
        if !names.is_empty() {
            let more = if facts.names.len() > NAMES_SHOWN { ", and others (--json)" } else { "" };
            writeln!(out, "    names: {}{more}", names.join(", "))?;
        }
    }
    Ok(())
}

/// Whether services can answer with SYN cookies.
fn write_syn_cookies(out: &mut dyn Write, facts: Option<&SynCookieFacts>) -> Result<()> {
    let Some(SynCookieFacts { problem, notes, sysctls }) = facts else { return Ok(()) };
    writeln!(out, "\nSYN cookies  {sysctls}")?;
    if let Some(problem) = problem {
        writeln!(out, "  NO COOKIES: {problem}")?;
    }
    for note in notes {
        writeln!(out, "  {note}")?;
    }
    Ok(())
}

/// Whose TLS is read, and what is missing.
fn write_decryption(out: &mut dyn Write, decryption: &[DecryptionFacts]) -> Result<()> {
    if decryption.is_empty() {
        return Ok(());
    }
    writeln!(out, "\ndecrypted by uprobe")?;
    for DecryptionFacts { service, port, processes, missed_connections, problems } in decryption {
        writeln!(out, "  {service} tcp/{port}  {} processes watched", processes.len())?;
        for ProcessFacts { pid, name, library } in processes {
            writeln!(out, "    {pid} {name}  {library}")?;
        }
        if *missed_connections > 0 {
            writeln!(out, "    connections taken before their process was found: {missed_connections}")?;
        }
        for problem in problems {
            writeln!(out, "    NOT COMPLETE: {problem}")?;
        }
    }
    Ok(())
}

/// What became of comparing our counts with those of servers.
fn write_reconcile(out: &mut dyn Write, comparisons: &[ReconcileFacts], now: SystemTime) -> Result<()> {
    if comparisons.is_empty() {
        return Ok(());
    }
    writeln!(out, "\ncompared with what servers count (foobar less server)")?;
    for facts in comparisons {
        let ReconcileFacts {
            source,
            services,
            difference,
            uncertainty,
            compared_unix_ms,
            baselines,
            failures,
            problem,
        } = facts;
        let what = match (difference, problem) {
            (Some(difference), _) => {
                let further = match uncertainty {
                    None | Some(0) => String::new(),
                    Some(uncertainty) => format!(", or up to {uncertainty} further from zero"),
                };
                format!("difference {difference}{further}")
            }
            (None, Some(problem)) => format!("NOT COMPARED: {problem}"),
            (None, None) => "not compared yet".to_owned(),
        };
        let when = compared_unix_ms.map(|unix_ms| format!("compared {} ago", age(unix_ms, now)));
        let began = (*baselines > 1).then(|| format!("begun {baselines} times"));
        let failed: u64 = failures.values().sum();
        let failed = (failed > 0).then(|| format!("failed {failed} times"));
        let notes: Vec<String> = when.into_iter().chain(began).chain(failed).collect();
        writeln!(out, "  {source} {}  {what}", services.join(","))?;
        if !notes.is_empty() {
            writeln!(out, "    {}", notes.join(", "))?;
        }
    }
    Ok(())
}

/// How long ago a moment was, in whole seconds.
fn age(unix_ms: u64, now: SystemTime) -> humantime::FormattedDuration {
    let age = now.duration_since(UNIX_EPOCH + Duration::from_millis(unix_ms)).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(age.as_secs()))
}

/// How many names of servers are shown on a terminal.
const NAMES_SHOWN: usize = 5;

/// Where which programs are.
fn write_interfaces(out: &mut dyn Write, interfaces: &[Attachment], programs: &[ProgramFacts]) -> Result<()> {
    writeln!(out, "\ninterfaces")?;
    for attachment in interfaces {
        let Attachment {
            interface,
            index,
            mode,
            fallback,
            obstacle: _,
            expected_program,
            found_program,
            egress,
        } = attachment;
        let place = index.map_or("absent".to_owned(), |index| format!("index {index}"));
        let mode = mode.map_or("not attached", |mode| mode.label());
        let program = |id: &Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
        writeln!(
            out,
            "  {interface}  {place}  {mode}  program expected {}, found {}; out by {}",
            program(expected_program),
            program(found_program),
            egress.map_or("nothing", |hook| hook.label())
        )?;
        if let Some(fallback) = fallback {
            writeln!(out, "    {fallback}")?;
        }
    }
    for program in programs {
        let (name, id, tag) = (&program.program, program.id, &program.tag);
        writeln!(out, "  program {name}  id {id}  tag {tag}")?;
    }
    Ok(())
}
