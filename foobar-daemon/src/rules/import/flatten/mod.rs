//! Chains to one list of rules.
//!
//! A packet goes through chains by jumps, and a rule of the list has all conditions on the way to it. Where a
//! packet leaves the straight way (a RETURN for some packets only, or an ACCEPT after which another chain judges
//! too), the list says the whole rest of its way under the condition that it left, so what the list decides is
//! what the chains decide. That can grow beyond all bounds, so there are some.

mod reach;

use std::collections::{BTreeMap, BTreeSet};

use foobar_common::{
    flow::{Direction, Family},
    rule::RULES_MAX,
    verdict::Verdict,
};

use super::{
    conditions::{Conditions, NotBoth},
    firewall::{Action, Chain, Firewall, Hook, Statement},
    language,
    report::{Problem, Report},
};

/// Rules in the list.
const LIST_MAX: usize = 131_072;
/// Values in conditions that are looked at and written, all together.
const WORK_MAX: usize = 1 << 24;
/// Chains in chains; each takes some of the stack.
const DEPTH_MAX: usize = 64;

/// The rules in their order.
#[derive(Debug)]
pub(super) struct List {
    /// What becomes of packets of each direction that no rule decides.
    pub(super) policies: [Verdict; 2],
    pub(super) rules: Vec<Rule>,
}

/// A rule of the list.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) action: Verdict,
    pub(super) direction: Direction,
    pub(super) conditions: Conditions,
    pub(super) comment: Option<String>,
}

/// Makes the list.
pub(super) fn flatten(firewall: &Firewall, report: &mut Report<'_>) -> Result<List, Problem> {
    reach::check_loops(firewall)?;
    let mut walk = Walk {
        firewall,
        report,
        direction: Direction::In,
        hooks: Vec::new(),
        policy: Verdict::Accept,
        rules: Vec::new(),
        ids: BTreeMap::new(),
        visited: BTreeSet::new(),
        lost: firewall.elsewhere.clone(),
        work: 0,
        depth: 0,
    };
    let mut policies = [Verdict::Accept; 2];
    for (direction, policy) in Direction::ALL.into_iter().zip(&mut policies) {
        walk.direction = direction;
        walk.hooks = firewall.hooks.iter().filter(|hook| hook.direction == direction).collect();
        walk.policy = final_policy(&walk.hooks);
        *policy = walk.policy;
        walk.go_on(0, &Conditions::default())?;
        report_policy(&walk.hooks, walk.policy, walk.report);
    }
    let Walk { report, rules, visited, lost, .. } = walk;
    reach::report_rest(firewall, &lost, &visited, report);
    Ok(List { policies, rules })
}

/// What becomes of packets behind the last chain. Where the chains do not agree, rules say what each wants.
fn final_policy(hooks: &[&Hook]) -> Verdict {
    let drops = |hook: &&Hook| hook.policy == Verdict::Drop;
    let last_drops_all = hooks.last().is_some_and(|hook| drops(hook) && hook.conditions.is_any());
    let all_drop = !hooks.is_empty() && hooks.iter().all(drops);
    if last_drops_all || all_drop { Verdict::Drop } else { Verdict::Accept }
}

/// A policy of the list is one for every frame.
fn report_policy(hooks: &[&Hook], policy: Verdict, report: &mut Report<'_>) {
    let (Some(hook), Verdict::Drop) = (hooks.last(), policy) else {
        return;
    };
    report.change(hook.line, language::DROP_POLICY);
    for (family, other) in [(Family::V4, "IPv6"), (Family::V6, "IPv4")] {
        if hooks.iter().all(|hook| hook.conditions.family == Some(family)) {
            let why = format!("the policy also drops {other}, for which this file has no rules: add them");
            report.change(hook.line, why);
        }
    }
}

/// Where packets are: in front of a statement of a chain.
struct Frame<'c, 'f> {
    key: &'f str,
    chain: &'f Chain,
    at: usize,
    /// Where they go on behind the chain; `None` in the chain of the hook.
    caller: Option<&'c Self>,
    hook: usize,
}

/// What has become of all packets that went into a chain or statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Every one is decided.
    Decided,
    /// Those that are left leave the chain.
    Leave,
    /// Those that are left go on.
    GoOn,
}

struct Walk<'f, 'r, 't> {
    firewall: &'f Firewall,
    report: &'r mut Report<'t>,
    /// Where the packets go that are followed.
    direction: Direction,
    /// The chains that they meet by themselves.
    hooks: Vec<&'f Hook>,
    policy: Verdict,
    rules: Vec<Rule>,
    /// How often each id was wanted.
    ids: BTreeMap<String, usize>,
    /// Chain and index of each statement that packets get to.
    visited: BTreeSet<(&'f str, usize)>,
    /// Chains behind jumps that are refused, and why.
    lost: Vec<(String, String)>,
    work: usize,
    depth: usize,
}

impl<'f> Walk<'f, '_, '_> {
    /// Packets that meet the conditions come to the hooks from this one on.
    fn go_on(&mut self, from: usize, conditions: &Conditions) -> Result<End, Problem> {
        let firewall = self.firewall;
        for number in from..self.hooks.len() {
            let hook = self.hooks[number];
            let Ok(inside) = conditions.and(&hook.conditions) else {
                continue;
            };
            let Some(chain) = firewall.chains.get(&hook.chain) else {
                continue;
            };
            let frame = Frame { key: &hook.chain, chain, at: 0, caller: None, hook: number };
            let mut end = self.chain(&frame, &inside)?;
            if end != End::Decided && hook.policy == Verdict::Drop {
                let is_final =
                    number + 1 == self.hooks.len() && self.policy == Verdict::Drop && conditions.is_any();
                if !is_final {
                    self.add(&format!("{}-policy", chain.name), Verdict::Drop, &inside, None, hook.line)?;
                }
                end = End::Decided;
            }
            if end == End::Decided && inside == *conditions {
                return Ok(End::Decided);
            }
        }
        Ok(End::GoOn)
    }

    /// Packets that meet the conditions go through a chain.
    fn chain(&mut self, frame: &Frame<'_, 'f>, conditions: &Conditions) -> Result<End, Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let line = frame.chain.statements.first().map_or(0, |statement| statement.line);
            return Err(Problem::new(
                line,
                format!(
                    "chains are entered {DEPTH_MAX} deep on the way to {:?}, which no rule list can follow; take \
                     out jumps or RETURNs",
                    frame.chain.name
                ),
            ));
        }
        let end = self.statements(frame, conditions);
        self.depth -= 1;
        end
    }

    fn statements(&mut self, frame: &Frame<'_, 'f>, conditions: &Conditions) -> Result<End, Problem> {
        for (at, statement) in frame.chain.statements.iter().enumerate().skip(frame.at) {
            self.visited.insert((frame.key, at));
            let here = Frame { at: at + 1, ..*frame };
            match self.statement(statement, &here, conditions)? {
                End::GoOn => {}
                End::Leave => return Ok(End::GoOn),
                End::Decided => return Ok(End::Decided),
            }
        }
        Ok(End::GoOn)
    }

    /// Packets that meet the conditions come to a statement; `next` is where they go on.
    fn statement(
        &mut self,
        statement: &Statement,
        next: &Frame<'_, 'f>,
        conditions: &Conditions,
    ) -> Result<End, Problem> {
        let alternatives = match (&statement.conditions, &statement.action) {
            (Ok(alternatives), Ok(_)) => alternatives,
            (_, Err(why)) | (Err(why), Ok(_)) => return Ok(self.refuse(statement, why, next)),
        };
        self.report.carry(statement.line);
        for change in &statement.changes {
            self.report.change(statement.line, change);
        }
        for alternative in alternatives {
            self.spend(alternative.size().saturating_mul(conditions.size()), statement.line)?;
            let inside = match conditions.and(alternative) {
                Ok(inside) if inside.are_possible(self.direction) => inside,
                Ok(_) => {
                    self.report.change(statement.line, other_way(self.direction));
                    continue;
                }
                Err(NotBoth::Never) => continue,
                Err(NotBoth::Unsayable(why)) => return Ok(self.refuse(statement, &why, next)),
            };
            let end = self.act(statement, next, &inside, inside == *conditions)?;
            if inside == *conditions && end != End::GoOn {
                return Ok(end);
            }
        }
        Ok(End::GoOn)
    }

    /// Does what a statement says with packets that meet the conditions: all that come to it, or some.
    fn act(
        &mut self,
        statement: &Statement,
        next: &Frame<'_, 'f>,
        conditions: &Conditions,
        all: bool,
    ) -> Result<End, Problem> {
        match &statement.action {
            Ok(Action::Accept) => self.accept(statement, next, conditions)?,
            Ok(Action::Drop) => self.emit(statement, next, Verdict::Drop, conditions)?,
            Ok(Action::Reject) => self.emit(statement, next, Verdict::Reject, conditions)?,
            Ok(Action::Continue) | Err(_) => return Ok(End::GoOn),
            Ok(Action::Jump(target)) => return self.enter(target, statement, Some(next), next, conditions),
            Ok(Action::Goto(target)) => {
                let end = self.enter(target, statement, next.caller, next, conditions)?;
                if end == End::GoOn {
                    return self.leave(statement, next, conditions, all);
                }
            }
            Ok(Action::Return) => return self.leave(statement, next, conditions, all),
        }
        Ok(End::Decided)
    }

    /// Packets go through another chain, and behind it on at `caller`.
    fn enter(
        &mut self,
        target: &str,
        statement: &Statement,
        caller: Option<&Frame<'_, 'f>>,
        next: &Frame<'_, 'f>,
        conditions: &Conditions,
    ) -> Result<End, Problem> {
        let Some((key, chain)) = self.firewall.chains.get_key_value(target) else {
            let why = format!("the chain {target:?} is not in this file");
            self.report.refuse(statement.line, why);
            return Ok(End::GoOn);
        };
        let frame = Frame { key, chain, at: 0, caller, hook: next.hook };
        self.chain(&frame, conditions)
    }

    /// Packets leave a chain before its end. All of them simply leave; the way of some is said to its end.
    fn leave(
        &mut self,
        statement: &Statement,
        next: &Frame<'_, 'f>,
        conditions: &Conditions,
        all: bool,
    ) -> Result<End, Problem> {
        if all {
            return Ok(End::Leave);
        }
        let mut caller = next.caller;
        while let Some(frame) = caller {
            if self.chain(frame, conditions)? == End::Decided {
                return Ok(End::Decided);
            }
            caller = frame.caller;
        }
        match self.hooks.get(next.hook).map(|hook| hook.policy) {
            Some(policy @ (Verdict::Drop | Verdict::Reject)) => {
                self.emit(statement, next, policy, conditions)?;
            }
            Some(Verdict::Accept | Verdict::Answer) | None => self.accept(statement, next, conditions)?,
        }
        Ok(End::Decided)
    }

    /// A chain accepts packets: the chains of later hooks still judge them.
    fn accept(
        &mut self,
        statement: &Statement,
        next: &Frame<'_, 'f>,
        conditions: &Conditions,
    ) -> Result<(), Problem> {
        if self.go_on(next.hook + 1, conditions)? == End::Decided {
            return Ok(());
        }
        self.emit(statement, next, Verdict::Accept, conditions)
    }

    fn emit(
        &mut self,
        statement: &Statement,
        next: &Frame<'_, 'f>,
        action: Verdict,
        conditions: &Conditions,
    ) -> Result<(), Problem> {
        let id = match statement.comment.as_deref().filter(|comment| is_id(comment)) {
            Some(comment) => comment.to_owned(),
            None => format!("{}-{}", next.chain.name, statement.line),
        };
        self.add(&id, action, conditions, statement.comment.clone(), statement.line)
    }

    fn add(
        &mut self,
        id: &str,
        action: Verdict,
        conditions: &Conditions,
        comment: Option<String>,
        line: usize,
    ) -> Result<(), Problem> {
        self.spend(conditions.size(), line)?;
        let Some(conditions) = conditions.clone().settled() else {
            return Ok(());
        };
        let id = self.unique(id);
        self.rules.push(Rule { id, action, direction: self.direction, conditions, comment });
        if self.rules.len() == RULES_MAX + 1 {
            let why = format!(
                "this becomes rule number {}; more than {RULES_MAX} are not yet possible",
                RULES_MAX + 1
            );
            self.report.change(line, why);
        }
        if self.rules.len() > LIST_MAX {
            return Err(Problem::new(
                line,
                format!("the chains become more than {LIST_MAX} rules; {TOO_MUCH}"),
            ));
        }
        Ok(())
    }

    fn unique(&mut self, wanted: &str) -> String {
        let mut id = wanted.to_owned();
        while let Some(count) = self.ids.get_mut(&id) {
            *count += 1;
            id = format!("{wanted}-{count}");
        }
        self.ids.insert(id.clone(), 1);
        id
    }

    fn refuse(&mut self, statement: &Statement, why: &str, next: &Frame<'_, 'f>) -> End {
        self.report.refuse(statement.line, why);
        let line = statement.line;
        let lose =
            |target: &str| (target.to_owned(), format!("only line {line} leads here, and it is left out"));
        self.lost.extend(statement.target().map(lose));
        if !matches!(statement.action, Ok(Action::Goto(_) | Action::Return)) {
            return End::GoOn;
        }
        // What follows would also meet the packets that have left.
        for (at, statement) in next.chain.statements.iter().enumerate().skip(next.at) {
            let why =
                format!("some packets leave the chain before, in line {line}, and which cannot be said");
            self.report.refuse(statement.line, why);
            self.lost.extend(statement.target().map(lose));
            self.visited.insert((next.key, at));
        }
        End::Leave
    }

    fn spend(&mut self, work: usize, line: usize) -> Result<(), Problem> {
        self.work = self.work.saturating_add(work);
        if self.work > WORK_MAX {
            return Err(Problem::new(
                line,
                format!("the chains are too entangled to be one list; {TOO_MUCH}"),
            ));
        }
        Ok(())
    }
}

/// Why a rule for an interface meets no packets of a direction.
const fn other_way(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "no rule for what comes in is made of it: that has no interface to leave by",
        Direction::Out => {
            "no rule for what goes out is made of it: that did not come in through an interface"
        }
    }
}

const TOO_MUCH: &str = "chains that are entered from many places, RETURNs and several chains on one hook multiply: \
    take some out, and write them by hand";

/// Whether a comment can be the id of a rule.
fn is_id(comment: &str) -> bool {
    let allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '.' | '-');
    (1..=48).contains(&comment.len()) && comment.chars().all(allowed)
}
