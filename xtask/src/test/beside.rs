//! Running test programs side by side: most tests wait for timers and for real programs to start, so that one program
//! after another leaves the processors idle.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    built::{Built, PACKAGES, Program},
    command::{cargo, print, say},
    workspace,
};

/// What measures time, or takes all the time that it can get, and so runs when nothing else does.
const ALONE: [&str; 4] = ["tests/bench", "tests/in_the_lab", "tests/syn_cookies", "tests/top"];

/// What takes longest, first of all, so that nothing long is left at the end; what waits and what computes in turns.
const FIRST: [&str; 8] = [
    "tests/reconcile",
    "tests/sets",
    "tests/page",
    "tests/tracking",
    "tests/fleet",
    "foobar-daemon/foobar_daemon",
    "tests/push",
    "tests/agreement_at_size",
];

/// How long a program may have taken to be named at the end.
const WORTH_NAMING: f64 = 10.0;

/// One run of a program that tests.
struct Job {
    name: String,
    command: Command,
}

/// How a job went.
struct Outcome {
    name: String,
    passed: bool,
    seconds: f64,
    /// Everything that it said.
    said: String,
}

/// Runs every test program of the workspace, and the examples in the documentation.
///
/// # Errors
/// Names those that failed, after showing once more what they said.
pub(super) fn run(built: &Built, is_long: bool) -> Result<()> {
    let foobar = built.program("foobar-daemon/foobar")?;
    let logs = workspace::private("tests")?;
    let (beside, alone) = in_order(built.list().into_iter().filter(|program| program.is_test).collect())?;
    let prepared = |name: String, mut command: Command| {
        command.env("FOOBAR_BIN", &foobar);
        if is_long {
            command.env("FOOBAR_LONG", "1");
        }
        Job { name, command }
    };
    let job = |Program { name, folder, path, .. }: Program| {
        let mut command = Command::new(path);
        // As cargo runs it.
        command.current_dir(&folder).env("CARGO_MANIFEST_DIR", folder);
        prepared(name, command)
    };
    let mut examples = cargo(["test", "--quiet", "--doc"]);
    examples.args(PACKAGES);
    let examples = prepared("examples".to_owned(), examples);
    let at_a_time = thread::available_parallelism().context("count the processors")?.get() + 1;
    let mut outcomes = all(beside.into_iter().map(job).chain([examples]).collect(), at_a_time, &logs)?;
    outcomes.extend(all(alone.into_iter().map(job).collect(), 1, &logs)?);
    conclude(outcomes)
}

/// What runs side by side, the longest first, and what runs alone.
fn in_order(programs: Vec<Program>) -> Result<(Vec<Program>, Vec<Program>)> {
    for name in ALONE.iter().chain(&FIRST) {
        if !programs.iter().any(|program| program.name == *name) {
            bail!("{name} is no test program any more: name another one in xtask/src/test/beside.rs");
        }
    }
    let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let (alone, mut beside): (Vec<Program>, Vec<Program>) =
        programs.into_iter().partition(|program| ALONE.contains(&program.name.as_str()));
    beside.sort_by_key(|program| place(&program.name));
    Ok((beside, alone))
}

/// Runs jobs in this order, so many at a time.
fn all(jobs: Vec<Job>, at_a_time: usize, logs: &Path) -> Result<Vec<Outcome>> {
    let waiting = Mutex::new(jobs.into_iter());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(job) = next else { break };
                    let outcome = one(job, logs);
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Ok(outcome) = &outcome {
                        outcome.show();
                    }
                    outcomes.push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}

/// Runs a job to its end. What it says goes to a file, both streams in one order.
fn one(mut job: Job, logs: &Path) -> Result<Outcome> {
    let path = logs.join(format!("{}.txt", job.name.replace('/', "-")));
    let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let start = Instant::now();
    let status = job
        .command
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log")?)
        .stderr(log)
        .status()
        .with_context(|| format!("start {}", job.name))?;
    let seconds = start.elapsed().as_secs_f64();
    let said = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let mut said = String::from_utf8_lossy(&said).into_owned();
    if status.code().is_none() {
        said.extend(["ended by ", &status.to_string(), "\n"]);
    }
    Ok(Outcome { name: job.name, passed: status.success(), seconds, said })
}

impl Outcome {
    fn show(&self) {
        print(&format!("==== {} ({:.1} s)\n{}", self.name, self.seconds, self.said.trim_end()));
    }
}

/// Tells what took long, and what failed.
fn conclude(mut outcomes: Vec<Outcome>) -> Result<()> {
    outcomes.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
        outcome.show();
    }
    let long = outcomes.iter().take_while(|outcome| outcome.seconds > WORTH_NAMING);
    let long: Vec<String> =
        long.map(|outcome| format!("{} {:.0} s", outcome.name, outcome.seconds)).collect();
    say(&format!("tests: {} programs; the longest: {}", outcomes.len(), long.join(", ")));
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.passed).map(|outcome| outcome.name.as_str()).collect();
    if !failed.is_empty() {
        bail!("failed: {}; target/tests has all that was said", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, script: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Job { name: name.to_owned(), command }
    }

    #[test]
    fn all_run_and_those_that_fail_are_named() {
        let logs = workspace::private("tests/of-this").expect("a folder");
        let script = "echo one; echo two >&2; echo three; exit";
        let jobs = vec![
            job("good", &format!("{script} 0")),
            job("bad", &format!("{script} 3")),
            job("ended", "kill -9 $$"),
        ];
        let mut outcomes = all(jobs, 2, &logs).expect("all run");
        outcomes.sort_by(|one, other| one.name.cmp(&other.name));
        let passed: Vec<_> = outcomes.iter().map(|outcome| (&*outcome.name, outcome.passed)).collect();
        assert_eq!(passed, [("bad", false), ("ended", false), ("good", true)]);
        assert_eq!(outcomes[0].said, "one\ntwo\nthree\n");
        assert!(outcomes[1].said.contains("SIGKILL"), "{}", outcomes[1].said);
        let error = conclude(outcomes).expect_err("two failed").to_string();
        assert!(error.contains("bad") && error.contains("ended") && !error.contains("good"), "{error}");
    }

    #[test]
    fn the_longest_come_first_and_some_alone() {
        let program = |name: &str| Program {
            name: name.to_owned(),
            folder: "/".into(),
            path: "/".into(),
            is_test: true,
        };
        let names = |programs: &[Program]| programs.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        let all = || ["tests/short"].iter().chain(&ALONE).chain(FIRST.iter().rev()).map(|name| program(name));
        let (beside, alone) = in_order(all().collect()).expect("all there");
        assert_eq!(names(&beside), [&FIRST[..], &["tests/short"]].concat());
        assert_eq!(names(&alone), ALONE);
        assert!(in_order(all().skip(2).collect()).is_err(), "one is missing");
    }
}
