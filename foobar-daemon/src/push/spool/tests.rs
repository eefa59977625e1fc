use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

use super::*;
use crate::push::record::Media;

const BOUNDS: SpoolBounds = SpoolBounds { bytes: 1_000, age: Duration::from_mins(1) };
const NOW: u64 = 1_700_000_000_000;

/// A record of 100 bytes in a file.
fn record(points: u64, unix_ms: u64) -> Record {
    Record { media: Media::Otlp, gzip: false, points, unix_ms, body: vec![7; 36] }
}

fn open(folder: &TempDir) -> (Spool, Lost) {
    Spool::open(&folder.path().join("spool"), BOUNDS, NOW).unwrap()
}

/// Takes everything out, in order.
fn drain(spool: &mut Spool) -> Vec<u64> {
    let mut points = Vec::new();
    while let (Some((number, record)), lost) = spool.first(NOW) {
        assert_eq!(lost, []);
        points.push(record.points);
        spool.remove(number);
    }
    points
}

#[test]
fn records_come_out_in_order_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, lost) = open(&folder);
    assert_eq!(lost, []);
    for points in 1..=5 {
        assert_eq!(spool.push(&record(points, NOW + points), NOW), []);
    }
    let waiting = Waiting { bytes: 500, records: 5, points: 15, oldest_unix_ms: Some(NOW + 1) };
    assert_eq!(spool.waiting(), waiting);
    assert_eq!(waiting.lag(NOW + 11), Duration::from_millis(10));
    // What is being sent is still there if the daemon is killed.
    let (first, _) = spool.first(NOW);
    assert_eq!(first.map(|(number, record)| (number, record.points)), Some((0, 1)));
    let (mut spool, lost) = open(&folder);
    assert_eq!(lost, []);
    assert_eq!(spool.waiting(), waiting);
    assert_eq!(spool.push(&record(6, NOW), NOW), []);
    assert_eq!(drain(&mut spool), [1, 2, 3, 4, 5, 6]);
    assert_eq!(spool.waiting(), Waiting::default());
    assert_eq!(fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
}

#[test]
fn the_oldest_go_when_there_is_no_room_and_not_the_one_that_is_being_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(&folder);
    for points in 1..=10 {
        assert_eq!(spool.push(&record(points, NOW), NOW), []);
    }
    assert_eq!(spool.push(&record(11, NOW), NOW), [(Loss::Bytes, 1)]);
    let (first, _) = spool.first(NOW);
    assert_eq!(first.map(|(_, record)| record.points), Some(2));
    assert_eq!(spool.push(&record(12, NOW), NOW), [(Loss::Bytes, 3)]);
    assert_eq!(spool.waiting().bytes, 1_000);
    let less = SpoolBounds { bytes: 350, ..BOUNDS };
    assert_eq!(spool.set_bounds(less, NOW).len(), 7);
    assert_eq!(drain(&mut spool), [2, 11, 12]);
    // One that is larger than all of the spool.
    let long = Record { body: vec![0; 400], ..record(13, NOW) };
    assert_eq!(spool.push(&long, NOW), [(Loss::Bytes, 13)]);
    // What a smaller bound does not leave room for goes at a start.
    for points in 1..=3 {
        assert_eq!(spool.push(&record(points, NOW), NOW), []);
    }
    let (mut spool, lost) =
        Spool::open(&folder.path().join("spool"), SpoolBounds { bytes: 200, ..BOUNDS }, NOW).unwrap();
    assert_eq!(lost, [(Loss::Bytes, 1)]);
    assert_eq!(drain(&mut spool), [2, 3]);
}

#[test]
fn what_is_too_old_or_of_a_far_future_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(&folder);
    for (points, unix_ms) in [(1, NOW - 60_000), (2, NOW), (3, NOW + 60_000)] {
        assert_eq!(spool.push(&record(points, unix_ms), NOW), []);
    }
    let (first, lost) = spool.first(NOW + 1);
    assert_eq!(lost, [(Loss::Age, 1)]);
    assert_eq!(first.map(|(_, record)| record.points), Some(2));
    // As if the clock had been set back by an hour.
    let (first, lost) = spool.first(NOW - 3_600_000);
    assert!(first.is_none());
    assert_eq!(lost, [(Loss::Age, 2), (Loss::Age, 3)]);
}

#[test]
fn hostile_files_are_neither_sent_nor_followed_nor_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(&folder);
    for points in 1..=4 {
        assert_eq!(spool.push(&record(points, NOW), NOW), []);
    }
    let path = |number: u32, ending: &str| folder.path().join("spool").join(format!("{number:020}.{ending}"));
    let secret = folder.path().join("secret");
    fs::write(&secret, record(99, NOW).to_bytes()).unwrap();
    let mut changed = record(2, NOW).to_bytes();
    changed[70] ^= 1;
    fs::write(path(1, "record"), &changed).unwrap();
    symlink(&secret, path(4, "record")).unwrap();
    mkfifo(&path(5, "record"), Mode::S_IRWXU).unwrap();
    fs::create_dir(path(6, "record")).unwrap();
    fs::write(path(7, "record"), "noise").unwrap();
    fs::write(path(8, "record"), "").unwrap();
    fs::File::create(path(9, "record")).unwrap().set_len(1 << 40).unwrap();
    fs::write(path(10, "part"), "half").unwrap();
    fs::write(folder.path().join("spool/others"), "left alone").unwrap();
    let (mut spool, lost) = open(&folder);
    assert_eq!(lost, [(Loss::Broken, 1); 6]);
    assert!(!path(10, "part").exists() && secret.exists() && folder.path().join("spool/others").exists());
    // Changed while the daemon runs.
    fs::write(path(2, "record"), "shorter").unwrap();
    fs::remove_file(path(3, "record")).unwrap();
    symlink("/dev/zero", path(3, "record")).unwrap();
    let (first, lost) = spool.first(NOW);
    assert_eq!((first.map(|(number, record)| (number, record.points)), lost), (Some((0, 1)), vec![]));
    spool.remove(0);
    let (first, lost) = spool.first(NOW);
    assert!(first.is_none());
    assert_eq!(lost, [(Loss::Broken, 2), (Loss::Broken, 3), (Loss::Broken, 4)]);
    assert_eq!(spool.waiting(), Waiting::default());
}

#[test]
fn nobody_else_reads_it_and_a_link_is_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut spool, _) = open(&folder);
    assert_eq!(spool.push(&record(1, NOW), NOW), []);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let file = fs::read_dir(&path).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    symlink(&path, folder.path().join("link")).unwrap();
    let error = Spool::open(&folder.path().join("link"), BOUNDS, NOW).unwrap_err();
    assert!(error.to_string().contains("is a link"), "{error}");
}

#[test]
fn a_disk_that_takes_nothing_leaves_a_little_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let large = SpoolBounds { bytes: 10 << 20, ..BOUNDS };
    let (mut spool, _) = Spool::open(&path, large, NOW).unwrap();
    fs::remove_dir(&path).unwrap();
    let long = |points| Record { body: vec![1; 400_000], ..record(points, NOW) };
    assert_eq!(spool.push(&long(1), NOW), []);
    assert_eq!(spool.push(&long(2), NOW), []);
    assert_eq!(spool.push(&long(3), NOW), [(Loss::Disk, 3)]);
    assert!(spool.disk_error().is_some());
    fs::create_dir(&path).unwrap();
    assert_eq!(spool.push(&long(4), NOW), []);
    assert_eq!(spool.disk_error(), None);
    assert_eq!(drain(&mut spool), [1, 2, 4]);
    assert_eq!(spool.waiting(), Waiting::default());
}
