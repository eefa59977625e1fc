//! What the readers of all formats give: chains of statements, and where packets enter them.

use std::collections::BTreeMap;

use foobar_common::{flow::Direction, verdict::Verdict};
use ipnet::IpNet;

use super::conditions::Conditions;

/// Ids have room for the line behind the chain's name.
const NAME_MAX: usize = 40;

/// The rules of another firewall.
#[derive(Debug, Default)]
pub(super) struct Firewall {
    /// The chains that packets of each direction meet by themselves, in this order.
    pub(super) hooks: Vec<Hook>,
    /// All chains, by a name that is unique.
    pub(super) chains: BTreeMap<String, Chain>,
    /// Chains that are entered by ways that are not imported, and why they are not.
    pub(super) elsewhere: Vec<(String, String)>,
    /// Sets of addresses, by the name that rules have for them.
    pub(super) sets: BTreeMap<String, Vec<IpNet>>,
    /// Whether chains can be entered by ways that the text does not show.
    pub(super) fragment: bool,
}

/// A chain that packets meet by themselves.
#[derive(Debug)]
pub(super) struct Hook {
    /// Where it is said.
    pub(super) line: usize,
    /// Whether they come in or go out.
    pub(super) direction: Direction,
    /// Which chain.
    pub(super) chain: String,
    /// Which packets.
    pub(super) conditions: Conditions,
    /// What becomes of those that the chain does not decide.
    pub(super) policy: Verdict,
}

/// A list of statements.
#[derive(Debug)]
pub(super) struct Chain {
    /// Its name in ids of rules.
    pub(super) name: String,
    pub(super) statements: Vec<Statement>,
}

impl Chain {
    /// A chain of this name, without statements. What cannot stand in the id of a rule becomes a hyphen.
    pub(super) fn new(name: &str) -> Self {
        let allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '.' | '-');
        let letters = name.chars().map(|one| if allowed(one) { one.to_ascii_lowercase() } else { '-' });
        Self { name: letters.take(NAME_MAX).collect(), statements: Vec::new() }
    }

    /// The chains that it leads to.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().filter_map(Statement::target)
    }
}

/// A rule of another firewall, or one of the branches of it.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) comment: Option<String>,
    /// Packets meet it that meet any of these, or why these cannot be said.
    pub(super) conditions: Result<Vec<Conditions>, String>,
    /// What becomes of them, or why that cannot be said.
    pub(super) action: Result<Action, String>,
    /// What means something else in the rules.
    pub(super) changes: Vec<String>,
}

impl Statement {
    /// All packets go through a chain.
    pub(super) fn jump(line: usize, chain: &str) -> Self {
        Self {
            line,
            comment: None,
            conditions: Ok(vec![Conditions::default()]),
            action: Ok(Action::Jump(chain.to_owned())),
            changes: Vec::new(),
        }
    }

    /// The chain that it leads to.
    pub(super) fn target(&self) -> Option<&str> {
        match &self.action {
            Ok(Action::Jump(target) | Action::Goto(target)) => Some(target),
            Ok(Action::Accept | Action::Drop | Action::Reject | Action::Continue | Action::Return)
            | Err(_) => None,
        }
    }
}

/// What becomes of a packet that meets a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Accept,
    Drop,
    Reject,
    /// It goes on with the next statement.
    Continue,
    /// It goes through a chain, then on with the next statement.
    Jump(String),
    /// It goes through a chain, then on where this chain was called.
    Goto(String),
    /// It goes on where this chain was called.
    Return,
}
