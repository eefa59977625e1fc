//! One rule: matches, then the target.

use foobar_common::flow::Family;

use super::{
    super::{
        alternatives,
        firewall::{Action, Statement},
        language,
    },
    ipset::Sets,
    matches::Matches,
};

/// Reads what stands behind `-A CHAIN`.
pub(super) fn read(line: usize, words: &[&str], family: Family, sets: &mut Sets) -> Statement {
    let mut options = Options { words, negated: false };
    let mut matches = Matches::new(line, family, sets);
    let mut target = Target::None;
    let mut refusal = None;
    let mut resets = false;
    while let Some(option) = options.next() {
        let read = match option {
            "-j" | "--jump" => options.value().map(|name| target = Target::Jump(name)),
            "-g" | "--goto" => options.value().map(|name| target = Target::Goto(name)),
            // What a rejection answers.
            "--reject-with" => options.value().map(|kind| resets = kind == "tcp-reset"),
            // What a log line looks like.
            _ if option.starts_with("--log-") || option.starts_with("--nflog-") => {
                options.skip_values();
                Ok(())
            }
            "-c" | "--set-counters" => options.value().and_then(|_| options.value()).map(|_| ()),
            _ => matches.option(option, &mut options),
        };
        if let Err(why) = read {
            // The first reason is the cause of others. The target is still of use.
            refusal.get_or_insert(why);
            options.skip_values();
        }
    }
    let Matches { conditions, comment, .. } = matches;
    let mut changes = Vec::new();
    let action = target.action(resets, &mut changes);
    let conditions = match refusal {
        Some(why) => Err(why),
        None => alternatives::all(&conditions, &mut changes),
    };
    Statement { line, comment, conditions, action, changes }
}

/// The options of a rule, one after the other.
pub(super) struct Options<'w> {
    words: &'w [&'w str],
    /// Whether a `!` stands in front of the option.
    pub(super) negated: bool,
}

impl<'w> Options<'w> {
    fn next(&mut self) -> Option<&'w str> {
        self.negated = false;
        while let [word, rest @ ..] = self.words {
            self.words = rest;
            if *word != "!" {
                return Some(word);
            }
            self.negated = true;
        }
        None
    }

    /// The value of the option.
    pub(super) fn value(&mut self) -> Result<&'w str, String> {
        let [value, rest @ ..] = self.words else {
            return Err("a value is missing at the end".to_owned());
        };
        self.words = rest;
        Ok(value)
    }

    /// Goes on to the next option.
    fn skip_values(&mut self) {
        while let [word, rest @ ..] = self.words {
            if word.starts_with('-') || *word == "!" {
                return;
            }
            self.words = rest;
        }
    }
}

enum Target<'w> {
    None,
    Jump(&'w str),
    Goto(&'w str),
}

impl Target<'_> {
    /// `resets`: what it rejects is answered with a RST.
    fn action(&self, resets: bool, changes: &mut Vec<String>) -> Result<Action, String> {
        let name = match self {
            Self::None => {
                changes.push("the rule only counts, so it is left out; every rule is counted".to_owned());
                return Ok(Action::Continue);
            }
            Self::Goto(chain) => return Ok(Action::Goto((*chain).to_owned())),
            Self::Jump(name) => *name,
        };
        match name {
            "ACCEPT" => Ok(Action::Accept),
            "DROP" => Ok(Action::Drop),
            "RETURN" => Ok(Action::Return),
            "REJECT" => {
                if !resets {
                    changes.push(language::OTHER_ANSWER.to_owned());
                }
                Ok(Action::Reject)
            }
            "LOG" | "NFLOG" | "ULOG" => Err(language::ONLY_LOGS.to_owned()),
            // Targets of the kernel are in capitals, and chains of this file may be too.
            _ if TARGETS.contains(&name) => Err(format!("the target {name} is not in the rule language")),
            _ => Ok(Action::Jump(name.to_owned())),
        }
    }
}

/// Targets that are no chains (iptables-extensions(8)).
const TARGETS: [&str; 30] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DNAT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "MARK",
    "MASQUERADE",
    "NETMAP",
    "NFQUEUE",
    "NOTRACK",
    "QUEUE",
    "RATEEST",
    "REDIRECT",
    "SECMARK",
    "SET",
    "SNAT",
    "SYNPROXY",
    "TARPIT",
    "TCPMSS",
    "TEE",
    "TTL",
];
