use std::io::Read as _;

use flate2::read::GzDecoder;
use foobar_common::service::Histogram as Durations;
use prost::Message as _;

use super::{
    otlp::{Data, Number},
    *,
};
use crate::{metrics::catalogue, push::file::Config, watched_files::Files};

const NOW: u64 = 1_700_000_000_123;

/// A target of this kind, as a file would say it, and the labels of the file.
fn target(lines: &str) -> (Arc<Target>, Labels) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.toml");
    let text = format!(
        "[labels]\ninstance = 'a \"b\" =c'\nsite = \"x\"\n[[target]]\nname = \"t\"\nurl = \"http://localhost/x\"\n{lines}\n"
    );
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path, &mut Files::default()).unwrap();
    (Arc::clone(&config.targets[0]), config.labels)
}

fn gathered() -> Gathered {
    let mut hits = catalogue::RULE_HITS.family();
    hits.add_integer(["web"], 7);
    let mut bans = catalogue::BANS.family();
    bans.add(["4", "address"], 2.5);
    let mut missed = catalogue::DECRYPT_MISSED.family();
    missed.add_integer(["443"], 1);
    let mut durations = catalogue::DNS_DURATION.family();
    let mut buckets = Durations::default();
    buckets.buckets[0] = 3;
    buckets.buckets[2] = 4;
    *buckets.buckets.last_mut().unwrap() = 5;
    durations.add_histogram(["53", "udp"], &buckets);
    let families = vec![hits.into_proto(), bans.into_proto(), missed.into_proto(), durations.into_proto()];
    let since = Since {
        filter: Duration::from_secs(1_000),
        account: Duration::from_secs(2_000),
        machine: Duration::ZERO,
    };
    Gathered { families, unix_ms: NOW, since }
}

fn encode(lines: &str, gathered: &Gathered, most: u64) -> (Vec<Record>, Encoded) {
    let (target, labels) = target(lines);
    let mut records = Vec::new();
    let encoded =
        Encoder::default().encode(gathered, &target, &labels, most, &mut |record| records.push(record));
    (records, encoded)
}

fn only(records: Vec<Record>) -> Record {
    let [record] = <[Record; 1]>::try_from(records).unwrap_or_else(|records| panic!("{}", records.len()));
    record
}

fn unzip(record: &Record) -> Vec<u8> {
    assert!(record.gzip);
    let mut body = Vec::new();
    GzDecoder::new(record.body.as_slice()).read_to_end(&mut body).unwrap();
    body
}

#[test]
fn the_text_has_labels_and_times_and_no_comments() {
    let (records, encoded) = encode("kind = \"sumo\"", &gathered(), u64::MAX);
    let record = only(records);
    let lines = foobar_common::service::DURATION_BOUNDS_US.len() as u64 + 3;
    assert_eq!(encoded, Encoded { points: 3 + lines, left_out: 0 });
    assert_eq!((record.media, record.points, record.unix_ms), (Media::SumoPrometheus, 3 + lines, NOW));
    let text = String::from_utf8(unzip(&record)).unwrap();
    assert_eq!(text.lines().count() as u64, record.points);
    let end = r#"instance="a \"b\" =c",job="foobar",site="x""#;
    for line in [
        format!(r#"foobar_firewall_rule_hits_total{{rule="web",{end}}} 7 {NOW}"#),
        format!(r#"foobar_bans{{ip="4",kind="address",{end}}} 2.5 {NOW}"#),
        format!(r#"foobar_dns_duration_seconds_bucket{{port="53",l4="udp",{end},le="+Inf"}} 12 {NOW}"#),
        format!(r#"foobar_dns_duration_seconds_bucket{{port="53",l4="udp",{end},le="0.00005"}} 3 {NOW}"#),
        format!(r#"foobar_dns_duration_seconds_count{{port="53",l4="udp",{end}}} 12 {NOW}"#),
        format!(r#"foobar_dns_duration_seconds_sum{{port="53",l4="udp",{end}}} 0 {NOW}"#),
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing from\n{text}");
    }
}

#[test]
fn carbon_has_tags_two_spaces_and_seconds() {
    let (records, _) = encode("kind = \"sumo\"\nformat = \"carbon2\"\ngzip = false", &gathered(), u64::MAX);
    let record = only(records);
    assert_eq!((record.media, record.gzip), (Media::SumoCarbon2, false));
    let text = String::from_utf8(record.body).unwrap();
    for line in [
        r#"metric=foobar_firewall_rule_hits_total rule=web instance=a_"b"__c job=foobar site=x  7 1700000000"#,
        r#"metric=foobar_dns_duration_seconds_bucket port=53 l4=udp instance=a_"b"__c job=foobar site=x le=+Inf  12 1700000000"#,
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing from\n{text}");
    }
    for line in text.lines() {
        assert_eq!(line.matches("  ").count(), 1, "{line}");
    }
}

#[test]
fn otlp_has_sums_gauges_and_histograms_with_their_start() {
    let (records, encoded) = encode("kind = \"otlp\"", &gathered(), u64::MAX);
    let record = only(records);
    assert_eq!(encoded, Encoded { points: 4, left_out: 0 });
    let mut request = otlp::Request::decode(unzip(&record).as_slice()).unwrap();
    let resource = request.resource_metrics.remove(0);
    let keys: Vec<String> =
        resource.resource.unwrap().attributes.into_iter().map(|attribute| attribute.key).collect();
    assert_eq!(keys, ["service.instance.id", "service.name", "site"]);
    let metrics = &resource.scope_metrics[0].metrics;
    let starts: Vec<(&str, &str, u64)> = metrics
        .iter()
        .map(|metric| {
            let start = match metric.data.as_ref().unwrap() {
                Data::Gauge(gauge) => gauge.data_points[0].start_time_unix_nano,
                Data::Sum(sum) => {
                    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
                    sum.data_points[0].start_time_unix_nano
                }
                Data::Histogram(histogram) => histogram.data_points[0].start_time_unix_nano,
            };
            (metric.name.as_str(), metric.unit.as_str(), start / 1_000_000_000)
        })
        .collect();
    let expected = [
        ("foobar_firewall_rule_hits_total", "{packet}", 1_000),
        ("foobar_bans", "", 0),
        ("foobar_decrypt_missed_connections_total", "", 2_000),
        ("foobar_dns_duration_seconds", "s", 1_000),
    ];
    assert_eq!(starts, expected);
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
    assert_eq!(sum.data_points[0].value, Some(Number::Int(7)));
    assert_eq!(sum.data_points[0].time_unix_nano, NOW * 1_000_000);
    let Some(Data::Histogram(histogram)) = &metrics[3].data else { panic!("{metrics:?}") };
    let point = &histogram.data_points[0];
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (12, 12));
    assert_eq!(
        (point.bucket_counts[0], point.bucket_counts[2], *point.bucket_counts.last().unwrap()),
        (3, 4, 5)
    );
}

fn written(record: &Record) -> Vec<remote_write::TimeSeries> {
    assert_eq!((record.media, record.gzip), (Media::RemoteWrite, false));
    let body = snap::raw::Decoder::new().decompress_vec(&record.body).unwrap();
    remote_write::WriteRequest::decode(body.as_slice()).unwrap().timeseries
}

#[test]
fn remote_write_has_sorted_labels_and_says_what_is_gone() {
    let (target, labels) = target("kind = \"remote-write\"");
    let mut encoder = Encoder::default();
    let mut encode = |gathered: &Gathered| {
        let mut records = Vec::new();
        encoder.encode(gathered, &target, &labels, u64::MAX, &mut |record| records.push(record));
        records
    };
    let mut now = gathered();
    let series = written(&only(encode(&now)));
    for one in &series {
        let names: Vec<&str> = one.labels.iter().map(|label| label.name.as_str()).collect();
        assert!(names.is_sorted() && names[0] == "__name__", "{names:?}");
        assert_eq!(one.samples[0].timestamp, i64::try_from(NOW).unwrap());
    }
    assert_eq!(series[0].samples[0].value.to_bits(), 7_f64.to_bits());
    let same = encode(&now);
    assert_eq!(same.len(), 1);
    now.families.remove(1);
    let records = encode(&now);
    assert_eq!(records.len(), 2);
    let gone = written(&records[1]);
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].labels[0].value, "foobar_bans");
    assert_eq!(gone[0].samples[0].value.to_bits(), 0x7ff0_0000_0000_0002);
    assert_eq!(encode(&now).len(), 1);
}

#[test]
fn many_series_are_several_requests_and_a_budget_cuts_the_last_ones_off() {
    let mut hits = catalogue::RULE_HITS.family();
    for number in 0..4_500 {
        hits.add_integer([&format!("rule-{number}")], 1);
    }
    let many = Gathered { families: vec![hits.into_proto()], ..gathered() };
    let points = |records: &[Record]| records.iter().map(|record| record.points).collect::<Vec<_>>();
    for kind in ["otlp", "remote-write", "sumo"] {
        let kind = format!("kind = \"{kind}\"");
        let (records, encoded) = encode(&kind, &many, u64::MAX);
        assert_eq!(points(&records), [2_000, 2_000, 500]);
        assert_eq!(encoded, Encoded { points: 4_500, left_out: 0 });
        assert_eq!(Encoder::count(&many, &target(&kind).0), 4_500);
        let (records, encoded) = encode(&kind, &many, 2_100);
        assert_eq!(points(&records), [2_000, 100]);
        assert_eq!(encoded, Encoded { points: 2_100, left_out: 2_400 });
    }
    // A histogram is sent whole or not at all.
    let (records, encoded) = encode("kind = \"sumo\"", &gathered(), 5);
    assert_eq!(points(&records), [3]);
    assert_eq!(encoded.points, 3);
    let (records, encoded) = encode("kind = \"sumo\"\nseries = [\"foobar_bans\"]", &gathered(), 5);
    assert_eq!((points(&records), encoded.left_out), (vec![1], 0));
}

#[test]
fn what_a_service_refuses_of_a_request_is_read() {
    // partial_success (1) { rejected_data_points (1) = 5, error_message (2) = "no" }
    assert_eq!(rejected(&[0x0a, 6, 0x08, 5, 0x12, 2, b'n', b'o']), Some((5, "no".to_owned())));
    for none in [&[][..], &[0x0a, 0], &[0x0a, 2, 0x08, 0], b"<html>", &[0xff; 20]] {
        assert_eq!(rejected(none), None);
    }
}
