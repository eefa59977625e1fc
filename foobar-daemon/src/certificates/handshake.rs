//! One handshake, to see a certificate.
//!
//! Nothing is trusted and nothing is sent: whoever has the key of a certificate may show it, whether it is of a known authority,
//! for this name, or expired; that is for clients to judge. The handshake is completed and closed, so that servers do not log an
//! error each hour.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use x509_cert::{Certificate, der::Decode as _};

/// How long a server has for all of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Certificates of a chain that are looked at. Chains have two to four.
const CHAIN_MAX: usize = 16;

/// Whether a certificate can be for this name.
pub(super) fn is_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// When the certificate that a server shows for a name, or one of those that it shows with it, expires first, in seconds since
/// 1970.
///
/// # Errors
/// In words, why none was seen.
pub(super) async fn not_after(name: &str, address: &str) -> Result<u64, String> {
    let recorder = Arc::new(Recorder::default());
    let shaken = timeout(PATIENCE, shake_hands(name, address, Arc::clone(&recorder))).await;
    let late = |_| Err(format!("no answer within {} s", PATIENCE.as_secs()));
    shaken.unwrap_or_else(late)?;
    let first = *recorder.first.lock().unwrap_or_else(PoisonError::into_inner);
    first.ok_or_else(|| "the server has shown no certificate that could be read".to_owned())
}

async fn shake_hands(name: &str, address: &str, recorder: Arc<Recorder>) -> Result<(), String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(recorder)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    // It has been seen, however the end goes.
    drop(stream.shutdown().await);
    Ok(())
}

/// Takes every certificate whose key the server has, and notes when the chain ends.
#[derive(Debug)]
struct Recorder {
    algorithms: WebPkiSupportedAlgorithms,
    first: Mutex<Option<u64>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self { algorithms, first: Mutex::default() }
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = [own].into_iter().chain(intermediates).take(CHAIN_MAX);
        let ends = chain.filter_map(|certificate| {
            let certificate = Certificate::from_der(certificate).ok()?;
            Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
        });
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = ends.min();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
