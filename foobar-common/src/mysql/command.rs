//! Commands, by the first byte of their payload.

use super::statement::Operation;
use crate::words::words;

words! {
    /// What a client asks for; the label `command`.
    Command {
        Query = 0, "query", "a statement as text";
        Prepare = 1, "prepare", "prepares a statement";
        Execute = 2, "execute", "executes a prepared statement";
        Fetch = 3, "fetch", "more rows of a cursor";
        LongData = 4, "long_data", "a part of a parameter, which has no answer";
        Close = 5, "close", "forgets a prepared statement, which has no answer";
        Reset = 6, "reset", "closes the cursor of a prepared statement";
        InitDb = 7, "init_db", "changes the database";
        Ping = 8, "ping", "asks for a sign of life";
        Quit = 9, "quit", "ends the session, which has no answer";
        ChangeUser = 10, "change_user", "logs in anew";
        ResetConnection = 11, "reset_connection", "makes the session as it was at first";
        FieldList = 12, "field_list", "asks for the columns of a table";
        Statistics = 13, "statistics", "asks how the server is";
        BinlogDump = 14, "binlog_dump", "a replica asks for what changes";
        Other = 15, "other", "any other command";
    }
}

impl Command {
    /// By its byte.
    #[inline(always)]
    pub const fn of_byte(byte: u8) -> Self {
        match byte {
            0x01 => Self::Quit,
            0x02 => Self::InitDb,
            0x03 => Self::Query,
            0x04 => Self::FieldList,
            0x09 => Self::Statistics,
            0x0e => Self::Ping,
            0x11 => Self::ChangeUser,
            0x12 | 0x1e => Self::BinlogDump,
            0x16 => Self::Prepare,
            0x17 | 0xfa => Self::Execute,
            0x18 => Self::LongData,
            0x19 => Self::Close,
            0x1a => Self::Reset,
            0x1c => Self::Fetch,
            0x1f => Self::ResetConnection,
            _ => Self::Other,
        }
    }

    /// Whether the server says anything to it.
    #[inline(always)]
    pub const fn has_answer(self) -> bool {
        !matches!(self, Self::LongData | Self::Close | Self::Quit)
    }

    /// Whether its payload is a statement.
    #[inline(always)]
    pub const fn has_text(self) -> bool {
        matches!(self, Self::Query | Self::Prepare)
    }

    /// Whether its payload begins with the number of a prepared statement that matters here.
    #[inline(always)]
    pub const fn has_statement(self) -> bool {
        matches!(self, Self::Execute | Self::Close)
    }
}

/// What is to be known of a command when its answer comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Expected(u8);

impl Expected {
    const NOTHING: u8 = 0;
    const QUERY: u8 = 1 << 4;
    const PREPARED: u8 = 1 << 5;
    const OPERATION: u8 = 0xf;

    /// An answer that says nothing more.
    pub const PLAIN: Self = Self(Self::NOTHING);

    /// The first answer to a query.
    #[inline(always)]
    pub const fn query(operation: Operation) -> Self {
        Self(Self::QUERY | operation as u8)
    }

    /// The number of a prepared statement.
    #[inline(always)]
    pub const fn prepared(operation: Operation) -> Self {
        Self(Self::PREPARED | operation as u8)
    }

    /// Whether it is that of a query.
    #[inline(always)]
    pub const fn is_query(self) -> bool {
        self.0 & Self::QUERY != 0
    }

    /// Whether it is the number of a prepared statement.
    #[inline(always)]
    pub const fn is_prepared(self) -> bool {
        self.0 & Self::PREPARED != 0
    }

    /// Number of the [`Operation`].
    #[inline(always)]
    pub const fn operation(self) -> u8 {
        self.0 & Self::OPERATION
    }
}
