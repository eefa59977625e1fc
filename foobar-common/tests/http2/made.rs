//! Both sides of a connection, made from what they are to say.

use std::collections::VecDeque;

use foobar_common::service::Method;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// A header field and how it is sent, where there is a choice.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    name: String,
    value: String,
    is_indexed: bool,
    is_inserted: bool,
    is_name_indexed: bool,
}

/// One message: its fields, what it carries, and how that is put into frames.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// A method or a status.
    pub(crate) says: Field,
    fields: Vec<Field>,
    /// Bytes of each DATA frame.
    data: Vec<usize>,
    trailer: Option<Vec<Field>>,
    /// Bytes of each frame of header fields.
    fragment: usize,
    padding: Option<u8>,
    has_priority: bool,
    /// Other frames before it, by kind.
    others: Vec<u8>,
}

/// The preface but for its first line.
const PREFACE: &[u8] = b"\r\nSM\r\n\r\n";
const METHODS: [&str; 11] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "GETS"];
const STATUSES: [&str; 12] =
    ["200", "204", "206", "304", "400", "404", "500", "201", "301", "429", "503", "100"];

pub(crate) fn requests() -> impl Strategy<Value = Vec<Message>> {
    proptest::collection::vec(message(":method", &METHODS), 0..30)
}

pub(crate) fn responses() -> impl Strategy<Value = Vec<Message>> {
    proptest::collection::vec(message(":status", &STATUSES), 0..30)
}

/// What a client sends behind the first line of the preface.
pub(crate) fn client(requests: &[Message], first_stream: u32) -> Vec<u8> {
    let mut sender = Sender { bytes: PREFACE.to_vec(), ..Sender::default() };
    sender.frame(4, 0, 0, b"\0\x03\0\0\0\x64");
    for (stream, request) in (first_stream..).step_by(2).zip(requests) {
        sender.message(request, stream, true);
    }
    sender.bytes
}

/// What a server sends; interim responses come before others on their streams.
pub(crate) fn server(responses: &[Message], first_stream: u32) -> Vec<u8> {
    let mut sender = Sender::default();
    sender.frame(4, 0, 0, b"");
    for (stream, response) in (first_stream..).step_by(2).zip(responses) {
        if stream % 3 == 0 {
            sender.promise(response, stream + 1);
        }
        sender.message(response, stream, !response.value().starts_with('1'));
    }
    sender.bytes
}

pub(crate) fn method(name: &str) -> Method {
    *Method::ALL.iter().find(|method| method.label() == name).unwrap_or(&Method::Other)
}

pub(crate) fn class(status: &str) -> usize {
    status[..1].parse::<usize>().unwrap() - 1
}

fn field(
    name: impl Strategy<Value = String>,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = Field> {
    (name, value, any::<[bool; 3]>()).prop_map(|(name, value, [is_indexed, is_inserted, is_name_indexed])| {
        Field { name, value, is_indexed, is_inserted, is_name_indexed }
    })
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    let value = prop_oneof![
        4 => "[a-z]{0,40}",
        // Some entries are as large as the table, or larger.
        1 => prop_oneof![Just(600), Just(3_900), Just(4_200), Just(9_000)].prop_map(|length| "x".repeat(length)),
        1 => Just("GET".to_owned()),
    ];
    proptest::collection::vec(field("x-[a-e]", value), 0..5)
}

fn message(name: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = Message> {
    let says = field(Just(name.to_owned()), proptest::sample::select(values).prop_map(str::to_owned));
    let data = proptest::collection::vec(prop_oneof![0_usize..30, 1_000_usize..20_000], 0..3);
    let parts = (says, fields(), data, proptest::option::of(fields()));
    let others =
        proptest::collection::vec(proptest::sample::select(&[2_u8, 3, 4, 6, 7, 8, 16, 250][..]), 0..3);
    let framing =
        (prop_oneof![1_usize..40, Just(16_384)], proptest::option::of(any::<u8>()), any::<bool>(), others);
    (parts, framing).prop_map(|((says, fields, data, trailer), (fragment, padding, has_priority, others))| {
        Message { says, fields, data, trailer, fragment, padding, has_priority, others }
    })
}

impl Message {
    pub(crate) fn value(&self) -> &str {
        &self.says.value
    }
}

/// One side, which puts messages into frames.
#[derive(Default)]
pub(crate) struct Sender {
    pub(crate) entries: VecDeque<(String, String)>,
    pub(crate) bytes: Vec<u8>,
}

impl Sender {
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.bytes.extend_from_slice(&length[1..]);
        self.bytes.extend_from_slice(&[kind, flags]);
        self.bytes.extend_from_slice(&stream.to_be_bytes());
        self.bytes.extend_from_slice(payload);
    }

    /// A message; whether anything comes behind it on its stream.
    pub(crate) fn message(&mut self, message: &Message, stream: u32, is_last: bool) {
        let Message { says, fields, data, trailer, .. } = message;
        for kind in &message.others {
            let (stream, length) = if matches!(kind, 4 | 6 | 7) { (0, 12) } else { (stream, 5) };
            self.frame(*kind, 0, stream, &vec![0x55; length]);
        }
        let fields = [std::slice::from_ref(says), fields].concat();
        let has_body = is_last && !data.is_empty();
        let ends_here = is_last && !has_body && trailer.is_none();
        self.fields(&fields, stream, ends_here, message);
        if !is_last {
            return;
        }
        for (number, length) in data.iter().enumerate() {
            let ends_here = trailer.is_none() && number + 1 == data.len();
            // What it carries looks like frames.
            let decoy = b"\0\0\x01\x01\x05\0\0\0\x7f\x82".repeat(length / 10 + 1);
            self.frame(0, u8::from(ends_here), stream, &decoy[..*length]);
        }
        if let Some(fields) = trailer {
            self.fields(fields, stream, true, message);
        }
    }

    /// A promise of the server's, whose fields change the table.
    pub(crate) fn promise(&mut self, message: &Message, stream: u32) {
        let mut block = stream.to_be_bytes().to_vec();
        for field in &message.fields {
            self.encode(field, &mut block);
        }
        self.frame(5, 4, 1, &block);
    }

    fn fields(&mut self, fields: &[Field], stream: u32, ends_stream: bool, message: &Message) {
        let mut block = Vec::new();
        for field in fields {
            self.encode(field, &mut block);
        }
        let Message { fragment, padding, has_priority, .. } = message;
        let mut pieces: VecDeque<_> = block.chunks(*fragment).map(<[u8]>::to_vec).collect();
        let mut payload = Vec::new();
        payload.extend(*padding);
        if *has_priority {
            payload.extend([0x80, 0, 0, 1, 200]);
        }
        payload.extend(pieces.pop_front().unwrap_or_default());
        payload.extend(vec![0; padding.unwrap_or(0).into()]);
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let flags = flag(ends_stream, 1) | flag(padding.is_some(), 8) | flag(*has_priority, 32);
        self.frame(1, flags | flag(pieces.is_empty(), 4), stream, &payload);
        while let Some(piece) = pieces.pop_front() {
            self.frame(9, flag(pieces.is_empty(), 4), stream, &piece);
        }
    }

    /// RFC 7541 section 6, without Huffman codes.
    fn encode(&mut self, field: &Field, block: &mut Vec<u8>) {
        let Field { name, value, is_indexed, is_inserted, is_name_indexed } = field;
        let whole = self.index(|one, other| (one, other) == (name, value));
        if let (true, Some(number)) = (is_indexed, whole) {
            return integer(block, 0x80, 7, number);
        }
        let name_number = if *is_name_indexed { self.index(|one, _| one == name) } else { None };
        let (form, bits) = if *is_inserted { (0x40, 6) } else { (0x10, 4) };
        integer(block, form, bits, name_number.unwrap_or(0));
        if name_number.is_none() {
            integer(block, 0, 7, name.len());
            block.extend_from_slice(name.as_bytes());
        }
        integer(block, 0, 7, value.len());
        block.extend_from_slice(value.as_bytes());
        if *is_inserted {
            self.entries.push_front((name.clone(), value.clone()));
            while self.entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>()
                > 4_096
            {
                self.entries.pop_back();
            }
        }
    }

    fn index(&self, mut is_it: impl FnMut(&String, &String) -> bool) -> Option<usize> {
        const STATIC: [(usize, &str, &str); 11] = [
            (2, ":method", "GET"),
            (3, ":method", "POST"),
            (8, ":status", "200"),
            (9, ":status", "204"),
            (10, ":status", "206"),
            (11, ":status", "304"),
            (12, ":status", "400"),
            (13, ":status", "404"),
            (14, ":status", "500"),
            (1, ":authority", ""),
            (16, "accept-encoding", "gzip, deflate"),
        ];
        let of_static =
            STATIC.iter().find(|(_, name, value)| is_it(&(*name).to_owned(), &(*value).to_owned()));
        let of_table =
            self.entries.iter().position(|(name, value)| is_it(name, value)).map(|place| place + 62);
        // Where both have it, the table is the harder one to read.
        of_table.or(of_static.map(|(number, _, _)| *number))
    }
}

/// RFC 7541 section 5.1.
fn integer(block: &mut Vec<u8>, form: u8, bits: u32, number: usize) {
    let most = (1_usize << bits) - 1;
    if number < most {
        return block.push(form | u8::try_from(number).unwrap());
    }
    block.push(form | u8::try_from(most).unwrap());
    let mut rest = number - most;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}
