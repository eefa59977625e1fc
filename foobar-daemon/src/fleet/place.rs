//! Where the rules lie in etcd: `etcd://HOST:PORT,HOST:PORT/PREFIX`, or `etcds://` by TLS.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// Port of etcd's clients.
const DEFAULT_PORT: u16 = 2379;
/// How many members of a cluster can be named.
const ENDPOINTS_MAX: usize = 9;
/// Longest prefix, in bytes.
const PREFIX_MAX: usize = 256;
/// Longest name of a host (RFC 1035, section 2.3.4).
const HOST_MAX: usize = 253;
const HELP: &str = "write etcd://HOST:2379,HOST:2379/PREFIX, or etcds:// for TLS";

/// Servers of etcd, and the prefix of the keys there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdPlace {
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// The members that are asked, in the order in which they are named.
    pub endpoints: Vec<Endpoint>,
    /// Begins with a slash and does not end with one.
    pub prefix: String,
}

/// A member of etcd's cluster, as it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, or an address without brackets.
    pub host: String,
    /// Port for clients.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

impl fmt::Display for EtcdPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<String> = self.endpoints.iter().map(Endpoint::to_string).collect();
        let scheme = if self.is_tls { "etcds" } else { "etcd" };
        write!(formatter, "{scheme}://{}{}", endpoints.join(","), self.prefix)
    }
}

impl EtcdPlace {
    /// Whether a value of `--rules` means etcd, and not a file.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("etcd://") || text.starts_with("etcds://")
    }
}

impl FromStr for EtcdPlace {
    type Err = String;

    /// # Errors
    /// Says what cannot be so, and how to write it. A password that stands there is not told.
    fn from_str(text: &str) -> Result<Self, String> {
        let (is_tls, rest) = match (text.strip_prefix("etcds://"), text.strip_prefix("etcd://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(format!("this is no place in etcd; {HELP}")),
        };
        if rest.contains('@') {
            return Err("user and password do not stand in the URL, which everybody can read: write USER:PASSWORD into \
                        a file and name it with --etcd-user-file"
                .to_owned());
        }
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return Err(format!("{text:?} names no prefix of keys; {HELP}"));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte);
        if prefix.len() > PREFIX_MAX || !prefix.bytes().all(is_plain) {
            return Err(format!(
                "the prefix {prefix:?} cannot be one: write 1 to {PREFIX_MAX} of the characters A-Z a-z 0-9 _ . - /"
            ));
        }
        let endpoints = hosts.split(',').map(endpoint).collect::<Result<Vec<_>, _>>()?;
        if endpoints.len() > ENDPOINTS_MAX {
            return Err(format!(
                "{} servers are more than {ENDPOINTS_MAX}; name some of them",
                endpoints.len()
            ));
        }
        Ok(Self { is_tls, endpoints, prefix: format!("/{prefix}") })
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let wrong = || format!("{text:?} is no host with a port; {HELP}");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<Ipv6Addr>().map_err(|_error| wrong())?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || host.len() > HOST_MAX || !host.bytes().all(is_plain) {
        return Err(wrong());
    }
    let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_error| wrong()))?;
    if port == 0 { Err(wrong()) } else { Ok(Endpoint { host: host.to_owned(), port }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown_alike() {
        for (text, shown) in [
            ("etcd://a/p", "etcd://a:2379/p"),
            ("etcds://a:1,b,[::1]:3/p/q/", "etcds://a:1,b:2379,[::1]:3/p/q"),
            ("etcd://192.0.2.1:2379/foobar", "etcd://192.0.2.1:2379/foobar"),
        ] {
            let place: EtcdPlace = text.parse().unwrap();
            assert_eq!(place.to_string(), shown);
            assert_eq!(shown.parse(), Ok(place));
        }
    }

    #[test]
    fn what_cannot_be_a_place_is_told() {
        for (text, said) in [
            ("http://a/p", "no place in etcd"),
            ("etcd://a", "no prefix"),
            ("etcd://a//", "no prefix"),
            ("etcd:///p", "no host"),
            ("etcd://a:0/p", "no host"),
            ("etcd://a:x/p", "no host"),
            ("etcd://a:65536/p", "no host"),
            ("etcd://::1/p", "no host"),
            ("etcd://[::1/p", "no host"),
            ("etcd://[a]:1/p", "no host"),
            ("etcd://a,,b/p", "no host"),
            ("etcd://a/p q", "cannot be one"),
            ("etcd://1,2,3,4,5,6,7,8,9,a/p", "10 servers"),
        ] {
            let error = text.parse::<EtcdPlace>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let error = "etcd://root:geheim@a/p".parse::<EtcdPlace>().unwrap_err();
        assert!(error.contains("--etcd-user-file") && !error.contains("geheim"), "{error}");
    }
}
