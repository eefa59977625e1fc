//! Records (RFC 8446 section 5.1).

use super::{Field, Finding, Hello, Role};

/// No record is longer, in bytes: 2^14 and what ciphers add (RFC 5246 section 6.2.3).
const RECORD_MAX: u16 = (1 << 14) + 2048;
/// `change_cipher_spec`: what follows is secret.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

impl Hello {
    /// Reads a byte of a record's header.
    #[inline(always)]
    pub(super) fn header(&mut self, byte: u8) -> Finding {
        let index = self.header_index;
        self.header_index = index.wrapping_add(1);
        match index {
            0 => {
                self.record_type = byte;
                match byte {
                    HANDSHAKE => {}
                    // Between two hellos they say nothing.
                    CHANGE_CIPHER_SPEC if self.offer.is_retried() && !self.is_complete() => {}
                    ALERT if matches!(self.role, Role::Server) || self.has_begun() => {}
                    _ if self.is_complete() => self.end(),
                    _ => return self.broken(),
                }
            }
            // The major version; the minor one is for show (RFC 8446 section 5.1).
            1 if byte != 3 => return self.broken(),
            1 | 2 => {}
            3 => self.record_length = u16::from(byte) << 8,
            _ => {
                self.header_index = 0;
                let length = self.record_length | u16::from(byte);
                if length == 0 || length > RECORD_MAX {
                    return self.broken();
                }
                self.record = u32::from(length);
                match self.record_type {
                    // A secret one is longer.
                    ALERT if length == 2 => return self.alert(),
                    ALERT => self.end(),
                    CHANGE_CIPHER_SPEC => {
                        self.skip = self.record;
                        self.message = 0;
                    }
                    _ => {}
                }
            }
        }
        Finding::Nothing
    }

    /// Whether anything of a hello has been read.
    #[inline(always)]
    pub fn has_begun(&self) -> bool {
        !matches!(self.field, Field::MessageType)
    }

    #[inline(always)]
    fn alert(&mut self) -> Finding {
        self.end();
        Finding::Alert
    }
}
