//! Whom a target is trusted to be, and who foobar is to it.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use toml::Spanned;

use super::{document::Problem, target::Source};

/// The authorities of the system, read when they are first needed, once for all targets.
#[derive(Default)]
pub(super) struct Roots(Option<Arc<RootCertStore>>);

impl Roots {
    fn of_the_system(&mut self) -> Result<Arc<RootCertStore>, String> {
        if let Some(roots) = &self.0 {
            return Ok(Arc::clone(roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
            return Err(format!(
                "the system has no certificates of authorities{why}: install ca-certificates, or name a ca_file"
            ));
        }
        let roots = Arc::new(store);
        self.0 = Some(Arc::clone(&roots));
        Ok(roots)
    }
}

/// The files that a target names for TLS.
pub(super) struct TlsFiles {
    pub(super) ca: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
}

impl TlsFiles {
    /// Where the first of them is named.
    pub(super) fn first(&self) -> Option<&Spanned<String>> {
        let Self { ca, certificate, key } = self;
        ca.as_ref().or(certificate.as_ref()).or(key.as_ref())
    }
}

impl Source<'_> {
    /// How TLS is spoken with a target whose URL stands at `at`.
    pub(super) fn tls(
        &mut self,
        files: &TlsFiles,
        at: std::ops::Range<usize>,
    ) -> Result<Arc<ClientConfig>, Problem> {
        let roots = match &files.ca {
            None => self.roots.of_the_system().map_err(|why| Problem::at(at.clone(), why))?,
            Some(path) => {
                let mut store = RootCertStore::empty();
                for certificate in self.certificates("ca_file", path)? {
                    store.add(certificate).map_err(|error| {
                        Problem::at(path.span(), format!("ca_file: a certificate cannot be used: {error}"))
                    })?;
                }
                Arc::new(store)
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Problem::at(at.clone(), format!("TLS: {error}")))?
            .with_root_certificates(roots);
        let mut config = match (&files.certificate, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(path), None) => {
                return Err(Problem::at(path.span(), "cert_file without its key: write key_file, too"));
            }
            (None, Some(path)) => {
                return Err(Problem::at(
                    path.span(),
                    "key_file without its certificate: write cert_file, too",
                ));
            }
            (Some(certificate), Some(key)) => {
                let chain = self.certificates("cert_file", certificate)?;
                let bytes = self.read("key_file", key)?;
                let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_may_quote_it| {
                    let message = "key_file: this holds no private key in PEM that is not encrypted (PKCS#8, PKCS#1 or SEC1)";
                    Problem::at(key.span(), message)
                })?;
                builder.with_client_auth_cert(chain, private).map_err(|error| {
                    let message = format!(
                        "cert_file and key_file cannot be used: {error}; they have to belong together"
                    );
                    Problem::at(certificate.span(), message)
                })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn certificates(
        &mut self,
        key: &str,
        path: &Spanned<String>,
    ) -> Result<Vec<CertificateDer<'static>>, Problem> {
        let bytes = self.read(key, path)?;
        let all: Option<Vec<_>> = CertificateDer::pem_slice_iter(&bytes).map(Result::ok).collect();
        all.filter(|all| !all.is_empty())
            .ok_or_else(|| Problem::at(path.span(), format!("{key}: this holds no certificates in PEM")))
    }
}
