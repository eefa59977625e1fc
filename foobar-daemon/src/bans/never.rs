//! Who must not be banned: `failsafe.peers` and `failsafe.never_ban`.

use ipnet::IpNet;

use crate::rules::{model::Failsafe, names::prefix_words};

/// Whether a prefix reaches somebody who must not be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of it is inside of this, which the key names.
    Inside(IpNet, &'static str),
    /// This is inside of it, which the key names.
    Around(IpNet, &'static str),
}

impl Reach {
    /// Of a prefix, if it does.
    pub fn of(prefix: &IpNet, failsafe: &Failsafe) -> Option<Self> {
        let Failsafe { ports: _, peers, never_ban } = failsafe;
        let named = |key| move |spared: &IpNet| (*spared, key);
        let spared = || {
            peers.iter().map(named("failsafe.peers")).chain(never_ban.iter().map(named("failsafe.never_ban")))
        };
        let inside = spared().find(|(spared, _)| spared.contains(prefix));
        let around = || spared().find(|(spared, _)| prefix.contains(spared));
        inside
            .map(|(spared, key)| Self::Inside(spared, key))
            .or_else(|| around().map(|(spared, key)| Self::Around(spared, key)))
    }

    /// Why the ban of a prefix is refused.
    pub fn refusal(&self, prefix: &IpNet) -> String {
        let prefix = prefix_words(prefix);
        match self {
            Self::Inside(spared, key) if prefix_words(spared) == prefix => {
                format!("{prefix} must not be banned: {key} names it")
            }
            Self::Inside(spared, key) => {
                format!(
                    "{prefix} must not be banned: it is inside {}, which {key} names",
                    prefix_words(spared)
                )
            }
            Self::Around(spared, key) => {
                format!("{prefix} must not be banned: {} is inside, which {key} names", prefix_words(spared))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_touches_one_who_is_spared_reaches_them() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let failsafe = Failsafe {
            ports: Vec::new(),
            peers: vec![net("198.51.100.10/32")],
            never_ban: vec![net("192.0.2.0/28"), net("2001:db8::/48")],
        };
        for (prefix, words) in [
            (
                "192.0.2.3/32",
                "192.0.2.3 must not be banned: it is inside 192.0.2.0/28, which failsafe.never_ban names",
            ),
            ("192.0.2.0/28", "192.0.2.0/28 must not be banned: failsafe.never_ban names it"),
            (
                "192.0.2.0/24",
                "192.0.2.0/24 must not be banned: 192.0.2.0/28 is inside, which failsafe.never_ban names",
            ),
            (
                "198.51.0.0/16",
                "198.51.0.0/16 must not be banned: 198.51.100.10 is inside, which failsafe.peers names",
            ),
            ("198.51.100.10/32", "198.51.100.10 must not be banned: failsafe.peers names it"),
            (
                "2001:db8::1/128",
                "2001:db8::1 must not be banned: it is inside 2001:db8::/48, which failsafe.never_ban names",
            ),
        ] {
            let reach = Reach::of(&net(prefix), &failsafe).unwrap();
            assert_eq!(reach.refusal(&net(prefix)), words);
        }
        for prefix in ["192.0.2.16/32", "198.51.100.11/32", "2001:db8:1::/48", "::192.0.2.3/128"] {
            assert_eq!(Reach::of(&net(prefix), &failsafe), None, "{prefix}");
        }
    }
}
