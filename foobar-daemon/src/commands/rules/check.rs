//! `foobar rules check`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::json;

use crate::{
    env::Env,
    outcome::{InvalidInput, Outcome},
    patience::with_signs,
    rules::{
        bundle::Bundle,
        check::{self, Finding, Kind, Severity, SshSession, Subject},
        file::{Position, Positions},
        model::Ruleset,
        sets::masked_words,
    },
};

/// More findings than these are counted, not shown, to people.
const SHOWN_MAX: usize = 200;

/// Flags of `foobar rules check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in the order of their names as one
    pub path: PathBuf,
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
        Ok(bundle) => bundle.lenient(args.lenient),
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
    let findings = with_signs(&format!("checking {}", counted(ruleset.rules.len(), "rule")), || {
        check::check(&ruleset, session)
    });
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
            "masked": ruleset.sets.values().map(|set| set.masked).sum::<usize>(),
        });
        writeln!(env.out, "{report}")?;
        return Ok(Outcome::Done);
    }
    // A warning is not to be lost among notes.
    let (warnings, notes): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| finding.severity == Severity::Warning);
    let is_much = findings.len() > SHOWN_MAX;
    let in_order = if is_much { [warnings, notes].concat() } else { findings.iter().collect() };
    for finding in in_order.iter().take(SHOWN_MAX) {
        writeln!(env.out, "{}", finding_text(finding, &positions, &path))?;
    }
    if is_much {
        writeln!(env.out, "… and {} more (all with --json)", findings.len() - SHOWN_MAX)?;
    }
    for masked in masked_words(&ruleset) {
        writeln!(env.out, "{path}: note: {masked}")?;
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
    let undecided = match findings.iter().filter(|finding| finding.kind == Kind::Undecided).count() {
        0 => String::new(),
        rules => format!(" ({} undecided)", counted(rules, "rule")),
    };
    format!("{}; {found}{undecided}", read.join(", "))
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::outcome;

    /// Exit code, stdout and stderr of the command on this text, in this session.
    fn check(text: &str, json: bool, session: Option<&SshSession>) -> (u8, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.toml");
        fs::write(&path, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut env = Env { out: &mut out, err: &mut err, color: false, now: SystemTime::now };
        let (code, said) = match run_in(&Args { path, lenient: false, json }, session, &mut env) {
            Ok(outcome) => (outcome.exit_code(), String::new()),
            Err(error) => (outcome::exit_code(&error), format!("{error:#}")),
        };
        let folder = folder.path().display().to_string();
        let plain = |text: String| text.replace(&format!("{folder}/"), "");
        (code, plain(String::from_utf8(out).unwrap()), plain(said))
    }

    const USELESS: &str =
        "schema = 1\n[[rule]]\nid = \"a\"\naction = \"accept\"\n[[rule]]\nid = \"b\"\naction = \"drop\"\n";

    #[test]
    fn findings_are_no_error() {
        let (code, out, err) = check(USELESS, false, None);
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!(
            out,
            "rules.toml:6:6: warning: rule b: every packet that it matches is decided before it, by rule a, and \
             gets the opposite of its verdict: drop\n   = put the rule before rule a, or leave it out\n\
             rules.toml: 2 rules, 0 sets, 0 services; 1 warning\n"
        );
        let (code, out, _) = check("schema = 1\n", false, None);
        assert_eq!((code, out.as_str()), (0, "rules.toml: 0 rules, 0 sets, 0 services; nothing to remark\n"));
    }

    #[test]
    fn many_findings_are_counted_for_people() {
        let rule = |number| format!("[[rule]]\nid = \"r{number}\"\naction = \"drop\"\n");
        let text = format!("schema = 1\n{}", (0..=201).map(rule).collect::<String>());
        let (code, out, _) = check(&text, false, None);
        assert_eq!(code, 0);
        assert_eq!(out.lines().count(), 2 * SHOWN_MAX + 2);
        let end = "… and 1 more (all with --json)\nrules.toml: 202 rules, 0 sets, 0 services; 201 warnings\n";
        assert!(out.ends_with(end), "{out}");
        let (_, out, _) = check(&text, true, None);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["findings"].as_array().unwrap().len(), 201);
    }

    #[test]
    fn errors_are_exit_code_2() {
        let (code, out, err) = check("schema = 1\nx = 1\n", false, None);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(
            err.starts_with("rules.toml:2:1: the file has no key \"x\"\n 2 | x = 1\n   | ^\n   = "),
            "{err}"
        );

        let (code, out, err) = check("schema = 1\nx = 1\n", true, None);
        assert_eq!((code, err.as_str()), (2, "check rules.toml: 1 error in it"));
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["valid"], false);
        assert_eq!((&report["errors"][0]["line"], &report["errors"][0]["column"]), (&json!(2), &json!(1)));
    }

    #[test]
    fn json_has_everything_with_its_place() {
        let session = SshSession::from_environment(|name| {
            (name == "SSH_CONNECTION").then(|| "203.0.113.7 5 192.0.2.1 22".to_owned())
        });
        let (code, out, _) = check(&USELESS.replace("accept", "drop"), true, session.as_ref());
        assert_eq!(code, 0);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["hash"].as_str().unwrap().len(), 64);
        assert_eq!((&report["valid"], &report["rules"]), (&json!(true), &json!(2)));
        let kinds: Vec<_> = report["findings"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
        assert_eq!(kinds, [&json!("lock_out"), &json!("shadowed")]);
        let shadowed = &report["findings"][1];
        assert_eq!(
            (&shadowed["rule"], &shadowed["line"], &shadowed["file"]),
            (&json!("b"), &json!(6), &json!("rules.toml"))
        );
    }
}
