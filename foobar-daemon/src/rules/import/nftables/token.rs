//! The words and signs of an nftables file, with their lines; variables are replaced by what they stand for.

use std::{collections::BTreeMap, net::Ipv6Addr};

use super::super::report::Problem;

/// More tokens are refused: variables that hold variables grow fast.
const TOKENS_MAX: usize = 1 << 20;

/// A word or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, number, address, prefix or range.
    Word(String),
    /// What stands in quotes.
    Text(String),
    /// A variable that is not defined.
    Variable(String),
    Sign(&'static str),
    /// A semicolon, or the end of a line.
    End,
}

impl Token {
    /// The word or text.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) | Kind::Text(word) => Some(word),
            Kind::Variable(_) | Kind::Sign(_) | Kind::End => None,
        }
    }

    /// Whether it is this word, without quotes, or sign.
    pub(super) fn is(&self, wanted: &str) -> bool {
        match &self.kind {
            Kind::Word(word) => word == wanted,
            Kind::Sign(sign) => *sign == wanted,
            Kind::Text(_) | Kind::Variable(_) | Kind::End => false,
        }
    }

    /// As it is written.
    pub(super) fn shown(&self) -> String {
        match &self.kind {
            Kind::Word(word) => word.clone(),
            Kind::Text(text) => format!("{text:?}"),
            Kind::Variable(name) => format!("${name}"),
            Kind::Sign(sign) => (*sign).to_owned(),
            Kind::End => "the end of the line".to_owned(),
        }
    }
}

/// The tokens of a file.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut raw = Vec::new();
    let mut continues = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let mut rest = line;
        continues = false;
        while !rest.is_empty() {
            let trimmed = rest.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                break;
            }
            if trimmed.trim_end() == "\\" {
                continues = true;
                break;
            }
            let (kind, length) = first(trimmed).ok_or_else(|| no_file(number, trimmed))?;
            raw.push(Token { line: number, kind });
            rest = &trimmed[length..];
        }
        if !continues {
            raw.push(Token { line: number, kind: Kind::End });
        }
    }
    if continues {
        raw.push(Token { line: text.lines().count(), kind: Kind::End });
    }
    expanded(raw)
}

fn no_file(line: usize, text: &str) -> Problem {
    let found: String = text.chars().take(1).collect();
    let message = if found == "\"" {
        "a quote is not closed".to_owned()
    } else {
        format!("{found:?} is no sign of nftables")
    };
    Problem::new(line, format!("{message}; give what `nft list ruleset` prints"))
}

const SIGNS: [&str; 29] = [
    "!=", "==", "<=", ">=", "&&", "||", "<<", ">>", "{", "}", "(", ")", "[", "]", ",", ":", "=", "<", ">",
    "!", "&", "|", "^", "@", "-", ".", "/", "*", "+",
];

/// The first token of a text that does not begin with a space, and its length.
fn first(text: &str) -> Option<(Kind, usize)> {
    if text.starts_with(';') {
        return Some((Kind::End, 1));
    }
    if let Some(rest) = text.strip_prefix('"') {
        let end = rest.find('"')?;
        return Some((Kind::Text(rest[..end].to_owned()), end + 2));
    }
    if let Some(rest) = text.strip_prefix('$') {
        let name = run(rest, |one| one.is_alphanumeric() || one == '_' || one == '-');
        return (!name.is_empty()).then(|| (Kind::Variable(name.to_owned()), name.len() + 1));
    }
    let address = address(text);
    if !address.is_empty() {
        return Some((Kind::Word(address.to_owned()), address.len()));
    }
    if text.starts_with(|one: char| one.is_alphanumeric() || one == '_') {
        let word = run(text, |one| one.is_alphanumeric() || "_./*+%\\-".contains(one));
        // The dot between two fields may stand right behind the first.
        let word = word.trim_end_matches('.');
        return Some((Kind::Word(word.to_owned()), word.len()));
    }
    let sign = SIGNS.into_iter().find(|sign| text.starts_with(sign))?;
    Some((Kind::Sign(sign), sign.len()))
}

/// The IPv6 address or prefix that the text begins with. What is no part of it behind a colon may be the verdict in
/// a map.
fn address(text: &str) -> &str {
    let mut address = run(text, |one| one.is_ascii_hexdigit() || one == ':' || one == '.');
    while address.matches(':').count() >= 2 {
        let rest = &text[address.len()..];
        if address.parse::<Ipv6Addr>().is_ok() && !rest.starts_with(char::is_alphanumeric) {
            let length = rest.strip_prefix('/').map_or("", |rest| run(rest, |one| one.is_ascii_digit()));
            let end = address.len() + if length.is_empty() { 0 } else { 1 + length.len() };
            return &text[..end];
        }
        address = &address[..address.rfind(':').unwrap_or(0)];
    }
    ""
}

fn run(text: &str, is_part: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|one| !is_part(one)).unwrap_or(text.len())]
}

/// Puts the values of variables in their place.
fn expanded(raw: Vec<Token>) -> Result<Vec<Token>, Problem> {
    let mut variables: BTreeMap<String, Vec<Kind>> = BTreeMap::new();
    let mut tokens: Vec<Token> = Vec::new();
    let mut definition: Option<(String, Vec<Kind>)> = None;
    let mut depth = 0usize;
    let mut raw = raw.into_iter().peekable();
    while let Some(token) = raw.next() {
        let starts = tokens.last().is_none_or(|last| last.kind == Kind::End || last.is("{"));
        if definition.is_none() && starts && (token.is("define") || token.is("redefine")) {
            let name = raw.next().and_then(|name| name.word().map(str::to_owned));
            let equals = raw.next_if(|next| next.is("=")).is_some();
            let Some(name) = name.filter(|_| equals) else {
                return Err(Problem::new(token.line, "define takes a name, = and a value"));
            };
            definition = Some((name, Vec::new()));
            depth = 0;
            continue;
        }
        let values = match &token.kind {
            Kind::Variable(name) => variables.get(name).cloned().unwrap_or_else(|| vec![token.kind.clone()]),
            Kind::Word(_) | Kind::Text(_) | Kind::Sign(_) | Kind::End => vec![token.kind.clone()],
        };
        if let Some((name, value)) = &mut definition {
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth = depth.saturating_sub(1);
            }
            if token.kind != Kind::End {
                value.extend(values);
            } else if depth == 0 {
                variables.insert(std::mem::take(name), std::mem::take(value));
                definition = None;
            }
            check_count(definition.as_ref().map_or(0, |(_, value)| value.len()), token.line)?;
            continue;
        }
        let line = token.line;
        tokens.extend(values.into_iter().map(|kind| Token { line, kind }));
        check_count(tokens.len(), line)?;
    }
    Ok(tokens)
}

fn check_count(count: usize, line: usize) -> Result<(), Problem> {
    if count <= TOKENS_MAX {
        return Ok(());
    }
    Err(Problem::new(line, format!("the file has more than {TOKENS_MAX} words; import it in parts")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        tokens(text)
            .unwrap()
            .iter()
            .map(Token::shown)
            .collect::<Vec<_>>()
            .join(" ")
            .replace("the end of the line", "END")
    }

    #[test]
    fn words_signs_and_variables() {
        for (text, expected) in [
            ("tcp dport {22:accept, 80-90 : drop}", "tcp dport { 22 : accept , 80-90 : drop } END"),
            ("ip6 saddr {2001:db8::/32,::1:accept}", "ip6 saddr { 2001:db8::/32 , ::1 : accept } END"),
            ("ip saddr . tcp dport != 1.2.3.4/8; x # y", "ip saddr . tcp dport != 1.2.3.4/8 END x END"),
            ("log prefix \"a # b\" \\\n accept", "log prefix \"a # b\" accept END"),
            ("define a = { 1,\n 2 }\ndefine b = { $a, 3 }\ndport $b $c", "dport { { 1 , 2 } , 3 } $c END"),
            ("priority -150\nfe80::1-fe80::9", "priority - 150 END fe80::1 - fe80::9 END"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert_eq!(tokens("a\n\"b").unwrap_err().line, 2);
        let doubling: Vec<String> = (0..40)
            .map(|number| format!("define v{} = {{ $v{number}, $v{number} }}\n", number + 1))
            .collect();
        let doubling = doubling.concat();
        assert!(tokens(&format!("define v0 = 1\n{doubling}")).unwrap_err().message.contains("words"));
    }
}
