//! What the answer of a target means for what was sent: it has arrived, comes again, or is given up.
//!
//! Each protocol says itself which statuses ask for another try, and which forbid it.

use std::time::Duration;

use super::{
    client::{self, Answer},
    encode,
    file::{Kind, Target},
    stats::{Failure, Loss},
};

/// What is to be done with a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has arrived, but for so many points, for the reason given.
    Taken(Option<(u64, String)>),
    /// It will never be taken, and is lost for this reason, in one word and in words.
    Lost(Loss, String),
    /// Again, not before this time is over.
    Again(Failure, String, Option<Duration>),
}

/// What an answer means.
pub fn judge(answer: &Answer, target: &Target) -> Verdict {
    let words = || answer.words(target);
    match answer.status.as_u16() {
        200..=299 => Verdict::Taken(match target.kind {
            Kind::Otlp | Kind::OtlpLogs => {
                encode::rejected(&answer.body).map(|(points, said)| (points, client::shown(&said, target)))
            }
            Kind::RemoteWrite | Kind::Sumo(_) | Kind::SumoLogs => None,
        }),
        300..=399 => {
            let words = format!("{}; redirects are not followed: write the URL that it leads to", words());
            Verdict::Again(Failure::Status, words, answer.retry_after)
        }
        429 => Verdict::Again(Failure::Throttled, words(), answer.retry_after),
        status if is_retried(target.kind, status) => {
            Verdict::Again(Failure::Status, words(), answer.retry_after)
        }
        500..=599 => Verdict::Lost(Loss::GivenUp, words()),
        _ => Verdict::Lost(Loss::Refused, words()),
    }
}

/// Whether a status but 429, which asks for patience everywhere, asks for another try.
const fn is_retried(kind: Kind, status: u16) -> bool {
    match kind {
        // <https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes>: these, and no other of 4xx and 5xx. 500 is for a
        // request that the service stumbles over, and would again.
        Kind::Otlp | Kind::OtlpLogs => matches!(status, 502..=504),
        // <https://prometheus.io/docs/specs/prw/remote_write_spec/#retries--backoff>: 5xx always, of 4xx none.
        Kind::RemoteWrite => matches!(status, 500..=599),
        // <https://help.sumologic.com/docs/send-data/hosted-collectors/http-source/troubleshooting/>: what took longer than 30
        // seconds (408) may be there in part, and what the service could not take (5xx) is not.
        Kind::Sumo(_) | Kind::SumoLogs => matches!(status, 408 | 500..=599),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use hyper::{StatusCode, body::Bytes};

    use super::*;
    use crate::{push::file::Config, watched_files::Files};

    /// A target of this kind.
    fn target(kind: &str) -> Arc<Target> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("push.toml");
        fs::write(&path, format!("[[target]]\nname = \"t\"\nkind = \"{kind}\"\nurl = \"http://h/\"\n"))
            .unwrap();
        Config::load(&path, &mut Files::default()).unwrap().targets.remove(0)
    }

    #[test]
    fn each_protocol_has_its_own_rule_of_what_comes_again() {
        let otlp: &[u16] = &[429, 502, 503, 504];
        let sumo: &[u16] = &[408, 429];
        for (kind, again, all_of_5xx) in [
            ("otlp", otlp, false),
            ("otlp-logs", otlp, false),
            ("remote-write", &[429], true),
            ("sumo", sumo, true),
            ("sumo-logs", sumo, true),
        ] {
            let target = target(kind);
            for status in 200..600 {
                let answer = Answer {
                    status: StatusCode::from_u16(status).unwrap(),
                    retry_after: Some(Duration::from_secs(7)),
                    body: Bytes::new(),
                };
                let verdict = judge(&answer, &target);
                let is = match (&verdict, status) {
                    (Verdict::Taken(None), 200..300) => true,
                    (Verdict::Again(Failure::Throttled, _, wait), 429) => *wait == answer.retry_after,
                    (Verdict::Again(Failure::Status, _, wait), 300..600) => {
                        let is_asked_for =
                            status < 400 || again.contains(&status) || all_of_5xx && status >= 500;
                        is_asked_for && *wait == answer.retry_after
                    }
                    (Verdict::Lost(Loss::Refused, _), 400..500) => !again.contains(&status),
                    (Verdict::Lost(Loss::GivenUp, _), 500..600) => !all_of_5xx && !again.contains(&status),
                    _ => false,
                };
                assert!(is, "{kind}: {status} is {verdict:?}");
            }
        }
    }
}
