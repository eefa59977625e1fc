//! What stands in the extensions that matter.

use super::{
    Alpn, Finding, Hello, Role, as_u32,
    field::{Field, as_u16},
};

/// IANA, TLS `ExtensionType` Values: RFC 6066 section 3, RFC 7301, RFC 8446 section 4.2.1.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
/// The only type of a name.
const HOST_NAME: u64 = 0;
/// Longest name of a protocol that is known, in bytes.
const PROTOCOL_MAX: u64 = 8;
const HTTP2: u64 = u16::from_be_bytes(*b"h2") as u64;
const HTTP11: u64 = u64::from_be_bytes(*b"http/1.1");

impl Hello {
    /// The extension has this length.
    #[inline(always)]
    pub(super) fn extension_begins(&mut self, length: u64) -> Finding {
        if length > u64::from(self.message) {
            return self.broken();
        }
        self.extension = as_u32(length);
        match (self.extension_type, self.role) {
            (SUPPORTED_VERSIONS, Role::Client) if length > 2 => self.next(Field::VersionsLength, 1),
            (SUPPORTED_VERSIONS, Role::Server) if length == 2 => self.next(Field::Version, 2),
            (SERVER_NAME, Role::Client) if length > 4 => self.next(Field::NamesLength, 2),
            (ALPN, _) if length > 3 => self.next(Field::ProtocolsLength, 2),
            _ => return self.extension_ends(),
        }
        Finding::Nothing
    }

    /// What is left of the extension does not matter.
    #[inline(always)]
    fn extension_ends(&mut self) -> Finding {
        self.next_behind(u64::from(self.extension), Field::ExtensionType, 2)
    }

    /// A field of an extension has been read to its end.
    #[inline(always)]
    pub(super) fn value_of_extension(&mut self, value: u64) -> Finding {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others that are asked for end the extension")]
        match self.field {
            Field::VersionsLength => self.next(Field::Version, 2),
            Field::Version => {
                self.offer.add_version(as_u16(value));
                if self.extension < 2 {
                    return self.extension_ends();
                }
            }
            Field::NamesLength => self.next(Field::NameType, 1),
            Field::NameType if value == HOST_NAME => self.next(Field::NameLength, 2),
            Field::NameLength if value > 0 && value <= u64::from(self.extension) => {
                self.name_left = as_u16(value);
                self.next(Field::Name, 1);
            }
            Field::ProtocolsLength => self.next(Field::ProtocolLength, 1),
            Field::ProtocolLength if value == 0 || value > u64::from(self.extension) => return self.broken(),
            Field::ProtocolLength if value <= PROTOCOL_MAX => self.next(Field::Protocol, as_u8(value)),
            Field::ProtocolLength => return self.protocol(Alpn::Other),
            Field::Protocol => {
                return self.protocol(match (value, self.width) {
                    (HTTP2, 2) => Alpn::Http2,
                    (HTTP11, 8) => Alpn::Http11,
                    _ => Alpn::Other,
                });
            }
            _ => return self.extension_ends(),
        }
        Finding::Nothing
    }

    /// A byte of the server's name.
    #[inline(always)]
    pub(super) fn name(&mut self, byte: u8) -> Finding {
        self.index = 0;
        self.number = 0;
        self.name_left = self.name_left.wrapping_sub(1);
        if self.name_left == 0
            && let broken @ Finding::NotTls = self.extension_ends()
        {
            return broken;
        }
        Finding::Name(byte)
    }

    /// The first protocol of the list is this one; those behind it are second to it.
    #[inline(always)]
    fn protocol(&mut self, alpn: Alpn) -> Finding {
        self.offer.alpn = as_u16(u64::from(alpn.number()));
        self.extension_ends()
    }
}

/// A number that was read is of one byte at most, wherever this is asked.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const fn as_u8(number: u64) -> u8 {
    number as u8
}
