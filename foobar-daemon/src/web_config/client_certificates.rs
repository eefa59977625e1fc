//! Which certificates of clients are asked for, and which are taken.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{ExtendedKeyUsage, SubjectAltName, name::GeneralName},
};

/// `client_auth_type`, by the names of Go's `crypto/tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// None is asked for.
    None,
    /// One is asked for; any is taken, and so is none.
    Request,
    /// One is required; any is taken.
    RequireAny,
    /// One is asked for, and is of an authority that is named, or none.
    VerifyIfGiven,
    /// One is required that is of an authority that is named.
    RequireAndVerify,
}

impl Policy {
    /// Each with its name.
    pub(super) const ALL: [(&str, Self); 6] = [
        ("NoClientCert", Self::None),
        ("RequestClientCert", Self::Request),
        ("RequireAnyClientCert", Self::RequireAny),
        // An old name, which exporter-toolkit takes, too.
        ("RequireClientCert", Self::RequireAny),
        ("VerifyClientCertIfGiven", Self::VerifyIfGiven),
        ("RequireAndVerifyClientCert", Self::RequireAndVerify),
    ];

    /// Whether a client has to have one.
    pub(super) const fn is_required(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }

    /// Whether it has to be of an authority that is named.
    pub(super) const fn is_verified(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// Takes the certificates that a policy takes.
#[derive(Debug)]
pub(super) struct Verifier {
    policy: Policy,
    /// Checks whether one is of an authority that is named.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// The certificates of `client_ca`. A client may have one of them itself.
    authorities: Vec<CertificateDer<'static>>,
    /// One of these has to be an alternative name, if there are any.
    allowed_names: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// One that takes what the policy takes, from clients with one of these names if there are any.
    pub(super) fn new(policy: Policy, allowed_names: Option<Vec<String>>, provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { policy, chains: None, authorities: Vec::new(), allowed_names, algorithms }
    }

    /// The same with authorities, by which certificates are verified if the policy says so.
    ///
    /// # Errors
    /// Which of them cannot be used, and why.
    pub(super) fn trusting(
        mut self,
        authorities: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for (number, authority) in authorities.iter().enumerate() {
            roots
                .add(authority.clone())
                .map_err(|error| format!("certificate {} in it cannot be used: {error}", number + 1))?;
        }
        if self.policy.is_verified() {
            let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            self.chains = Some(chains.build().map_err(|error| error.to_string())?);
        }
        self.authorities = authorities;
        Ok(self)
    }

    fn check_allowed(&self, client: &CertificateDer<'_>) -> Result<(), Error> {
        let Some(allowed) = &self.allowed_names else { return Ok(()) };
        let names = alternative_names(&read(client)?)?;
        if names.iter().any(|name| allowed.contains(name)) {
            return Ok(());
        }
        tracing::debug!("none of the client's alternative names is in client_allowed_sans: {names:?}");
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.policy != Policy::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.policy.is_required()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.as_ref().map_or(&[], |chains| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        client: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chains) = &self.chains {
            // An authority that speaks for itself is no chain to webpki, and is one to Go.
            if self.authorities.contains(client) {
                check_itself(&read(client)?, now)?;
            } else {
                chains.verify_client_cert(client, intermediates, now)?;
            }
        }
        self.check_allowed(client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        client: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, client, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        client: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, client, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn read(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(undecodable)
}

fn undecodable(error: x509_cert::der::Error) -> Error {
    tracing::debug!("the certificate of a client cannot be read: {error}");
    CertificateError::BadEncoding.into()
}

/// Whether a certificate that is named itself holds now, and for a client.
fn check_itself(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    // id-kp-clientAuth and anyExtendedKeyUsage (RFC 5280, section 4.2.1.12).
    const FOR_CLIENTS: [&str; 2] = ["1.3.6.1.5.5.7.3.2", "2.5.29.37.0"];
    let validity = certificate.tbs_certificate().validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    let usage = certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>();
    match usage.map_err(undecodable)? {
        Some((_, ExtendedKeyUsage(usages)))
            if !usages.iter().any(|usage| FOR_CLIENTS.contains(&usage.to_string().as_str())) =>
        {
            Err(CertificateError::InvalidPurpose.into())
        }
        _ => Ok(()),
    }
}

/// The names of a certificate that exporter-toolkit compares: of hosts, mailboxes, addresses and URIs.
fn alternative_names(certificate: &Certificate) -> Result<Vec<String>, Error> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Some((_, SubjectAltName(names))) = names.map_err(undecodable)? else {
        return Ok(Vec::new());
    };
    let word = |name: &GeneralName| match name {
        GeneralName::DnsName(name)
        | GeneralName::Rfc822Name(name)
        | GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()).map(|address| address.to_string()),
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::RegisteredId(_) => None,
    };
    Ok(names.iter().filter_map(word).collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6).ok().map(|address| address.to_canonical())
}
