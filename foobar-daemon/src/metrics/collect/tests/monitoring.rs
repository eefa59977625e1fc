//! Pushing, the machine, and certificates in a scrape.

use std::collections::BTreeMap;

use super::{Fixed, exposition, timeless};
use crate::{
    certificates::CertificateFacts,
    host::{Disk, FileSystem, Interface, Processors, Readings, Tcp},
    push::stats::{Failure, Loss as PushLoss, PushFacts, TargetFacts},
};

pub(super) fn readings() -> Readings {
    Readings {
        processors: Some(Processors { number: 2, seconds: vec![("idle", 7.5)], started: 1_000 }),
        memory: vec![("total", 4_096)],
        load: Some([0.5, 0.25, 0.125]),
        file_systems: vec![FileSystem {
            path: "/".to_owned(),
            size: 100,
            available: 60,
            files_free: 5,
            files: 9,
        }],
        disks: vec![Disk { name: "vda".to_owned(), bytes: [512, 1_024], operations: [1, 2], busy: 0.5 }],
        interfaces: vec![Interface { name: "eth0".to_owned(), errors: [1, 2], drops: [3, 4] }],
        tcp: Some(Tcp { sent: 10, repeated: 3, overflows: 2, turned_away: 4 }),
        problems: vec![],
    }
}

pub(super) fn push() -> PushFacts {
    let target = TargetFacts {
        name: "center".to_owned(),
        points: 70,
        lost: BTreeMap::from([(PushLoss::Age, 3)]),
        failures: BTreeMap::from([(Failure::Connect, 2)]),
        spool_bytes: 1_000,
        spool_bytes_max: 65_536,
        lag_seconds: 1.5,
        last_success_unix_ms: Some(3_500),
        ..TargetFacts::default()
    };
    PushFacts { targets: vec![target], ..PushFacts::default() }
}

pub(super) fn certificate() -> CertificateFacts {
    CertificateFacts { name: "www".to_owned(), not_after: Some(9_000), ..CertificateFacts::default() }
}

#[test]
fn a_scrape_tells_of_the_machine() {
    let text = exposition(Fixed { fail: false });
    let lines = timeless(&text);
    for line in [
        r#"foobar_host_cpu_seconds_total{mode="idle"} 7.5"#,
        "foobar_host_cpus 2",
        "foobar_host_start_timestamp_seconds 1000",
        r#"foobar_host_load{span="15m"} 0.125"#,
        r#"foobar_host_memory_bytes{part="total"} 4096"#,
        r#"foobar_host_file_system_available_bytes{path="/"} 60"#,
        r#"foobar_host_disk_bytes_total{disk="vda",op="write"} 1024"#,
        r#"foobar_host_disk_busy_seconds_total{disk="vda"} 0.5"#,
        r#"foobar_host_interface_errors_total{iface="eth0",direction="in"} 1"#,
        r#"foobar_host_interface_drops_total{iface="eth0",direction="out"} 4"#,
        "foobar_host_tcp_segments_repeated_total 3",
        "foobar_host_listen_overflows_total 2",
        r#"foobar_collector_success{collector="host"} 1"#,
    ] {
        assert!(lines.contains(&line), "{line} is missing from\n{text}");
    }
}

#[test]
fn a_scrape_tells_of_pushing_and_certificates() {
    let text = exposition(Fixed { fail: false });
    let lines = timeless(&text);
    for line in [
        "foobar_push_config_reload_success 1",
        r#"foobar_push_points_total{target="center"} 70"#,
        r#"foobar_push_lost_points_total{target="center",reason="age"} 3"#,
        r#"foobar_push_lost_points_total{target="center",reason="budget"} 0"#,
        r#"foobar_push_failures_total{target="center",reason="connect"} 2"#,
        r#"foobar_push_spool_bytes{target="center"} 1000"#,
        r#"foobar_push_spool_max_bytes{target="center"} 65536"#,
        r#"foobar_push_lag_seconds{target="center"} 1.5"#,
        r#"foobar_certificate_not_after_timestamp_seconds{name="www"} 9000"#,
        r#"foobar_certificate_seen{name="www"} 1"#,
        r#"foobar_push_last_success_timestamp_seconds{target="center"} 3.5"#,
    ] {
        assert!(lines.contains(&line), "{line} is missing from\n{text}");
    }
}
