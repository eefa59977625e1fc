//! `[[service]]`.

use foobar_common::{counters::SERVICE_PORTS_MAX, service::Protocol, tls::TlsVersion};

use super::{
    Reading, decryption,
    error::Errors,
    name, port, reconcile, syn_cookies,
    value::{Section, Value},
};
use crate::rules::model::{PortProtocol, Service, ServicePort, TlsRequirements};

const SERVICE_KEYS: [&str; 11] = [
    "name",
    "port",
    "protocol",
    "require_tls",
    "min_tls",
    "syn_cookies",
    "proxy_protocol",
    "responses",
    "decrypt_by",
    "decrypt_from",
    "reconcile",
];
const SERVICE_HELP: &str = "write [[service]], then name = \"www\" and port = \"tcp/443\"";

/// Reads the services of a rule file.
pub(super) fn read(file: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) {
    let Some(value) = file.get("service") else {
        return;
    };
    for section in value.sections("[[service]]", SERVICE_HELP, errors) {
        section.check_keys(&SERVICE_KEYS, errors);
        let name = service_name(&section, reading, errors);
        let protocol = protocol(&section, errors);
        let ports = ports(&section, protocol.unwrap_or(Protocol::Raw), reading, errors);
        let syn_cookies = syn_cookies::read(&section, ports.as_deref(), errors);
        if let (Some(name), Some(ports), Some(protocol)) = (name, ports, protocol) {
            let tls = tls(&section, protocol, errors);
            let proxy_protocol = proxy_protocol(&section, protocol, errors);
            let responses = responses(&section, protocol, errors);
            let decrypt = decryption::read(&section, protocol, errors);
            let reconcile = reconcile::read(&section, protocol, decrypt.is_some(), errors);
            let service = Service {
                name,
                ports,
                protocol,
                tls,
                proxy_protocol,
                responses,
                syn_cookies,
                decrypt,
                reconcile,
            };
            reading.ruleset.services.push(service);
        }
    }
}

fn service_name(section: &Section<'_>, reading: &mut Reading, errors: &mut Errors<'_>) -> Option<String> {
    let value = section.require("name", SERVICE_HELP, errors)?;
    let name = name(&value, "the name of a service", errors)?;
    if let Some(first) = reading.places.services.get(name) {
        let first = errors.position(first);
        errors.add(
            &value.place,
            format!("the service {name:?} is given a second time; the first is at {first}"),
            "give one of them another name, or list all ports in one",
        );
        return None;
    }
    reading.places.services.insert(name.to_owned(), value.place);
    Some(name.to_owned())
}

/// What is spoken there; nothing is read if nothing is said.
fn protocol(section: &Section<'_>, errors: &mut Errors<'_>) -> Option<Protocol> {
    let Some(value) = section.get("protocol") else { return Some(Protocol::Raw) };
    let words: Vec<_> = Protocol::ALL.iter().map(|protocol| (protocol.label(), *protocol)).collect();
    value.word("protocol", &words, errors)
}

/// `require_tls` and `min_tls`, which only a service of TLS can have.
fn tls(section: &Section<'_>, protocol: Protocol, errors: &mut Errors<'_>) -> TlsRequirements {
    let versions = [
        ("1.0", TlsVersion::Tls10),
        ("1.1", TlsVersion::Tls11),
        ("1.2", TlsVersion::Tls12),
        ("1.3", TlsVersion::Tls13),
    ];
    let required = section.get("require_tls");
    let is_required = required.as_ref().and_then(|value| value.boolean("require_tls", errors));
    let is_required = is_required.unwrap_or(false);
    let oldest = section.get("min_tls");
    if protocol != Protocol::Tls {
        for value in [required.filter(|_| is_required), oldest].into_iter().flatten() {
            let message = "only a service with protocol = \"tls\" can ask for TLS".to_owned();
            errors.add(&value.place, message, "write protocol = \"tls\", or leave this out");
        }
        return TlsRequirements::default();
    }
    TlsRequirements {
        required: is_required,
        oldest: oldest.and_then(|value| value.word("min_tls", &versions, errors)),
    }
}

/// Whether a proxy speaks first, which only matters where something is read.
fn proxy_protocol(section: &Section<'_>, protocol: Protocol, errors: &mut Errors<'_>) -> bool {
    let Some(value) = section.get("proxy_protocol") else { return false };
    let is_proxied = value.boolean("proxy_protocol", errors).unwrap_or(false);
    let (problem, mend) = match protocol {
        Protocol::Http1 | Protocol::H2c | Protocol::Tls | Protocol::Mysql => return is_proxied,
        Protocol::Raw => (
            "proxy_protocol means nothing for a service of which nothing is read",
            "write what is spoken there, as protocol = \"tls\", or leave this out",
        ),
        Protocol::Dns => ("proxy_protocol means nothing for a service of dns", "leave this out"),
    };
    if is_proxied {
        errors.add(&value.place, problem.to_owned(), mend);
    }
    is_proxied
}

/// Whether what the server answers is read: it can be left out only where requests are told without it.
fn responses(section: &Section<'_>, protocol: Protocol, errors: &mut Errors<'_>) -> bool {
    let Some(value) = section.get("responses") else { return true };
    let is_read = value.boolean("responses", errors).unwrap_or(true);
    if !is_read && protocol != Protocol::Http1 {
        let message =
            "only a service with protocol = \"http1\" can do without reading what is answered".to_owned();
        errors.add(&value.place, message, "leave this out");
    }
    is_read
}

fn ports(
    section: &Section<'_>,
    protocol: Protocol,
    reading: &mut Reading,
    errors: &mut Errors<'_>,
) -> Option<Vec<ServicePort>> {
    let value = section.require("port", SERVICE_HELP, errors)?;
    let elements = value.list("port", errors)?;
    let ports: Vec<_> = elements.iter().map(|element| one_port(element, protocol, reading, errors)).collect();
    ports.into_iter().collect()
}

fn one_port(
    value: &Value<'_>,
    protocol: Protocol,
    reading: &mut Reading,
    errors: &mut Errors<'_>,
) -> Option<ServicePort> {
    let port = port::service_port(value, "port", errors)?;
    if let Err((carriers, instead)) = carries(port.protocol, protocol) {
        errors.add(
            &value.place,
            format!("{port} cannot speak {}, which goes over {carriers}", protocol.label()),
            format!("write \"{}/{}\", or give this port a service of its own", instead.label(), port.port),
        );
        return None;
    }
    let seen = &mut reading.places.service_ports;
    if let Some(first) = seen.get(&port) {
        let first = errors.position(first);
        let message = format!("{port} belongs to a service already, at {first}");
        errors.add(&value.place, message, "each port is counted once: leave it in one of the services");
        return None;
    }
    seen.insert(port, value.place.clone());
    if seen.len() > SERVICE_PORTS_MAX as usize {
        errors.add(
            &value.place,
            format!("this is service port number {}; at most {SERVICE_PORTS_MAX} can be counted", seen.len()),
            "leave out the services whose numbers matter least: their traffic counts as \"other\"",
        );
        return None;
    }
    Some(port)
}

/// Whether ports of this kind can speak a protocol.
///
/// # Errors
/// What it goes over, and which of that to write.
fn carries(port: PortProtocol, protocol: Protocol) -> Result<(), (&'static str, PortProtocol)> {
    match (protocol, port) {
        (Protocol::Raw, _)
        | (
            Protocol::Http1 | Protocol::H2c | Protocol::Tls | Protocol::Mysql | Protocol::Dns,
            PortProtocol::Tcp,
        )
        | (Protocol::Dns, PortProtocol::Udp) => Ok(()),
        (Protocol::Http1 | Protocol::H2c | Protocol::Tls | Protocol::Mysql, _) => {
            Err(("TCP", PortProtocol::Tcp))
        }
        (Protocol::Dns, PortProtocol::Sctp) => Err(("UDP and TCP", PortProtocol::Udp)),
    }
}
