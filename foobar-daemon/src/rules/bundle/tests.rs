use std::os::unix::{ffi::OsStrExt as _, net::UnixListener};

use super::*;
use crate::outcome;

fn fails(path: &Path, parts: &[&str]) {
    let error = Bundle::read(path).expect_err("must fail");
    let text = format!("{error:#}");
    assert_eq!(outcome::exit_code(&error), 2, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_folder_is_read_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "20-b.toml",
        "schema = 1\n[sets.drop]\nfile = \"sets/drop.txt\"\n[[rule]]\nid = \"b\"\naction = \"drop\"\nsource = \"@drop\"\n",
    );
    write("10-a.toml", "schema = 1\n[[rule]]\nid = \"a\"\naction = \"accept\"\n");
    write("notes.txt", "not read");
    write(".hidden.toml", "not read");
    fs::create_dir(folder.path().join("sets")).unwrap();
    write("sets/drop.txt", "192.0.2.1\n");
    let bundle = Bundle::read(folder.path()).unwrap();
    let names: Vec<_> = bundle.files.iter().map(|file| file.name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["10-a.toml", "20-b.toml"]);
    assert_eq!(bundle.attachments, BTreeMap::from([("sets/drop.txt".to_owned(), "192.0.2.1\n".to_owned())]));
    let ruleset = bundle.parse().unwrap();
    assert_eq!(ruleset.sets["drop"].entries.len(), 1);

    let json = serde_json::to_string(&bundle).unwrap();
    assert_eq!(serde_json::from_str::<Bundle>(&json).unwrap(), bundle, "bundles travel as JSON");

    fs::remove_file(folder.path().join("sets/drop.txt")).unwrap();
    fails(folder.path(), &["20-b.toml:3:8", "sets/drop.txt: No such file", "relative to the folder"]);
    let file = folder.path().join("10-a.toml");
    assert_eq!(Bundle::read(&file).unwrap().files.len(), 1);
}

#[test]
fn what_cannot_be_read_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fails(folder.path(), &["has no *.toml", "schema = 1"]);
    fails(&at("none.toml"), &["read rules", "none.toml: No such file"]);
    fails(Path::new("/dev/null"), &["/dev/null: it is not a regular file"]);
    let _listener = UnixListener::bind(at("socket.toml")).unwrap();
    fails(&at("socket.toml"), &["not a regular file"]);
    fs::remove_file(at("socket.toml")).unwrap();
    fs::create_dir(at("folder.toml")).unwrap();
    fails(folder.path(), &["folder.toml: it is not a regular file"]);
    fs::write(at("latin1.toml"), b"schema = 1\n# caf\xe9\n").unwrap();
    fails(&at("latin1.toml"), &["byte 16 (line 2) is not UTF-8"]);
    fs::write(at("long.toml"), "#".repeat(usize::try_from(RULE_FILE_MAX + 1).unwrap())).unwrap();
    fails(&at("long.toml"), &["longer than 16777216 bytes"]);

    let noise: Vec<u8> = (0..10u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    fs::write(at("noise.toml"), &noise).unwrap();
    fails(&at("noise.toml"), &["is not UTF-8"]);
    let odd = std::ffi::OsStr::from_bytes(b"\xff.toml");
    fs::write(folder.path().join(odd), "schema = 1").unwrap();
    assert!(Bundle::read(&folder.path().join(odd)).unwrap().parse().is_ok(), "names need not be UTF-8");
}

#[test]
fn the_hash_is_of_file_names_and_texts() {
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    let of = |files: &[SourceFile], sets: &[(&str, &str)]| {
        let attachments = sets.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Bundle { files: files.to_vec(), attachments, lenient: false }.hash()
    };
    let hash = of(&[file("/etc/a.toml", "x")], &[]);
    assert_eq!(hash.len(), 64);
    assert_eq!(hash, of(&[file("elsewhere/a.toml", "x")], &[]), "the folder does not count");
    for other in [
        of(&[file("b.toml", "x")], &[]),
        of(&[file("a.toml", "y")], &[]),
        of(&[file("a.toml", "x"), file("b.toml", "")], &[]),
        of(&[file("a.toml", "x")], &[("s", "")]),
        of(&[file("a.toml", "")], &[("s", "x")]),
        of(&[], &[]),
    ] {
        assert_ne!(hash, other);
    }
}
