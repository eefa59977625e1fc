//! How a session begins: what the server offers, what the client takes of it.

/// Bits of capabilities, as both sides tell theirs.
pub mod capability {
    /// What follows is compressed (zlib).
    pub const COMPRESS: u32 = 1 << 5;
    /// The client tells four bytes of capabilities, not two.
    pub const PROTOCOL_41: u32 = 1 << 9;
    /// What follows is TLS.
    pub const SSL: u32 = 1 << 11;
    /// What follows is compressed (zstd).
    pub const ZSTD: u32 = 1 << 26;
    /// Statements come behind attributes.
    pub const QUERY_ATTRIBUTES: u32 = 1 << 27;
}

/// The first byte of what a server says at first, which is the version of the protocol.
pub const VERSION: u8 = 10;
/// Length of what a client of MySQL 4.1 or newer says at least, in bytes.
const LENGTH_MIN: u32 = 32;
/// The same for older ones.
const OLD_LENGTH_MIN: u32 = 5;

/// The client's capabilities that the server has as well, from the first eight bytes of what it says and the length of
/// that; `None` if this is none of MySQL.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half of it")]
pub const fn agreed(head: u64, length: u32, offered: u32) -> Option<u32> {
    let told = head as u32;
    let (told, least) = if told & capability::PROTOCOL_41 == 0 {
        (told & 0xffff, OLD_LENGTH_MIN)
    } else {
        (told, LENGTH_MIN)
    };
    if length < least { None } else { Some(told & offered) }
}

/// What a server says at first (protocol version 10), as far as it has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Greeting {
    /// The capabilities that it offers.
    offered: u32,
    /// What the next byte is.
    field: Field,
    /// How many bytes of that have been read.
    index: u8,
    /// Always zero.
    padding: [u8; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Field {
    #[default]
    Version = 0,
    /// Name of the server's version, up to a zero.
    Name,
    /// What follows that, which has a length.
    Rest,
}

/// What a byte of it has brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeted {
    /// Nothing.
    Nothing,
    /// The server does not want the client.
    Refused,
    /// This is none of MySQL.
    NotMysql,
}

/// Behind the name: number of the thread, part of a random number, a filler.
const LOWER_AT: u8 = 4 + 8 + 1;
/// Behind the lower half: character set and status.
const UPPER_AT: u8 = LOWER_AT + 2 + 1 + 2;

impl Greeting {
    /// The capabilities that it offers, as far as they have been read.
    #[inline(always)]
    pub const fn offered(&self) -> u32 {
        self.offered
    }

    /// Reads a byte.
    #[inline(always)]
    pub fn read(&mut self, byte: u8) -> Greeted {
        match self.field {
            Field::Version => {
                self.field = Field::Name;
                match byte {
                    VERSION => {}
                    0xff => return Greeted::Refused,
                    _ => return Greeted::NotMysql,
                }
            }
            Field::Name => {
                if byte == 0 {
                    self.field = Field::Rest;
                }
            }
            Field::Rest => {
                let index = self.index;
                self.index = index.saturating_add(1);
                let shift = match index {
                    LOWER_AT => 0,
                    12.. if index == LOWER_AT + 1 => 8,
                    UPPER_AT => 16,
                    12.. if index == UPPER_AT + 1 => 24,
                    _ => return Greeted::Nothing,
                };
                self.offered |= u32::from(byte) << shift;
            }
        }
        Greeted::Nothing
    }
}
