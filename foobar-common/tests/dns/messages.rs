//! Messages of DNS, made from what they say, and read as plainly as possible.

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_oneof},
};

/// What a message says.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) id: u16,
    /// QR, opcode, response code and all between.
    pub(crate) flags: u16,
    /// Labels of the name and the type of each question.
    pub(crate) questions: Vec<(Vec<Vec<u8>>, u16)>,
    /// What follows: records.
    pub(crate) rest: Vec<u8>,
}

/// QR: the message is an answer.
pub(crate) const ANSWER: u16 = 1 << 15;
/// TC: the answer did not fit.
pub(crate) const TRUNCATED: u16 = 1 << 9;

impl Said {
    /// A query for a type of `www.foobar.com`.
    pub(crate) fn query(id: u16, query_type: u16) -> Self {
        let name = ["www", "foobar", "com"].map(|label| label.as_bytes().to_vec()).to_vec();
        Self { id, flags: 1 << 8, questions: vec![(name, query_type)], rest: Vec::new() }
    }

    /// An answer to it with this response code.
    pub(crate) fn answer(&self, code: u16) -> Self {
        Self { flags: self.flags | ANSWER | code, rest: vec![0xc0; 16], ..self.clone() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { id, flags, questions, rest } = self;
        let count = u16::try_from(questions.len()).unwrap_or(u16::MAX);
        let mut bytes: Vec<u8> =
            [*id, *flags, count, 0, 0, 1].into_iter().flat_map(u16::to_be_bytes).collect();
        for (labels, query_type) in questions {
            for label in labels {
                bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
                bytes.extend(label);
            }
            bytes.push(0);
            bytes.extend(query_type.to_be_bytes());
            bytes.extend([0, 1]);
        }
        bytes.extend(rest);
        bytes
    }
}

/// Behind its length, as over TCP.
pub(crate) fn with_length(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], message].concat()
}

/// What a message is, read from all of its bytes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Of this type, or no query for records.
    Query(u16, Option<u16>),
    /// With this response code, and whether it did not fit.
    Answer(u16, u16, bool),
    /// No message of DNS.
    Nothing,
}

/// Reads a message, of the server or of a client.
pub(crate) fn plain(message: &[u8], of_server: bool) -> Plain {
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let read = || {
        let (id, flags, questions) = (number(0)?, number(2)?, number(4)?);
        message.get(11)?;
        if (flags & ANSWER != 0) != of_server {
            return None;
        }
        if of_server {
            return Some(Plain::Answer(id, flags & 0xf, flags & TRUNCATED != 0));
        }
        if questions == 0 {
            return Some(Plain::Query(id, None));
        }
        let mut at = 12;
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            match length {
                0 => break,
                1..=63 => at += length,
                _ => return None,
            }
        }
        // With the zero at its end.
        if at - 12 > 255 {
            return None;
        }
        let query_type = number(at)?;
        message.get(at + 3)?;
        let opcode = (flags >> 11) & 0xf;
        Some(Plain::Query(id, (opcode == 0).then_some(query_type)))
    };
    read().unwrap_or(Plain::Nothing)
}

/// The word for a type of records.
pub(crate) fn type_label(query_type: Option<u16>) -> &'static str {
    match query_type {
        Some(1) => "A",
        Some(2) => "NS",
        Some(6) => "SOA",
        Some(12) => "PTR",
        Some(15) => "MX",
        Some(16) => "TXT",
        Some(28) => "AAAA",
        Some(65) => "HTTPS",
        _ => "other",
    }
}

/// The word for a response code.
pub(crate) fn code_label(code: u16) -> &'static str {
    const LABELS: [&str; 11] = [
        "noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "yxdomain", "yxrrset", "nxrrset",
        "notauth", "notzone",
    ];
    LABELS.get(usize::from(code)).copied().unwrap_or("other")
}

/// Messages of one direction, now and then of the other.
pub(crate) fn said(of_server: bool) -> impl Strategy<Value = Said> {
    let label = prop_oneof![4 => vec(any::<u8>(), 1..=12), 1 => vec(any::<u8>(), 63..=63)];
    let types = prop_oneof![
        8 => proptest::sample::select(vec![1_u16, 2, 5, 6, 12, 15, 16, 28, 33, 43, 65, 255]),
        1 => any::<u16>(),
    ];
    let questions = prop_oneof![1 => vec((vec(label.clone(), 0..5), types.clone()), 0..=0),
        12 => vec((vec(label.clone(), 0..5), types.clone()), 1..=1),
        1 => vec((vec(label, 0..5), types), 2..=3)];
    let flags = (any::<u16>(), 0..20_u8, 0..4_u8).prop_map(move |(flags, turned, opcode)| {
        let is_answer = of_server != (turned == 0);
        let kept = if opcode == 0 { 0x7fff } else { 0x07ff };
        flags & kept | if is_answer { ANSWER } else { 0 }
    });
    (any::<u16>(), flags, questions, vec(any::<u8>(), 0..400)).prop_map(|(id, flags, questions, rest)| Said {
        id,
        flags,
        questions,
        rest,
    })
}
