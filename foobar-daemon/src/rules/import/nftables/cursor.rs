//! A place in a list of tokens.

use super::token::{Kind, Token};

/// Tokens that are yet to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'t> {
    rest: &'t [Token],
}

impl<'t> Cursor<'t> {
    pub(super) const fn new(tokens: &'t [Token]) -> Self {
        Self { rest: tokens }
    }

    pub(super) fn peek(&self) -> Option<&'t Token> {
        self.rest.first()
    }

    pub(super) fn next(&mut self) -> Option<&'t Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The line of the next token.
    pub(super) fn line(&self) -> usize {
        self.peek().map_or(0, |token| token.line)
    }

    /// Passes over this word or sign; whether it is there.
    pub(super) fn skip(&mut self, wanted: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(wanted));
        if found {
            self.next();
        }
        found
    }

    /// The next word or text.
    pub(super) fn word(&mut self) -> Option<&'t str> {
        let word = self.peek()?.word()?;
        self.next();
        Some(word)
    }

    /// What is left.
    pub(super) const fn rest(&self) -> &'t [Token] {
        self.rest
    }

    /// What stands in the braces that come next, without them.
    pub(super) fn braces(&mut self) -> Option<&'t [Token]> {
        if !self.skip("{") {
            return None;
        }
        let mut depth = 1usize;
        for (index, token) in self.rest.iter().enumerate() {
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth -= 1;
            }
            if depth == 0 {
                let inside = &self.rest[..index];
                self.rest = &self.rest[index + 1..];
                return Some(inside);
            }
        }
        None
    }

    /// Everything up to the end of the statement. Ends in braces are not it.
    pub(super) fn statement(&mut self) -> &'t [Token] {
        let mut depth = 0usize;
        let is_end = |token: &Token| {
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth = depth.saturating_sub(1);
            }
            depth == 0 && token.kind == Kind::End
        };
        let length = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        let (statement, rest) = self.rest.split_at(length);
        self.rest = rest.split_first().map_or(rest, |(_, rest)| rest);
        statement
    }
}
