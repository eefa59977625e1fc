//! `foobar rules explain`.

use std::path::PathBuf;

use foobar_common::{flow::Flow, verdict::Reason};
use serde_json::json;

use crate::{
    env::Env,
    outcome::{InvalidInput, Outcome},
    rules::{
        bundle::Bundle,
        evaluate::{self, Condition, Evaluation},
        model::{Rule, Ruleset},
        packet,
    },
};

/// Flags of `foobar rules explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in the order of their names as one
    pub path: PathBuf,
    /// The packet: 'tcp 203.0.113.7:5555 > 192.0.2.10:443 syn'
    #[arg(
        long,
        long_help = "The packet: PROTOCOL SOURCE > DESTINATION, then any of: TCP flags (syn,ack or none; without \
                     any it is syn), an ICMP message (echo-request, 3/4), fragment (a later one), \
                     first-fragment, vlan N, length N, hop-limit N. Ports stand behind the address: \
                     192.0.2.10:443, [2001:db8::10]:443. Or a frame that is no packet: arp, not_ip, llc, or \
                     the reason why it is broken, as ip_length"
    )]
    pub packet: String,
    /// The interface through which it comes in
    #[arg(long, default_value = "")]
    pub interface: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit code 2 for rules or a packet that cannot be read.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let packet = packet::parse(&args.packet)
        .map_err(|error| InvalidInput(format!("read the packet {:?}: {error}", args.packet)))?;
    let (ruleset, positions) = Bundle::read(&args.path)?.parse_with_positions()?;
    let evaluation = evaluate::evaluate(&ruleset, &packet, &args.interface);
    let passed = passed_over(&ruleset, &evaluation, &packet, &args.interface);
    let words = match &packet {
        Ok(flow) => packet::describe(flow),
        Err(reason) => format!("a frame without a packet: {}", reason.label()),
    };
    let Evaluation { verdict, reason, rule: id } = evaluation;
    if args.json {
        let passed: Vec<_> = passed
            .iter()
            .map(|Passed { rule, condition, why }| {
                json!({ "rule": rule.id, "condition": condition.key(), "why": why })
            })
            .collect();
        let report = json!({
            "packet": words,
            "interface": args.interface,
            "verdict": verdict.label(),
            "reason": reason.label(),
            "rule": id,
            "passed_over": passed,
        });
        writeln!(env.out, "{report}")?;
        return Ok(Outcome::Done);
    }
    writeln!(env.out, "packet   {words}")?;
    if !args.interface.is_empty() {
        writeln!(env.out, "through  {}", args.interface)?;
    }
    writeln!(env.out, "verdict  {}", verdict.label())?;
    writeln!(env.out, "reason   {}: {}", reason.label(), reason.describe())?;
    if let Some(id) = id {
        let place =
            positions.rules.get(id).map(|at| format!(" ({}:{})", at.file, at.line)).unwrap_or_default();
        let rule = ruleset.rules.iter().find(|rule| rule.id == id);
        let comment = rule.and_then(|rule| rule.comment.as_ref()).map(|text| format!(": {text}"));
        writeln!(env.out, "rule     {id}{place}{}", comment.unwrap_or_default())?;
    }
    if !passed.is_empty() {
        let width = passed.iter().map(|one| one.rule.id.len()).max().unwrap_or(0);
        writeln!(env.out, "rules before that it does not meet:")?;
        for Passed { rule, condition, why } in &passed {
            writeln!(env.out, "  {:width$}  {}: {why}", rule.id, condition.key())?;
        }
    }
    Ok(Outcome::Done)
}

/// A rule that was asked and that the packet does not meet.
struct Passed<'r> {
    rule: &'r Rule,
    condition: Condition,
    why: String,
}

/// The rules that were asked before the packet was decided.
fn passed_over<'r>(
    ruleset: &'r Ruleset,
    evaluation: &Evaluation<'_>,
    packet: &Result<Flow, Reason>,
    interface: &str,
) -> Vec<Passed<'r>> {
    let (Ok(flow), Reason::Rule | Reason::Policy) = (packet, evaluation.reason) else {
        return Vec::new();
    };
    ruleset
        .rules
        .iter()
        .map_while(|rule| {
            let condition = evaluate::unmet(ruleset, rule, flow, interface)?;
            Some(Passed { rule, condition, why: condition.explain(rule, flow, interface) })
        })
        .collect()
}
