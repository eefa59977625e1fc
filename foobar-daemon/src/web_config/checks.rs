//! The places for checks of passwords: bcrypt is slow on purpose, and strangers can have it done.
//!
//! One password is checked at a time. After a wrong one the next waits three times as long as the check took, so a flood of
//! them takes a quarter of one processor at most. Few may wait, and of one address only some of them: whoever asks from
//! another gets a turn soon. A login that was right before needs no turn.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{WebConfig, users::Login};

/// Logins that wait for their check or are checked. With all of them, half of the places that those who look at the live page leave
/// are free.
const WAITING_MAX: usize = 16;
/// The same of one address.
const WAITING_OF_ONE: usize = 4;
/// How long a login waits for its check.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the next check waits after a wrong password, in times of what the check took.
const REST: u32 = 3;

/// The places; cheap to clone.
#[derive(Clone, Debug)]
pub struct Checks {
    turn: Arc<Semaphore>,
    waiting: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// What came of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is right.
    Right,
    /// It is wrong.
    Wrong,
    /// It was not checked: too many others wait.
    Busy,
}

/// A place among those that wait.
struct Place {
    waiting: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    from: IpAddr,
}

impl Default for Checks {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), waiting: Arc::default() }
    }
}

impl Checks {
    /// Checks a login of somebody at this address against the users of a configuration.
    pub async fn check(&self, config: Arc<WebConfig>, login: Login, from: IpAddr) -> Checked {
        if config.users.is_verified(&login) {
            return Checked::Right;
        }
        let Some(_place) = self.take_place(network(from)) else { return Checked::Busy };
        let Ok(Ok(turn)) = timeout(PATIENCE, Arc::clone(&self.turn).acquire_owned()).await else {
            return Checked::Busy;
        };
        // It may have been right for another connection meanwhile.
        if config.users.is_verified(&login) {
            return Checked::Right;
        }
        let (tell, told) = oneshot::channel();
        // By itself: who goes away before the answer must not spare those that follow the rest.
        tokio::spawn(async move {
            let begun = Instant::now();
            let is_right = spawn_blocking(move || config.users.check(&login)).await.unwrap_or(false);
            if tell.send(is_right).is_err() {
                tracing::debug!("who sent a password went away before the answer");
            }
            if !is_right {
                sleep(begun.elapsed() * REST).await;
            }
            drop(turn);
        });
        match told.await {
            Ok(true) => Checked::Right,
            Ok(false) | Err(_) => Checked::Wrong,
        }
    }

    fn take_place(&self, from: IpAddr) -> Option<Place> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let of_one = waiting.get(&from).copied().unwrap_or(0);
        if all >= WAITING_MAX || of_one >= WAITING_OF_ONE {
            return None;
        }
        waiting.insert(from, of_one + 1);
        Some(Place { waiting: Arc::clone(&self.waiting), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&self.from) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(waiting.remove(&self.from)),
        }
    }
}

/// Whose address it is: of IPv6, everybody has a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use ring::hmac;

    use super::*;

    /// Users with the password "secret".
    fn config() -> Arc<WebConfig> {
        let hash = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW".parse().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"of a test");
        let users = super::super::users::Users::new([("alice".to_owned(), hash)].into(), key.clone());
        Arc::new(WebConfig { users, ..WebConfig::none(key) })
    }

    fn login(password: &str) -> Login {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let encoded = BASE64_STANDARD.encode(format!("alice:{password}"));
        Login::from_header(format!("Basic {encoded}").as_bytes()).unwrap()
    }

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[tokio::test]
    async fn right_and_wrong_are_told() {
        let (checks, config) = (Checks::default(), config());
        let check = |password| checks.check(Arc::clone(&config), login(password), address(1));
        assert_eq!(check("wrong").await, Checked::Wrong);
        assert_eq!(check("secret").await, Checked::Right);
        assert_eq!(check("wrong").await, Checked::Wrong);
        assert!(checks.waiting.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn few_wait_and_fewer_of_one_address() {
        let (checks, config) = (Checks::default(), config());
        let turn = Arc::clone(&checks.turn).acquire_owned().await.unwrap();
        let begin = |from: IpAddr| {
            let (checks, config) = (checks.clone(), Arc::clone(&config));
            tokio::spawn(async move { checks.check(config, login("secret"), from).await })
        };
        let mut waiting = Vec::new();
        for number in 0..4 {
            for _ in 0..WAITING_OF_ONE {
                waiting.push(begin(address(number)));
            }
        }
        while checks.waiting.lock().unwrap().values().sum::<usize>() < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(begin(address(200)).await.unwrap(), Checked::Busy, "there are no places left");
        // Who goes away leaves a place, for others and for itself.
        waiting.pop().unwrap().abort();
        while checks.waiting.lock().unwrap().values().sum::<usize>() == WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(begin(address(0)).await.unwrap(), Checked::Busy, "four of an address wait");
        waiting.push(begin(address(200)));
        drop(turn);
        for task in waiting {
            assert_eq!(task.await.unwrap(), Checked::Right);
        }
        assert!(checks.waiting.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_was_right_waits_for_nobody() {
        let (checks, config) = (Checks::default(), config());
        assert_eq!(checks.check(Arc::clone(&config), login("secret"), address(1)).await, Checked::Right);
        let _turn = Arc::clone(&checks.turn).acquire_owned().await.unwrap();
        assert_eq!(checks.check(Arc::clone(&config), login("secret"), address(2)).await, Checked::Right);
    }

    #[tokio::test]
    async fn who_goes_away_spares_nobody_the_rest() {
        let (checks, config) = (Checks::default(), config());
        let check = checks.check(Arc::clone(&config), login("wrong"), address(1));
        // Begun, and given up before the answer.
        assert!(timeout(Duration::from_micros(1), check).await.is_err());
        let begun = Instant::now();
        assert_eq!(checks.check(config, login("secret"), address(1)).await, Checked::Right);
        assert!(begun.elapsed() > Duration::from_millis(1));
    }

    #[test]
    fn everybody_has_a_network_of_ipv6() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1:2:3"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
