//! The fields of a hello (RFC 8446 section 4.1).

use super::{Finding, Hello, Role, as_u32};

/// What is being read in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    MessageType = 0,
    MessageLength,
    LegacyVersion,
    /// The first bytes of the random number.
    Random,
    SessionLength,
    CiphersLength,
    CompressionLength,
    ExtensionsLength,
    ExtensionType,
    ExtensionLength,
    VersionsLength,
    Version,
    NamesLength,
    NameType,
    NameLength,
    Name,
    ProtocolsLength,
    ProtocolLength,
    Protocol,
    /// The rest of the handshake.
    Rest,
    /// Nothing more.
    Over,
}

impl Field {
    /// Whether it is inside of a hello.
    #[inline(always)]
    pub(super) const fn is_of_hello(self) -> bool {
        !matches!(self, Self::MessageType | Self::MessageLength | Self::Rest | Self::Over)
    }
}

const CLIENT_HELLO: u64 = 1;
const SERVER_HELLO: u64 = 2;
/// Of the random number.
const RANDOM: u64 = 32;
/// The first eight bytes of the random number of a server that asks for another hello.
const RETRY_RANDOM: u64 = 0xcf21_ad74_e59a_6111;
/// Longest hello that is read, in bytes.
const HELLO_MAX: u64 = 1 << 17;

impl Hello {
    /// A field has been read to its end.
    #[inline(always)]
    pub(super) fn value(&mut self, value: u64) -> Finding {
        match self.field {
            Field::MessageType => {
                let expected = match self.role {
                    Role::Client => CLIENT_HELLO,
                    Role::Server => SERVER_HELLO,
                };
                if value != expected {
                    return self.broken();
                }
                self.next(Field::MessageLength, 3);
            }
            Field::MessageLength => {
                if !(2 + RANDOM..=HELLO_MAX).contains(&value) {
                    return self.broken();
                }
                self.message = as_u32(value);
                self.next(Field::LegacyVersion, 2);
            }
            Field::LegacyVersion => {
                self.offer.legacy = as_u16(value);
                self.next(Field::Random, 8);
            }
            Field::Random => {
                if value == RETRY_RANDOM {
                    self.offer.set_retry();
                }
                return self.next_behind(RANDOM.wrapping_sub(8), Field::SessionLength, 1);
            }
            Field::SessionLength => {
                return match self.role {
                    Role::Client => self.next_behind(value, Field::CiphersLength, 2),
                    // The cipher and the compression that it has chosen.
                    Role::Server => self.next_behind(value.wrapping_add(3), Field::ExtensionsLength, 2),
                };
            }
            Field::CiphersLength => return self.next_behind(value, Field::CompressionLength, 1),
            Field::CompressionLength => return self.next_behind(value, Field::ExtensionsLength, 2),
            Field::ExtensionsLength => {
                if value != u64::from(self.message) {
                    return self.broken();
                }
                self.next(Field::ExtensionType, 2);
            }
            Field::ExtensionType => {
                self.extension_type = as_u16(value);
                self.next(Field::ExtensionLength, 2);
            }
            Field::ExtensionLength => return self.extension_begins(value),
            Field::VersionsLength
            | Field::Version
            | Field::NamesLength
            | Field::NameType
            | Field::NameLength
            | Field::ProtocolsLength
            | Field::ProtocolLength
            | Field::Protocol => return self.value_of_extension(value),
            Field::Name | Field::Rest | Field::Over => {}
        }
        Finding::Nothing
    }
}

/// A number that was read is of two bytes at most, wherever this is asked.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
pub(super) const fn as_u16(number: u64) -> u16 {
    number as u16
}
