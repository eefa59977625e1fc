//! Hellos of TLS, built from what they are to say.

use foobar_common::tls::TlsVersion;
use proptest::{
    collection::vec,
    option,
    prelude::{Just, any, prop_oneof},
    sample::select,
    strategy::Strategy,
};

/// What a hello says.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) legacy: u16,
    /// `supported_versions`: a list of a client, one of a server.
    pub(crate) versions: Option<Vec<u16>>,
    pub(crate) name: Option<String>,
    pub(crate) protocols: Option<Vec<String>>,
    pub(crate) session: Vec<u8>,
    /// Of other extensions: type and content.
    pub(crate) others: Vec<(u16, Vec<u8>)>,
    /// Where among them the known ones begin.
    pub(crate) place: usize,
}

const GREASE: [u16; 3] = [0x0a0a, 0x5a5a, 0xfafa];

pub(crate) fn said() -> impl Strategy<Value = Said> {
    let version = || prop_oneof![5 => 0x0300_u16..0x0305, 1 => select(&GREASE[..])];
    let protocols =
        select(&["h2", "http/1.1", "http/1.0", "spdy/3.1", "h3", "a-protocol-of-our-own", "x"][..]);
    let other = prop_oneof![
        5 => select(&[10_u16, 13, 51, 35, 23, 0x0a0a, 0xff01][..]),
        // One that is known and stands there twice, empty.
    ];
    (
        version(),
        option::weighted(0.8, vec(version(), 1..5)),
        option::weighted(0.8, "[a-z]{1,20}\\.(foobar\\.com|[a-z]{60,80}\\.org)"),
        option::weighted(0.7, vec(protocols.prop_map(str::to_owned), 1..4)),
        prop_oneof![Just(32_usize), 0_usize..33],
        vec((other, vec(any::<u8>(), 0..1300)), 0..5),
        any::<usize>(),
    )
        .prop_map(|(legacy, versions, name, protocols, session, others, place)| Said {
            legacy,
            versions,
            name,
            protocols,
            session: vec![7; session],
            place: place % (others.len() + 1),
            others,
        })
}

fn with_length(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[8 - bytes..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(2, content)].concat()
}

impl Said {
    /// The least that can be said.
    pub(crate) const fn plain(legacy: u16) -> Self {
        Self {
            legacy,
            versions: None,
            name: None,
            protocols: None,
            session: Vec::new(),
            others: Vec::new(),
            place: 0,
        }
    }

    /// The newest version that a client offers which says this.
    pub(crate) fn newest(&self) -> TlsVersion {
        let known = self.versions.iter().flatten().filter(|version| !GREASE.contains(version));
        self.version(known.max())
    }

    /// The version that a server chooses which says this.
    pub(crate) fn chosen(&self) -> TlsVersion {
        let first = self.versions.as_ref().and_then(|versions| versions.first());
        self.version(first.filter(|version| !GREASE.contains(version)))
    }

    /// The extension's, or where it says nothing, that of the field which cannot say more than 1.2 (RFC 8446 section
    /// 4.1.2).
    fn version(&self, extension: Option<&u16>) -> TlsVersion {
        match extension.copied().unwrap_or(self.legacy.min(0x0303)) {
            0x0301 => TlsVersion::Tls10,
            0x0302 => TlsVersion::Tls11,
            0x0303 => TlsVersion::Tls12,
            0x0304.. => TlsVersion::Tls13,
            _ => TlsVersion::Ssl3,
        }
    }

    /// A message of type `ClientHello`.
    pub(crate) fn client_hello(&self) -> Vec<u8> {
        let mut known = Vec::new();
        if let Some(name) = &self.name {
            let entry = [&[0][..], &with_length(2, name.as_bytes())].concat();
            known.push(extension(0, &with_length(2, &entry)));
        }
        if let Some(versions) = &self.versions {
            let list: Vec<u8> = versions.iter().flat_map(|version| version.to_be_bytes()).collect();
            known.push(extension(43, &with_length(1, &list)));
        }
        known.extend(self.alpn());
        let body = [
            &self.legacy.to_be_bytes()[..],
            &[9; 32],
            &with_length(1, &self.session),
            &with_length(2, &[0x13, 1, 0x13, 2, 0xc0, 0x2b]),
            &with_length(1, &[0]),
            &self.extensions(known),
        ]
        .concat();
        [&[1][..], &with_length(3, &body)].concat()
    }

    /// A message of type `ServerHello`, which may ask for another hello.
    pub(crate) fn server_hello(&self, is_retry: bool) -> Vec<u8> {
        let mut known = Vec::new();
        if let Some(version) = self.versions.as_ref().and_then(|versions| versions.first()) {
            known.push(extension(43, &version.to_be_bytes()));
        }
        known.extend(self.alpn());
        let random = if is_retry {
            let first = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11];
            [&first[..], &[1; 24]].concat()
        } else {
            vec![9; 32]
        };
        let body = [
            &self.legacy.to_be_bytes()[..],
            &random,
            &with_length(1, &self.session),
            &[0x13, 1, 0],
            &self.extensions(known),
        ]
        .concat();
        [&[2][..], &with_length(3, &body)].concat()
    }

    fn alpn(&self) -> Option<Vec<u8>> {
        let protocols = self.protocols.as_ref()?;
        let list: Vec<u8> = protocols.iter().flat_map(|name| with_length(1, name.as_bytes())).collect();
        Some(extension(16, &with_length(2, &list)))
    }

    /// All of them with their length; nothing at all if there are none.
    fn extensions(&self, known: Vec<Vec<u8>>) -> Vec<u8> {
        let mut all: Vec<Vec<u8>> =
            self.others.iter().map(|(kind, content)| extension(*kind, content)).collect();
        all.splice(self.place..self.place, known);
        if all.is_empty() { Vec::new() } else { with_length(2, &all.concat()) }
    }
}

/// The records of a message, of at most so many bytes each.
pub(crate) fn records(message: &[u8], longest: usize) -> Vec<u8> {
    message.chunks(longest).flat_map(|part| record(22, part)).collect()
}

/// A record of this type.
pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &with_length(2, content)].concat()
}
