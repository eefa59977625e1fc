//! Sets in words.

use std::time::{Duration, UNIX_EPOCH};

use crate::{
    control::protocol::{SetEdits, SetInForce},
    state::Applied,
};

/// Where the entries of a set come from.
pub(super) fn origin(set: &SetInForce) -> String {
    let place = set.place.as_deref().unwrap_or("the rules");
    match &set.file {
        Some(file) => format!("{file} ({place})"),
        None => place.to_owned(),
    }
}

/// What was changed of a set at runtime.
pub(in crate::commands) fn edits(edits: &SetEdits) -> String {
    let SetEdits { changed: Applied { unix_ms, by }, replaced, added, removed, base: _ } = edits;
    let replaced = if *replaced { "replaced, then " } else { "" };
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(*unix_ms));
    format!("changed at runtime: {replaced}{added} added, {removed} removed; last at {time} by {by}")
}

/// The rules that use a set.
pub(super) fn rules(set: &SetInForce) -> String {
    const SHOWN: usize = 10;
    let shown = set.rules.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match set.rules.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ if set.rules.is_empty() => "none".to_owned(),
        _ => shown,
    }
}
