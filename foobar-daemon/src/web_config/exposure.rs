//! Who can reach the metrics, and whether that is meant.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

/// What keeps strangers from the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// TLS: nobody reads along.
    pub tls: bool,
    /// Clients have to have a certificate of an authority that is named.
    pub client_certificates: bool,
    /// Clients have to have a password.
    pub passwords: bool,
}

impl Protection {
    /// Whether there is any.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, client_certificates, passwords } = *self;
        let words = [(tls, "TLS"), (client_certificates, "client certificates"), (passwords, "passwords")];
        let words: Vec<&str> = words.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect();
        formatter.write_str(if words.is_empty() { "no protection" } else { "" })?;
        formatter.write_str(&words.join(", "))
    }
}

/// Where the metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The address.
    pub listen: SocketAddr,
    /// Whether they may be served there without any protection.
    pub is_insecure_wanted: bool,
}

impl Exposure {
    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        // `::ffff:127.0.0.1` is of IPv4.
        self.listen.ip().to_canonical().is_loopback()
    }

    /// Checks whether the metrics may be served with this protection.
    ///
    /// # Errors
    /// What to do, if they may not.
    pub fn check(&self, protection: Protection) -> Result<(), String> {
        if protection.is_any() || self.is_insecure_wanted || self.is_local() {
            return Ok(());
        }
        let Self { listen, .. } = self;
        let loopback = match listen.ip() {
            IpAddr::V4(_) => "127.0.0.1",
            IpAddr::V6(_) => "[::1]",
        };
        Err(format!(
            "with --listen {listen}, whoever reaches this machine could read its metrics: protect them by TLS, client \
             certificates or passwords (--web-config FILE, with tls_server_config or basic_auth_users), or serve this \
             machine alone (--listen {loopback}:{}), or say --insecure-listen if it is meant",
            listen.port()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_needs_no_protection() {
        let none = Protection::default();
        let table = [
            ("127.0.0.1:9477", true),
            ("127.8.9.1:9477", true),
            ("[::1]:9477", true),
            ("[::ffff:127.0.0.1]:9477", true),
            ("0.0.0.0:9477", false),
            ("[::]:9477", false),
            ("192.0.2.1:9477", false),
            ("[::ffff:192.0.2.1]:9477", false),
            ("[2001:db8::1]:9477", false),
            ("[fe80::1]:9477", false),
        ];
        for (listen, is_local) in table {
            let exposure = Exposure { listen: listen.parse().unwrap(), is_insecure_wanted: false };
            assert_eq!(exposure.check(none).is_ok(), is_local, "{listen}");
            for protection in [Protection { tls: true, ..none }, Protection { passwords: true, ..none }] {
                assert_eq!(exposure.check(protection), Ok(()), "{listen}");
            }
            assert_eq!(Exposure { is_insecure_wanted: true, ..exposure }.check(none), Ok(()), "{listen}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let listen = "[::]:9477".parse().unwrap();
        let said = Exposure { listen, is_insecure_wanted: false }.check(Protection::default()).unwrap_err();
        for word in
            ["[::]:9477", "--web-config", "basic_auth_users", "--listen [::1]:9477", "--insecure-listen"]
        {
            assert!(said.contains(word), "{word} is not said: {said}");
        }
    }

    #[test]
    fn protection_is_told_in_words() {
        let all = Protection { tls: true, client_certificates: true, passwords: true };
        assert_eq!(all.to_string(), "TLS, client certificates, passwords");
        assert_eq!(Protection::default().to_string(), "no protection");
    }
}
