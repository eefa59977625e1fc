//! What waits for a target: the body of a request, and how it is written into a file and read back.
//!
//! A file that is read back may be cut off, changed, or never have been written by foobar.

use sha2::{Digest as _, Sha256};

use super::file::{Kind, SumoFormat};

/// Longest record, in bytes. A request of 2,000 points has some 50,000.
pub const RECORD_MAX: u64 = 16 << 20;
/// The first bytes of a file. The last of them is the version of what follows.
const MAGIC: [u8; 8] = *b"foobarP1";
/// Magic, checksum, time, points, kind with six empty bytes.
const HEAD: usize = 8 + 32 + 8 + 8 + 8;
/// The same in a file.
pub const HEAD_BYTES: u64 = HEAD as u64;

/// The body of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub media: Media,
    /// Whether it is in gzip.
    pub gzip: bool,
    /// How many points are in it.
    pub points: u64,
    /// When they were gathered, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The bytes.
    pub body: Vec<u8>,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `ExportMetricsServiceRequest` of OTLP.
    Otlp,
    /// `WriteRequest` of Prometheus, in snappy.
    RemoteWrite,
    /// Text of Prometheus for Sumo Logic.
    SumoPrometheus,
    /// Carbon 2.0 for Sumo Logic.
    SumoCarbon2,
    /// `ExportLogsServiceRequest` of OTLP.
    OtlpLogs,
    /// Lines of JSON for Sumo Logic.
    SumoLogs,
}

impl Media {
    const ALL: [Self; 6] = [
        Self::Otlp,
        Self::RemoteWrite,
        Self::SumoPrometheus,
        Self::SumoCarbon2,
        Self::OtlpLogs,
        Self::SumoLogs,
    ];

    const fn number(self) -> u8 {
        match self {
            Self::Otlp => 1,
            Self::RemoteWrite => 2,
            Self::SumoPrometheus => 3,
            Self::SumoCarbon2 => 4,
            Self::OtlpLogs => 5,
            Self::SumoLogs => 6,
        }
    }

    /// Its `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Otlp | Self::OtlpLogs | Self::RemoteWrite => "application/x-protobuf",
            Self::SumoLogs => "application/json",
            Self::SumoPrometheus => "application/vnd.sumologic.prometheus",
            Self::SumoCarbon2 => "application/vnd.sumologic.carbon2",
        }
    }

    /// Whether a target takes it.
    pub const fn is_for(self, kind: Kind) -> bool {
        match kind {
            Kind::Otlp => matches!(self, Self::Otlp),
            Kind::OtlpLogs => matches!(self, Self::OtlpLogs),
            Kind::SumoLogs => matches!(self, Self::SumoLogs),
            Kind::RemoteWrite => matches!(self, Self::RemoteWrite),
            // The type of content says which of both it is.
            Kind::Sumo(SumoFormat::Prometheus | SumoFormat::Carbon2) => {
                matches!(self, Self::SumoPrometheus | Self::SumoCarbon2)
            }
        }
    }
}

/// What the first bytes of a file say of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many points are in it.
    pub points: u64,
    /// When they were gathered, in milliseconds since 1970.
    pub unix_ms: u64,
}

impl Head {
    /// Reads what may be the beginning of a record; nothing of it is certain before all of it was read.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&MAGIC)?.get(32..)?;
        let unix_ms = number(&mut rest)?;
        Some(Self { points: number(&mut rest)?, unix_ms })
    }
}

impl Record {
    /// The bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { media, gzip, points, unix_ms, body } = self;
        let mut rest = Vec::with_capacity(body.len() + HEAD);
        rest.extend(unix_ms.to_le_bytes());
        rest.extend(points.to_le_bytes());
        rest.extend([media.number(), u8::from(*gzip), 0, 0, 0, 0, 0, 0]);
        rest.extend(body);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(Sha256::digest(&rest));
        bytes.append(&mut rest);
        bytes
    }

    /// Reads the bytes of a file; `None` if they are not what was written.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (checksum, mut rest) = bytes.strip_prefix(&MAGIC)?.split_at_checked(32)?;
        if Sha256::digest(rest).as_slice() != checksum {
            return None;
        }
        let unix_ms = number(&mut rest)?;
        let points = number(&mut rest)?;
        let (kind, body) = rest.split_at_checked(8)?;
        let [media, gzip, 0, 0, 0, 0, 0, 0] = kind else { return None };
        let media = Media::ALL.into_iter().find(|known| known.number() == *media)?;
        Some(Self { media, gzip: *gzip == 1, points, unix_ms, body: body.to_vec() })
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            media: Media::SumoCarbon2,
            gzip: true,
            points: 7,
            unix_ms: 1_700_000_000_123,
            body: b"body".to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = record().to_bytes();
        assert_eq!(bytes.len(), HEAD + 4);
        assert!(Record::from_bytes(&bytes) == Some(record()));
        assert_eq!(Head::read(&bytes), Some(Head { points: 7, unix_ms: 1_700_000_000_123 }));
    }

    #[test]
    fn a_record_that_was_changed_or_cut_is_none() {
        let bytes = record().to_bytes();
        for length in 0..bytes.len() {
            assert!(Record::from_bytes(&bytes[..length]).is_none(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Record::from_bytes(&changed).is_none(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Record::from_bytes(&bytes).is_none());
            let mut marked = MAGIC.to_vec();
            marked.extend(bytes);
            prop_assert!(Record::from_bytes(&marked).is_none());
        }
    }
}
