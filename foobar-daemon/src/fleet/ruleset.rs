//! The ruleset in etcd: which keys there are, and what they say, all of it at one revision.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
};

use anyhow::anyhow;

use super::{
    client::{Client, Failure},
    messages::{LookOperation, LookRequest, LookResponse, RangeRequest, RangeResponse, bytes},
    place::EtcdPlace,
};
use crate::{
    outcome::InvalidInput,
    rules::{
        bundle::{Bundle, SourceFile},
        file,
    },
};

/// How many keys there can be below the prefix, besides those of members.
const KEYS_MAX: usize = 1_024;
/// Longest list of keys, in bytes.
const LIST_MAX: usize = 1 << 20;
/// Longest value, in bytes: the gateway of etcd 3.4 gives no longer answer.
const VALUE_MAX: usize = 4 << 20;
/// Longest of all values of a ruleset together, in bytes.
const VALUES_MAX: usize = 32 << 20;
/// What members of the fleet write is no part of the rules.
pub(super) const MEMBERS: &str = "members";

/// The keys below the prefix at some revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// By their names below the prefix: the revision at which they were last written.
    pub(super) keys: BTreeMap<String, i64>,
    /// The revision of the look, which other keys of etcd move on, too.
    pub(super) revision: i64,
}

/// A ruleset as etcd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdRules {
    /// The texts.
    pub bundle: Bundle,
    /// The revision at which one of its keys was last written.
    pub revision: i64,
}

/// The first key of the prefix, and the first one behind it.
pub(super) fn range_of(prefix: &str) -> (String, String) {
    // The character after the slash in ASCII.
    (format!("{prefix}/"), format!("{prefix}0"))
}

/// Whether a key of the prefix is part of the rules.
pub(super) fn is_of_rules(prefix: &str, key: &[u8]) -> bool {
    !key.starts_with(format!("{prefix}/{MEMBERS}/").as_bytes())
}

/// Whether the key of this name below the prefix is a rule file.
pub(super) fn is_rule_file(name: &str) -> bool {
    !name.contains('/')
        && !name.starts_with('.')
        && Path::new(name).extension().is_some_and(|kind| kind == "toml")
}

/// Looks which keys there are: both sides of those of members, in one step.
pub(super) async fn list(client: &mut Client, place: &EtcdPlace) -> Result<Listing, Failure> {
    let (begin, end) = range_of(&place.prefix);
    let (members_begin, members_end) = range_of(&format!("{}/{MEMBERS}", place.prefix));
    let operation = |key: &str, range_end: &str| LookOperation {
        request_range: RangeRequest {
            key: bytes(key),
            range_end: Some(bytes(range_end)),
            limit: Some(KEYS_MAX.to_string()),
            keys_only: true,
            ..RangeRequest::default()
        },
    };
    let request =
        LookRequest { success: vec![operation(&begin, &members_begin), operation(&members_end, &end)] };
    let answer: LookResponse = client.ask("/v3/kv/txn", &request, LIST_MAX).await?;
    let mut listing = Listing { revision: answer.header.revision, ..Listing::default() };
    let ranges: Vec<RangeResponse> =
        answer.responses.into_iter().map(|answer| answer.response_range).collect();
    let is_whole = ranges.iter().all(|range| !range.more);
    for found in ranges.into_iter().flat_map(|range| range.kvs) {
        let name = String::from_utf8(found.key).map_err(|error| {
            let shown = error.as_bytes().escape_ascii().to_string();
            Failure::Answer(format!("the key {shown} is not UTF-8; remove it (`etcdctl del`)"))
        })?;
        if let Some(name) = name.strip_prefix(&begin) {
            listing.keys.insert(name.to_owned(), found.mod_revision);
        }
    }
    if !is_whole || listing.keys.len() > KEYS_MAX {
        return Err(Failure::Answer(format!(
            "there are more than {KEYS_MAX} keys below {}; keep rules below a prefix of their own",
            place.prefix
        )));
    }
    Ok(listing)
}

/// Reads the `*.toml` directly below the prefix, in the order of their names, and the set files that they name, as
/// [`Bundle::read`] reads a folder.
///
/// # Errors
/// [`Failure`] if etcd does not answer. What it says may be no ruleset: [`InvalidInput`] in the result then.
pub(super) async fn read(
    client: &mut Client,
    place: &EtcdPlace,
    listing: &Listing,
) -> Result<anyhow::Result<EtcdRules>, Failure> {
    let names: Vec<&String> = listing.keys.keys().filter(|name| is_rule_file(name)).collect();
    if names.is_empty() {
        return Ok(Err(InvalidInput(format!(
            "etcd has no rules: there is no key *.toml directly below {0}; write one (`etcdctl put {0}/rules.toml < FILE`)",
            place.prefix
        ))
        .into()));
    }
    let mut reading = Reading { client, place, listing, room: VALUES_MAX, revision: 0 };
    let mut bundle = Bundle::default();
    for name in names {
        match reading.text(name, "rule file").await? {
            Ok(text) => bundle.files.push(SourceFile { name: format!("etcd:{}/{name}", place.prefix), text }),
            Err(error) => return Ok(Err(InvalidInput(error).into())),
        }
    }
    let mut texts: BTreeMap<String, Result<String, String>> = BTreeMap::new();
    for set in file::set_files(&bundle.files) {
        if let Entry::Vacant(place) = texts.entry(set.name) {
            let text = reading.text(place.key(), "set file").await?;
            place.insert(text);
        }
    }
    let revision = reading.revision;
    let attached = bundle.attach("the name is relative to the prefix in etcd", |name, _| {
        let text = texts.remove(name).unwrap_or_else(|| Err("it was not read".to_owned()));
        text.map_err(|error| anyhow!(error))
    });
    Ok(attached.map(|()| EtcdRules { bundle, revision }))
}

/// Keys that are read one by one, each of them as it was at the revision of the listing.
struct Reading<'r> {
    client: &'r mut Client,
    place: &'r EtcdPlace,
    listing: &'r Listing,
    room: usize,
    /// The last at which one of those was written.
    revision: i64,
}

impl Reading<'_> {
    /// The text of a key, or why it is none.
    async fn text(&mut self, name: &str, what: &str) -> Result<Result<String, String>, Failure> {
        let key = format!("{}/{name}", self.place.prefix);
        let Some(revision) = self.listing.keys.get(name) else {
            return Ok(Err(format!("read {what} {key}: there is no such key in etcd")));
        };
        let request = RangeRequest {
            key: bytes(&key),
            revision: Some(self.listing.revision.to_string()),
            ..RangeRequest::default()
        };
        // In base64, with some words around.
        let longest = VALUE_MAX.min(self.room) / 3 * 4 + 4_096;
        let answer: RangeResponse = match self.client.ask("/v3/kv/range", &request, longest).await {
            Err(Failure::Long(why)) => {
                return Ok(Err(format!(
                    "read {what} {key}: {why}; a key has at most {} MiB, and all of them {} MiB",
                    VALUE_MAX >> 20,
                    VALUES_MAX >> 20
                )));
            }
            answer => answer?,
        };
        let Some(found) = answer.kvs.into_iter().next() else {
            return Err(Failure::Answer(format!("{key} is gone from revision {}", self.listing.revision)));
        };
        self.revision = self.revision.max(*revision);
        self.room = self.room.saturating_sub(found.value.len());
        Ok(String::from_utf8(found.value).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
            format!("read {what} {key}: byte {valid} (line {line}) is not UTF-8; save the file as UTF-8 text")
        }))
    }
}
