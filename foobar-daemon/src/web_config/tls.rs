//! `tls_server_config`: what rustls is told.

use std::{path::Path, sync::Arc};

use rustls::{
    ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, SupportedKxGroup, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use super::{
    client_certificates::{Policy, Verifier},
    document::{At, Place, Problem, Text, TlsSection},
};
use crate::watched_files::Files;

/// TLS as it is served.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// For each connection.
    pub(super) config: Arc<ServerConfig>,
    /// Which certificates clients have to have.
    pub(super) clients: Policy,
}

/// Makes it of what the file says; `None` if it says nothing of TLS. Paths are relative to `folder`.
///
/// # Errors
/// The first thing that is wrong, or that rustls cannot do.
pub(super) fn build(
    section: Option<&At<TlsSection>>,
    folder: &Path,
    files: &mut Files,
) -> Result<Option<Tls>, Problem> {
    let Some(At { value: section, place }) = section.filter(|section| !section.value.is_empty()) else {
        return Ok(None);
    };
    let mut source = Source { folder, files };
    let certificate = source.pem(("cert", &section.cert), ("cert_file", &section.cert_file))?;
    let key = source.pem(("key", &section.key), ("key_file", &section.key_file))?;
    let authorities =
        source.pem(("client_ca", &section.client_ca), ("client_ca_file", &section.client_ca_file))?;
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, Some(key)) => {
            return Err(key.place.problem("a key without a certificate: write cert_file, too"));
        }
        (Some(certificate), None) => {
            return Err(certificate.place.problem("a certificate without its key: write key_file, too"));
        }
        (None, None) => {
            return Err(place.problem(
                "tls_server_config has no certificate: write cert_file and key_file, or leave the section out",
            ));
        }
    };
    let chain = certificates(&certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&key.value).map_err(|error| {
        key.problem(format!(
            "this holds no private key in PEM that is not encrypted (PKCS#8, PKCS#1 or SEC1): {error}"
        ))
    })?;
    let provider = Arc::new(provider(section)?);
    let versions = versions(section, *place, &provider)?;
    let clients = clients(section, authorities.as_ref())?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| place.problem(format!("tls_server_config: {error}")))?;
    let builder = match verifier(section, clients, authorities.as_ref(), &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, private).map_err(|error| {
        certificate.problem(format!(
            "certificate and key cannot be used: {error}; they have to belong together, the certificate be of version 3, the key \
             RSA of 2048 bits or more, ECDSA by P-256 or P-384, or Ed25519"
        ))
    })?;
    config.ignore_client_order = section.prefer_server_cipher_suites.unwrap_or(true);
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    // Each connection is one request, minutes after the last one: a session that goes on would only keep a certificate in force
    // that has expired.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(Tls { config: Arc::new(config), clients }))
}

/// Where certificates and keys are read.
struct Source<'a> {
    folder: &'a Path,
    files: &'a mut Files,
}

/// A text in PEM, of which kind, and where it is named.
struct Pem {
    /// The key in the file that it stands at.
    named: String,
    place: Place,
    value: Vec<u8>,
}

impl Pem {
    fn problem(&self, message: impl AsRef<str>) -> Problem {
        self.place.problem(format!("{}: {}", self.named, message.as_ref()))
    }
}

impl Source<'_> {
    /// What stands in the file itself, or in the one that it names.
    fn pem(
        &mut self,
        (inline_key, inline): (&str, &Option<Text>),
        (file_key, file): (&str, &Option<Text>),
    ) -> Result<Option<Pem>, Problem> {
        match (inline, file) {
            (None, None) => Ok(None),
            (Some(_), Some(At { place, .. })) => {
                Err(place.problem(format!("{file_key} beside {inline_key}: leave one of them out")))
            }
            (Some(At { value, place }), None) => Ok(Some(Pem {
                named: inline_key.to_owned(),
                place: *place,
                value: value.clone().into_bytes(),
            })),
            (None, Some(At { value, place })) => {
                let path = self.folder.join(value);
                let named = format!("{file_key} {}", path.display());
                match self.files.read(&path) {
                    Ok(value) => Ok(Some(Pem { named, place: *place, value })),
                    Err(error) => Err(place.problem(format!(
                        "{named}: {error}; it has to be there, and be readable for the user that foobar runs as"
                    ))),
                }
            }
        }
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let all = CertificateDer::pem_slice_iter(&pem.value).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(all) if all.is_empty() => Err(pem.problem("this holds no certificate in PEM")),
        Ok(all) => Ok(all),
        Err(error) => Err(pem.problem(format!("this is no certificate in PEM: {error}"))),
    }
}

/// The suites and groups of `cipher_suites` and `curve_preferences`, in their order.
fn provider(section: &TlsSection) -> Result<CryptoProvider, Problem> {
    let mut provider = ring::default_provider();
    if let Some(wanted) = &section.cipher_suites {
        let all = provider.cipher_suites;
        let mut suites = wanted.iter().map(|name| cipher_suite(name, &all)).collect::<Result<Vec<_>, _>>()?;
        // As in Go, the list is one of TLS 1.2; the suites of 1.3 are always there.
        let is_missing = |suite: &SupportedCipherSuite| is_of_tls13(suite) && !suites.contains(suite);
        let more: Vec<_> = all.iter().copied().filter(is_missing).collect();
        suites.extend(more);
        provider.cipher_suites = suites;
    }
    if let Some(wanted) = &section.curve_preferences {
        let all = provider.kx_groups;
        provider.kx_groups = wanted.iter().map(|name| curve(name, &all)).collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

fn is_of_tls13(suite: &SupportedCipherSuite) -> bool {
    suite.version().version == ProtocolVersion::TLSv1_3
}

fn cipher_suite(name: &Text, all: &[SupportedCipherSuite]) -> Result<SupportedCipherSuite, Problem> {
    // Go has the names of RFC 8446, as rustls does for TLS 1.2 alone.
    let go_name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    let known = |suite: &&SupportedCipherSuite| go_name(suite) == name.value;
    all.iter().find(known).copied().ok_or_else(|| {
        let names: Vec<_> = all.iter().map(go_name).collect();
        name.place.problem(format!(
            "foobar has no cipher suite {:?}: leave it out, or take of {}",
            name.value,
            names.join(", ")
        ))
    })
}

fn curve(
    name: &Text,
    all: &[&'static dyn SupportedKxGroup],
) -> Result<&'static dyn SupportedKxGroup, Problem> {
    use rustls::NamedGroup;
    const CURVES: [(&str, NamedGroup); 3] = [
        ("X25519", NamedGroup::X25519),
        ("CurveP256", NamedGroup::secp256r1),
        ("CurveP384", NamedGroup::secp384r1),
    ];
    let known = CURVES.iter().find(|(known, _)| *known == name.value);
    let group = known.and_then(|(_, group)| all.iter().find(|has| has.name() == *group));
    group.copied().ok_or_else(|| {
        name.place.problem(format!(
            "foobar has no curve {:?}: leave it out, or take of {}",
            name.value,
            CURVES.map(|(known, _)| known).join(", ")
        ))
    })
}

/// The versions from `min_version` to `max_version` that a suite is left for.
fn versions(
    section: &TlsSection,
    place: Place,
    provider: &CryptoProvider,
) -> Result<Vec<&'static SupportedProtocolVersion>, Problem> {
    const VERSIONS: [(&str, &SupportedProtocolVersion); 2] = [("TLS12", &TLS12), ("TLS13", &TLS13)];
    let number = |text: &Option<Text>, default: usize| match text {
        None => Ok(default),
        Some(text) => VERSIONS.iter().position(|(name, _)| *name == text.value).ok_or_else(|| {
            text.place.problem(format!("foobar has no version {:?} of TLS: write TLS12 or TLS13", text.value))
        }),
    };
    let (least, most) = (number(&section.min_version, 0)?, number(&section.max_version, 1)?);
    let has_suite = |version: &SupportedProtocolVersion| {
        provider.cipher_suites.iter().any(|suite| suite.version().version == version.version)
    };
    let versions: Vec<_> = VERSIONS
        .iter()
        .enumerate()
        .filter(|(number, (_, version))| (least..=most).contains(number) && has_suite(version))
        .map(|(_, (_, version))| *version)
        .collect();
    if versions.is_empty() {
        return Err(place.problem(
            "no version of TLS is left from min_version to max_version that cipher_suites have a suite for: leave them \
             out",
        ));
    }
    Ok(versions)
}

/// `client_auth_type`, where it fits the rest.
fn clients(section: &TlsSection, authorities: Option<&Pem>) -> Result<Policy, Problem> {
    let policy = match &section.client_auth_type {
        None => Policy::None,
        Some(text) => {
            Policy::ALL.iter().find(|(name, _)| *name == text.value).map(|(_, policy)| *policy).ok_or_else(
                || {
                    let names: Vec<_> = Policy::ALL.iter().map(|(name, _)| *name).collect();
                    text.place.problem(format!(
                        "there is no client_auth_type {:?}: write one of {}",
                        text.value,
                        names.join(", ")
                    ))
                },
            )?
        }
    };
    match (policy, authorities, &section.client_auth_type) {
        (Policy::None, Some(authorities), _) => Err(authorities.problem(
            "nobody is asked for a certificate: write client_auth_type: RequireAndVerifyClientCert, too",
        )),
        (policy, None, Some(text)) if policy.is_verified() => Err(text.place.problem(format!(
            "client_auth_type {} has nothing to verify certificates by: write client_ca_file, too",
            text.value
        ))),
        _ => Ok(policy),
    }
}

/// What checks the certificates of clients, if they are asked for any.
fn verifier(
    section: &TlsSection,
    policy: Policy,
    authorities: Option<&Pem>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Verifier>, Problem> {
    let allowed = section.client_allowed_sans.as_ref();
    if let Some(At { value: names, place }) = allowed {
        if !policy.is_required() {
            return Err(place.problem(
                "client_allowed_sans needs a client_auth_type that requires a certificate: RequireAndVerifyClientCert",
            ));
        }
        if names.is_empty() {
            return Err(place.problem("client_allowed_sans is empty, and so lets nobody in: leave it out"));
        }
    }
    if policy == Policy::None {
        return Ok(None);
    }
    let mut verifier = Verifier::new(policy, allowed.map(|names| names.value.clone()), provider);
    if let Some(authorities) = authorities {
        let certificates = certificates(authorities)?;
        verifier = verifier.trusting(certificates, provider).map_err(|why| authorities.problem(why))?;
    }
    Ok(Some(verifier))
}
