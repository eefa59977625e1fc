//! Messages of DNS in pieces of any size, against what a plain reading makes of them.

mod messages;

use foobar_common::{
    dns::{Finding, Messages, QueryType, ResponseCode, Role},
    service::Ticks,
};
use messages::{Plain, Said, code_label, plain, said, type_label, with_length};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest},
};

fn cases() -> ProptestConfig {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    ProptestConfig { cases: if long { 1_000_000 } else { 4_000 }, ..ProptestConfig::default() }
}

/// Messages with some bytes of them changed, which may make other messages or none of them.
fn changed(of_server: bool) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let changes = vec((any::<usize>(), any::<u8>()), 0..3);
    let cut = proptest::option::weighted(0.2, 0..40_usize);
    let one = (said(of_server), changes, cut).prop_map(|(said, changes, cut)| {
        let mut bytes = said.bytes();
        for (place, byte) in changes {
            let place = place % bytes.len().min(40);
            bytes[place] = byte;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        bytes
    });
    vec(one, 0..6)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_stream_is_read_up_to_what_is_no_message(
        of_server in any::<bool>(),
        (client, server) in (changed(false), changed(true)),
        piece in 1_usize..300,
    ) {
        let messages = if of_server { server } else { client };
        let mut expected: Vec<_> = messages.iter().map(|message| plain(message, of_server)).collect();
        if let Some(first) = expected.iter().position(|plain| *plain == Plain::Nothing) {
            expected.truncate(first + 1);
        }
        let bytes: Vec<u8> = messages.iter().flat_map(|message| with_length(message)).collect();
        let mut reading = Reading::of(Messages::of_stream(role(of_server)));
        for piece in bytes.chunks(piece) {
            reading.take(piece);
        }
        prop_assert_eq!(reading.found, found(&expected));
    }

    #[test]
    fn a_datagram_is_one_message(of_server in any::<bool>(), (client, server) in (changed(false), changed(true))) {
        for message in if of_server { server } else { client } {
            let mut reading = Reading::of(Messages::of_datagram(role(of_server)));
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            let begun = reading.messages.begin(length);
            reading.note(begun);
            reading.take(&message);
            prop_assert_eq!(&reading.found, &found(&[plain(&message, of_server)]));
            prop_assert_eq!(reading.messages.is_over(), true);
        }
    }

    /// Whatever comes, the reading is the same in pieces as in one.
    #[test]
    fn noise_reads_the_same_in_any_pieces(bytes in vec(any::<u8>(), 0..600), piece in 1_usize..50) {
        let mut whole = Reading::of(Messages::of_stream(Role::Client));
        whole.take(&bytes);
        let mut parts = Reading::of(Messages::of_stream(Role::Client));
        for piece in bytes.chunks(piece) {
            parts.take(piece);
        }
        prop_assert_eq!(parts.found, whole.found);
        prop_assert_eq!(parts.messages, whole.messages);
    }
}

#[test]
fn the_longest_name_is_read_and_a_longer_one_is_none() {
    // Three labels of 63 bytes and one more: with their lengths and the zero 255 bytes are allowed (RFC 1035 2.3.4).
    for (last, expected) in [(61, "A"), (62, "nothing")] {
        let labels = [63, 63, 63, last].map(|length| vec![b'x'; length]).to_vec();
        let said = Said { questions: vec![(labels, 1)], ..Said::query(7, 1) };
        let mut reading = Reading::of(Messages::of_stream(Role::Client));
        reading.take(&with_length(&said.bytes()));
        assert_eq!(reading.found, [(if expected == "A" { 7 } else { 0 }, expected.to_owned())], "{last}");
    }
}

#[test]
fn a_pointer_in_a_question_is_refused() {
    let mut bytes = Said::query(7, 1).bytes();
    bytes[12] = 0xc0;
    let mut reading = Reading::of(Messages::of_stream(Role::Client));
    reading.take(&with_length(&bytes));
    assert_eq!(reading.found, [(0, "nothing".to_owned())]);
    assert!(reading.messages.is_over());
}

#[test]
fn of_an_answer_nothing_but_the_header_matters() {
    let mut bytes = Said::query(7, 1).answer(5).bytes();
    bytes.truncate(14);
    bytes[12] = 0xff;
    let mut reading = Reading::of(Messages::of_stream(Role::Server));
    reading.take(&with_length(&bytes));
    reading.take(&with_length(&Said::query(8, 1).answer(0).bytes()[..12]));
    assert_eq!(reading.found, [(7, "refused false".to_owned()), (8, "noerror false".to_owned())]);
}

#[test]
fn the_time_between_two_moments_is_never_short() {
    for (start, end, expected) in [
        (0, 1_024_000, 1_000),
        (5_000_000, 5_000_000, 0),
        // Another processor's clock.
        (5_000_000, 4_999_000, 0),
        // More than there is room for.
        (0, 2 << 42, u32::MAX),
    ] {
        assert_eq!(Ticks::between(start, end), Ticks(expected), "{start} {end}");
    }
}

#[test]
fn every_type_and_code_has_its_word() {
    for number in 0..=u16::MAX {
        assert_eq!(QueryType::from_wire(number).label(), type_label(Some(number)));
    }
    for code in 0..16 {
        assert_eq!(ResponseCode::from_wire(code).label(), code_label(code));
    }
}

fn role(of_server: bool) -> Role {
    if of_server { Role::Server } else { Role::Client }
}

/// What the messages should have been found to be: id and words.
fn found(expected: &[Plain]) -> Vec<(u16, String)> {
    let words = |plain: &Plain| match plain {
        Plain::Query(id, query_type) => (*id, type_label(*query_type).to_owned()),
        Plain::Answer(id, code, truncated) => (*id, format!("{} {truncated}", code_label(*code))),
        Plain::Nothing => (0, "nothing".to_owned()),
    };
    expected.iter().map(words).collect()
}

struct Reading {
    messages: Messages,
    found: Vec<(u16, String)>,
}

impl Reading {
    fn of(messages: Messages) -> Self {
        Self { messages, found: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let passed = usize::try_from(self.messages.pass(left)).unwrap_or(usize::MAX);
            rest = &rest[passed..];
            if passed == 0
                && let [byte, behind @ ..] = rest
            {
                rest = behind;
                let finding = self.messages.read(*byte);
                self.note(finding);
            }
        }
    }

    fn note(&mut self, finding: Finding) {
        let messages = &self.messages;
        match finding {
            Finding::Nothing => {}
            Finding::Query => self.found.push((messages.id(), messages.query_type().label().to_owned())),
            Finding::Answer => {
                let words = format!("{} {}", messages.response_code().label(), messages.is_truncated());
                self.found.push((messages.id(), words));
            }
            Finding::NotDns => self.found.push((0, "nothing".to_owned())),
        }
    }
}
