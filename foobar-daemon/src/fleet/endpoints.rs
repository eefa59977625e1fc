//! Looks which of the members of etcd that are named answer, and have a cluster behind them.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use super::{Fleet, client::is_healthy};

/// How often.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks for ever.
pub(super) async fn look(fleet: Arc<Fleet>) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let endpoints = &fleet.settings.place.endpoints;
        let healthy = join_all(endpoints.iter().map(|endpoint| is_healthy(endpoint, &fleet.keys))).await;
        let mut facts = fleet.locked();
        for ((name, known), is_healthy) in facts.endpoints.iter_mut().zip(healthy) {
            match (&known, is_healthy) {
                (Some(true) | None, false) => {
                    tracing::warn!("the member {name} of etcd does not answer, or has lost the others");
                }

                (Some(false), true) => tracing::info!("the member {name} of etcd answers again"),
                (Some(_) | None, _) => {}
            }
            *known = Some(is_healthy);
        }
    }
}
