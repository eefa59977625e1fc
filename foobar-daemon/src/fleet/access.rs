//! What it takes to speak to etcd: the authority of its certificate, a certificate of ours, a user with a password.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::OFlag;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::Deserialize;

use crate::outcome::InvalidInput;

/// Longest file that is read, in bytes.
const SIZE_MAX: u64 = 1 << 20;
/// Longest file with user and password, in bytes.
const USER_MAX: usize = 1_024;
/// Rights of those who are neither owner nor group.
const OTHERS: u32 = 0o007;

/// What flags, or the table `[etcd]` of the settings file, say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EtcdAccess {
    /// Certificate of the authority that signed etcd's certificate, in PEM; needed with etcds://
    #[arg(long = "etcd-ca", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Certificate to show to etcd, in PEM
    #[arg(long = "etcd-certificate", value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long = "etcd-key", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// File with the line USER:PASSWORD for etcd, which nobody else may read
    #[arg(long = "etcd-user-file", value_name = "FILE")]
    pub user_file: Option<PathBuf>,
}

impl EtcdAccess {
    /// This where it says something, `other` where it does not.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            ca: self.ca.or(other.ca),
            certificate: self.certificate.or(other.certificate),
            key: self.key.or(other.key),
            user_file: self.user_file.or(other.user_file),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Which of them cannot be used, why, and what to do; nothing of what they say.
    pub fn open(&self, is_tls: bool) -> Result<Keys, InvalidInput> {
        let tls = if is_tls { Some(Arc::new(self.tls().map_err(InvalidInput)?)) } else { None };
        if !is_tls && (self.ca.is_some() || self.certificate.is_some() || self.key.is_some()) {
            return Err(InvalidInput(
                "certificates for etcd mean nothing with etcd://; write etcds:// to speak TLS".to_owned(),
            ));
        }
        let user = self.user_file.as_deref().map(User::read).transpose().map_err(InvalidInput)?;
        Ok(Keys { tls, user })
    }

    fn tls(&self) -> Result<ClientConfig, String> {
        let ca = self.ca.as_deref().ok_or(
            "etcds:// takes the certificate of the authority that signed etcd's: name it with --etcd-ca FILE",
        )?;
        let mut authorities = RootCertStore::empty();
        for certificate in certificates(ca)? {
            authorities.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS to etcd: {error}"))?
            .with_root_certificates(authorities);
        let mut config = match (&self.certificate, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let private = PrivateKeyDer::from_pem_slice(&read(key)?)
                    .map_err(|error| format!("{} has no private key in PEM: {error}", key.display()))?;
                builder.with_client_auth_cert(certificates(certificate)?, private).map_err(|error| {
                    format!("{} and {} do not belong together: {error}", certificate.display(), key.display())
                })?
            }
            _ => return Err("--etcd-certificate and --etcd-key go together: name both".to_owned()),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Connections last; what would be kept for the next one is memory for nothing.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// The same, read.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What TLS is spoken with, if it is.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Who logs in, if anybody does.
    pub(super) user: Option<User>,
}

/// A user of etcd. The password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:…", self.name)
    }
}

impl User {
    fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let mode = path.metadata().map_err(|error| format!("read {shown}: {error}"))?.mode();
        if mode & OTHERS != 0 {
            return Err(format!(
                "{shown} can be read or written by others (mode {:04o}); do `chmod 600 {shown}`, and give the user another \
                 password if somebody may have seen it",
                mode & 0o7777
            ));
        }
        let wrong = || format!("{shown} does not say USER:PASSWORD in one line");
        let text = String::from_utf8(read(path)?).map_err(|_error| wrong())?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line.split_once(':') {
            Some((name, password))
                if !name.is_empty() && line.len() <= USER_MAX && !line.contains(char::is_control) =>
            {
                Ok(Self { name: name.to_owned(), password: password.to_owned() })
            }
            _ => Err(wrong()),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    match CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>() {
        Ok(all) if all.is_empty() => Err(format!("{shown} has no certificate in PEM")),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("{shown} is no certificate in PEM: {error}")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let unread = |error: std::io::Error| format!("read {shown}: {error}");
    // Not to wait for somebody to write, if it is a pipe.
    let file =
        File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(unread)?;
    if !file.metadata().map_err(unread)?.is_file() {
        return Err(format!("{shown} is no file"));
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(format!("{shown} is longer than {SIZE_MAX} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_user_file_is_read_if_it_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user");
        let read = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            EtcdAccess { user_file: Some(path.clone()), ..EtcdAccess::default() }
                .open(false)
                .map(|keys| keys.user)
        };
        let user = read("foobar:a:b\n", 0o600).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.password.as_str()), ("foobar", "a:b"));
        assert_eq!(format!("{user:?}"), "foobar:…");
        for (text, mode, said) in [
            ("a:secret\n", 0o644, "chmod 600"),
            ("a\n", 0o600, "USER:PASSWORD"),
            (":secret", 0o600, "USER:PASSWORD"),
            ("a:secret\nb:secret\n", 0o600, "USER:PASSWORD"),
        ] {
            let error = read(text, mode).unwrap_err().0;
            assert!(error.contains(said) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_goes_together_is_asked_for() {
        let access = |ca: Option<&str>, certificate: Option<&str>| EtcdAccess {
            ca: ca.map(Into::into),
            certificate: certificate.map(Into::into),
            ..EtcdAccess::default()
        };
        for (access, is_tls, said) in [
            (access(None, None), true, "--etcd-ca"),
            (access(Some("/nowhere"), None), false, "etcds://"),
            (access(Some("/nowhere/ca.pem"), None), true, "/nowhere/ca.pem"),
            (access(Some("/dev/null"), None), true, "is no file"),
        ] {
            let error = access.open(is_tls).unwrap_err().0;
            assert!(error.contains(said), "{error}");
        }
    }
}
