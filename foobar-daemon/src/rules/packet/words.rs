//! A text as words.

use std::{fmt::Display, str::FromStr};

use super::PacketError;

/// The words of a packet that have not been read yet.
pub(super) struct Words<'t>(Box<dyn Iterator<Item = &'t str> + 't>);

impl<'t> Words<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self(Box::new(text.split_whitespace()))
    }

    pub(super) fn next(&mut self) -> Option<&'t str> {
        self.0.next()
    }

    /// The number that belongs to the word before it.
    pub(super) fn number<N: Copy + Display + FromStr + PartialOrd>(
        &mut self,
        what: &str,
        max: N,
    ) -> Result<N, PacketError> {
        let help = format!("write {what} and a number from 0 to {max}");
        let Some(word) = self.next() else {
            return Err(PacketError::new(format!("behind {what} there is no number"), help));
        };
        word.parse()
            .ok()
            .filter(|number| *number <= max)
            .ok_or_else(|| PacketError::new(format!("behind {what} there is {word:?}"), help))
    }
}
