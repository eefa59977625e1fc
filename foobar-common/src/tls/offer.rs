//! What a hello says.

use crate::words::words;

words! {
    /// A version of the protocol; the label `version`.
    TlsVersion {
        Ssl3 = 0, "ssl3", "SSL 3.0 or older";
        Tls10 = 1, "tls1.0", "TLS 1.0";
        Tls11 = 2, "tls1.1", "TLS 1.1";
        Tls12 = 3, "tls1.2", "TLS 1.2";
        Tls13 = 4, "tls1.3", "TLS 1.3 or newer";
    }
}

words! {
    /// What is spoken inside (RFC 7301); the label `alpn`.
    Alpn {
        None = 0, "none", "nobody says";
        Http2 = 1, "h2", "HTTP/2";
        Http11 = 2, "http/1.1", "HTTP/1.1";
        Other = 3, "other", "something else";
    }
}

/// Longest name of a server that is kept, in bytes.
pub const NAME_MAX: usize = 64;

/// The name of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Name {
    /// Its bytes; those behind its end are zero.
    pub bytes: [u8; NAME_MAX],
}

impl Name {
    /// No name.
    pub const NONE: Self = Self { bytes: [0; NAME_MAX] };

    /// As text, if it is a name that a server can have (RFC 6066 section 3): it comes from the wire, and may be anything.
    pub fn text(&self) -> Option<&str> {
        let end = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(NAME_MAX);
        let text = self.bytes.get(..end)?;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if text.is_empty() || !text.iter().all(is_name) { None } else { core::str::from_utf8(text).ok() }
    }
}

/// What a hello says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Offer {
    /// The newest version in `supported_versions`, as two bytes; zero without that extension.
    pub(super) newest: u16,
    /// The version that stands where it once was.
    pub(super) legacy: u16,
    /// [`Alpn`] as a number.
    pub(super) alpn: u16,
    /// [`RETRY`] and [`RETRIED`].
    pub(super) flags: u16,
}

/// The server asks for another hello (RFC 8446 section 4.1.4).
const RETRY: u16 = 1;
/// It has done so.
const RETRIED: u16 = 1 << 1;

impl Offer {
    /// Nothing.
    pub const NONE: Self = Self { newest: 0, legacy: 0, alpn: 0, flags: 0 };

    /// The newest version that the client offers, or the one that the server chooses.
    #[inline(always)]
    pub const fn version(&self) -> TlsVersion {
        let number = if self.newest == 0 { self.legacy } else { self.newest };
        match number {
            0x0301 => TlsVersion::Tls10,
            0x0302 => TlsVersion::Tls11,
            0x0303 => TlsVersion::Tls12,
            // Without the extension there is no version 1.3.
            0x0304.. if self.newest == 0 => TlsVersion::Tls12,
            0x0304.. => TlsVersion::Tls13,
            _ => TlsVersion::Ssl3,
        }
    }

    /// What is to be spoken inside: the first that the client names, or the one that the server chooses.
    #[inline(always)]
    pub const fn alpn(&self) -> Alpn {
        match self.alpn {
            1 => Alpn::Http2,
            2 => Alpn::Http11,
            3 => Alpn::Other,
            _ => Alpn::None,
        }
    }

    #[inline(always)]
    pub(super) const fn is_retry(self) -> bool {
        self.flags & RETRY != 0
    }

    #[inline(always)]
    pub(super) fn set_retry(&mut self) {
        self.flags |= RETRY;
    }

    #[inline(always)]
    pub(super) const fn is_retried(self) -> bool {
        self.flags & RETRIED != 0
    }

    #[inline(always)]
    pub(super) fn set_retried(&mut self) {
        self.flags |= RETRIED;
    }

    /// A version of the list that the client supports.
    #[inline(always)]
    pub(super) fn add_version(&mut self, version: u16) {
        // Values that mean nothing, so that servers learn to pass over those (RFC 8701).
        let is_grease = version & 0x0f0f == 0x0a0a;
        if !is_grease && version > self.newest {
            self.newest = version;
        }
    }
}
