//! An authority that signs certificates, by OpenSSL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::command::succeed;

/// What `openssl req -newkey` makes unless something else is wanted.
const KEY: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// An authority. Its files, and those that it signed, are gone when this is dropped.
#[derive(Debug)]
pub struct Authority {
    /// Path of its certificate.
    pub certificate: PathBuf,
    key: PathBuf,
    folder: TempDir,
    signed: AtomicU32,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Path of the certificate.
    pub certificate: PathBuf,
    /// Path of the key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one of this name.
    pub fn new(name: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let Signed { certificate, key } = self_signed(folder.path(), name)?;
        Ok(Self { certificate, key, folder, signed: AtomicU32::new(0) })
    }

    /// Signs a certificate for a server at `localhost` and these addresses.
    pub fn server(&self, addresses: &[&str]) -> Result<Signed> {
        let addresses: Vec<String> = addresses.iter().map(|address| format!(",IP:{address}")).collect();
        let addresses = addresses.concat();
        self.sign(
            KEY,
            &format!("subjectAltName=DNS:localhost{addresses}\nextendedKeyUsage=serverAuth\n"),
            "2",
        )
    }

    /// Signs a certificate for a client with these alternative names, as `DNS:prometheus`.
    pub fn client(&self, names: &str) -> Result<Signed> {
        self.sign(KEY, &format!("subjectAltName={names}\nextendedKeyUsage=clientAuth\n"), "2")
    }

    /// Signs a certificate with a key as `openssl req -newkey` makes it, these lines of extensions, and this many days to live.
    pub fn sign(&self, key_kind: &[&str], extensions: &str, days: &str) -> Result<Signed> {
        let number = self.signed.fetch_add(1, Ordering::Relaxed);
        let path = |kind: &str| self.folder.path().join(format!("{number}.{kind}"));
        let [key, request, extension_file, certificate] = ["key", "csr", "ext", "pem"].map(path);
        succeed(
            Command::new("openssl")
                .args(["req", "-new", "-nodes", "-subj", "/CN=signed", "-newkey"])
                .args(key_kind)
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&request),
        )
        .context("ask for a certificate")?;
        fs::write(&extension_file, extensions)?;
        let mut sign = Command::new("openssl");
        sign.args(["x509", "-req", "-days", days, "-set_serial", &format!("{}", 1000 + number), "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(&self.certificate)
            .arg("-CAkey")
            .arg(&self.key)
            .arg("-out")
            .arg(&certificate);
        if !extensions.is_empty() {
            sign.arg("-extfile").arg(&extension_file);
        }
        succeed(&mut sign).context("sign a certificate")?;
        Ok(Signed { certificate, key })
    }
}

/// Makes a certificate that nobody but itself has signed, in this folder; it is one of an authority, as `openssl req -x509`
/// makes them.
pub fn self_signed(folder: &Path, name: &str) -> Result<Signed> {
    let [key, certificate] = ["key", "pem"].map(|kind| folder.join(format!("{name}.{kind}")));
    succeed(
        Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", &format!("/CN={name}"), "-newkey"])
            .args(KEY)
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    )
    .context("make a certificate")?;
    Ok(Signed { certificate, key })
}
