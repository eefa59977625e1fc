//! Chains that packets meet by themselves.

use foobar_common::{
    flow::{Direction, Family},
    verdict::Verdict,
};

use super::{
    super::{
        conditions::Conditions,
        firewall::Hook,
        language,
        report::{Problem, Report},
        values,
    },
    cursor::Cursor,
    elements,
};

/// `type filter hook input priority 0; policy drop;`
pub(super) struct Base {
    pub(super) line: usize,
    kind: String,
    hook: String,
    priority: i64,
    devices: Vec<String>,
    policy: Verdict,
    policy_line: usize,
}

impl Base {
    /// Reads the line that begins with `type`.
    pub(super) fn read(line: usize, words: &mut Cursor<'_>) -> Result<Self, Problem> {
        words.next();
        let kind = words.word().unwrap_or_default().to_owned();
        if !words.skip("hook") {
            return Err(Problem::new(line, "behind the type of the chain there is no hook"));
        }
        let hook = words.word().unwrap_or_default().to_owned();
        let mut base = Self {
            line,
            kind,
            hook,
            priority: 0,
            devices: Vec::new(),
            policy: Verdict::Accept,
            policy_line: line,
        };
        base.devices(words);
        if words.skip("priority") {
            base.priority = priority(words);
        }
        Ok(base)
    }

    /// Reads `policy drop`.
    pub(super) fn policy(&mut self, line: usize, words: &mut Cursor<'_>) {
        words.next();
        self.policy_line = line;
        if words.skip("drop") {
            self.policy = Verdict::Drop;
        }
    }

    /// Reads `device eth0` or `devices = { eth0, eth1 }`, if it comes next.
    pub(super) fn devices(&mut self, words: &mut Cursor<'_>) {
        if words.skip("device") {
            self.devices.extend(words.word().map(str::to_owned));
        } else if words.skip("devices") {
            words.skip("=");
            for element in words.braces().map(elements::elements).unwrap_or_default() {
                if let Ok(elements::Value::One(name)) = element.value {
                    self.devices.push(name);
                }
            }
        }
    }

    /// Why its rules are not imported.
    pub(super) fn refusal(&self, table: &str) -> Option<String> {
        match (table.split(' ').next(), self.kind.as_str(), self.hook.as_str()) {
            (Some("arp" | "bridge"), ..) => Some("only IPv4 and IPv6 are filtered".to_owned()),
            (_, "filter", "ingress" | "egress") if self.devices.is_empty() => {
                Some("no device is named for the hook".to_owned())
            }
            (_, "filter", "input" | "ingress" | "output" | "egress") => {
                self.devices.iter().find_map(|name| values::interface(name).err())
            }
            (_, "filter", "postrouting") => Some(language::POSTROUTING.to_owned()),
            (_, "filter", "forward") => Some(language::FORWARD.to_owned()),
            (_, kind, hook) => Some(format!(
                "the chain is of type {kind} on hook {hook}; only filter chains on input, output, ingress and egress are imported"
            )),
        }
    }

    /// Says what becomes of the policy of a chain that is not imported.
    pub(super) fn report_policy(&self, report: &mut Report<'_>) {
        match (self.policy, self.hook.as_str()) {
            (Verdict::Accept | Verdict::Answer, _) => {}
            (Verdict::Drop | Verdict::Reject, "forward") => {
                report.change(self.policy_line, language::FORWARD);
            }
            (Verdict::Drop | Verdict::Reject, hook) => {
                report.refuse(
                    self.policy_line,
                    format!("no policy for the hook {hook} is in the rule language"),
                );
            }
        }
    }

    /// The order in which packets meet chains: ingress before input, output before egress.
    pub(super) fn order(&self) -> (bool, i64) {
        (matches!(self.hook.as_str(), "input" | "egress"), self.priority)
    }

    /// Which packets meet it.
    pub(super) fn direction(&self) -> Direction {
        if matches!(self.hook.as_str(), "output" | "egress") { Direction::Out } else { Direction::In }
    }

    /// The chain as one of the list.
    pub(super) fn hook(self, table: &str, chain: String) -> Hook {
        let mut conditions = match table.split(' ').next() {
            Some("ip") => Conditions::of_family(Family::V4),
            Some("ip6") => Conditions::of_family(Family::V6),
            _ => Conditions::default(),
        };
        let direction = self.direction();
        let devices = Some(self.devices.into_iter().collect());
        match self.hook.as_str() {
            "ingress" => conditions.interfaces = devices,
            "egress" => conditions.out_interfaces = devices,
            _ => {}
        }
        Hook { line: self.policy_line, direction, chain, conditions, policy: self.policy }
    }
}

/// A number, or a name with a number added to it (nft(8), table 6).
fn priority(words: &mut Cursor<'_>) -> i64 {
    let number = |word: &str| word.parse::<i32>().ok().map(i64::from);
    let named = |word: &str| match word {
        "raw" => -300,
        "mangle" => -150,
        "dstnat" => -100,
        "security" => 50,
        "srcnat" => 100,
        _ => 0,
    };
    let mut sum = 0;
    let mut sign = 1;
    while let Some(token) = words.next() {
        if let Some(word) = token.word() {
            sum += sign * number(word).unwrap_or_else(|| named(word));
            sign = 1;
        } else if token.is("-") {
            sign = -1;
        }
    }
    sum
}
