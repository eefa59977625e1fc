//! What was changed of a set at runtime, on top of what the rules say of it. Pure; the state folder keeps it.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::edit::{Delta, EditedSet, sorted};
use crate::{
    rules::{bundle::hexadecimal, names::prefix_words},
    state::Applied,
};

/// More single entries than these are kept as a whole set: each change writes all of them again.
const DELTA_MAX: usize = 10_000;

/// The changes of one set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// [`base`] of the entries that the rules give the set. With other entries, the changes are void.
    pub base: String,
    /// When and by whom the last change was made.
    pub changed: Applied,
    /// Hash of the text that took the place of the entries, if one did.
    pub whole: Option<String>,
    /// Entries besides these.
    pub added: Vec<IpNet>,
    /// Entries of the rules, or of the whole text, that are none.
    pub removed: Vec<IpNet>,
}

/// An overlay after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The overlay, unless the set is once more what the rules say.
    pub overlay: Option<Overlay>,
    /// The text that its `whole` is the hash of, if that is a new one.
    pub text: Option<String>,
}

impl Overlay {
    /// The overlay once a set is changed. `before` are the entries before that, with the overlay that they had.
    pub fn after(before: (&[IpNet], Option<&Self>), edited: &EditedSet, changed: Applied) -> Changed {
        let (entries, overlay) = before;
        let mut next = match overlay {
            Some(overlay) => Self { changed, ..overlay.clone() },
            None => {
                Self { base: base(entries), changed, whole: None, added: Vec::new(), removed: Vec::new() }
            }
        };
        let is_whole = match &edited.delta {
            Delta::Entries { added, removed } => {
                let gone: BTreeSet<&IpNet> = removed.iter().collect();
                let own: BTreeSet<IpNet> = next.added.iter().copied().collect();
                next.added.retain(|entry| !gone.contains(entry));
                next.removed.extend(removed.iter().filter(|entry| !own.contains(entry)));
                next.added.extend(added);
                next.added.len() + next.removed.len() > DELTA_MAX
            }
            Delta::Whole => true,
        };
        if is_whole {
            if base(&edited.entries) == next.base {
                return Changed { overlay: None, text: None };
            }
            let text = text(&edited.entries);
            let whole = Some(text_hash(&text));
            let overlay = Self { whole, added: Vec::new(), removed: Vec::new(), ..next };
            return Changed { overlay: Some(overlay), text: Some(text) };
        }
        let differs = next.whole.is_some() || sorted(&next.added) != sorted(&next.removed);
        Changed { overlay: differs.then_some(next), text: None }
    }

    /// The entries of the set. `lower` are those of the rules, or of the whole text.
    pub fn over(&self, mut lower: Vec<IpNet>) -> Vec<IpNet> {
        let removed: BTreeSet<&IpNet> = self.removed.iter().collect();
        lower.retain(|entry| !removed.contains(entry));
        lower.extend(&self.added);
        lower
    }

    /// Whether the changes were made upon these entries, in whatever order.
    pub fn is_upon(&self, own: &[IpNet]) -> bool {
        self.base == base(own)
    }
}

/// SHA-256 over each entry once, in order.
pub fn base(entries: &[IpNet]) -> String {
    let mut bytes = Vec::new();
    super::write_entries(&sorted(entries), &mut bytes);
    hexadecimal(&Sha256::digest(&bytes))
}

/// Entries as the text of a set file.
pub fn text(entries: &[IpNet]) -> String {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&prefix_words(entry));
        text.push('\n');
    }
    text
}

/// The hash by which a text is known.
pub fn text_hash(text: &str) -> String {
    hexadecimal(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{super::edit::SetEdit, *};
    use crate::rules::file::{parse_entries, parse_prefix};

    fn list(words: &str) -> Vec<IpNet> {
        words.split_whitespace().map(|word| parse_prefix(word).unwrap()).collect()
    }

    /// A set that is changed, and what is remembered of that.
    struct Set {
        own: Vec<IpNet>,
        entries: Vec<IpNet>,
        overlay: Option<Overlay>,
        text: String,
    }

    impl Set {
        fn new(words: &str) -> Self {
            Self { own: list(words), entries: list(words), overlay: None, text: String::new() }
        }

        /// Changes it, and checks that what is remembered leads to the same entries.
        fn edit(&mut self, edit: SetEdit) {
            let edited = edit.of("s", &self.entries);
            let applied = Applied { unix_ms: 1, by: "a test".to_owned() };
            let Changed { overlay, text } =
                Overlay::after((&self.entries, self.overlay.as_ref()), &edited, applied);
            self.text = text.unwrap_or_else(|| self.text.clone());
            self.entries = edited.entries;
            self.overlay = overlay;
            match &self.overlay {
                None => assert_eq!(sorted(&self.entries), sorted(&self.own)),
                Some(overlay) => {
                    assert!(overlay.is_upon(&self.own));
                    let lower = match &overlay.whole {
                        Some(hash) => {
                            assert_eq!(*hash, text_hash(&self.text));
                            parse_entries("", &self.text, false).unwrap().entries
                        }
                        None => self.own.clone(),
                    };
                    assert_eq!(sorted(&overlay.over(lower)), sorted(&self.entries));
                }
            }
        }
    }

    #[test]
    fn changes_add_up_until_they_undo_each_other() {
        let mut set = Set::new("192.0.2.1 192.0.2.2 2001:db8::/32 192.0.2.1");
        set.edit(SetEdit::Add(list("192.0.2.3 192.0.2.2")));
        set.edit(SetEdit::Remove(list("192.0.2.1 192.0.2.9")));
        let overlay = set.overlay.clone().unwrap();
        assert_eq!((overlay.added, overlay.removed), (list("192.0.2.3"), list("192.0.2.1")));
        set.edit(SetEdit::Remove(list("192.0.2.3")));
        set.edit(SetEdit::Add(list("192.0.2.1")));
        assert_eq!(set.overlay, None, "as the rules say, in another order");
        set.edit(SetEdit::Add(list("::1")));
        assert!(set.overlay.is_some());
    }

    #[test]
    fn what_was_removed_and_added_can_be_removed_again() {
        let mut set = Set::new("192.0.2.1 192.0.2.2");
        for _ in 0..2 {
            set.edit(SetEdit::Remove(list("192.0.2.1")));
            assert_eq!(set.entries, list("192.0.2.2"));
            set.edit(SetEdit::Add(list("192.0.2.1")));
            assert_eq!(set.overlay, None);
        }
        set.edit(SetEdit::Add(list("192.0.2.7")));
        set.edit(SetEdit::Remove(list("192.0.2.1 192.0.2.2")));
        set.edit(SetEdit::Add(list("192.0.2.2")));
        assert_eq!(set.entries, list("192.0.2.7 192.0.2.2"));
    }

    #[test]
    fn a_whole_set_is_kept_as_text_and_changed_further() {
        let mut set = Set::new("192.0.2.1 192.0.2.2");
        set.edit(SetEdit::Add(list("192.0.2.3")));
        set.edit(SetEdit::Replace(list("198.51.100.0/24 ::1 ::1")));
        set.edit(SetEdit::Remove(list("::1")));
        set.edit(SetEdit::Add(list("192.0.2.2")));
        assert_eq!(set.entries, list("198.51.100.0/24 192.0.2.2"));
        set.edit(SetEdit::Replace(list("192.0.2.2 192.0.2.1")));
        assert_eq!(set.overlay, None, "what the rules say");
    }

    #[test]
    fn many_single_changes_become_a_whole_set() {
        let mut set = Set::new("192.0.2.1");
        let many = (0..9_999u32).map(|number| IpNet::from(std::net::IpAddr::from(number.to_be_bytes())));
        set.edit(SetEdit::Add(many.collect()));
        assert_eq!(set.overlay.as_ref().unwrap().whole, None);
        set.edit(SetEdit::Add(list("::1 ::2")));
        let overlay = set.overlay.clone().unwrap();
        assert!(overlay.whole.is_some() && overlay.added.is_empty());
        set.edit(SetEdit::Remove(list("::1")));
        assert_eq!(set.entries.len(), 10_001);
    }

    #[test]
    fn other_entries_of_the_rules_make_changes_void() {
        let mut set = Set::new("192.0.2.1 192.0.2.2");
        set.edit(SetEdit::Add(list("192.0.2.3")));
        let overlay = set.overlay.unwrap();
        for (own, is_upon) in [
            ("192.0.2.2 192.0.2.1", true),
            ("192.0.2.2 192.0.2.1 192.0.2.2", true),
            ("192.0.2.1", false),
            ("192.0.2.1 192.0.2.2 192.0.2.3", false),
            ("192.0.2.1 192.0.2.2/31", false),
            ("", false),
        ] {
            assert_eq!(overlay.is_upon(&list(own)), is_upon, "{own}");
        }
    }
}
