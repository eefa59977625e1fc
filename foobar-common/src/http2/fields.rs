//! Header fields (HPACK, RFC 7541), as far as it takes to know a method or a status.
//!
//! No field is decoded. The one that is looked for is known by its place in the static table or by the few bytes of its
//! value; that it is sent again by a number alone is known since entries of the dynamic table are counted, and the last
//! ones that are of this field are kept with their numbers.

use super::{
    huffman::{Sent, lowest},
    meaning::Meaning,
};
use crate::{
    frame::{mask_if_same, within},
    service::Loss,
};

/// Entries that are kept of the dynamic table: the last ones of the field that is looked for.
pub const ENTRIES: u32 = 16;
/// Entries of the static table (RFC 7541 appendix A): the dynamic one follows.
const STATIC: u32 = 61;
/// What an entry takes of the table besides its name and value, in bytes (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: u32 = 32;
/// Size of the table unless something else is agreed (RFC 9113 section 6.5.2).
const TABLE_SIZE: u32 = 4096;
/// No name that is given by its number in the static table is longer, in bytes, and hardly one in the dynamic table.
const INDEXED_NAME_MAX: u32 = 64;
/// Bits of a number that are read, at most.
const NUMBER_BITS: u8 = 28;
/// Bytes of a string that are looked at.
const TEXT: u32 = 8;

/// The header fields of one direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Fields {
    /// The first bytes of the string that is being read, the first one lowest.
    text: u64,
    /// The number that is being read, or bytes of the string that are left.
    number: u32,
    /// Length of the string, in bytes.
    length: u32,
    /// The most and the least that the entry can take of the table, in bytes.
    most: u32,
    least: u32,
    /// How many entries the table has been given.
    inserted: u32,
    /// Its size, in bytes.
    table: u32,
    /// Numbers of entries of the field that is looked for; zero if there is none.
    entries: [u32; ENTRIES as usize],
    /// What they say.
    values: [u8; ENTRIES as usize],
    /// Where the next one goes.
    next: u8,
    part: Part,
    form: Form,
    /// Bits of the number that have been read.
    bits: u8,
    /// What the field says that is looked for, as a number of [`Meaning`]; [`NOTHING`] if it has not come.
    found: u8,
    /// Whether the present field is the one that is looked for.
    is_wanted: bool,
    /// Whether the string is in Huffman code.
    is_coded: bool,
    /// Whether it can no longer be told which entries the table has.
    is_uncertain: bool,
}

/// There is no such field.
const NOTHING: u8 = u8::MAX;

/// Parts of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    /// A field begins.
    Start = 0,
    /// The rest of the number that it begins with.
    Number,
    /// The length of a name.
    NameLength,
    NameLengthRest,
    Name,
    /// The length of a value.
    ValueLength,
    ValueLengthRest,
    Value,
}

/// How a field is given (RFC 7541 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    /// By its number.
    Indexed = 0,
    /// As text that is put into the table.
    Inserted,
    /// As text.
    Literal,
    /// It is none, but says how large the table is from now on.
    TableSize,
}

impl Fields {
    /// Those of a side that has sent none.
    pub const fn new() -> Self {
        Self {
            text: 0,
            number: 0,
            length: 0,
            most: 0,
            least: 0,
            inserted: 0,
            table: TABLE_SIZE,
            entries: [0; ENTRIES as usize],
            values: [0; ENTRIES as usize],
            next: 0,
            part: Part::Start,
            form: Form::Indexed,
            bits: 0,
            found: NOTHING,
            is_wanted: false,
            is_coded: false,
            is_uncertain: false,
        }
    }

    /// The fields of a message have ended. What the field says that is looked for, if there was one.
    ///
    /// # Errors
    /// If they cannot end here.
    #[inline(always)]
    pub(super) fn end(&mut self) -> Result<Option<u8>, Loss> {
        let found = self.found;
        self.found = NOTHING;
        if matches!(self.part, Part::Start) {
            Ok((found != NOTHING).then_some(found))
        } else {
            Err(Loss::NotHttp)
        }
    }

    /// Passes over as many of the next `bytes` as need no look, and says how many.
    #[inline(always)]
    pub(super) fn pass(&mut self, bytes: u32) -> u32 {
        let is_text = matches!(self.part, Part::Name | Part::Value);
        let is_read = self.is_looked_at() && self.length.wrapping_sub(self.number) < TEXT;
        if !is_text || is_read {
            return 0;
        }
        let passed = if self.number < bytes { self.number } else { bytes };
        self.number = self.number.wrapping_sub(passed);
        passed
    }

    /// Whether it matters what the string says.
    #[inline(always)]
    fn is_looked_at(&self) -> bool {
        self.is_wanted || matches!(self.part, Part::Name)
    }

    /// Whether a string has been read to its end: to be asked after each time.
    #[inline(always)]
    pub(super) fn settle<M: Meaning>(&mut self) {
        if self.number > 0 {
            return;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "no others are strings")]
        match self.part {
            Part::Name => {
                let sent = Sent { word: self.text, length: self.length };
                self.is_wanted = sent == if self.is_coded { M::NAME_CODED } else { M::NAME };
                self.part = Part::ValueLength;
            }
            Part::Value => self.literal_ended::<M>(),
            _ => {}
        }
    }

    /// Reads bytes of a word, of which there are `bytes`, the lowest first. How many it has read, at least one; none if
    /// these are no header fields.
    #[inline(always)]
    pub(super) fn read<M: Meaning>(&mut self, word: u64, bytes: u32) -> u32 {
        if matches!(self.part, Part::Name | Part::Value) {
            let index = self.length.wrapping_sub(self.number);
            let room = TEXT.wrapping_sub(index & (TEXT - 1));
            let taken = least(least(room, bytes), self.number);
            self.text |= lowest(word, taken) << ((index & (TEXT - 1)) << 3);
            self.number = self.number.wrapping_sub(taken);
            return taken;
        }
        let byte = (word & 0xff) as u32;
        let is_complete = match self.part {
            Part::Start => self.begin(byte),
            Part::NameLength | Part::ValueLength => {
                self.is_coded = byte & 0x80 != 0;
                self.prefix(byte, 0x7f)
            }
            Part::Number | Part::NameLengthRest | Part::ValueLengthRest => {
                if self.bits >= NUMBER_BITS {
                    return 0;
                }
                self.number = self.number.wrapping_add((byte & 0x7f) << (self.bits & 0x1f));
                self.bits = self.bits.wrapping_add(7);
                byte & 0x80 == 0
            }
            Part::Name | Part::Value => true,
        };
        let is_valid = if is_complete { self.number_ended::<M>() } else { self.number_goes_on() };
        u32::from(is_valid)
    }

    /// The first byte of a field says how it is given.
    #[inline(always)]
    fn begin(&mut self, byte: u32) -> bool {
        let (form, mask) = match byte {
            0x80.. => (Form::Indexed, 0x7f),
            0x40.. => (Form::Inserted, 0x3f),
            0x20.. => (Form::TableSize, 0x1f),
            _ => (Form::Literal, 0x0f),
        };
        self.form = form;
        self.prefix(byte, mask)
    }

    /// A number begins in the lowest bits of a byte (RFC 7541 section 5.1); whether that is all of it.
    #[inline(always)]
    fn prefix(&mut self, byte: u32, mask: u32) -> bool {
        self.bits = 0;
        self.number = byte & mask;
        self.number != mask
    }

    #[inline(always)]
    fn number_goes_on(&mut self) -> bool {
        self.part = match self.part {
            Part::Start | Part::Number => Part::Number,
            Part::NameLength | Part::NameLengthRest => Part::NameLengthRest,
            Part::ValueLength | Part::ValueLengthRest | Part::Name | Part::Value => Part::ValueLengthRest,
        };
        true
    }

    /// A number has been read; whether it can be right.
    #[inline(always)]
    fn number_ended<M: Meaning>(&mut self) -> bool {
        let number = self.number;
        #[expect(clippy::wildcard_enum_match_arm, reason = "no others are numbers")]
        match self.part {
            Part::NameLength | Part::NameLengthRest => self.text_begins(Part::Name),
            Part::ValueLength | Part::ValueLengthRest => self.text_begins(Part::Value),
            _ => {
                self.part = Part::Start;
                match self.form {
                    Form::Indexed => {
                        if number == 0 {
                            return false;
                        }
                        self.indexed::<M>(number);
                    }
                    Form::TableSize => self.table = number,
                    Form::Inserted | Form::Literal => self.literal::<M>(number),
                }
            }
        }
        true
    }

    /// A field is given by its number.
    #[inline(always)]
    fn indexed<M: Meaning>(&mut self, number: u32) {
        if self.found != NOTHING {
            return;
        }
        if number <= STATIC {
            self.found = M::of_static(number).unwrap_or(NOTHING);
        } else if let Some(value) = self.entry(number) {
            self.found = value;
        }
    }

    /// A field is given as text, its name by this number unless that is zero.
    #[inline(always)]
    fn literal<M: Meaning>(&mut self, number: u32) {
        (self.most, self.least) = (ENTRY_OVERHEAD, ENTRY_OVERHEAD);
        if number == 0 {
            self.part = Part::NameLength;
            return;
        }
        self.most = self.most.wrapping_add(INDEXED_NAME_MAX);
        self.part = Part::ValueLength;
        self.is_wanted =
            if number <= STATIC { M::of_static(number).is_some() } else { self.entry(number).is_some() };
    }

    /// A string begins, of as many bytes as the number says.
    #[inline(always)]
    fn text_begins(&mut self, part: Part) {
        let length = self.number;
        self.part = part;
        self.length = length;
        self.text = 0;
        // A letter has five to thirty bits.
        let (most, least) = if self.is_coded { (length << 1, length >> 2) } else { (length, length) };
        self.most = self.most.wrapping_add(most);
        self.least = self.least.wrapping_add(least);
    }

    /// A field that was given as text has ended.
    #[inline(always)]
    fn literal_ended<M: Meaning>(&mut self) {
        self.part = Part::Start;
        let value = M::of_text(Sent { word: self.text, length: self.length }, self.is_coded);
        if self.is_wanted && self.found == NOTHING {
            self.found = value;
        }
        if !matches!(self.form, Form::Inserted) {
            return;
        }
        if self.most > self.table {
            // What is larger than the table is not put into it (RFC 7541 section 4.4).
            self.is_uncertain |= self.least <= self.table;
            return;
        }
        self.inserted = self.inserted.wrapping_add(1);
        if self.is_wanted {
            let place = within::<{ ENTRIES - 1 }>(u32::from(self.next)) as usize;
            if let (Some(entry), Some(kept)) = (self.entries.get_mut(place), self.values.get_mut(place)) {
                (*entry, *kept) = (self.inserted, value);
            }
            self.next = (self.next.wrapping_add(1)) & NEXT_MASK;
        }
    }

    /// What an entry of the dynamic table says, if it is of the field that is looked for.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "one more than a byte")]
    fn entry(&self, number: u32) -> Option<u8> {
        if self.is_uncertain {
            return None;
        }
        // The newest one has the lowest number (RFC 7541 section 2.3.3).
        let wanted = self.inserted.wrapping_sub(number.wrapping_sub(STATIC + 1));
        // One more than what it says: no two have the same number.
        let mut found = 0;
        for (entry, value) in self.entries.iter().zip(&self.values) {
            found |= mask_if_same(*entry, wanted) & u64::from(*value).wrapping_add(1);
        }
        if found == 0 || wanted == 0 { None } else { Some(found.wrapping_sub(1) as u8) }
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const NEXT_MASK: u8 = (ENTRIES - 1) as u8;

#[inline(always)]
const fn least(one: u32, other: u32) -> u32 {
    if one < other { one } else { other }
}
