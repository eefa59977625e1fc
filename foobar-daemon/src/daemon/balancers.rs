//! Looks whether a rule that bans by source may ban a balancer: whether few addresses have nearly all connections.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::handle::Handle;
use crate::{
    open_connections,
    rules::{
        balancers::{FewSources, bans_at_services},
        model::{PortProtocol, Ruleset},
    },
};

/// How often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long the kernel may take to list connections.
const PATIENCE: Duration = Duration::from_millis(500);

/// What was found at the last look.
#[derive(Clone, Debug, Default)]
pub struct Balancers(Arc<Mutex<Vec<FewSources>>>);

impl Balancers {
    /// It.
    pub fn found(&self) -> Vec<FewSources> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn follow(&self, found: Vec<FewSources>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |few: &FewSources| {
            let sources: BTreeSet<IpAddr> = few.sources.iter().copied().collect();
            (few.port.clone(), few.rule.clone(), sources)
        };
        for few in &found {
            // Once, and not at each look.
            if !known.iter().any(|one| key(one) == key(few)) {
                tracing::warn!("{}", few.words());
            }
        }
        *known = found;
    }
}

/// Looks for ever.
pub(super) async fn look(handle: Handle) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let asked = handle.clone();
        let looked = spawn_blocking(move || {
            let ruleset = asked.banning_rules().map_err(|refusal| refusal.error)?;
            ruleset.map_or(Ok(Vec::new()), |ruleset| few_sources(&ruleset))
        });
        match looked.await {
            Ok(Ok(found)) => handle.balancers.follow(found),
            Ok(Err(error)) => tracing::debug!("look who is connected: {error}"),
            Err(error) => tracing::debug!("look who is connected: {error}"),
        }
    }
}

/// The services where a rule bans by source, and few have nearly all connections.
fn few_sources(ruleset: &Ruleset) -> Result<Vec<FewSources>, String> {
    let bans = bans_at_services(ruleset);
    let tcp = bans.iter().filter(|ban| ban.port.protocol == PortProtocol::Tcp);
    let ports: BTreeSet<u16> = tcp.clone().map(|ban| ban.port.port).collect();
    let connections =
        open_connections::list(&ports, Instant::now() + PATIENCE).map_err(|error| format!("{error:#}"))?;
    let found = tcp.filter_map(|ban| {
        let of_port = connections.iter().filter(|connection| connection.local.port() == ban.port.port);
        let clients: Vec<IpAddr> = of_port.map(|connection| connection.remote.ip()).collect();
        FewSources::of(ban, &clients, ruleset)
    });
    Ok(found.collect())
}
