//! Which rules a daemon starts with, compiled; nothing is changed yet.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};

use super::sets::Laid;
use crate::{
    config::{DEFAULT_RULES, Settings},
    dataplane::counters::pinned_rule_slot,
    fleet::{Fleet, ruleset::EtcdRules},
    outcome::InvalidInput,
    rules::{
        bundle::Bundle,
        compile::{CompiledRuleset, Sets, compile_with_sets},
        file::Position,
        model::Ruleset,
        sets::{self, SetFacts, SetTable},
    },
    slots::Slots,
    state::{
        Confirmation, EtcdDecision, Occasion, Plan, RulesetSource, State, plan_start, plan_start_before_etcd,
        store::Store,
    },
};

/// Everything that is to be put in force.
#[derive(Debug)]
pub struct Start {
    /// The rules, with what was changed of sets at runtime.
    pub rules: Rules,
    /// What was changed of sets at runtime.
    pub laid: Laid,
    /// Compiled with the slots of `slots`.
    pub compiled: CompiledRuleset,
    /// The book of slots with these rules in it.
    pub slots: Slots,
    /// The book as it was.
    pub slots_before: Slots,
    /// What is to be remembered.
    pub state: State,
    /// What was remembered.
    pub state_before: State,
    /// How long their confirmation is still waited for, if it is.
    pub confirm_within: Option<Duration>,
    /// Why these rules, in words.
    pub why: &'static str,
    /// Why other rules, which should have been preferred, were not.
    pub problems: Vec<String>,
}

/// Rules with their texts.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The texts.
    pub bundle: Bundle,
    /// Their hash.
    pub hash: String,
    /// What they say; in force, sets have the entries that they were given at runtime.
    pub ruleset: Ruleset,
    /// Where each set is given.
    pub set_places: BTreeMap<String, Position>,
}

impl Rules {
    /// Reads what texts say.
    ///
    /// # Errors
    /// [`InvalidInput`] with all that is wrong in them.
    pub fn new(bundle: Bundle) -> Result<Self> {
        let (ruleset, positions) = bundle.parse_with_positions().map_err(InvalidInput::from)?;
        Ok(Self { hash: bundle.hash(), bundle, ruleset, set_places: positions.sets })
    }

    /// Reads the rule files of `--rules`.
    ///
    /// # Errors
    /// As [`Rules::new`], and when they cannot be read.
    pub fn from_files(settings: &Settings) -> Result<Self> {
        read_files(settings).and_then(Self::new)
    }
}

/// Reads the texts of `--rules`.
///
/// # Errors
/// [`InvalidInput`] with what to do.
fn read_files(settings: &Settings) -> Result<Bundle> {
    let bundle = read_files_or_explain(&settings.rules, Path::new(DEFAULT_RULES))?;
    Ok(bundle.lenient(settings.lenient))
}

fn read_files_or_explain(path: &Path, default: &Path) -> Result<Bundle> {
    if path == default && !path.exists() {
        return Err(InvalidInput(format!(
            "there are no rules: name a file or folder with --rules PATH, or write rule files into \
             {} (the smallest one says: schema = 1)",
            default.display()
        ))
        .into());
    }
    Bundle::read(path)
}

/// The hash of the rule files of `--rules`, if they can be read.
pub fn files_hash(settings: &Settings) -> Option<String> {
    if settings.fleet.is_some() {
        return None;
    }
    read_files(settings).ok().map(|bundle| bundle.hash())
}

/// Chooses the rules, and compiles them.
///
/// # Errors
/// When neither the files nor an earlier decision give rules that can be used: why, for each of them.
pub fn prepare(store: &Store, settings: &Settings, unix_ms: u64) -> Result<Start> {
    let state_before = store.state()?;
    let files = read_files(settings);
    let files_hash = files.as_ref().ok().map(Bundle::hash);
    let plan = plan_start(&state_before, files_hash.as_deref(), unix_ms);
    choose(store, settings, unix_ms, state_before, &plan, Some(files))
}

/// The same where rules come from etcd, which is asked only if there are no others.
///
/// # Errors
/// As [`prepare`].
pub async fn prepare_before_etcd(
    fleet: &Fleet,
    store: &Store,
    settings: &Settings,
    unix_ms: u64,
) -> Result<Start> {
    let state = store.state()?;
    let plan = plan_start_before_etcd(&state, unix_ms);
    let mut problem = None;
    if state.in_force.is_some() {
        match choose(store, settings, unix_ms, state.clone(), &plan, None) {
            Ok(start) => return Ok(start),
            Err(error) => problem = Some(format!("{error:#}")),
        }
    }
    let read = fleet.read().await;
    let read = match problem {
        Some(problem) => read.context(problem),
        None => read,
    };
    let EtcdRules { bundle, revision } = read?;
    let bundle = bundle.lenient(settings.lenient);
    let decision = EtcdDecision { hash: bundle.hash(), revision, refused: None };
    let mut start = choose(store, settings, unix_ms, state, &plan, Some(Ok(bundle)))?;
    start.state.etcd = Some(decision);
    Ok(start)
}

fn choose(
    store: &Store,
    settings: &Settings,
    unix_ms: u64,
    state_before: State,
    plan: &Plan,
    files: Option<Result<Bundle>>,
) -> Result<Start> {
    let slots_before = Slots::load(&store.slots())?;
    let files_hash = match &files {
        Some(Ok(bundle)) if settings.fleet.is_none() => Some(bundle.hash()),
        _ => None,
    };
    let mut files = files;
    let mut problems: Vec<anyhow::Error> = Vec::new();
    if let (Some(Err(error)), false) = (&files, plan.sources.contains(&RulesetSource::Files)) {
        problems.push(anyhow!("{error:#}"));
    }
    for source in &plan.sources {
        let bundle = match source {
            RulesetSource::Files => {
                files.take().unwrap_or_else(|| Err(anyhow!("there are no other rules to be tried")))
            }
            RulesetSource::Store(hash) => store.ruleset(hash),
        };
        let mut slots = slots_before.clone();
        let used = bundle.and_then(Rules::new).and_then(|mut rules| {
            let laid = Laid::from_store(store, &mut rules.ruleset)?;
            let counted = |slot| pinned_rule_slot(&settings.pins, slot);
            let compiled = compile_with(&mut slots, &rules.ruleset, &settings.interfaces, &counted, None)?;
            Ok((rules, laid, compiled))
        });
        match used {
            Ok((rules, laid, compiled)) => {
                let by = match plan.confirmation {
                    Confirmation::TooLate => "start, after a confirmation that did not come",
                    Confirmation::Left(_) | Confirmation::NotWaited => "start",
                };
                let occasion = Occasion { by, unix_ms, files: files_hash };
                let state = plan
                    .carried_out(&state_before, source, &rules.hash, &occasion)
                    .map_err(|conflict| anyhow!(conflict.0))?;
                let confirm_within = state.pending.as_ref().and_then(|pending| pending.left(unix_ms));
                return Ok(Start {
                    rules,
                    laid,
                    compiled,
                    slots,
                    slots_before,
                    state,
                    state_before,
                    confirm_within,
                    why: if problems.is_empty() { plan.why } else { "the rules before them cannot be used" },
                    problems: problems.iter().map(|problem| format!("{problem:#}")).collect(),
                });
            }
            Err(error) => problems.push(error),
        }
    }
    let mut problems = problems.into_iter();
    let first = problems.next().unwrap_or_else(|| anyhow!("there are no rules"));
    Err(problems.fold(first, |error, next| error.context(format!("{next:#}"))))
}

/// Gives the rules their counter slots, and compiles them. The table of sets in force is kept where it says the
/// same.
///
/// # Errors
/// [`InvalidInput`]: says what there is too much of.
pub fn compile_with(
    slots: &mut Slots,
    ruleset: &Ruleset,
    interfaces: &[String],
    counted: &dyn Fn(u32) -> Result<foobar_common::counters::Counter>,
    sets_in_force: Option<Arc<SetFacts>>,
) -> Result<CompiledRuleset> {
    let assigned = slots
        .assign(ruleset, interfaces, counted)
        .context("give every rule, service and interface a counter")?;
    let compiled = sets_for(ruleset, sets_in_force)
        .and_then(|sets| compile_with_sets(ruleset, &assigned, sets))
        .map_err(|error| InvalidInput(format!("compile the rules: {error:#}")))?;
    Ok(compiled)
}

fn sets_for(ruleset: &Ruleset, in_force: Option<Arc<SetFacts>>) -> Result<Sets> {
    let is_same = |facts: &Arc<SetFacts>| facts.digest == sets::digest(&sets::named_sets(ruleset));
    match in_force.filter(is_same) {
        Some(facts) => Ok(Sets::Kept(facts)),
        None => Ok(Sets::New(Arc::new(SetTable::build(&sets::named_sets(ruleset))?))),
    }
}

#[cfg(test)]
mod tests;
