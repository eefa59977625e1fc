//! Telling systemd how the daemon is; without systemd nothing happens.

use sd_notify::NotifyState;

/// Tells a state.
pub(super) fn state(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("tell systemd: {error}");
    }
}

/// Tells that a reload has begun; [`NotifyState::Ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => state(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("ask for the time since boot: {error}"),
    }
}
