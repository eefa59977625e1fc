//! One rule: matches and statements, then a verdict or a map of verdicts.

use super::{
    super::{
        alternatives::{self, Parts, VALUES_MAX},
        conditions::Conditions,
        firewall::{Action, Statement},
        language, values,
    },
    cursor::Cursor,
    elements::{self, CONCATENATION, Element, Value},
    fields::{self, Field},
    sets::Sets,
    token::{Kind, Token},
};

/// Reads a rule of a chain in this table. A map of verdicts gives a statement for each of its elements.
pub(super) fn read(tokens: &[Token], table: &str, sets: &Sets<'_>) -> Vec<Statement> {
    let mut rule = Rule { table, sets, parts: Vec::new(), comment: None, logs: false };
    let branches = rule
        .read(tokens)
        .and_then(|branches| rule.check_size(branches))
        .unwrap_or_else(|why| rule.refused(tokens, &why));
    let line = tokens.first().map_or(0, |token| token.line);
    branches.into_iter().map(|branch| rule.statement(line, branch)).collect()
}

struct Rule<'t, 's> {
    /// The table that chains and sets are looked for in.
    table: &'s str,
    sets: &'s Sets<'t>,
    parts: Parts,
    comment: Option<String>,
    logs: bool,
}

/// One way on from a rule: the last conditions, or why any of the conditions cannot be said, and the verdict.
struct Branch {
    conditions: Result<Vec<Conditions>, String>,
    verdict: Verdict,
}

/// The key of an element of a map of verdicts, and the verdict.
type Way = (Result<Value, String>, Verdict);

/// What a rule decides.
#[derive(Clone)]
enum Verdict {
    Action(Action),
    /// Whether with a RST of TCP.
    Reject(bool),
    None,
}

impl Rule<'_, '_> {
    fn read(&mut self, tokens: &[Token]) -> Result<Vec<Branch>, String> {
        let mut cursor = Cursor::new(tokens);
        let mut branches = None;
        while let Some(token) = cursor.peek() {
            if let Some(verdict) = self.verdict(&mut cursor) {
                branches = Some(vec![Branch { conditions: Ok(vec![Conditions::default()]), verdict }]);
            } else if let Some(field) = Field::read(&mut cursor)? {
                if cursor.skip("vmap") {
                    branches = Some(self.verdict_map(field, &mut cursor)?);
                } else {
                    let part = self.comparison(field, &mut cursor)?;
                    self.parts.push(part);
                }
            } else {
                self.remark(token, &mut cursor)?;
            }
        }
        let nothing = || vec![Branch { conditions: Ok(vec![Conditions::default()]), verdict: Verdict::None }];
        Ok(branches.unwrap_or_else(nothing))
    }

    /// Each branch has all conditions before it once more.
    fn check_size(&self, branches: Vec<Branch>) -> Result<Vec<Branch>, String> {
        let values: usize = self.parts.iter().flatten().map(Conditions::size).sum();
        if branches.len() > 1 && values.saturating_mul(branches.len()) > VALUES_MAX {
            return Err(format!("it becomes rules with more than {VALUES_MAX} values; write it by hand"));
        }
        Ok(branches)
    }

    /// The ways on from a rule that cannot be said; they tell which chains packets no longer get to.
    fn refused(&self, tokens: &[Token], why: &str) -> Vec<Branch> {
        let mut found = Vec::new();
        let mut cursor = Cursor::new(tokens);
        while cursor.peek().is_some() {
            if cursor.skip("vmap") {
                let elements = self.verdict_elements(&mut cursor).unwrap_or_default();
                found.extend(elements.into_iter().map(|(_, verdict)| verdict));
            } else if let Some(verdict) = self.verdict(&mut cursor) {
                found = vec![verdict];
            } else if cursor.braces().is_none() {
                cursor.next();
            }
        }
        if found.is_empty() {
            found.push(Verdict::Action(Action::Continue));
        }
        found.into_iter().map(|verdict| Branch { conditions: Err(why.to_owned()), verdict }).collect()
    }

    fn statement(&self, line: usize, branch: Branch) -> Statement {
        let Branch { conditions, verdict } = branch;
        let mut changes = Vec::new();
        let conditions = conditions.and_then(|last| {
            let parts: Parts = self.parts.iter().cloned().chain([last]).collect();
            alternatives::all(&parts, &mut changes)
        });
        let action = match verdict {
            Verdict::None if self.logs => Err(language::ONLY_LOGS.to_owned()),
            Verdict::None => {
                changes.push("the rule only counts, so it is left out; every rule is counted".to_owned());
                Ok(Action::Continue)
            }
            Verdict::Action(action) => Ok(action),
            Verdict::Reject(resets) => {
                if !resets {
                    changes.push(language::OTHER_ANSWER.to_owned());
                }
                Ok(Action::Reject)
            }
        };
        if self.logs {
            changes.push(language::LOG_LEFT_OUT.to_owned());
        }
        Statement { line, comment: self.comment.clone(), conditions, action, changes }
    }

    /// Reads a verdict, if one comes next.
    fn verdict(&self, cursor: &mut Cursor<'_>) -> Option<Verdict> {
        let token = cursor.peek()?;
        let Kind::Word(word) = &token.kind else {
            return None;
        };
        let mut ahead = *cursor;
        ahead.next();
        let mut chain = || Some(format!("{} {}", self.table, ahead.word()?));
        let verdict = match word.as_str() {
            "accept" => Verdict::Action(Action::Accept),
            "drop" => Verdict::Action(Action::Drop),
            "continue" => Verdict::Action(Action::Continue),
            "return" => Verdict::Action(Action::Return),
            "jump" => Verdict::Action(Action::Jump(chain()?)),
            "goto" => Verdict::Action(Action::Goto(chain()?)),
            "reject" => {
                // What it answers with.
                let mut resets = false;
                while let Some(token) = ahead.peek()
                    && !token.is("comment")
                {
                    resets |= token.is("reset");
                    ahead.next();
                }
                Verdict::Reject(resets)
            }
            _ => return None,
        };
        *cursor = ahead;
        Some(verdict)
    }

    /// What a field is compared with.
    fn comparison(&self, field: Field, cursor: &mut Cursor<'_>) -> Result<Vec<Conditions>, String> {
        if cursor.skip(".") {
            return Err(CONCATENATION.to_owned());
        }
        if field == Field::TcpFlags && !cursor.peek().is_some_and(|token| token.is("{") || token.is("@")) {
            return fields::tcp_flags(cursor);
        }
        for (sign, edges) in [("<=", [0, 0]), (">=", [0, 0]), ("<", [0, 1]), (">", [1, 0])] {
            if cursor.skip(sign) {
                return bounded(field, sign, edges, &elements::value(cursor)?);
            }
        }
        let negated = cursor.skip("!=") || cursor.skip("ne") || cursor.skip("!");
        if !negated && !cursor.skip("==") {
            cursor.skip("eq");
        }
        if cursor.skip("@") {
            return self.in_set(field, cursor.word().unwrap_or_default(), negated);
        }
        let values = match cursor.braces() {
            Some(inside) => values_of(&elements::elements(inside))?,
            // A list without braces, as of bits.
            None if field == Field::State => {
                let mut listed = vec![elements::value(cursor)?];
                while cursor.skip(",") || cursor.skip("|") {
                    listed.push(elements::value(cursor)?);
                }
                listed
            }
            None => vec![elements::value(cursor)?],
        };
        if cursor.skip(".") {
            return Err(CONCATENATION.to_owned());
        }
        field.conditions(&values, negated)
    }

    fn in_set(&self, field: Field, name: &str, negated: bool) -> Result<Vec<Conditions>, String> {
        let set = self.sets.get(self.table, name)?;
        let named = set.becomes.as_ref().and_then(|(name, family)| field.in_set(name, *family, negated));
        match named {
            Some(conditions) => Ok(conditions),
            None => field.conditions(&values_of(&set.elements)?, negated),
        }
    }

    fn verdict_map(&self, field: Field, cursor: &mut Cursor<'_>) -> Result<Vec<Branch>, String> {
        let elements = self.verdict_elements(cursor)?;
        let named: Vec<Value> = elements
            .iter()
            .filter_map(|(value, _)| value.clone().ok())
            .filter(|value| *value != Value::Others)
            .collect();
        let branches = elements.into_iter().map(|(value, verdict)| {
            let conditions = value.and_then(|value| match value {
                // A packet meets one element, also when it comes back from where that leads.
                Value::Others if !named.is_empty() => field.conditions(&named, true),
                Value::One(_) | Value::Range(..) | Value::Others => field.conditions(&[value], false),
            });
            Branch { conditions, verdict }
        });
        Ok(branches.collect())
    }

    /// The keys and verdicts of a map, which stands in braces or by its name.
    fn verdict_elements(&self, cursor: &mut Cursor<'_>) -> Result<Vec<Way>, String> {
        let listed;
        let elements = if cursor.skip("@") {
            &self.sets.get(self.table, cursor.word().unwrap_or_default())?.elements
        } else {
            let inside = cursor.braces().ok_or("behind vmap there is no map")?;
            listed = elements::elements(inside);
            &listed
        };
        let one = |element: &Element<'_>| {
            let mapped = element.mapped.unwrap_or_default();
            let verdict = self.verdict(&mut Cursor::new(mapped)).ok_or("the map has more than verdicts")?;
            Ok((element.value.clone(), verdict))
        };
        elements.iter().map(one).collect()
    }

    /// Reads a statement that neither matches nor decides.
    fn remark(&mut self, token: &Token, cursor: &mut Cursor<'_>) -> Result<(), String> {
        cursor.next();
        match &token.kind {
            Kind::Word(word) => match word.as_str() {
                "counter" => {
                    // A counter with a name, or with what it has counted.
                    while cursor.skip("packets") || cursor.skip("bytes") || cursor.skip("name") {
                        cursor.next();
                    }
                    Ok(())
                }
                "log" => {
                    self.logs = true;
                    skip_log(cursor);
                    Ok(())
                }
                "comment" => {
                    self.comment = cursor.word().map(str::to_owned);
                    Ok(())
                }
                "limit" => Err(language::LIMIT.to_owned()),
                _ => Err(format!("{word} is not in the rule language")),
            },
            Kind::Variable(name) => Err(format!("the variable ${name} is not defined in this file")),
            Kind::Text(_) | Kind::Sign(_) | Kind::End => {
                Err(format!("{} stands where a match or a verdict belongs", token.shown()))
            }
        }
    }
}

/// What a log line looks like, and where it goes.
fn skip_log(cursor: &mut Cursor<'_>) {
    let options = ["prefix", "level", "group", "snaplen", "queue-threshold"];
    loop {
        if options.iter().any(|option| cursor.skip(option)) {
            cursor.next();
        } else if cursor.skip("flags") {
            if cursor.skip("tcp") || cursor.skip("ip") || cursor.peek().is_some() {
                cursor.next();
            }
            while cursor.skip(",") {
                cursor.next();
            }
        } else {
            return;
        }
    }
}

fn values_of(elements: &[Element<'_>]) -> Result<Vec<Value>, String> {
    elements.iter().map(|element| element.value.clone()).collect()
}

/// A field on one side of a value.
fn bounded(field: Field, sign: &str, edges: [u16; 2], value: &Value) -> Result<Vec<Conditions>, String> {
    let number: Option<u16> = match value {
        Value::One(text) => values::ports(text, '-').ok().map(|range| *range.start()),
        Value::Range(..) | Value::Others => None,
    };
    let (Field::Port(..) | Field::Length(_), Some(number)) = (field, number) else {
        return Err(format!("{sign} is not in the rule language here"));
    };
    let [above, below] = edges;
    let ends = if sign.starts_with('<') {
        number.checked_sub(below).map(|last| (0, last))
    } else {
        number.checked_add(above).map(|first| (first, u16::MAX))
    };
    match ends {
        Some((first, last)) => field.conditions(&[Value::One(format!("{first}-{last}"))], false),
        None => Ok(Vec::new()),
    }
}
