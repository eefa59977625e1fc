//! Protobuf, read without any knowledge of messages: <https://protobuf.dev/programming-guides/encoding/>.

use anyhow::{Context as _, Result, bail};

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub enum Field<'b> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'b [u8]),
}

impl<'b> Field<'b> {
    pub fn bytes(self) -> Result<&'b [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed64(_) => bail!("no bytes: {self:?}"),
        }
    }

    pub fn text(self) -> Result<&'b str> {
        Ok(std::str::from_utf8(self.bytes()?)?)
    }

    pub fn number(self) -> Result<u64> {
        match self {
            Self::Varint(number) | Self::Fixed64(number) => Ok(number),
            Self::Bytes(_) => bail!("no number: {self:?}"),
        }
    }
}

/// A message: its fields, each with its number, in their order.
pub struct Message<'b>(Vec<(u64, Field<'b>)>);

impl<'b> Message<'b> {
    pub fn read(mut bytes: &'b [u8]) -> Result<Self> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let field = match tag & 7 {
                0 => Field::Varint(varint(&mut bytes)?),
                1 => {
                    let (number, rest) = bytes.split_first_chunk().context("cut off")?;
                    bytes = rest;
                    Field::Fixed64(u64::from_le_bytes(*number))
                }
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?)?;
                    let (content, rest) = bytes.split_at_checked(length).context("cut off")?;
                    bytes = rest;
                    Field::Bytes(content)
                }
                other => bail!("wire type {other}"),
            };
            fields.push((tag >> 3, field));
        }
        Ok(Self(fields))
    }

    /// All fields of this number.
    pub fn all(&self, number: u64) -> impl Iterator<Item = Field<'b>> {
        self.0.iter().filter(move |(known, _)| *known == number).map(|(_, field)| *field)
    }

    /// The messages in the fields of this number.
    pub fn messages(&self, number: u64) -> Result<Vec<Self>> {
        self.all(number).map(|field| Self::read(field.bytes()?)).collect()
    }

    /// The only field of this number.
    pub fn one(&self, number: u64) -> Option<Field<'b>> {
        self.all(number).next()
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().context("cut off")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number without end")
}
