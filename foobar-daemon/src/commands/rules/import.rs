//! `foobar rules import`.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    env::Env,
    outcome::{InvalidInput, Outcome},
    rules::{
        bundle::RULE_FILE_MAX,
        import::{self, Format, Import, Remark},
    },
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Say rules of iptables or nftables in the rule language. The rule file goes to stdout. What \
     cannot be said, and what is said with another meaning, goes to stderr, each with its line and why; \
     nothing is left out in silence. Rules keep their order, and chains become one list of rules.\n\nOf \
     iptables the table filter is read with the chains INPUT and OUTPUT, of nftables the chains on the \
     hooks input, output, ingress and egress, both with all chains that these lead to. rules/README.md tells what carries over.";

/// Flags of `foobar rules import`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  From this machine's rules to rules in force:\n    nft list ruleset | foobar rules \
                       import --from nftables - > new.toml\n    foobar rules check new.toml\n    foobar rules apply \
                       new.toml --confirm-within 60s\n\n  IPv4 and IPv6 apart, with the sets:\n    (ipset save; \
                       iptables-save) | foobar rules import --from iptables - > v4.toml\n    ip6tables-save | foobar \
                       rules import --from iptables - > v6.toml\n\n  What is said of a line:\n    rules.v4:7: refused: \
                       state is not enforced by this version yet; …\n     7 | -A INPUT -m state --state ESTABLISHED -j \
                       ACCEPT\n\nExit codes: 0 everything is said; 2 the input is not of this format; 3 something is \
                       refused (0 with --partial)."
)]
pub struct Args {
    /// Whose rules they are
    #[arg(long, value_name = "FORMAT")]
    pub from: Format,
    /// The file with the rules, or - for stdin
    pub file: PathBuf,
    /// Exit with 0 even if something is refused
    #[arg(long)]
    pub partial: bool,
    /// Print JSON: said, changed, refused, toml
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit code 2 for input that cannot be read, or is not of the format.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let name = if is_stdin(&args.file) { "stdin".to_owned() } else { args.file.display().to_string() };
    let text = text(&args.file).map_err(|cause| InvalidInput(format!("read {name}: {cause}")))?;
    let format = args.from;
    let import = import::import(format, &text).map_err(|problem| {
        InvalidInput(format!("import {name} as rules of {}: {problem}", format.label()))
    })?;
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string(&import)?)?;
    } else {
        env.out.write_all(import.toml.as_bytes())?;
        tell(&name, &import, env)?;
    }
    let is_whole = import.refused.is_empty() || args.partial;
    Ok(if is_whole { Outcome::Done } else { Outcome::Partly })
}

/// Says what became of the lines, in their order.
fn tell(name: &str, import: &Import, env: &mut Env<'_>) -> io::Result<()> {
    let Import { said, changed, refused, toml: _ } = import;
    let mut remarks: Vec<(&Remark, &str)> = changed.iter().map(|remark| (remark, "changed")).collect();
    remarks.extend(refused.iter().map(|remark| (remark, "refused")));
    remarks.sort_by_key(|(remark, _)| remark.line);
    for (Remark { line, text, why }, word) in remarks {
        writeln!(env.err, "{name}:{line}: {word}: {why}\n {line} | {text}")?;
    }
    let lines = if *said == 1 { "line" } else { "lines" };
    writeln!(env.err, "{name}: {said} {lines} said, {} changed, {} refused", changed.len(), refused.len())
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn text(file: &Path) -> Result<String, String> {
    let source: Box<dyn Read> = if is_stdin(file) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(fs::File::open(file).map_err(|error| error.to_string())?)
    };
    let mut bytes = Vec::new();
    source.take(RULE_FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > RULE_FILE_MAX {
        return Err(format!("it is longer than {RULE_FILE_MAX} bytes; that cannot be meant as rules"));
    }
    String::from_utf8(bytes).map_err(|error| format!("{error}; save the file as UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::outcome;

    const RULES: &str = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n\
        -A INPUT -m limit --limit 5/s -j ACCEPT\n-A INPUT -j REJECT\nCOMMIT\n";

    /// Exit code, stdout and stderr of the command on this text.
    fn import(text: &str, partial: bool, json: bool) -> (u8, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules.v4");
        fs::write(&file, text).unwrap();
        let args = Args { from: Format::Iptables, file, partial, json };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut env = Env { out: &mut out, err: &mut err, color: false, now: SystemTime::now };
        let (code, error) = match run(&args, &mut env) {
            Ok(outcome) => (outcome.exit_code(), String::new()),
            Err(error) => (outcome::exit_code(&error), format!("{error:#}")),
        };
        let folder = format!("{}/", folder.path().display());
        let err = (String::from_utf8(err).unwrap() + &error).replace(&folder, "");
        (code, String::from_utf8(out).unwrap(), err)
    }

    #[test]
    fn the_rule_file_and_the_remarks_are_apart() {
        let (code, out, err) = import(RULES, false, false);
        assert_eq!(code, 3, "{err}");
        assert!(out.starts_with("# Made by `foobar rules import --from iptables`.\nschema = 1\n"), "{out}");
        assert!(out.contains("[policy]\nin = \"drop\"\n") && out.contains("id = \"input-3\""), "{out}");
        let lines: Vec<&str> = err.lines().collect();
        assert!(
            lines.iter().any(|line| line.starts_with("rules.v4:4: refused: what is over this limit")),
            "{err}"
        );
        assert!(lines.contains(&" 4 | -A INPUT -m limit --limit 5/s -j ACCEPT"), "{err}");
        assert!(lines.iter().any(|line| line.starts_with("rules.v4:5: changed: what is rejected")), "{err}");
        assert_eq!(lines.last(), Some(&"rules.v4: 2 lines said, 3 changed, 1 refused"));
        assert_eq!(import(RULES, true, false).0, 0);
    }

    #[test]
    fn json_has_the_same() {
        let (code, out, err) = import(RULES, false, true);
        assert_eq!((code, err.as_str()), (3, ""));
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["said"], 2);
        assert_eq!(report["refused"][0]["line"], 4);
        assert_eq!(report["refused"][0]["text"], "-A INPUT -m limit --limit 5/s -j ACCEPT");
        assert_eq!(report["toml"].as_str(), Some(import(RULES, false, false).1.as_str()));
    }

    #[test]
    fn input_of_another_kind_is_exit_code_2() {
        for (text, words) in [
            ("", "there is no rule of iptables in it"),
            ("table inet filter {\n}\n", "line 1: this is no line of iptables-save"),
            ("*filter\n-A INPUT --comment \"x\nCOMMIT\n", "line 2: a quote is not closed"),
        ] {
            let (code, out, err) = import(text, true, false);
            assert_eq!((code, out.as_str()), (2, ""), "{text}: {err}");
            assert!(err.contains(words), "{text}: {err}");
        }
    }
}
