//! Values of matches, and elements of sets and maps.

use super::{
    cursor::Cursor,
    token::{Kind, Token},
};

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `22`, `80-90`, `192.0.2.0/24`, `eth0`.
    One(String),
    /// The two ends of a range that stand apart.
    Range(String, String),
    /// `*` in a map: all others.
    Others,
}

/// An element of a set or map.
#[derive(Clone, Debug)]
pub(super) struct Element<'t> {
    pub(super) line: usize,
    pub(super) value: Result<Value, String>,
    /// What stands behind the colon.
    pub(super) mapped: Option<&'t [Token]>,
    /// Whether it vanishes after a time.
    pub(super) expires: bool,
}

/// The elements between the braces of a set or map. Sets in sets are parts of them.
pub(super) fn elements(tokens: &[Token]) -> Vec<Element<'_>> {
    let bracket = |token: &Token| token.is("{") || token.is("}");
    let parts = tokens.split(|token| token.is(",") || bracket(token));
    parts.filter_map(element).collect()
}

fn element(tokens: &[Token]) -> Option<Element<'_>> {
    let start = tokens.iter().position(|token| token.kind != Kind::End)?;
    let end = tokens.iter().rposition(|token| token.kind != Kind::End)?;
    let tokens = &tokens[start..=end];
    let mut cursor = Cursor::new(tokens);
    let line = cursor.line();
    let value = value(&mut cursor);
    let rest = cursor.rest();
    let colon = rest.iter().position(|token| token.is(":"));
    let options = &rest[..colon.unwrap_or(rest.len())];
    let expires = options.iter().any(|token| token.is("timeout") || token.is("expires"));
    let known = ["timeout", "expires", "comment", "counter"];
    let strange = options.first().filter(|token| !known.iter().any(|word| token.is(word)));
    let value = match strange {
        Some(token) if token.is(".") => Err(CONCATENATION.to_owned()),
        Some(token) => Err(format!("{} in a set is not known", token.shown())),
        None => value,
    };
    Some(Element { line, value, mapped: colon.map(|at| &rest[at + 1..]), expires })
}

/// Why several fields that are compared at once are refused.
pub(super) const CONCATENATION: &str = "several values in one element are not in the rule language";

/// One value, or a range.
pub(super) fn value(cursor: &mut Cursor<'_>) -> Result<Value, String> {
    let Some(token) = cursor.next() else {
        return Err("a value is missing at the end".to_owned());
    };
    match &token.kind {
        Kind::Word(_) | Kind::Text(_) => {}
        Kind::Sign("*") => return Ok(Value::Others),
        Kind::Variable(name) => return Err(format!("the variable ${name} is not defined in this file")),
        Kind::Sign(_) | Kind::End => return Err(format!("{} stands where a value belongs", token.shown())),
    }
    let first = token.word().unwrap_or_default().to_owned();
    if !cursor.skip("-") {
        return Ok(Value::One(first));
    }
    match cursor.word() {
        Some(last) => Ok(Value::Range(first, last.to_owned())),
        None => Err("the end of a range is missing".to_owned()),
    }
}
