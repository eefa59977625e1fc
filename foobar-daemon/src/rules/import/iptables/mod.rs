//! What iptables-save prints, and pieces of it: ufw's files, and the commands that `iptables -S` prints. Lines of
//! `ipset save` may stand in the same file.

mod ipset;
mod matches;
mod rule;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use foobar_common::{
    flow::{Direction, Family},
    verdict::Verdict,
};

use self::{ipset::Sets, words::words};
use super::{
    conditions::Conditions,
    firewall::{Chain, Firewall, Hook, Statement},
    language,
    report::{Problem, Report},
};

/// Reads the text.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Result<Firewall, Problem> {
    let mut reader = Reader {
        family: family(text),
        table: "filter".to_owned(),
        policies: BTreeMap::new(),
        firewall: Firewall::default(),
        sets: Sets::default(),
        has_tables: false,
    };
    for (index, line) in text.lines().enumerate() {
        reader.line(index + 1, line.trim(), report)?;
    }
    if !reader.has_tables {
        let message = "there is no rule of iptables in it; give what iptables-save prints";
        return Err(Problem::new(0, message));
    }
    Ok(reader.firewall(report))
}

struct Reader {
    family: Family,
    table: String,
    /// Of the built-in chains of the filter table: the line that says the policy, and the policy.
    policies: BTreeMap<String, (usize, Verdict)>,
    firewall: Firewall,
    sets: Sets,
    has_tables: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str, report: &mut Report<'_>) -> Result<(), Problem> {
        let no_line =
            || Problem::new(number, "this is no line of iptables-save; give what iptables-save prints");
        if line.is_empty() || line.starts_with('#') || line == "COMMIT" {
            return Ok(());
        }
        if let Some(table) = line.strip_prefix('*') {
            self.has_tables = true;
            table.trim().clone_into(&mut self.table);
            return Ok(());
        }
        // Counters in front, as iptables-save --counters prints them.
        let line = match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((_, rest)) => rest.trim_start(),
            None => line,
        };
        let words = words(line).map_err(|message| Problem::new(number, message))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            [chain, policy, ..] if chain.starts_with(':') => {
                self.chain(number, &chain[1..], policy, report);
            }
            ["-P" | "--policy", chain, policy, ..] => {
                self.has_tables = true;
                self.chain(number, chain, policy, report);
            }
            ["-N" | "--new-chain", chain] => {
                self.has_tables = true;
                self.chain(number, chain, "-", report);
            }
            ["-A" | "--append", chain, ref rest @ ..] => {
                self.has_tables = true;
                self.rule(number, chain, rest, report);
            }
            ["-F" | "-X" | "-Z" | "--flush" | "--delete-chain" | "--zero", ..] => {}
            [option, ..] if option.starts_with('-') => {
                report.refuse(
                    number,
                    format!("{option} changes rules that are there; give what iptables-save prints"),
                );
            }
            ["create" | "add", ..] => {
                if !self.sets.read(number, &words, report) {
                    return Err(no_line());
                }
            }
            _ => return Err(no_line()),
        }
        Ok(())
    }

    fn chain(&mut self, number: usize, name: &str, policy: &str, report: &mut Report<'_>) {
        if self.table != "filter" {
            if policy == "DROP" {
                report.refuse(number, self.other_table());
            }
            return;
        }
        self.firewall.chains.entry(name.to_owned()).or_insert_with(|| Chain::new(name));
        let policy = match policy {
            "ACCEPT" => Verdict::Accept,
            "DROP" => Verdict::Drop,
            _ => return,
        };
        self.policies.insert(name.to_owned(), (number, policy));
    }

    fn rule(&mut self, number: usize, chain: &str, words: &[&str], report: &mut Report<'_>) {
        if self.table != "filter" {
            report.refuse(number, self.other_table());
            return;
        }
        let statement = rule::read(number, words, self.family, &mut self.sets);
        let chain = self.firewall.chains.entry(chain.to_owned()).or_insert_with(|| Chain::new(chain));
        chain.statements.push(statement);
    }

    fn other_table(&self) -> String {
        format!("it is in the table {:?}, and only rules of the table filter are imported", self.table)
    }

    /// Finds out where packets enter the chains.
    fn firewall(mut self, report: &mut Report<'_>) -> Firewall {
        let is_whole = BUILT_IN.iter().any(|(_, chain, _)| self.firewall.chains.contains_key(*chain));
        if !is_whole {
            self.join_pieces(report);
        }
        for (direction, chain, _) in BUILT_IN {
            self.hook(direction, chain);
        }
        self.firewall.elsewhere.push(("FORWARD".to_owned(), language::FORWARD.to_owned()));
        if let Some((line, Verdict::Drop)) = self.policies.get("FORWARD") {
            report.change(*line, language::FORWARD);
        }
        self.firewall.fragment = !is_whole;
        self.firewall.sets = self.sets.finish(report);
        self.firewall
    }

    /// A chain that is built in, if it is there.
    fn hook(&mut self, direction: Direction, chain: &str) {
        if !self.firewall.chains.contains_key(chain) {
            return;
        }
        let (line, policy) = self.policies.get(chain).copied().unwrap_or((1, Verdict::Accept));
        let conditions = Conditions::of_family(self.family);
        self.firewall.hooks.push(Hook { line, direction, chain: chain.to_owned(), conditions, policy });
    }

    /// ufw's files are pieces: what leads to their chains is elsewhere.
    fn join_pieces(&mut self, report: &mut Report<'_>) {
        for (_, built_in, ending) in BUILT_IN {
            let mut joined = Chain::new(ending);
            let mut pieces: Vec<(usize, &String)> = Vec::new();
            let targets: BTreeSet<&str> = self.firewall.chains.values().flat_map(Chain::targets).collect();
            for (name, chain) in &self.firewall.chains {
                if let (Some(first), Some(last)) = (chain.statements.first(), name.rsplit('-').next())
                    && last == ending
                    && !targets.contains(name.as_str())
                {
                    pieces.push((first.line, name));
                }
            }
            pieces.sort();
            for (line, name) in pieces {
                let why = format!(
                    "the chain {name:?} is taken as one that {built_in} leads to, in the order of the file; what else \
                     {built_in} does, and its policy, is not in this file"
                );
                report.change(line, why);
                joined.statements.push(Statement::jump(line, name));
            }
            self.firewall.chains.insert(built_in.to_owned(), joined);
        }
        for name in self.firewall.chains.keys().filter(|name| name.ends_with("-forward")) {
            self.firewall.elsewhere.push((name.clone(), language::FORWARD.to_owned()));
        }
    }
}

/// The chains that packets meet by themselves, and how the names of ufw's pieces of them end.
const BUILT_IN: [(Direction, &str, &str); 2] =
    [(Direction::In, "INPUT", "input"), (Direction::Out, "OUTPUT", "output")];

/// The IP version of the rules, which nothing says plainly.
fn family(text: &str) -> Family {
    let is_v6 = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let option = |pair: &[&str]| match pair {
            ["-p", name] => ["icmpv6", "ipv6-icmp"].contains(name),
            ["-s" | "-d", address] => address.contains(':'),
            ["--icmpv6-type", _] | ["-A", "ufw6-before-input" | "ufw6-after-input" | "ufw6-user-input"] => {
                true
            }
            ["--reject-with", answer] => answer.starts_with("icmp6-"),
            _ => false,
        };
        line.starts_with('#') && line.contains("ip6tables") || words.windows(2).any(option)
    };
    if text.lines().any(is_v6) { Family::V6 } else { Family::V4 }
}
