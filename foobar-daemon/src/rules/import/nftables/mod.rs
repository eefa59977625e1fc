//! What `nft list ruleset` prints, and files that `nft -f` reads.

mod cursor;
mod elements;
mod fields;
mod hook;
mod rule;
mod sets;
mod token;

use std::collections::BTreeMap;

use foobar_common::flow::Direction;

use self::{
    cursor::Cursor,
    hook::Base,
    sets::Sets,
    token::{Kind, Token},
};
use super::{
    firewall::{Chain, Firewall},
    report::{Problem, Report},
};

/// Reads the text.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Result<Firewall, Problem> {
    let tokens = token::tokens(text)?;
    let mut file = File::default();
    let mut cursor = Cursor::new(&tokens);
    while let Some(token) = cursor.peek() {
        if token.kind == Kind::End {
            cursor.next();
        } else {
            file.command(&mut cursor, report)?;
        }
    }
    if file.chains.is_empty() && file.tables == 0 {
        return Err(Problem::new(
            0,
            "there is no table of nftables in it; give what `nft list ruleset` prints",
        ));
    }
    Ok(file.firewall(report))
}

/// What the file says, with rules that are still tokens: they may name sets that come later.
#[derive(Default)]
struct File<'t> {
    tables: usize,
    chains: BTreeMap<String, Written<'t>>,
    sets: Sets<'t>,
}

/// A chain.
struct Written<'t> {
    table: String,
    name: String,
    base: Option<Base>,
    rules: Vec<&'t [Token]>,
}

const FAMILIES: [&str; 6] = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];

impl<'t> File<'t> {
    /// A command of the file; a table alone is one that adds.
    fn command(&mut self, cursor: &mut Cursor<'t>, report: &mut Report<'_>) -> Result<(), Problem> {
        let line = cursor.line();
        let adds = cursor.skip("add") || cursor.skip("create");
        if cursor.skip("table") {
            return self.table(line, cursor, report);
        }
        if adds {
            return self.add(line, cursor, report);
        }
        let shown = cursor.peek().map(Token::shown).unwrap_or_default();
        match shown.as_str() {
            // The file is all there is.
            "flush" | "undefine" => {}
            "delete" | "destroy" if cursor.rest().get(1).is_some_and(|token| token.is("table")) => {}
            "include" => {
                report.refuse(line, "what other files hold is not read; give what `nft list ruleset` prints");
            }
            "delete" | "destroy" | "insert" | "replace" | "reset" | "rename" | "list" => {
                report.refuse(line, format!("{shown} is not followed; give what `nft list ruleset` prints"));
            }
            _ => {
                let message =
                    format!("{shown} is no command of nftables; give what `nft list ruleset` prints");
                return Err(Problem::new(line, message));
            }
        }
        cursor.statement();
        Ok(())
    }

    fn table(
        &mut self,
        line: usize,
        cursor: &mut Cursor<'t>,
        report: &mut Report<'_>,
    ) -> Result<(), Problem> {
        let table =
            table_name(cursor).ok_or_else(|| Problem::new(line, "the name of the table is missing"))?;
        self.tables += 1;
        if !cursor.peek().is_some_and(|token| token.is("{")) {
            cursor.statement();
            return Ok(());
        }
        let inside =
            cursor.braces().ok_or_else(|| Problem::new(line, "the brace of the table is not closed"))?;
        let mut cursor = Cursor::new(inside);
        while cursor.peek().is_some() {
            let line = cursor.line();
            let mut statement = Cursor::new(cursor.statement());
            if statement.peek().is_some() {
                self.block(line, &table, &mut statement, report)?;
            }
        }
        Ok(())
    }

    /// Something in a table.
    fn block(
        &mut self,
        line: usize,
        table: &str,
        statement: &mut Cursor<'t>,
        report: &mut Report<'_>,
    ) -> Result<(), Problem> {
        let kind = statement.word().unwrap_or_default();
        let name = statement.word().unwrap_or_default();
        match kind {
            "chain" => {
                let inside = statement.braces().unwrap_or_default();
                self.chain(line, table, name, inside, report)
            }
            "set" | "map" if name.is_empty() => {
                Err(Problem::new(line, format!("the name of the {kind} is missing")))
            }
            "set" | "map" => {
                self.sets.declare(table, name, statement.braces().unwrap_or_default(), report);
                Ok(())
            }
            "comment" | "counter" => Ok(()),
            "flags" if name == "dormant" => {
                let message = "the table is dormant, so none of its rules holds; take it out of the file";
                Err(Problem::new(line, message))
            }
            "" => Err(Problem::new(line, "this is no part of a table of nftables")),
            _ => {
                report.refuse(line, format!("{kind} is not in the rule language"));
                Ok(())
            }
        }
    }

    fn chain(
        &mut self,
        line: usize,
        table: &str,
        name: &str,
        inside: &'t [Token],
        report: &mut Report<'_>,
    ) -> Result<(), Problem> {
        if name.is_empty() {
            return Err(Problem::new(line, "the name of the chain is missing"));
        }
        let chain = self.chains.entry(format!("{table} {name}")).or_insert_with(|| Written {
            table: table.to_owned(),
            name: name.to_owned(),
            base: None,
            rules: Vec::new(),
        });
        let mut cursor = Cursor::new(inside);
        while cursor.peek().is_some() {
            let statement = cursor.statement();
            let mut words = Cursor::new(statement);
            match statement.first() {
                None => {}
                Some(first) if first.is("type") => chain.base = Some(Base::read(first.line, &mut words)?),
                Some(first) if first.is("policy") => {
                    let base = chain.base.as_mut();
                    base.ok_or_else(|| Problem::new(first.line, "only a chain with a hook has a policy"))?
                        .policy(first.line, &mut words);
                }
                Some(first) if first.is("comment") => {}
                Some(first) if first.is("devices") || first.is("device") => {
                    if let Some(base) = &mut chain.base {
                        base.devices(&mut words);
                    }
                }
                Some(first) if first.is("flags") => {
                    report.change(first.line, "offloading is left out");
                }
                Some(_) => chain.rules.push(statement),
            }
        }
        Ok(())
    }

    /// `add chain`, `add rule`, `add set`, `add map`, `add element`.
    fn add(&mut self, line: usize, cursor: &mut Cursor<'t>, report: &mut Report<'_>) -> Result<(), Problem> {
        let mut statement = Cursor::new(cursor.statement());
        let kind = statement.word().unwrap_or_default();
        let table = table_name(&mut statement);
        let (Some(table), Some(name)) = (table, statement.word()) else {
            return Err(Problem::new(line, format!("behind add {kind} a table and a name are missing")));
        };
        match kind {
            "chain" => {
                let inside = statement.braces().unwrap_or_default();
                return self.chain(line, &table, name, inside, report);
            }
            "set" | "map" => {
                self.sets.declare(&table, name, statement.braces().unwrap_or_default(), report);
            }
            "rule" => match self.chains.get_mut(&format!("{table} {name}")) {
                Some(chain) => chain.rules.push(statement.rest()),
                None => report.refuse(line, format!("the chain {name:?} is not in this file")),
            },
            "element" => {
                if !self.sets.add(&table, name, statement.braces().unwrap_or_default()) {
                    report.refuse(line, format!("the set {name:?} is not in this file"));
                }
            }
            _ => report.refuse(line, format!("{kind} is not in the rule language")),
        }
        Ok(())
    }

    fn firewall(self, report: &mut Report<'_>) -> Firewall {
        let Self { chains, sets, .. } = self;
        let mut firewall = Firewall::default();
        let mut bases = Vec::new();
        for (key, Written { table, name, base, rules }) in chains {
            let mut chain = Chain::new(&name);
            chain.statements = rules.iter().flat_map(|rule| rule::read(rule, &table, &sets)).collect();
            match base {
                Some(base) => match base.refusal(&table) {
                    Some(why) => {
                        base.report_policy(report);
                        firewall.elsewhere.push((key.clone(), why));
                    }
                    None => bases.push((base, table, key.clone())),
                },
                None if !matches!(table.split(' ').next(), Some("ip" | "ip6" | "inet" | "netdev")) => {
                    firewall.elsewhere.push((key.clone(), "only IPv4 and IPv6 are filtered".to_owned()));
                }
                None => {}
            }
            firewall.chains.insert(key, chain);
        }
        bases.sort_by_key(|(base, ..)| base.order());
        for (direction, what) in [(Direction::In, "what comes in"), (Direction::Out, "what goes out")] {
            for (base, _, key) in bases.iter().filter(|(base, ..)| base.direction() == direction).skip(1) {
                let why = format!(
                    "several chains are on the hooks for {what}: what the ones before {key:?} accept is judged by \
                     this one too, and the list has its rules once for each of these ways"
                );
                report.change(base.line, why);
            }
        }
        firewall.hooks = bases.into_iter().map(|(base, table, key)| base.hook(&table, key)).collect();
        firewall.sets = sets.finish(report);
        firewall
    }
}

/// `FAMILY NAME`; without family it is ip.
fn table_name(cursor: &mut Cursor<'_>) -> Option<String> {
    let first = cursor.word()?;
    if !FAMILIES.contains(&first) {
        return Some(format!("ip {first}"));
    }
    Some(format!("{first} {}", cursor.word()?))
}
