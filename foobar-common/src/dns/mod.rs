//! Messages of DNS as far as they are counted (RFC 1035 section 4.1), byte for byte as they come: who asks for what, and
//! what the answer is.
//!
//! [`Messages`] reads one direction: the datagram of a packet, or a TCP connection, where each message comes behind its
//! length (RFC 1035 section 4.2.2), in any number of segments. Of a query its header and its question are read, of an
//! answer its header; all other bytes are passed over. Extended response codes lie in the OPT record (RFC 6891 section
//! 6.1.3) and are not read: the four bits in the header are.

mod connection;
mod counters;
mod words;

pub use self::{
    connection::{DnsConnection, DnsSide, PATIENCE, QUERIES_MAX, QueryKey},
    counters::{DnsCounters, QUERY_TYPES_ROOM, RESPONSE_CODES_ROOM},
    words::{QueryType, ResponseCode},
};

/// Bytes of a message's header (RFC 1035 section 4.1.1).
const HEADER: u32 = 12;
/// Those of them behind the number of questions: how many records follow.
const RECORD_COUNTS: u32 = 6;
/// The class of a question, in bytes; what it says makes no difference.
const CLASS: u32 = 2;
/// Bytes of a name, with the lengths of its labels, but for the zero at its end (RFC 1035 section 2.3.4).
const NAME_MAX: u16 = 254;
/// Bytes of a label; what is more is a pointer (RFC 1035 section 4.1.4), and none can be in the first name of a message.
const LABEL_MAX: u32 = 63;

/// Who sends the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Asks.
    Client = 0,
    /// Answers.
    Server = 1,
}

/// What a byte has brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing yet.
    Nothing,
    /// A query: its question has been read.
    Query,
    /// An answer: its header has been read.
    Answer,
    /// This is no message of DNS, or none for this direction.
    NotDns,
}

/// The messages of one direction, while they are read.
///
/// As in [`crate::tls::Hello`], fields that are set together do not stand side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Messages {
    /// Bytes that are passed over before the next field begins.
    skip: u32,
    /// The bytes of the field that is being read, the last of them lowest.
    number: u32,
    /// Bytes of the message behind the field that is being read.
    left: u32,
    /// Identifies the message (RFC 1035 section 4.1.1).
    id: u16,
    /// What the name has so far, in bytes.
    name_length: u16,
    /// QR, opcode, AA, TC, RD, RA, and the response code (RFC 1035 section 4.1.1).
    flags: u16,
    /// What is asked for; zero if nothing is.
    query_type: u16,
    /// What is being read.
    field: Field,
    /// How many bytes of that there are.
    width: u8,
    /// How many of them have been read.
    index: u8,
    role: Role,
    /// What comes behind a message.
    behind: Field,
    /// Always zero.
    padding: [u8; 3],
}

/// Parts of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Field {
    /// Bytes of the message, before it, over TCP.
    Length = 0,
    Id = 1,
    Flags = 2,
    /// How many questions there are.
    Questions = 3,
    /// The length of a label.
    Label = 4,
    Type = 5,
    /// Nothing more is read.
    Over = 6,
}

/// QR: the message is an answer.
const ANSWER: u16 = 1 << 15;
/// The opcode: zero asks for records.
const OPCODE: u16 = 0xf << 11;
/// TC: the answer did not fit.
const TRUNCATED: u16 = 1 << 9;
/// The response code.
const RESPONSE_CODE: u16 = 0xf;

impl Messages {
    /// Those of one side of a TCP connection, from its first byte.
    pub const fn of_stream(role: Role) -> Self {
        Self::new(role, Field::Length)
    }

    /// The one of a datagram, after [`Messages::begin`].
    pub const fn of_datagram(role: Role) -> Self {
        Self::new(role, Field::Over)
    }

    const fn new(role: Role, behind: Field) -> Self {
        Self {
            skip: 0,
            number: 0,
            left: 0,
            id: 0,
            name_length: 0,
            flags: 0,
            query_type: 0,
            field: behind,
            width: 2,
            index: 0,
            role,
            behind,
            padding: [0; 3],
        }
    }

    /// A message of so many bytes begins.
    #[inline(always)]
    pub fn begin(&mut self, length: u32) -> Finding {
        if length < HEADER {
            return self.broken();
        }
        self.left = length.wrapping_sub(HEADER);
        self.next(Field::Id, 2)
    }

    /// Whether nothing more is read.
    #[inline(always)]
    pub const fn is_over(&self) -> bool {
        matches!(self.field, Field::Over)
    }

    /// Nothing more is to be read.
    #[inline(always)]
    pub fn end(&mut self) {
        self.field = Field::Over;
    }

    /// Identifies the message whose header was read last.
    #[inline(always)]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// What the query asks for that was read last.
    #[inline(always)]
    pub const fn query_type(&self) -> QueryType {
        // Other messages have their question in the same place (RFC 1996, RFC 2136), and ask for nothing.
        if self.flags & OPCODE == 0 { QueryType::from_wire(self.query_type) } else { QueryType::Other }
    }

    /// What the answer says that was read last.
    #[inline(always)]
    pub const fn response_code(&self) -> ResponseCode {
        ResponseCode::from_wire(self.flags & RESPONSE_CODE)
    }

    /// Whether that answer did not fit.
    #[inline(always)]
    pub const fn is_truncated(&self) -> bool {
        self.flags & TRUNCATED != 0
    }

    /// Passes over as many of the next `bytes` as need no look, and says how many.
    #[inline(always)]
    pub fn pass(&mut self, bytes: u32) -> u32 {
        if self.is_over() {
            return bytes;
        }
        let passed = if self.skip < bytes { self.skip } else { bytes };
        self.skip = self.skip.wrapping_sub(passed);
        passed
    }

    /// Reads a byte; to be called where [`Messages::pass`] passes over none.
    #[inline(always)]
    pub fn read(&mut self, byte: u8) -> Finding {
        self.number = self.number << 8 | u32::from(byte);
        self.index = self.index.wrapping_add(1);
        if self.index < self.width {
            return Finding::Nothing;
        }
        let number = self.number;
        self.number = 0;
        self.index = 0;
        self.value(number)
    }

    /// Takes a field that has been read.
    #[inline(always)]
    fn value(&mut self, number: u32) -> Finding {
        match self.field {
            Field::Length => self.begin(number),
            Field::Id => {
                self.id = as_u16(number);
                self.next(Field::Flags, 2)
            }
            Field::Flags => {
                self.flags = as_u16(number);
                let is_answer = self.flags & ANSWER != 0;
                if is_answer != matches!(self.role, Role::Server) {
                    return self.broken();
                }
                self.next(Field::Questions, 2)
            }
            Field::Questions => {
                self.skip = RECORD_COUNTS;
                if matches!(self.role, Role::Server) {
                    return self.complete(Finding::Answer);
                }
                self.query_type = 0;
                if number == 0 {
                    return self.complete(Finding::Query);
                }
                self.name_length = 0;
                self.take(1, Field::Label)
            }
            Field::Label if number == 0 => self.take(2, Field::Type),
            Field::Label => {
                self.name_length = self.name_length.wrapping_add(as_u16(number)).wrapping_add(1);
                if number > LABEL_MAX || self.name_length > NAME_MAX || number > self.left {
                    return self.broken();
                }
                self.left = self.left.wrapping_sub(number);
                self.skip = number;
                self.take(1, Field::Label)
            }
            Field::Type => {
                self.query_type = as_u16(number);
                if self.left < CLASS {
                    return self.broken();
                }
                self.complete(Finding::Query)
            }
            Field::Over => Finding::Nothing,
        }
    }

    /// What counts of the message has been read.
    #[inline(always)]
    fn complete(&mut self, finding: Finding) -> Finding {
        self.skip = self.skip.wrapping_add(self.left);
        self.next(self.behind, 2);
        finding
    }

    /// Reads a field behind the header, if the message is long enough.
    #[inline(always)]
    fn take(&mut self, width: u8, field: Field) -> Finding {
        if self.left < u32::from(width) {
            return self.broken();
        }
        self.left = self.left.wrapping_sub(u32::from(width));
        self.next(field, width)
    }

    #[inline(always)]
    fn next(&mut self, field: Field, width: u8) -> Finding {
        self.field = field;
        self.width = width;
        Finding::Nothing
    }

    #[inline(always)]
    fn broken(&mut self) -> Finding {
        self.end();
        Finding::NotDns
    }
}

/// No field has more than two bytes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const fn as_u16(number: u32) -> u16 {
    number as u16
}
