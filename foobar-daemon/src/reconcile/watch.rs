//! The task that compares with one server, for ever.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Compared, Failure, Reason, ReconcileFacts, SETTLE, Told,
    interval::{Comparison, Reading},
    mysql::{Mysql, questions},
    nginx::Nginx,
};
use crate::{
    dataplane::counters::{CounterReader, ProtocolCounters},
    rules::model::CountingServer,
    state::unix_ms,
};

/// Longest time between two attempts at a server that does not tell, unless comparisons are further apart.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// A server that can be asked for its count.
enum Server {
    Nginx(Nginx),
    Mysql(Mysql),
}

/// The state of one comparison.
struct Watch {
    compared: Compared,
    comparison: Option<Comparison>,
    /// Our count, when it was last read.
    last_ours: u64,
    /// From the beginning of the last attempt to the next.
    pause: Duration,
    facts: Arc<Mutex<ReconcileFacts>>,
}

/// Asks, compares, and keeps `facts`.
pub(super) async fn watch(
    compared: Compared,
    sees_loopback: bool,
    counters: CounterReader,
    facts: Arc<Mutex<ReconcileFacts>>,
) {
    let mut server = Server::new(&compared, sees_loopback);
    let pause = compared.every;
    let mut watch = Watch { compared, comparison: None, last_ours: 0, pause, facts };
    loop {
        let begun = Instant::now();
        match read(&mut server, &watch.compared, &counters).await {
            Ok((reading, anew)) => watch.compare(reading, anew),
            Err(failure) => watch.fail(failure),
        }
        sleep_until(begun + watch.pause).await;
    }
}

impl Watch {
    fn compare(&mut self, reading: Reading, anew: bool) {
        let (first, last) = reading.ours;
        // Ours go back when the filter was taken away meanwhile.
        let is_anew = anew || first < self.last_ours;
        self.last_ours = last;
        self.pause = self.compared.every;
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, comparison) = match self.comparison.take() {
            Some(mut comparison) if !is_anew => {
                let before = comparison.difference();
                comparison.add(reading);
                (before, comparison)
            }
            _ => {
                facts.baselines += 1;
                (0, Comparison::new(reading))
            }
        };
        self.comparison = Some(comparison);
        if facts.problem.take().is_some() {
            tracing::info!("{} tells its count again", self.compared.server);
        }
        tell_difference(&self.compared, before, comparison.difference());
        facts.difference = Some(comparison.difference());
        facts.uncertainty = Some(comparison.uncertainty());
        facts.compared_unix_ms = Some(unix_ms(SystemTime::now()));
    }

    fn fail(&mut self, failure: Failure) {
        let longest = LONGEST_PAUSE.max(self.compared.every);
        self.pause = self.pause.saturating_mul(2).min(longest);
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        // One warning for all attempts until one succeeds; the others are only counted.
        if facts.problem.is_none() {
            tracing::warn!("compare counts with {}: {failure}; trying again", self.compared.server);
        }
        let Failure { reason, message } = failure;
        *facts.failures.entry(reason).or_default() += 1;
        facts.difference = None;
        facts.uncertainty = None;
        facts.problem = Some(message);
    }
}

/// Says so when a difference appears and when it is gone.
fn tell_difference(compared: &Compared, before: i64, now: i64) {
    let Compared { server, services, .. } = compared;
    let services = services.join(", ");
    match (before, now) {
        (0, 0) => {}
        (0, 1..) => tracing::warn!("{services}: {now} more counted than {server} tells"),
        (0, _) => tracing::warn!("{services}: {} less counted than {server} tells", now.unsigned_abs()),
        (_, 0) => tracing::info!("{services}: as much counted as {server} tells"),
        _ => tracing::debug!("{services}: the difference to what {server} tells is {now}"),
    }
}

/// Reads both counts, and whether the server's has begun anew.
async fn read(
    server: &mut Server,
    compared: &Compared,
    counters: &CounterReader,
) -> Result<(Reading, bool), Failure> {
    let before = ours(compared, counters)?;
    sleep(SETTLE).await;
    let Told { counted, anew } = server.ask().await?;
    sleep(SETTLE).await;
    let after = ours(compared, counters)?;
    if after < before {
        return Err(Failure::new(Reason::Counters, "our own counters began anew while they were read"));
    }
    Ok((Reading { ours: (before, after), theirs: counted }, anew))
}

/// What we have counted of all that the server counts.
fn ours(compared: &Compared, counters: &CounterReader) -> Result<u64, Failure> {
    let unread = |error: anyhow::Error| {
        Failure::new(Reason::Counters, format!("read the counters of services: {error:#}"))
    };
    let missing = || Failure::new(Reason::Counters, "the counters of the service are not there yet");
    let (services, decrypted) = (counters.services().map_err(unread)?, counters.decrypted().map_err(unread)?);
    let mut sum: u64 = 0;
    for port in &compared.ports {
        let counted = services.get(port).ok_or_else(missing)?;
        sum += match &counted.of_protocol {
            ProtocolCounters::Mysql(counters, _) => questions(counters),
            ProtocolCounters::Raw(_)
            | ProtocolCounters::Http1(_)
            | ProtocolCounters::Http1Requests(_)
            | ProtocolCounters::H2c(_)
            | ProtocolCounters::Tls(_)
            | ProtocolCounters::Dns(_) => counted.requests(),
        };
    }
    for port in &compared.decrypted {
        sum += decrypted.get(port).ok_or_else(missing)?.requests.iter().sum::<u64>();
    }
    Ok(sum)
}

impl Server {
    fn new(compared: &Compared, sees_loopback: bool) -> Self {
        match &compared.server {
            CountingServer::Nginx(page) => {
                let is_seen = sees_loopback && compared.has_port(page.address.port());
                Self::Nginx(Nginx::new(page.clone(), is_seen))
            }
            CountingServer::Mysql(path) => {
                let visible_ports = if sees_loopback { compared.ports.clone() } else { Vec::new() };
                Self::Mysql(Mysql::new(path.into(), visible_ports))
            }
        }
    }

    async fn ask(&mut self) -> Result<Told, Failure> {
        match self {
            Self::Nginx(nginx) => nginx.ask().await,
            Self::Mysql(mysql) => mysql.ask().await,
        }
    }
}
