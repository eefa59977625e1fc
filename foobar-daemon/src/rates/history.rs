//! How many requests there were at moments of the last minutes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::per_second;
use crate::{dataplane::counters::ServiceCounters, rules::model::ServicePort};

/// Spans over which requests are told, in seconds.
pub const SPANS: [u64; 3] = [1, 10, 60];

/// How many seconds are told one by one.
pub const SECONDS_KEPT: u64 = 120;

/// How many requests there were at moments of the last two minutes.
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
        let longest = Duration::from_secs(SPANS.into_iter().fold(SECONDS_KEPT, u64::max));
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

    /// Requests in each of the last [`SECONDS_KEPT`] seconds, the oldest first, or in as many of them as are known. What came
    /// between two moments is taken to have come evenly.
    pub fn each_second(&self, port: ServicePort) -> Vec<f64> {
        let known: Vec<(Duration, u64)> = self
            .moments
            .iter()
            .rev()
            .map_while(|(at, totals)| Some((*at, *totals.get(&port)?)))
            .take_while(|(at, _)| self.latest().saturating_sub(*at) <= Duration::from_secs(SECONDS_KEPT + 1))
            .collect();
        let Some((oldest, _)) = known.last() else { return Vec::new() };
        let seconds = self.latest().saturating_sub(*oldest).as_secs().min(SECONDS_KEPT);
        let ends = (0..=seconds).rev().map(|ago| self.latest().saturating_sub(Duration::from_secs(ago)));
        let totals: Vec<f64> = ends.map(|at| total_at(&known, at)).collect();
        // A counter that was made anew in between counts as standing still.
        totals.iter().zip(totals.iter().skip(1)).map(|(before, after)| (after - before).max(0.0)).collect()
    }

    fn latest(&self) -> Duration {
        self.moments.back().map_or(Duration::ZERO, |(at, _)| *at)
    }
}

/// How many there were at a time, of moments of which the latest is the first.
#[expect(clippy::cast_precision_loss, reason = "for a picture; it is exact up to 2^53")]
fn total_at(known: &[(Duration, u64)], at: Duration) -> f64 {
    let (later, earlier) = known.split_at(known.partition_point(|(moment, _)| *moment >= at));
    match (earlier.first(), later.last()) {
        (Some((before, few)), Some((after, many))) => {
            let part = at.abs_diff(*before).as_secs_f64() / after.abs_diff(*before).as_secs_f64();
            *few as f64 + part * (*many as f64 - *few as f64)
        }
        (Some((_, total)), None) | (None, Some((_, total))) => *total as f64,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use foobar_common::service::{HttpCounters, ServiceBytes};

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
        assert_eq!(history.moments.len(), 71);
        assert_eq!(history.each_second(port), [vec![10.0; 69], vec![100.0]].concat());
        // A service that was not there for a while begins anew.
        history.add(Duration::from_secs(71), &BTreeMap::new());
        history.add(Duration::from_secs(72), &services(5_000));
        assert_eq!(history.per_second(port), [None; 3]);
    }

    #[test]
    fn each_second_is_told_by_itself() {
        let port = ServicePort { protocol: PortProtocol::Tcp, port: 80 };
        let mut history = RequestHistory::default();
        assert!(history.each_second(port).is_empty());
        let mut add = |milliseconds, total| {
            history.add_totals(Duration::from_millis(milliseconds), BTreeMap::from([(port, total)]));
            history.each_second(port)
        };
        assert!(add(500, 0).is_empty());
        assert_eq!(add(1_500, 10), [10.0]);
        // A moment in between is no second, and where there was none for long, each second has its share.
        assert_eq!(add(2_000, 40), [35.0]);
        assert_eq!(add(2_500, 50), [10.0, 40.0]);
        assert_eq!(add(5_500, 350), [10.0, 40.0, 100.0, 100.0, 100.0]);
        // A counter that was made anew.
        assert_eq!(add(6_500, 7), [10.0, 40.0, 100.0, 100.0, 100.0, 0.0]);
        for second in 7..300 {
            add(second * 1_000 + 500, second);
        }
        let told = add(300_500, 300);
        assert_eq!((told.len() as u64, told.iter().sum::<f64>()), (SECONDS_KEPT, 120.0));
        assert_eq!(history.moments.len(), 121);
    }
}
