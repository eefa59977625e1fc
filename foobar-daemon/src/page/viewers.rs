//! Those who look at the live page: how many there may be, and what each of them is told.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse,
    sse::{Event, KeepAlive, Sse},
};
use futures_util::stream;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout_at},
};

/// How many may look at a time.
pub const VIEWERS_MAX: u32 = 32;
/// How long somebody is told without asking again. A browser asks again by itself, and it is looked anew whether it may see
/// that; and who does not read keeps a place no longer than this.
pub const LONGEST: Duration = Duration::from_mins(10);
/// After so long a time in which there was nothing to tell, a line says that the connection is alive.
const SILENCE: Duration = Duration::from_secs(15);
/// After so long a time a browser asks again.
const RETRY: Duration = Duration::from_secs(2);

/// What passed, ready to be sent.
#[derive(Debug)]
pub struct Snapshot {
    /// Of the snapshots since somebody looks, the how manieth.
    pub number: u64,
    /// JSON with requests in each of the last seconds.
    pub whole: String,
    /// The same with those in the last second alone, for who knows the others.
    pub step: String,
}

/// The newest that there is to tell.
#[derive(Clone, Debug)]
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// What passed.
    Snapshot(Arc<Snapshot>),
    /// Why that is not known.
    Trouble(Arc<str>),
    /// The daemon ends.
    End,
}

/// Everybody who looks.
#[derive(Debug)]
pub struct Viewers {
    places: Arc<Semaphore>,
    arrived: Notify,
    newest: watch::Sender<Told>,
}

/// Why somebody may not look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// Too many look.
    Full,
    /// The daemon ends.
    Ending,
}

impl fmt::Display for NoPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(
                formatter,
                "{VIEWERS_MAX} look at this page already, and there is no room for more; close one of them, and this one goes on by itself"
            ),
            Self::Ending => formatter.write_str("the daemon is ending"),
        }
    }
}

impl Default for Viewers {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(VIEWERS_MAX as usize)),
            arrived: Notify::new(),
            newest: watch::Sender::new(Told::Nothing),
        }
    }
}

impl Viewers {
    /// How many look.
    pub fn count(&self) -> u64 {
        u64::from(VIEWERS_MAX).saturating_sub(self.places.available_permits() as u64)
    }

    /// Lets somebody look.
    ///
    /// # Errors
    /// [`NoPlace`]
    pub fn arrive(&self) -> Result<Viewer, NoPlace> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_full| NoPlace::Full)?;
        let mut newest = self.newest.subscribe();
        if matches!(*newest.borrow(), Told::End) {
            return Err(NoPlace::Ending);
        }
        // What the others have been told this one gets at once.
        newest.mark_changed();
        self.arrived.notify_one();
        Ok(Viewer { newest, known: None, until: Instant::now() + LONGEST, _place: place })
    }

    /// Waits until somebody looks.
    pub async fn somebody(&self) {
        while self.count() == 0 {
            self.arrived.notified().await;
        }
    }

    /// Tells all of them; who was not told the last yet is told this alone.
    pub fn tell(&self, told: Told) {
        self.newest.send_if_modified(|newest| {
            let goes_on = !matches!(newest, Told::End);
            if goes_on {
                *newest = told;
            }
            goes_on
        });
    }

    /// Ends for all of them.
    pub fn end(&self) {
        self.tell(Told::End);
    }
}

/// Somebody who looks, until this is dropped.
#[derive(Debug)]
pub struct Viewer {
    newest: watch::Receiver<Told>,
    /// Number of the last snapshot.
    known: Option<u64>,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    /// The answer that tells everything from now on.
    pub fn events(self) -> impl IntoResponse {
        let told = stream::unfold(self, |mut viewer| async {
            let event = viewer.next().await?;
            Some((Ok::<_, Infallible>(event), viewer))
        });
        Sse::new(told).keep_alive(KeepAlive::new().interval(SILENCE))
    }

    /// What there is to tell next; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            timeout_at(self.until, self.newest.changed()).await.ok()?.ok()?;
            let told = self.newest.borrow_and_update().clone();
            match told {
                Told::Nothing => {}
                Told::Snapshot(snapshot) => {
                    let follows =
                        self.known.replace(snapshot.number) == Some(snapshot.number.wrapping_sub(1));
                    let event = Event::default().retry(RETRY);
                    return Some(event.data(if follows { &snapshot.step } else { &snapshot.whole }));
                }
                Told::Trouble(why) => {
                    self.known = None;
                    return Some(Event::default().event("trouble").data(why.replace(['\r', '\n'], " ")));
                }
                Told::End => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(number: u64) -> Told {
        let (whole, step) = (format!("whole {number}"), format!("step {number}"));
        Told::Snapshot(Arc::new(Snapshot { number, whole, step }))
    }

    async fn next(viewer: &mut Viewer) -> String {
        format!("{:?}", viewer.next().await)
    }

    #[tokio::test]
    async fn who_missed_something_is_told_the_whole() {
        let viewers = Viewers::default();
        let mut viewer = viewers.arrive().unwrap();
        viewers.tell(snapshot(1));
        assert!(next(&mut viewer).await.contains("whole 1"));
        viewers.tell(snapshot(2));
        assert!(next(&mut viewer).await.contains("step 2"));
        // Who comes later begins with what the others have.
        let mut late = viewers.arrive().unwrap();
        assert!(next(&mut late).await.contains("whole 2"));
        viewers.tell(snapshot(3));
        viewers.tell(snapshot(4));
        assert!(next(&mut viewer).await.contains("whole 4"));
        viewers.tell(Told::Trouble("it is\nbusy".into()));
        assert!(next(&mut viewer).await.contains("it is busy"));
        viewers.tell(snapshot(5));
        assert!(next(&mut viewer).await.contains("whole 5"));
        viewers.end();
        // Nothing comes behind the end.
        viewers.tell(snapshot(6));
        assert!(viewer.next().await.is_none());
        assert_eq!(viewers.arrive().unwrap_err(), NoPlace::Ending);
    }

    #[tokio::test]
    async fn places_are_given_back() {
        let viewers = Viewers::default();
        let mut looking: Vec<Viewer> = (0..VIEWERS_MAX).map(|_| viewers.arrive().unwrap()).collect();
        assert_eq!(viewers.arrive().unwrap_err(), NoPlace::Full);
        assert_eq!(viewers.count(), u64::from(VIEWERS_MAX));
        looking.pop();
        looking.push(viewers.arrive().unwrap());
        drop(looking);
        assert_eq!(viewers.count(), 0);
    }

    #[tokio::test]
    async fn nobody_is_told_for_ever() {
        let viewers = Viewers::default();
        let mut viewer = viewers.arrive().unwrap();
        assert!(viewer.until.duration_since(Instant::now()) > LONGEST / 2);
        viewer.until = Instant::now();
        assert!(viewer.next().await.is_none());
    }
}
