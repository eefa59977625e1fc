//! What is useless or dangerous in rules that can be read. Values in, findings out.
//!
//! Rules are compared exactly, as sets of packets: a rule counts as covered only if the rules before it, one or
//! several together, decide every packet that it matches. Most questions are answered by one packet, well chosen;
//! the others by a search whose work is limited, and where it ends nothing is said of the rule but that. IPv6 neighbour discovery and DHCP, which
//! `policy.infrastructure` takes out before the rules, are left out of account.

mod ssh;

mod balancers;
mod clients;
mod order;
mod reach;
mod sets;
mod words;

mod search;
mod steps;
mod work;

mod boxes;
mod index;
mod quiet;

mod classes;
mod ranges;
mod sides;

use foobar_common::{flow::Direction, verdict::Verdict};
use serde::Serialize;

pub use self::ssh::SshSession;
use self::{steps::Steps, work::Work};
use super::model::Ruleset;

/// Something that the author of rules should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of finding it is.
    pub kind: Kind,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// How bad a finding is. Nothing that is found here makes rules invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The rules hardly do what their author wants.
    Warning,
    /// Good to know.
    Note,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// The rule of this id.
    Rule(String),
    /// The service of this name.
    Service(String),
    /// The set of this name.
    Set(String),
    /// A key of `[policy]` or `[failsafe]`, or the ruleset as a whole.
    Key(&'static str),
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No packet can match the rule.
    Empty,
    /// Rules before it decide every packet that it matches.
    Shadowed,
    /// The same, and all of them decide the opposite.
    Contradiction,
    /// A list or range runs into that of an earlier rule with the opposite verdict.
    Overlap,
    /// Without the rule every packet would get the same verdict.
    Redundant,
    /// It was too much work to find out.
    Undecided,
    /// The SSH session in which this runs would be cut off.
    LockOut,
    /// No packet gets to a service.
    Unreachable,
    /// Answers to what this server asks are dropped.
    Replies,
    /// Neighbours cannot find this server.
    Infrastructure,
    /// Broken frames pass.
    Malformed,
    /// Something lets everything pass.
    Open,
    /// Anybody may name the clients whose limit a rule charges.
    Believed,
    /// A balancer may be banned in the place of the clients behind it.
    Balancer,
    /// Nothing uses a set, or it has no entries.
    Set,
}

/// Looks through a ruleset. `session` is the SSH session that must not be cut off.
pub fn check(ruleset: &Ruleset, session: Option<&SshSession>) -> Vec<Finding> {
    check_within(ruleset, session, &mut Work::default())
}

/// Whether the rules would cut off this SSH session: the one question of [`check`] that is asked before each change.
pub fn lock_out(ruleset: &Ruleset, session: &SshSession) -> Option<Finding> {
    ssh::lock_out(ruleset, session)
}

fn check_within(ruleset: &Ruleset, session: Option<&SshSession>, work: &mut Work) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(session.and_then(|session| ssh::lock_out(ruleset, session)));
    policy(ruleset, &mut findings);
    for direction in Direction::ALL {
        let steps = Steps::of(ruleset, direction, reach::questions(ruleset, direction));
        let rules = ruleset.rules.iter().filter(|rule| rule.direction == direction);
        let ids: Vec<&str> = rules.map(|rule| rule.id.as_str()).collect();
        order::check(&steps, &ids, work, &mut findings);
        reach::check(ruleset, direction, &steps, &mut findings);
    }
    clients::check(ruleset, &mut findings);
    balancers::check(ruleset, &mut findings);
    sets::check(ruleset, &mut findings);
    findings
}

fn policy(ruleset: &Ruleset, findings: &mut Vec<Finding>) {
    let policy = &ruleset.policy;
    if [policy.inbound, policy.outbound].iter().any(|verdict| verdict.is_refusal()) && !policy.infrastructure
    {
        findings.push(Finding {
            severity: Severity::Warning,
            kind: Kind::Infrastructure,
            subject: Subject::Key("policy.infrastructure"),
            message: "ARP is dropped, since no rule can match it: on Ethernet nobody reaches this server \
                      over IPv4"
                .to_owned(),
            help: "write infrastructure = true under [policy], or leave it out".to_owned(),
        });
    }
    if policy.inbound.is_refusal() && policy.malformed == Verdict::Accept {
        findings.push(Finding {
            severity: Severity::Warning,
            kind: Kind::Malformed,
            subject: Subject::Key("policy.malformed"),
            message: "frames that cannot be parsed pass, though packets that no rule accepts are dropped"
                .to_owned(),
            help: "write malformed = \"drop\" under [policy], or leave it out".to_owned(),
        });
    }
    if let Some(peer) = ruleset.failsafe.peers.iter().find(|peer| peer.prefix_len() == 0) {
        findings.push(Finding {
            severity: Severity::Warning,
            kind: Kind::Open,
            subject: Subject::Key("failsafe.peers"),
            message: format!("{peer} is everybody, so nothing of this IP version is ever dropped"),
            help: "name the peers from which you mend this server".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests;
