//! `foobar rules check`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::json;

use crate::{
    env::Env,
    outcome::{InvalidInput, Outcome},
    rules::{
        bundle::Bundle,
        check::{self, Finding, Severity, SshSession, Subject},
        file::{Position, Positions},
        model::Ruleset,
    },
};

/// Flags of `foobar rules check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in the order of their names as one
    pub path: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit code 2 for rules that cannot be read; findings alone are no error.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    run_in(args, ssh_session().as_ref(), env)
}

/// Runs the command inside of this SSH session, if any.
///
/// # Errors
/// As [`run`].
pub fn run_in(args: &Args, session: Option<&SshSession>, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let path = args.path.display().to_string();
    let bundle = match Bundle::read(&args.path) {
        Ok(bundle) => bundle,
        Err(error) => {
            if args.json {
                let errors = [json!({ "file": path, "message": format!("{error:#}") })];
                writeln!(env.out, "{}", json!({ "valid": false, "errors": errors, "findings": [] }))?;
            }
            return Err(error);
        }
    };
    let (ruleset, positions) = match bundle.parse_with_positions() {
        Ok(read) => read,
        Err(errors) if args.json => {
            let report = json!({ "valid": false, "errors": errors.errors(), "findings": [] });
            writeln!(env.out, "{report}")?;
            return Err(
                InvalidInput(format!("check {path}: {} in it", counted(errors.count(), "error"))).into()
            );
        }
        Err(errors) => return Err(errors.into()),
    };
    let findings = check::check(&ruleset, session);
    if args.json {
        let findings: Vec<_> = findings.iter().map(|finding| finding_json(finding, &positions)).collect();
        let report = json!({
            "valid": true,
            "errors": [],
            "findings": findings,
            "hash": bundle.hash(),
            "rules": ruleset.rules.len(),
            "sets": ruleset.sets.len(),
            "services": ruleset.services.len(),
        });
        writeln!(env.out, "{report}")?;
        return Ok(Outcome::Done);
    }
    for finding in &findings {
        writeln!(env.out, "{}", finding_text(finding, &positions, &path))?;
    }
    writeln!(env.out, "{path}: {}", summary(&ruleset, &findings))?;
    Ok(Outcome::Done)
}

/// The SSH session that this process runs in. sudo takes the variables away, so those of the processes above
/// this one are asked too, as far as the kernel shows them.
pub fn ssh_session() -> Option<SshSession> {
    let own = SshSession::from_environment(|name| std::env::var(name).ok());
    own.or_else(|| {
        let mut process = parent_of("self")?;
        // A login is a handful of processes up; the bound is for what cannot happen.
        for _ in 0..32 {
            if let Some(session) = session_of(&process) {
                return Some(session);
            }
            process = parent_of(&process)?;
        }
        None
    })
}

/// The number of the process above this one (proc(5), /proc/PID/status).
fn parent_of(process: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Some(line.trim().to_owned()).filter(|parent| parent != "0")
}

/// What another process has in its environment (proc(5), /proc/PID/environ).
fn session_of(process: &str) -> Option<SshSession> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let text = String::from_utf8_lossy(&environment);
    let variables: BTreeMap<&str, &str> =
        text.split('\0').filter_map(|variable| variable.split_once('=')).collect();
    SshSession::from_environment(|name| variables.get(name).map(|value| (*value).to_owned()))
}

/// A finding for people: place, severity, subject, message and what to do. `path` stands for what has no place.
pub fn finding_text(finding: &Finding, positions: &Positions, path: &str) -> String {
    let Finding { severity, kind: _, subject, message, help } = finding;
    let place = match position(subject, positions) {
        Some(Position { file, line, column }) => format!("{file}:{line}:{column}"),
        None => path.to_owned(),
    };
    let severity = match severity {
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let subject = match subject {
        Subject::Rule(id) => format!("rule {id}"),
        Subject::Service(name) => format!("service {name}"),
        Subject::Set(name) => format!("set {name}"),
        Subject::Key(key) => (*key).to_owned(),
    };
    format!("{place}: {severity}: {subject}: {message}\n   = {help}")
}

fn finding_json(finding: &Finding, positions: &Positions) -> serde_json::Value {
    let place = position(&finding.subject, positions)
        .map(|Position { file, line, column }| json!({ "file": file, "line": line, "column": column }));
    let mut value = json!(finding);
    if let (Some(serde_json::Value::Object(place)), serde_json::Value::Object(fields)) = (place, &mut value) {
        fields.extend(place);
    }
    value
}

fn position<'p>(subject: &Subject, positions: &'p Positions) -> Option<&'p Position> {
    match subject {
        Subject::Rule(id) => positions.rules.get(id),
        Subject::Service(name) => positions.services.get(name),
        Subject::Set(name) => positions.sets.get(name),
        Subject::Key(_) => None,
    }
}

fn summary(ruleset: &Ruleset, findings: &[Finding]) -> String {
    let count = |wanted| findings.iter().filter(|finding| finding.severity == wanted).count();
    let read = [
        counted(ruleset.rules.len(), "rule"),
        counted(ruleset.sets.len(), "set"),
        counted(ruleset.services.len(), "service"),
    ];
    let found = match (count(Severity::Warning), count(Severity::Note)) {
        (0, 0) => "nothing to remark".to_owned(),
        (warnings, 0) => counted(warnings, "warning"),
        (0, notes) => counted(notes, "note"),
        (warnings, notes) => format!("{}, {}", counted(warnings, "warning"), counted(notes, "note")),
    };
    format!("{}; {found}", read.join(", "))
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
