//! Rules of other firewalls, in the rule language: text in, values out.
//!
//! A reader for each format gives a `Firewall`: chains of statements as their author wrote them.
//! `flatten` makes one list of rules of it, and `write` the rule file. Nothing is left out in silence: what
//! could not be said, or is said with another meaning, is in the report with its line.

mod alternatives;
mod conditions;
mod firewall;
mod flatten;
mod iptables;
mod language;
mod names;
mod nftables;
mod report;
mod values;
mod write;

pub use report::{Problem, Remark};

use self::{firewall::Firewall, report::Report};

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// What iptables-save and ip6tables-save print, also ufw's files and the output of `iptables -S`
    Iptables,
    /// What `nft list ruleset` prints, and files for `nft -f`
    Nftables,
}

impl Format {
    /// The word for it on the command line.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// What became of the rules of another firewall.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Import {
    /// How many lines with rules are carried over, changed ones among them.
    pub said: usize,
    /// What means something else than it did, in the order of the lines.
    pub changed: Vec<Remark>,
    /// What is left out, in the order of the lines.
    pub refused: Vec<Remark>,
    /// The rule file.
    pub toml: String,
}

/// Says in the rule language what a text says in another.
///
/// # Errors
/// The text is not of this format, or its rules cannot be listed.
pub fn import(format: Format, text: &str) -> Result<Import, Problem> {
    let mut report = Report::new(text);
    let firewall: Firewall = match format {
        Format::Iptables => iptables::read(text, &mut report)?,
        Format::Nftables => nftables::read(text, &mut report)?,
    };
    let list = flatten::flatten(&firewall, &mut report)?;
    let toml = write::rule_file(format, &list, &firewall.sets);
    let (said, changed, refused) = report.finish();
    Ok(Import { said, changed, refused, toml })
}

#[cfg(test)]
mod tests;
