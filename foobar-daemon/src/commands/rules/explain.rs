//! `foobar rules explain`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use foobar_common::{
    flow::{Direction, Flow},
    verdict::Reason,
};
use serde_json::json;

use crate::{
    env::Env,
    outcome::{InvalidInput, Outcome},
    rules::{
        bundle::Bundle,
        evaluate::{self, Condition, Evaluation, Known},
        model::{Rule, Ruleset, Service},
        packet,
    },
};

/// Flags of `foobar rules explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in the order of their names as one
    pub path: PathBuf,
    /// The packet: 'tcp 203.0.113.7:5555 > 192.0.2.10:443 syn'; bans, which come before the rules, are not asked
    #[arg(
        long,
        long_help = "The packet: PROTOCOL SOURCE > DESTINATION, then any of: TCP flags (syn,ack or none; without \
                     any it is syn), an ICMP message (echo-request, 3/4), fragment (a later one), \
                     first-fragment, vlan N, length N, hop-limit N, state new (or established, answer, related, \
                     invalid; without it, what its headers make most likely). Ports stand behind the \
                     address: 192.0.2.10:443, [2001:db8::10]:443. Or a frame that is no packet: arp, not_ip, llc, or \
                     the reason why it is broken, as ip_length"
    )]
    pub packet: String,
    /// Whether it comes in or goes out
    #[arg(long, value_parser = direction_parser(), default_value = Direction::In.label())]
    pub direction: Direction,
    /// The interface through which it comes or goes
    #[arg(long, default_value = "", hide_default_value = true)]
    pub interface: String,
    /// In set files, set bits behind a prefix to zero, where they are errors otherwise, and say how many
    #[arg(long)]
    pub lenient: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit code 2 for rules or a packet that cannot be read.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let (packet, known) = packet::parse_with_state(&args.packet)
        .map_err(|error| InvalidInput(format!("read the packet {:?}: {error}", args.packet)))?;
    let (ruleset, positions) = Bundle::read(&args.path)?.lenient(args.lenient).parse_with_positions()?;
    let known = known.unwrap_or_else(|| Known::likely(&ruleset, &packet));
    let evaluation = evaluate::evaluate(&ruleset, &packet, args.direction, &args.interface, known);
    let passed = passed_over(&ruleset, &evaluation, &packet, args.direction, &args.interface, known);
    let words = match &packet {
        Ok(flow) if ruleset.tracks() => format!("{} state {}", packet::describe(flow), known.word()),
        Ok(flow) => packet::describe(flow),
        Err(reason) => format!("a frame without a packet: {}", reason.label()),
    };
    let log = evaluate::log(&ruleset, &evaluation);
    let Evaluation { verdict, reason, rule: id } = evaluation;
    let limit = id.and_then(|id| ruleset.rules.iter().find(|rule| rule.id == id)?.limit);
    let answers = evaluate::may_answer(&ruleset, &packet, args.direction, &evaluation);
    if args.json {
        let passed: Vec<_> = passed
            .iter()
            .map(|Passed { rule, condition, why }| {
                json!({ "rule": rule.id, "condition": condition.key(), "why": why })
            })
            .collect();
        let report = json!({
            "packet": words,
            "direction": args.direction.label(),
            "interface": args.interface,
            "verdict": verdict.label(),
            "reason": reason.label(),
            "rule": id,
            "limit": limit.map(|limit| limit.to_string()),
            "syn_cookies": answers.map(|service| {
                json!({ "service": service.name, "when": service.syn_cookies.to_string() })
            }),
            "log": log.map(|log| log.to_string()),
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
    if let Some(limit) = limit {
        writeln!(env.out, "limit    {limit}; the verdict is that of a packet within it")?;
    }
    if let Some(Service { name, syn_cookies, .. }) = answers {
        writeln!(
            env.out,
            "then     syn_cookies {syn_cookies} of the service {name}: answered with a cookie if somebody listens and the kernel \
             gives one, which the packet does not tell"
        )?;
    }
    if let Some(log) = log {
        writeln!(env.out, "log      {log}: `foobar watch` shows such packets, each with this chance")?;
    }
    if !passed.is_empty() {
        let width = passed.iter().map(|one| one.rule.id.as_str().len()).max().unwrap_or(0);
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

fn direction_parser() -> impl TypedValueParser<Value = Direction> {
    let words = Direction::ALL.map(Direction::label);
    PossibleValuesParser::new(words)
        .map(|word| if word == Direction::Out.label() { Direction::Out } else { Direction::In })
}

/// The rules that were asked before the packet was decided.
fn passed_over<'r>(
    ruleset: &'r Ruleset,
    evaluation: &Evaluation<'_>,
    packet: &Result<Flow, Reason>,
    direction: Direction,
    interface: &str,
    known: Known,
) -> Vec<Passed<'r>> {
    let (Ok(flow), Reason::Rule | Reason::Policy) = (packet, evaluation.reason) else {
        return Vec::new();
    };
    ruleset
        .rules
        .iter()
        .map_while(|rule| {
            let condition = evaluate::unmet(ruleset, rule, flow, direction, interface, known)?;
            Some(Passed { rule, condition, why: condition.explain(rule, flow, interface, known) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use super::*;
    use crate::outcome;

    const RULES: &str = "schema = 1\n[policy]\nin = \"drop\"\n[sets.offices]\nentries = [\"198.51.100.0/24\"]\n\
        [[rule]]\nid = \"ssh\"\naction = \"accept\"\nsource = [\"@offices\", \"10.0.0.0/8\"]\ndestination_port = 22\n\
        [[rule]]\nid = \"dmz\"\naction = \"drop\"\ninterface = \"eth7\"\n\
        [[rule]]\nid = \"web\"\naction = \"accept\"\nprotocol = \"tcp\"\ndestination_port = [80, \"440-443\"]\ncomment = \"the site\"\n\
        [[service]]\nname = \"https\"\nport = [\"tcp/443\"]\nsyn_cookies = \"auto\"\n";

    fn explain(packet: &str, interface: &str, json: bool) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.toml");
        fs::write(&path, RULES).unwrap();
        let args = Args {
            path,
            packet: packet.to_owned(),
            direction: Direction::In,
            interface: interface.to_owned(),
            lenient: false,
            json,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut env = Env { out: &mut out, err: &mut err, color: false, now: SystemTime::now };
        match run(&args, &mut env) {
            Ok(outcome) => {
                let folder = format!("{}/", folder.path().display());
                (outcome.exit_code(), String::from_utf8(out).unwrap().replace(&folder, ""))
            }
            Err(error) => (outcome::exit_code(&error), format!("{error:#}")),
        }
    }

    #[test]
    fn says_which_rule_and_why_none_before() {
        let (code, text) = explain("tcp 203.0.113.7:5555 > 192.0.2.10:443 syn", "eth0", false);
        assert_eq!(code, 0, "{text}");
        assert_eq!(
            text,
            "packet   tcp 203.0.113.7:5555 > 192.0.2.10:443 syn length 40 hop-limit 64 state new\n\
             through  eth0\n\
             verdict  accept\n\
             reason   rule: a rule matched\n\
             rule     web (rules.toml:16): the site\n\
             then     syn_cookies auto above 1000/s until 500/s of the service https: answered with a cookie if somebody \
             listens and the kernel gives one, which the packet does not tell\n\
             rules before that it does not meet:\n  \
             ssh  source: source 203.0.113.7 is not in @offices or 10.0.0.0/8\n  \
             dmz  interface: interface eth0 is not eth7\n"
        );
        let (_, text) = explain("udp 10.0.0.1:5 > 192.0.2.10:443", "", false);
        for line in [
            "verdict  drop\nreason   policy: no rule matched, so the policy decided\n",
            "ssh  destination_port: destination port 443 is not 22",
            "dmz  interface: no interface is given, so it is not eth7",
            "web  protocol: protocol udp is not tcp",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let (_, text) = explain("arp", "", false);
        assert!(text.contains("reason   infrastructure") && !text.contains("rules before"), "{text}");
    }

    #[test]
    fn json_has_the_same() {
        let (code, text) = explain("tcp 203.0.113.7 > 192.0.2.10 fragment", "eth0", true);
        assert_eq!(code, 0, "{text}");
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&report["verdict"], &report["reason"]), (&json!("drop"), &json!("policy")));
        assert_eq!(report["rule"], json!(null));
        let web = &report["passed_over"][2];
        assert_eq!((&web["rule"], &web["condition"]), (&json!("web"), &json!("destination_port")));
        assert_eq!(web["why"], json!("a later fragment of tcp has no ports, so none is 80 or 440-443"));
    }

    #[test]
    fn packets_that_cannot_be_read_are_exit_code_2() {
        let (code, text) = explain("tpc 1.2.3.4:1 > 1.2.3.4:2", "", false);
        assert_eq!(code, 2);
        assert!(text.contains("did you mean tcp?"), "{text}");
    }
}
