//! Two looks at the counters, and what passed per second between them. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use foobar_common::verdict::Verdict;

use crate::{
    control::protocol::Rates,
    dataplane::counters::{Counters, ServiceCounters},
    rules::model::ServicePort,
};

/// All packets up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The moment, since any fixed one.
    pub at: Duration,
    /// Packets with any verdict.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

impl Sample {
    /// Adds up counters that were read at this moment.
    pub fn of(counters: &Counters, at: Duration) -> Self {
        let mut sample = Self { at, ..Self::default() };
        for ((_, _, verdict, _), counter) in &counters.verdicts {
            sample.packets = sample.packets.wrapping_add(counter.packets);
            sample.bytes = sample.bytes.wrapping_add(counter.bytes);
            match verdict {
                Verdict::Accept | Verdict::Answer => {}
                Verdict::Drop | Verdict::Reject => {
                    sample.dropped = sample.dropped.wrapping_add(counter.packets);
                }
            }
        }
        sample
    }

    /// What passed per second since an earlier sample; `None` if no time did.
    pub fn since(&self, earlier: &Self) -> Option<Rates> {
        let seconds = self.at.checked_sub(earlier.at)?.as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        Some(Rates {
            packets_per_second: per_second(earlier.packets, self.packets, seconds),
            bits_per_second: 8.0 * per_second(earlier.bytes, self.bytes, seconds),
            dropped_packets_per_second: per_second(earlier.dropped, self.dropped, seconds),
            seconds,
        })
    }
}

/// Spans over which requests are told, in seconds.
pub const SPANS: [u64; 3] = [1, 10, 60];

/// How many requests there were at moments of the last minute.
#[derive(Clone, Debug, Default)]
pub struct RequestHistory {
    /// The oldest first.
    moments: VecDeque<(Duration, BTreeMap<ServicePort, u64>)>,
}

impl RequestHistory {
    /// Adds what was counted up to a moment, which comes after all that were added before.
    pub fn add(&mut self, at: Duration, services: &BTreeMap<ServicePort, ServiceCounters>) {
        self.add_totals(at, services.iter().map(|(port, service)| (*port, service.requests())).collect());
    }

    /// The same with how many requests each port had.
    pub fn add_totals(&mut self, at: Duration, totals: BTreeMap<ServicePort, u64>) {
        self.moments.push_back((at, totals));
        let longest = Duration::from_secs(SPANS.into_iter().max().unwrap_or_default());
        // One moment that is as old as the longest span stays.
        while self.moments.get(1).is_some_and(|(next, _)| at.saturating_sub(*next) >= longest) {
            self.moments.pop_front();
        }
    }

    /// How many requests a port had had at the moments since it is known, the oldest first.
    pub fn samples(&self, port: ServicePort) -> Vec<(Duration, u64)> {
        let moments = self.moments.iter().rev();
        let known = moments.map_while(|(at, totals)| Some((*at, *totals.get(&port)?)));
        let mut samples: Vec<_> = known.collect();
        samples.reverse();
        samples
    }

    /// Requests per second over each of [`SPANS`], or over as much of it as is known; `None` before there are two
    /// moments with this port.
    pub fn per_second(&self, port: ServicePort) -> [Option<f64>; SPANS.len()] {
        SPANS.map(|seconds| {
            let (now, last) = self.moments.back()?;
            let later = last.get(&port)?;
            let span = Duration::from_secs(seconds);
            let known =
                self.moments.iter().rev().skip(1).take_while(|(_, totals)| totals.contains_key(&port));
            let is_within = |(then, _): &&(Duration, _)| now.saturating_sub(*then) < span;
            // The first that is as old as the span, or the oldest that there is.
            let within = known.clone().take_while(is_within).count();
            let (then, totals) = known.take(within + 1).last()?;
            let seconds = now.saturating_sub(*then).as_secs_f64();
            (seconds > 0.0).then(|| per_second(totals.get(&port).copied().unwrap_or(0), *later, seconds))
        })
    }
}

/// How fast a counter grew. One that was made anew in between counts as standing still.
#[expect(clippy::cast_precision_loss, reason = "a rate for people; it is exact up to 2^53 in a few seconds")]
pub fn per_second(earlier: u64, later: u64, seconds: f64) -> f64 {
    later.saturating_sub(earlier) as f64 / seconds
}

#[cfg(test)]
mod tests {
    use foobar_common::{
        counters::Counter,
        flow::Direction,
        service::{HttpCounters, ServiceBytes},
        verdict::Reason,
    };

    use super::*;
    use crate::{
        dataplane::counters::{Peers, ProtocolCounters},
        rules::model::PortProtocol,
    };

    #[test]
    fn requests_are_told_over_spans() {
        let port = ServicePort { protocol: PortProtocol::Tcp, port: 80 };
        let services = |requests: u64| {
            let http = HttpCounters {
                requests: [requests, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                ..HttpCounters::default()
            };
            let of_protocol = ProtocolCounters::Http1(http);
            BTreeMap::from([(
                port,
                ServiceCounters {
                    service: "www".to_owned(),
                    bytes: ServiceBytes::default(),
                    proxied: None,
                    peers: Peers::default(),
                    syn_cookies: None,
                    of_protocol,
                },
            )])
        };
        let mut history = RequestHistory::default();
        assert_eq!(history.per_second(port), [None; 3]);
        // 10 a second for 70 seconds, and then 100.
        let mut requests = 0;
        for second in 0..=70 {
            history.add(Duration::from_secs(second), &services(requests));
            if second == 1 {
                assert_eq!(history.per_second(port), [Some(10.0); 3]);
            }
            requests += if second < 69 { 10 } else { 100 };
        }
        assert_eq!(history.per_second(port), [Some(100.0), Some(19.0), Some(11.5)]);
        assert_eq!(history.moments.len(), 61);
        // A service that was not there for a while begins anew.
        history.add(Duration::from_secs(71), &BTreeMap::new());
        history.add(Duration::from_secs(72), &services(5_000));
        assert_eq!(history.per_second(port), [None; 3]);
    }

    #[test]
    fn rates_are_differences_over_time() {
        let mut counters = Counters::default();
        let mut count = |verdict, reason, packets| {
            let counter = Counter { packets, bytes: packets * 100 };
            counters.verdicts.insert(("eth0".to_owned(), Direction::In, verdict, reason), counter);
        };
        count(Verdict::Accept, Reason::Policy, 30);
        count(Verdict::Drop, Reason::Rule, 10);
        let later = Sample::of(&counters, Duration::from_secs(12));
        let earlier = Sample { at: Duration::from_secs(10), packets: 20, bytes: 2000, dropped: 10 };
        let rates = later.since(&earlier).unwrap();
        assert_eq!(
            rates,
            Rates {
                packets_per_second: 10.0,
                bits_per_second: 8000.0,
                dropped_packets_per_second: 0.0,
                seconds: 2.0
            }
        );
        assert_eq!(earlier.since(&earlier), None);
        assert_eq!(earlier.since(&later), None);
    }
}
