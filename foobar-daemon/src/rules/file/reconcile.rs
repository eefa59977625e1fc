//! `reconcile` of a `[[service]]`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use foobar_common::service::Protocol;

use super::{
    error::Errors,
    value::{Section, Value},
};
use crate::rules::model::{CountingServer, Reconcile, StatusPage};

const KEYS: [&str; 3] = ["nginx_status", "mysql", "every"];
const HELP: &str = "write reconcile = { nginx_status = \"http://127.0.0.1:8081/status\" } or { mysql = \
                    \"/etc/foobar/mysql.cnf\" }";
const URL_HELP: &str = "write nginx_status = \"http://127.0.0.1:8081/status\"";
/// Time from one comparison to the next, unless `every` says another.
const EVERY: Duration = Duration::from_secs(10);
/// What `every` can say; a comparison alone takes two seconds.
const EVERY_RANGE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_hours(1));
/// The port of a URL that names none (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;

/// With whose count that of a service is compared, if it is. `decrypted` tells whether requests inside of TLS are
/// counted.
pub(super) fn read(
    section: &Section<'_>,
    protocol: Protocol,
    decrypted: bool,
    errors: &mut Errors<'_>,
) -> Option<Reconcile> {
    let value = section.get("reconcile")?;
    let section = value.section("reconcile", HELP, errors)?;
    section.check_keys(&KEYS, errors);
    let every = match section.get("every") {
        Some(value) => duration(&value, errors),
        None => Some(EVERY),
    };
    let server = match (section.get("nginx_status"), section.get("mysql")) {
        (Some(url), None) => nginx(&url, protocol, decrypted, errors)?,
        (None, Some(path)) => mysql(&path, protocol, errors)?,
        (Some(_), Some(path)) => {
            let message = "reconcile names two servers; a service has one".to_owned();
            errors.add(&path.place, message, "leave one of them out");
            return None;
        }
        (None, None) => {
            errors.add(&value.place, "reconcile names no server".to_owned(), HELP);
            return None;
        }
    };
    Some(Reconcile { server, every: every? })
}

fn nginx(
    url: &Value<'_>,
    protocol: Protocol,
    decrypted: bool,
    errors: &mut Errors<'_>,
) -> Option<CountingServer> {
    let page = status_page(url.string("nginx_status", errors)?);
    let problem = match (protocol, page) {
        (Protocol::Http1 | Protocol::H2c, Ok(page)) => return Some(CountingServer::Nginx(page)),
        (Protocol::Tls, Ok(page)) if decrypted => return Some(CountingServer::Nginx(page)),
        (Protocol::Http1 | Protocol::H2c, Err(problem)) => (problem, URL_HELP),
        (Protocol::Tls, Err(problem)) if decrypted => (problem, URL_HELP),
        (Protocol::Tls, _) => (
            "of a service of TLS no requests are counted to compare with nginx's".to_owned(),
            "write decrypt_by = \"uprobe\", too, or leave reconcile out",
        ),
        (Protocol::Raw | Protocol::Mysql | Protocol::Dns, _) => (
            format!("of a service of {} no requests are counted to compare with nginx's", protocol.label()),
            "write protocol = \"http1\" or \"h2c\", or leave reconcile out",
        ),
    };
    let (message, help) = problem;
    errors.add(&url.place, message, help);
    None
}

fn mysql(path: &Value<'_>, protocol: Protocol, errors: &mut Errors<'_>) -> Option<CountingServer> {
    let text = path.string("mysql", errors)?;
    let (message, help) = if protocol != Protocol::Mysql {
        (
            format!("of a service of {} no queries are counted to compare with MySQL's", protocol.label()),
            "write protocol = \"mysql\", or leave reconcile out",
        )
    } else if text.starts_with('/') {
        return Some(CountingServer::Mysql(text.to_owned()));
    } else {
        (format!("{text:?} is no path from the root"), "write mysql = \"/etc/foobar/mysql.cnf\"")
    };
    errors.add(&path.place, message, help);
    None
}

/// What an URL names (RFC 3986 section 3), as far as it can be a status page of a server here: anybody between could
/// count otherwise, and a name would have to be looked up.
///
/// # Errors
/// What is wrong with it.
fn status_page(url: &str) -> Result<StatusPage, String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url:?} does not begin with http://"))?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    let address = match (authority.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
        (Ok(address), _) => address,
        (Err(_), Ok(address)) if address.is_ipv6() == authority.starts_with('[') => {
            SocketAddr::new(address, HTTP_PORT)
        }
        _ => return Err(format!("{authority:?} is no address of this machine, with or without a port")),
    };
    if !address.ip().is_loopback() || address.port() == 0 {
        return Err(format!("{address} is not on this machine's loopback interface"));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(format!("{path:?} has characters that no path of a request can have"));
    }
    Ok(StatusPage { address, path: path.to_owned() })
}

fn duration(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<Duration> {
    let text = value.string("every", errors)?;
    let (shortest, longest) = EVERY_RANGE;
    let duration = humantime::parse_duration(text).ok().filter(|every| (shortest..=longest).contains(every));
    if duration.is_none() {
        errors.add(
            &value.place,
            format!("every cannot be {text:?}"),
            "write a time from \"3s\" to \"1h\", as \"10s\", or leave it out",
        );
    }
    duration
}
