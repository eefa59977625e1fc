//! An authority that signs certificates, by OpenSSL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::command::succeed;

/// What `openssl req -newkey` makes unless something else is wanted.
const KEY: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// An authority. Unless they are in a folder that was named, its files, and those that it signed, are gone when this is dropped.
#[derive(Debug)]
pub struct Authority {
    /// Path of its certificate.
    pub certificate: PathBuf,
    key: PathBuf,
    folder: PathBuf,
    signed: AtomicU32,
    _temporary: Option<TempDir>,
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
        let temporary = TempDir::new()?;
        let authority = Self::in_folder(temporary.path(), name)?;
        Ok(Self { _temporary: Some(temporary), ..authority })
    }

    /// Makes one of this name in a folder that stays, or takes the one that was made there before.
    pub fn in_folder(folder: &Path, name: &str) -> Result<Self> {
        let mut files = paths(folder, name);
        if !files.certificate.exists() {
            files = self_signed(folder, name)?;
        }
        let Signed { certificate, key } = files;
        Ok(Self { certificate, key, folder: folder.to_owned(), signed: AtomicU32::new(0), _temporary: None })
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
        self.sign_as(&number.to_string(), key_kind, extensions, days)
    }

    /// Signs one for servers, whose files have this name, with these alternative names, as `DNS:www.foobar.com`, and this many days
    /// to live. One that was there is replaced.
    pub fn sign_named(&self, name: &str, names: &str, days: &str) -> Result<Signed> {
        self.sign_as(
            name,
            KEY,
            &format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"),
            days,
        )
    }

    fn sign_as(&self, name: &str, key_kind: &[&str], extensions: &str, days: &str) -> Result<Signed> {
        let serial = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let Signed { certificate, key } = paths(&self.folder, name);
        let [request, extension_file] = ["csr", "ext"].map(|kind| self.folder.join(format!("{name}.{kind}")));
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
        sign.args(["x509", "-req", "-days", days, "-set_serial", &serial.to_string(), "-in"])
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
    let Signed { certificate, key } = paths(folder, name);
    succeed(
        Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "30", "-subj", &format!("/CN={name}"), "-newkey"])
            .args(KEY)
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    )
    .context("make a certificate")?;
    Ok(Signed { certificate, key })
}

/// Where the files of this name are.
fn paths(folder: &Path, name: &str) -> Signed {
    let path = |kind| folder.join(format!("{name}.{kind}"));
    Signed { certificate: path("pem"), key: path("key") }
}
