//! What a statement of SQL does, by its first words.
//!
//! White space, comments and opening parentheses before it say nothing, but for comments that MySQL executes
//! (`/*!40101 SET … */`). A statement is judged by its first words alone, several in one command by the first.

use crate::words::words;

words! {
    /// What a query does; the label `op`.
    Operation {
        Read = 0, "read", "it reads: SELECT, SHOW, EXPLAIN, DESCRIBE, VALUES, TABLE, HANDLER";
        Write = 1, "write", "it changes rows: INSERT, UPDATE, DELETE, REPLACE, LOAD DATA";
        Ddl = 2, "ddl", "it changes what there is: CREATE, ALTER, DROP, TRUNCATE, RENAME";
        Tx = 3, "tx", "it begins or ends a transaction: BEGIN, START TRANSACTION, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, XA";
        Other = 4, "other", "anything else, as SET";
        Unknown = 5, "unknown", "its first words do not tell: WITH, CALL, EXECUTE, SET STATEMENT, BEGIN NOT ATOMIC, a prepared one that is not known";
    }
}

#[expect(clippy::derivable_impls, reason = "the macro has no place for it")]
impl Default for Operation {
    fn default() -> Self {
        Self::Unknown
    }
}

/// Bytes of a statement that are looked at, at most: a comment may be long.
const LOOKED_AT: u16 = 4_096;

/// Letters of a word that are kept.
const LETTERS_KEPT: u8 = 8;

/// A statement, as far as it has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Statement {
    /// The first eight letters of the word that is being read, the last one lowest.
    word: u64,
    /// How many bytes have been read.
    read: u16,
    /// How many letters the word has.
    letters: u8,
    at: At,
    /// The first word, if another one has to be read.
    first: First,
    /// Always zero.
    padding: [u8; 3],
}

/// What the last byte was part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum At {
    /// What comes before a word.
    #[default]
    Between = 0,
    Word,
    /// `*`, which ends a comment that is executed.
    Asterisk,
    /// `/`
    Slash,
    /// `/*`
    CommentBegins,
    /// `/*M`
    CommentOfMariaDb,
    /// `/*!` and digits.
    Version,
    Comment,
    /// `*` in a comment.
    Star,
    /// `-`
    Dash,
    /// `--`
    Dashes,
    /// A comment up to the end of the line.
    Line,
}

/// First words that do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum First {
    #[default]
    None = 0,
    Begin,
    Load,
    Set,
    Start,
}

impl Statement {
    /// Reads a byte; what the statement does, once that is known.
    #[inline(always)]
    pub fn read(&mut self, byte: u8) -> Option<Operation> {
        self.read = self.read.wrapping_add(1);
        if self.read >= LOOKED_AT {
            return Some(Operation::Unknown);
        }
        match self.at {
            At::Between => return self.between(byte),
            At::Word => {
                if is_of_word(byte) {
                    self.letter(byte);
                } else {
                    return self.word(byte);
                }
            }
            At::Asterisk if byte == b'/' => self.at = At::Between,
            At::Slash if byte == b'*' => self.at = At::CommentBegins,
            At::CommentBegins => {
                self.at = match byte {
                    b'!' => At::Version,
                    b'M' => At::CommentOfMariaDb,
                    b'*' => At::Star,
                    _ => At::Comment,
                }
            }
            At::CommentOfMariaDb => {
                self.at = match byte {
                    b'!' => At::Version,
                    b'*' => At::Star,
                    _ => At::Comment,
                }
            }
            At::Version => {
                if !byte.is_ascii_digit() {
                    return self.between(byte);
                }
            }
            At::Comment => {
                if byte == b'*' {
                    self.at = At::Star;
                }
            }
            At::Star => {
                self.at = match byte {
                    b'/' => At::Between,
                    b'*' => At::Star,
                    _ => At::Comment,
                }
            }
            At::Dash if byte == b'-' => self.at = At::Dashes,
            At::Dashes if byte == b'\n' => self.at = At::Between,
            At::Dashes if byte.is_ascii_whitespace() => self.at = At::Line,
            At::Asterisk | At::Slash | At::Dash | At::Dashes => return Some(self.without_word()),
            At::Line => {
                if byte == b'\n' {
                    self.at = At::Between;
                }
            }
        }
        None
    }

    /// What the statement does if it ends here.
    #[inline(always)]
    pub fn end(&mut self) -> Operation {
        if matches!(self.at, At::Word)
            && let Some(operation) = self.word(b';')
        {
            return operation;
        }
        self.without_word()
    }

    #[inline(always)]
    fn between(&mut self, byte: u8) -> Option<Operation> {
        self.at = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c | b'(' => At::Between,
            b'*' => At::Asterisk,
            b';' if matches!(self.first, First::None) => At::Between,
            b'/' => At::Slash,
            b'#' => At::Line,
            b'-' => At::Dash,
            _ if is_of_word(byte) => {
                self.word = 0;
                self.letters = 0;
                self.letter(byte);
                At::Word
            }
            _ => return Some(self.without_word()),
        };
        None
    }

    #[inline(always)]
    fn letter(&mut self, byte: u8) {
        if self.letters < LETTERS_KEPT {
            self.word = self.word << 8 | u64::from(byte.to_ascii_uppercase());
        }
        self.letters = self.letters.saturating_add(1);
    }

    /// What a statement does whose next word there is not.
    #[inline(always)]
    fn without_word(&self) -> Operation {
        match self.first {
            First::Begin => Operation::Tx,
            First::None | First::Load | First::Set | First::Start => Operation::Other,
        }
    }

    /// A word has been read; `next` is the byte behind it.
    #[inline(always)]
    fn word(&mut self, next: u8) -> Option<Operation> {
        let letters = self.letters;
        let is = |word: u64, length: u8| self.word == word && letters == length;
        match self.first {
            First::Begin if is(NOT, 3) => return Some(Operation::Unknown),
            First::Start if is(TRANSACT, 11) => return Some(Operation::Tx),
            First::Load if is(DATA, 4) || is(XML, 3) => return Some(Operation::Write),
            First::Set if is(STATEMEN, 9) => return Some(Operation::Unknown),
            First::None => {}
            First::Begin | First::Load | First::Set | First::Start => return Some(self.without_word()),
        }
        if letters > LETTERS_KEPT {
            return Some(if is(SAVEPOIN, 9) { Operation::Tx } else { Operation::Other });
        }
        let operation = match self.word {
            SELECT | SHOW | DESC | DESCRIBE | EXPLAIN | VALUES | TABLE | HANDLER => Operation::Read,
            INSERT | UPDATE | DELETE | REPLACE => Operation::Write,
            CREATE | ALTER | DROP | TRUNCATE | RENAME => Operation::Ddl,
            COMMIT | ROLLBACK | RELEASE | XA => Operation::Tx,
            WITH | CALL | EXECUTE => Operation::Unknown,
            BEGIN => return self.hold(First::Begin, next),
            LOAD => return self.hold(First::Load, next),
            SET => return self.hold(First::Set, next),
            START => return self.hold(First::Start, next),
            _ => Operation::Other,
        };
        Some(operation)
    }

    /// Reads another word.
    #[inline(always)]
    fn hold(&mut self, first: First, next: u8) -> Option<Operation> {
        self.first = first;
        self.between(next)
    }
}

#[inline(always)]
const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// A word as [`Statement`] has it.
const fn packed<const N: usize>(word: [u8; N]) -> u64 {
    let mut packed: u64 = 0;
    let mut rest: &[u8] = &word;
    while let [byte, behind @ ..] = rest {
        packed = packed << 8 | *byte as u64;
        rest = behind;
    }
    packed
}

/// Words, or their first eight letters.
macro_rules! keywords {
    ($($name:ident = $letters:literal;)+) => { $( const $name: u64 = packed(*$letters); )+ };
}

keywords! {
    ALTER = b"ALTER";
    BEGIN = b"BEGIN";
    CALL = b"CALL";
    COMMIT = b"COMMIT";
    CREATE = b"CREATE";
    DATA = b"DATA";
    DELETE = b"DELETE";
    DESC = b"DESC";
    DESCRIBE = b"DESCRIBE";
    DROP = b"DROP";
    EXECUTE = b"EXECUTE";
    EXPLAIN = b"EXPLAIN";
    HANDLER = b"HANDLER";
    INSERT = b"INSERT";
    LOAD = b"LOAD";
    NOT = b"NOT";
    RELEASE = b"RELEASE";
    RENAME = b"RENAME";
    REPLACE = b"REPLACE";
    ROLLBACK = b"ROLLBACK";
    SAVEPOIN = b"SAVEPOIN";
    SELECT = b"SELECT";
    SET = b"SET";
    SHOW = b"SHOW";
    START = b"START";
    STATEMEN = b"STATEMEN";
    TABLE = b"TABLE";
    TRANSACT = b"TRANSACT";
    TRUNCATE = b"TRUNCATE";
    UPDATE = b"UPDATE";
    VALUES = b"VALUES";
    WITH = b"WITH";
    XA = b"XA";
    XML = b"XML";
}
