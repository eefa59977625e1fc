//! Putting a ruleset into etcd: all of its files in one change, and only if nobody else has written there meanwhile.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use anyhow::{Result, anyhow};

use super::{
    access::Keys,
    client::{Client, Failure, SHORT},
    messages::{DeleteRequest, PutRequest, Untouched, WriteOperation, WriteRequest, WriteResponse, bytes},
    place::EtcdPlace,
    ruleset::{self, EtcdRules, Listing, MEMBERS, is_rule_file, range_of},
};
use crate::{
    outcome::InvalidInput,
    rules::bundle::{Bundle, SourceFile},
};

/// Longest of all texts together that is sent, in bytes: etcd takes 1.5 MiB at a time unless told otherwise, in base64 here.
const TEXTS_MAX: usize = 32 << 20;

/// What etcd has, and how to change it.
pub struct Present {
    client: Client,
    place: Arc<EtcdPlace>,
    listing: Listing,
    /// The rules; `None` if there are no rule files yet, an error if they cannot be read.
    pub rules: Option<Result<EtcdRules>>,
}

impl Present {
    /// Looks what etcd has.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn look(place: Arc<EtcdPlace>, keys: Arc<Keys>) -> Result<Self> {
        let failed = |failure: Failure| anyhow!("ask {place}: {failure}");
        let mut client = Client::new(Arc::clone(&place), keys, 0);
        let listing = ruleset::list(&mut client, &place).await.map_err(failed)?;
        let rules = if listing.keys.keys().any(|name| is_rule_file(name)) {
            Some(ruleset::read(&mut client, &place, &listing).await.map_err(failed)?)
        } else {
            None
        };
        Ok(Self { client, place, listing, rules })
    }

    /// Puts other rules there, in one change: its rule files are all that is there afterwards, and set files that only the former
    /// ones named are gone. Gives the revision.
    ///
    /// # Errors
    /// [`InvalidInput`] for a file that cannot be a key; when somebody else has written below the prefix since the look; when
    /// etcd does not answer or refuses. Except where no answer came, what was there is there still.
    pub async fn write(mut self, bundle: &Bundle) -> Result<i64> {
        let files = keys_of(bundle)?;
        let length: usize = files.iter().map(|(_, text)| text.len()).sum();
        if length > TEXTS_MAX {
            return Err(InvalidInput(format!(
                "the files have {} MiB together, and etcd keeps {} MiB of rules at most",
                length >> 20,
                TEXTS_MAX >> 20
            ))
            .into());
        }
        let key = |name: &str| bytes(format!("{}/{name}", self.place.prefix));
        let new: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let former = self.listing.keys.keys().filter(|name| is_rule_file(name) || self.is_former_set(name));
        let mut operations: Vec<WriteOperation> = former
            .filter(|name| !new.contains(name.as_str()))
            .map(|name| WriteOperation::RequestDeleteRange(DeleteRequest { key: key(name) }))
            .collect();
        operations.extend(files.iter().map(|(name, text)| {
            WriteOperation::RequestPut(PutRequest {
                key: key(name),
                value: bytes(text),
                lease: "0".to_owned(),
            })
        }));
        let (begin, end) = range_of(&self.place.prefix);
        let (members_begin, members_end) = range_of(&format!("{}/{MEMBERS}", self.place.prefix));
        let untouched = |from: &str, to: &str| Untouched::since(self.listing.revision, from, to);
        let request = WriteRequest {
            compare: vec![untouched(&begin, &members_begin), untouched(&members_end, &end)],
            success: operations,
        };
        let answer: WriteResponse =
            self.client.ask("/v3/kv/txn", &request, SHORT).await.map_err(|failure| {
                let error = match &failure {
                    Failure::Away(_) => anyhow!(
                        "write to {}: {failure}; whether it was written is not known, `foobar fleet diff` tells",
                        self.place
                    ),
                    Failure::Login(_)
                    | Failure::Denied(_)
                    | Failure::Compacted
                    | Failure::Long(_)
                    | Failure::Answer(_) => {
                        anyhow!("write to {}: {failure}; nothing was written", self.place)
                    }
                };
                let is_too_much = ["too large", "larger than max", "too many operations"].map(|why| failure.to_string().contains(why));
                if is_too_much.contains(&true) {
                    error.context("etcd takes 1.5 MiB and 128 files in one change, unless it is started with larger --max-request-bytes and --max-txn-ops")
                } else {
                    error
                }
            })?;
        if answer.succeeded {
            return Ok(answer.header.revision);
        }
        // It may have been this one, by way of a member of etcd whose answer got lost, so that another was asked.
        if let Ok(listing) = ruleset::list(&mut self.client, &self.place).await
            && let Ok(Ok(rules)) = ruleset::read(&mut self.client, &self.place, &listing).await
            && rules.bundle.hash() == bundle.hash()
        {
            return Ok(rules.revision);
        }
        Err(anyhow!(
            "somebody else has written below {} at the same time, and this was not; look at it with `foobar fleet diff`",
            self.place.prefix
        ))
    }

    /// Whether a key is a set file of the rules that are there.
    fn is_former_set(&self, name: &str) -> bool {
        let rules = self.rules.as_ref().and_then(|rules| rules.as_ref().ok());
        rules.is_some_and(|rules| rules.bundle.attachments.contains_key(name))
    }
}

/// The names below the prefix and the texts of a bundle.
fn keys_of(bundle: &Bundle) -> Result<Vec<(String, &str)>, InvalidInput> {
    let mut files = Vec::new();
    for SourceFile { name, text } in &bundle.files {
        let file_name = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_rule_file(file_name) {
            return Err(InvalidInput(format!(
                "{name}: in etcd, the name of a rule file ends in .toml and does not begin with a dot; rename the file"
            )));
        }
        files.push((file_name.to_owned(), text.as_str()));
    }
    for (name, text) in &bundle.attachments {
        if name.starts_with(&format!("{MEMBERS}/")) || is_rule_file(name) {
            return Err(InvalidInput(format!(
                "set file {name}: in etcd, {MEMBERS}/ is for what servers tell, and *.toml for rules; give it another name"
            )));
        }
        files.push((name.clone(), text.as_str()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(name: &str, set: Option<&str>) -> Bundle {
        let mut bundle = Bundle::of_text(name, "schema = 1");
        bundle.attachments.extend(set.map(|set| (set.to_owned(), "192.0.2.1\n".to_owned())));
        bundle
    }

    #[test]
    fn keys_are_the_names_of_the_files() {
        let bundle = bundle("/etc/foobar/web.toml", Some("sets/offices.txt"));
        let keys = keys_of(&bundle).unwrap();
        assert_eq!(
            keys,
            [("web.toml".to_owned(), "schema = 1"), ("sets/offices.txt".to_owned(), "192.0.2.1\n")]
        );
    }

    #[test]
    fn what_cannot_be_a_key_is_told() {
        for (name, set) in [
            ("/etc/rules", None),
            (".hidden.toml", None),
            ("rules.toml", Some("members/web-1")),
            ("rules.toml", Some("other.toml")),
        ] {
            let error = keys_of(&bundle(name, set)).unwrap_err().to_string();
            assert!(error.contains("in etcd, "), "{error}");
        }
    }
}
