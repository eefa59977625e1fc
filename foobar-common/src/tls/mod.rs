//! TLS handshakes as far as they are in the clear (RFC 8446, RFC 5246), byte for byte as they come: what a client
//! offers, what a server chooses.
//!
//! A [`Hello`] reads one side of a connection up to where it becomes secret. It stays from one segment to the next, so a
//! hello may come in any number of them, and of records. Most of its bytes are passed over: random numbers, lists of
//! ciphers, keys.

mod extension;
mod field;
mod offer;
mod record;
mod turns;

use self::field::Field;
pub use self::{
    offer::{Alpn, NAME_MAX, Name, Offer, TlsVersion},
    turns::Turns,
};

/// Which side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Sends a `ClientHello`.
    Client = 0,
    /// Sends a `ServerHello`.
    Server = 1,
}

/// What a byte has brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing yet.
    Nothing,
    /// A byte of the name of the server that the client wants.
    Name(u8),
    /// The hello is complete: [`Hello::offer`] says what it says.
    Complete,
    /// The side gives up, before anything was secret.
    Alert,
    /// This is no TLS, or none that can be read.
    NotTls,
}

/// One side of a connection, while its handshake is in the clear.
///
/// As in [`crate::http1::Stream`], fields that are set together do not stand side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Hello {
    /// The bytes of the field that is being read, the last of them lowest.
    number: u64,
    /// Bytes that are passed over before the next field begins.
    skip: u32,
    /// Bytes of the record that are left; zero while a record's header is read.
    record: u32,
    /// Bytes of the message that are left.
    message: u32,
    /// Bytes of the extension that are left.
    extension: u32,
    /// What it says.
    offer: Offer,
    /// How long a record is, as far as its header has been read.
    record_length: u16,
    /// What the extension is.
    extension_type: u16,
    /// Bytes of the server's name that are left.
    name_left: u16,
    /// What the record holds.
    record_type: u8,
    /// How many bytes of its header have been read.
    header_index: u8,
    /// What is being read in it.
    field: Field,
    /// How many bytes of that there are.
    width: u8,
    /// How many of them have been read.
    index: u8,
    role: Role,
    /// Always zero.
    padding: [u8; 4],
}

impl Hello {
    /// Of a side that has sent nothing.
    pub const fn of(role: Role) -> Self {
        Self {
            number: 0,
            skip: 0,
            record: 0,
            message: 0,
            extension: 0,
            offer: Offer::NONE,
            record_length: 0,
            extension_type: 0,
            name_left: 0,
            record_type: 0,
            header_index: 0,
            field: Field::MessageType,
            width: 1,
            index: 0,
            role,
            padding: [0; 4],
        }
    }

    /// What the hello says, as far as it has been read.
    #[inline(always)]
    pub const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Whether nothing more is to be read.
    #[inline(always)]
    pub const fn is_over(&self) -> bool {
        matches!(self.field, Field::Over)
    }

    /// Whether the hello has been read to its end.
    #[inline(always)]
    pub const fn is_complete(&self) -> bool {
        matches!(self.field, Field::Rest | Field::Over)
    }

    /// Nothing more is to be read.
    #[inline(always)]
    pub fn end(&mut self) {
        self.field = Field::Over;
    }

    /// Passes over as many of the next `bytes` as need no look, and says how many.
    #[inline(always)]
    pub fn pass(&mut self, bytes: u32) -> u32 {
        if self.is_over() {
            return bytes;
        }
        // What is passed over may go on in the next record.
        let is_rest = matches!(self.field, Field::Rest);
        let wanted = if !is_rest && self.skip < self.record { self.skip } else { self.record };
        let wanted = if is_rest || self.skip > 0 { wanted } else { 0 };
        let passed = if wanted < bytes { wanted } else { bytes };
        self.skip = self.skip.saturating_sub(passed);
        self.consume(passed);
        passed
    }

    /// Reads a byte.
    #[inline(always)]
    pub fn read(&mut self, byte: u8) -> Finding {
        if self.record == 0 {
            return self.header(byte);
        }
        self.consume(1);
        self.number = self.number << 8 | u64::from(byte);
        self.index = self.index.wrapping_add(1);
        if matches!(self.field, Field::Name) {
            return self.name(byte);
        }
        if self.index < self.width {
            return Finding::Nothing;
        }
        let number = self.number;
        self.number = 0;
        self.index = 0;
        self.value(number)
    }

    /// Whether what was passed over or read last was the end of the hello; to be asked after each time.
    #[inline(always)]
    pub fn completed(&mut self) -> Finding {
        let is_inside = self.field.is_of_hello();
        if !is_inside || self.message > 0 || self.skip > 0 {
            return Finding::Nothing;
        }
        if self.index > 0 {
            return self.broken();
        }
        // A server that wants another hello says so in one of its own.
        if self.offer.is_retry() {
            self.offer = Offer::NONE;
            self.offer.set_retried();
            self.next(Field::MessageType, 1);
            return Finding::Nothing;
        }
        self.field = Field::Rest;
        Finding::Complete
    }

    /// So many bytes of the record, and of what is in it, are behind.
    #[inline(always)]
    fn consume(&mut self, bytes: u32) {
        self.record = self.record.wrapping_sub(bytes);
        self.message = self.message.saturating_sub(bytes);
        self.extension = self.extension.saturating_sub(bytes);
    }

    #[inline(always)]
    fn next(&mut self, field: Field, width: u8) {
        self.field = field;
        self.width = width;
    }

    /// Passes over so many bytes before the next field.
    #[inline(always)]
    fn next_behind(&mut self, bytes: u64, field: Field, width: u8) -> Finding {
        if bytes > u64::from(self.message) {
            return self.broken();
        }
        self.skip = as_u32(bytes);
        self.next(field, width);
        Finding::Nothing
    }

    #[inline(always)]
    fn broken(&mut self) -> Finding {
        self.end();
        Finding::NotTls
    }
}

/// A number that was read is of three bytes at most, wherever this is asked.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const fn as_u32(number: u64) -> u32 {
    number as u32
}
