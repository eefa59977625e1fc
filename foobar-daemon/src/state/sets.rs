//! What was changed of sets at runtime, in the state folder: `sets/NAME.json` for each set, beside them the texts
//! that took the place of whole sets, named by their hash.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;

use super::store::{Store, VERSION, Versioned, read_json, sync_folder, write_file, write_json};
use crate::rules::{
    file::parse_entries,
    sets::overlay::{Overlay, text_hash},
};

/// What the names of files with overlays end in.
const OVERLAY: &str = ".json";
/// What the names of files with texts end in.
const TEXT: &str = ".txt";

impl Store {
    /// Every overlay, by the name of its set.
    ///
    /// # Errors
    /// One that cannot be understood is an error: without it, addresses would be let in or shut out again.
    pub fn overlays(&self) -> Result<BTreeMap<String, Overlay>> {
        let mut overlays = BTreeMap::new();
        for file in self.set_files().context("list the changes of sets")? {
            let Some(name) = file.strip_suffix(OVERLAY) else {
                continue;
            };
            let path = self.set_path(&file);
            let shown = path.display();
            let way_out = "move it away to have the set as the rules say";
            let read = read_json::<Versioned<Overlay>>(&path)
                .with_context(|| format!("read the changes of a set {shown}; {way_out}"))?;
            match read {
                Some(Versioned { version: VERSION, state }) => {
                    overlays.insert(name.to_owned(), state);
                }
                Some(Versioned { version, .. }) => bail!(
                    "the changes of a set {shown} are of version {version}, this foobar writes {VERSION}; use the \
                     foobar that wrote them, or {way_out}"
                ),
                None => {}
            }
        }
        Ok(overlays)
    }

    /// The entries of a text that took the place of a set.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn whole_set(&self, hash: &str) -> Result<Vec<IpNet>> {
        let path = self.text_path(hash);
        let read = || -> Result<Vec<IpNet>> {
            let text = fs::read_to_string(&path)?;
            ensure!(text_hash(&text) == hash, "the file was changed or is damaged");
            Ok(parse_entries(&path.display().to_string(), &text, false)?.entries)
        };
        read().with_context(|| format!("read the entries of a set {}", path.display()))
    }

    /// Writes the overlay of a set, wholly or not at all; `None` takes it away. A new text goes first, so that no
    /// overlay ever names one that is not there.
    pub fn set_overlay(&self, name: &str, overlay: Option<&Overlay>, text: Option<&str>) -> Result<()> {
        if let (Some(text), Some(hash)) = (text, overlay.and_then(|overlay| overlay.whole.as_ref())) {
            let path = self.text_path(hash);
            write_file(&path, text.as_bytes())
                .with_context(|| format!("write the entries of the set {name} to {}", path.display()))?;
        }
        let path = self.set_path(&format!("{name}{OVERLAY}"));
        let written = match overlay {
            Some(state) => write_json(&path, &Versioned { version: VERSION, state }),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                _ => sync_folder(&path),
            },
        };
        written.with_context(|| format!("write the changes of the set {name} to {}", path.display()))
    }

    /// Removes texts that none of these overlays needs.
    pub fn forget_texts(&self, overlays: &BTreeMap<String, Overlay>) {
        let needed: BTreeSet<&str> =
            overlays.values().filter_map(|overlay| overlay.whole.as_deref()).collect();
        let forgotten = self.set_files().and_then(|files| {
            let surplus = files
                .iter()
                .filter(|file| file.strip_suffix(TEXT).is_some_and(|hash| !needed.contains(hash)));
            surplus.map(|file| self.set_path(file)).try_for_each(fs::remove_file)
        });
        if let Err(error) = forgotten {
            tracing::warn!("forget old sets in {}: {error}", self.folder.display());
        }
    }

    fn set_files(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder.join("sets"))? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn set_path(&self, file: &str) -> PathBuf {
        self.folder.join("sets").join(file)
    }

    fn text_path(&self, hash: &str) -> PathBuf {
        self.set_path(&format!("{hash}{TEXT}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Applied;

    fn overlay(text: Option<&str>) -> Overlay {
        Overlay {
            base: "b".to_owned(),
            changed: Applied { unix_ms: 7, by: "a test".to_owned() },
            whole: text.map(text_hash),
            added: vec!["192.0.2.0/24".parse().unwrap()],
            removed: vec!["::1/128".parse().unwrap()],
        }
    }

    #[test]
    fn overlays_and_their_texts_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (small, whole) = (overlay(None), overlay(Some("192.0.2.1\n")));
        store.set_overlay("a.b", Some(&small), None).unwrap();
        store.set_overlay("w", Some(&whole), Some("192.0.2.1\n")).unwrap();
        let overlays = BTreeMap::from([("a.b".to_owned(), small), ("w".to_owned(), whole.clone())]);
        assert_eq!(store.overlays().unwrap(), overlays);
        let hash = whole.whole.unwrap();
        assert_eq!(store.whole_set(&hash).unwrap().len(), 1);
        store.forget_texts(&overlays);
        assert!(store.whole_set(&hash).is_ok(), "needed");

        store.set_overlay("w", None, None).unwrap();
        store.set_overlay("w", None, None).unwrap();
        let left = store.overlays().unwrap();
        assert_eq!(left.keys().collect::<Vec<_>>(), ["a.b"]);
        store.forget_texts(&left);
        assert!(store.whole_set(&hash).unwrap_err().to_string().contains(&hash));
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for text in ["", "{", "{\"version\":1,\"state\":{}}", "\0"] {
            fs::write(folder.path().join("sets/s.json"), text).unwrap();
            let error = format!("{:#}", store.overlays().unwrap_err());
            assert!(error.contains("s.json; move it away"), "{text}: {error}");
        }
        store.set_overlay("s", Some(&overlay(Some("::1\n"))), Some("::1\n")).unwrap();
        let hash = text_hash("::1\n");
        fs::write(folder.path().join(format!("sets/{hash}.txt")), "::2\n").unwrap();
        let error = format!("{:#}", store.whole_set(&hash).unwrap_err());
        assert!(error.contains("damaged"), "{error}");
    }

    #[test]
    fn what_a_crash_left_beside_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        fs::write(folder.path().join("sets/s.json.new"), "{").unwrap();
        assert!(store.overlays().unwrap().is_empty());
    }
}
