//! One point for a target, to see whether it takes any.

use std::{sync::Arc, time::SystemTime};

use tracing::Level;

use super::{
    answers::{Verdict, judge},
    client::{Client, Problem},
    encode::{Encoder, Gathered, Since, encode_logs},
    file::{Labels, Target},
    series::Series,
};
use crate::{dataplane::object, log::record::LogRecord, metrics::catalogue, state::unix_ms};

/// Sends `foobar_build_info`, and gives what the target says.
///
/// # Errors
/// In words, why it did not take it.
pub async fn send_one(target: &Arc<Target>, labels: &Labels, now: SystemTime) -> Result<String, String> {
    let mut family = catalogue::BUILD.family();
    family.add([env!("CARGO_PKG_VERSION"), object::ORIGIN], 1.0);
    let unix_ms = unix_ms(now);
    let since = std::time::Duration::from_millis(unix_ms);
    let since = Since { filter: since, account: since, machine: since };
    let gathered = Gathered { families: vec![family.into_proto()], unix_ms, since };
    let target = Arc::new(Target { series: Series::default(), ..Target::clone(target) });
    let mut records = Vec::new();
    if target.kind.is_logs() {
        let log = LogRecord {
            unix_ns: unix_ms.saturating_mul(1_000_000),
            level: Level::INFO,
            text: "foobar push test".to_owned(),
            attributes: vec![("source", "test".to_owned())],
        };
        encode_logs(&[Arc::new(log)], &target, labels, unix_ms, &mut |record| records.push(record));
    }
    Encoder::default().encode(&gathered, &target, labels, u64::MAX, &mut |record| records.push(record));
    let mut client = Client::new(Arc::clone(&target));
    let mut words = String::new();
    for record in records {
        let answer = client.send(record).await.map_err(|Problem { words, .. }| words)?;
        words = answer.words(&target);
        match judge(&answer, &target) {
            Verdict::Taken(None) => {}
            Verdict::Taken(Some((_, why))) | Verdict::Lost(_, why) | Verdict::Again(_, why, _) => {
                return Err(why);
            }
        }
    }
    Ok(words)
}
