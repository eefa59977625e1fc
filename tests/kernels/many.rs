//! So many rules that the kernel has to look beyond the heads of classes, all alike but for their numbers.

use anyhow::{Context as _, Result};
use foobar_common::{flow::protocol, verdict::Verdict};
use foobar_daemon::rules::model::{AddressCondition, AddressMatch, Rule};

/// The clauses of each of them: prefixes and sets on both sides.
pub(crate) const CLAUSES: usize = 4;

/// So many rules. Number `n` is called `many-n`, accepts UDP and TCP to port 1,000 + `n`, from a network of its own
/// in 10.0.0.0/8 or in `2001:db8::/36`, or from an office, and to a network of its own in 172.16.0.0/12 or in
/// `2001:db8:8000::/36`, or to a server.
pub(crate) fn rules(count: usize) -> Result<Vec<Rule>> {
    (0..count).map(rule).collect()
}

fn rule(number: usize) -> Result<Rule> {
    let number = u16::try_from(number).context("too many rules for a port of their own")?;
    let [high, low] = number.to_be_bytes();
    let side = |prefixes: [String; 2], set: &str| -> Result<AddressCondition> {
        let mut include = vec![AddressMatch::Set(set.to_owned())];
        for prefix in prefixes {
            include.push(AddressMatch::Prefix(prefix.parse().context("a prefix of a generated rule")?));
        }
        Ok(AddressCondition { include, exclude: Vec::new() })
    };
    let source =
        side([format!("10.{high}.{low}.0/24"), format!("2001:db8:{:x}::/48", 0x1000 + number)], "offices")?;
    let destination = side(
        [format!("172.{}.{low}.0/24", 16 + high), format!("2001:db8:{:x}::/48", 0x8000 + number)],
        "servers",
    )?;
    let port = 1_000 + number;
    Ok(Rule {
        source: Some(source),
        destination: Some(destination),
        protocol: Some([protocol::TCP, protocol::UDP].into()),
        destination_port: Some(vec![port..=port]),
        ..Rule::new(&format!("many-{number}"), Verdict::Accept)
    })
}
