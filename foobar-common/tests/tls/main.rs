//! Hellos of TLS, in records and segments of any size, against what they were made to say.

mod hellos;

use foobar_common::tls::{Alpn, Finding, Hello, Role, TlsVersion};
use hellos::{Said, record, records, said};
use proptest::{
    prelude::{ProptestConfig, any, prop_assert_eq, proptest},
    test_runner::TestCaseError,
};

fn cases() -> ProptestConfig {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    ProptestConfig { cases: if long { 1_000_000 } else { 4_000 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_client_says_what_it_offers(said in said(), record_length in 1_usize..4_000, piece in 1_usize..2_000) {
        let bytes = records(&said.client_hello(), record_length);
        let mut reading = Reading::of(Role::Client);
        // What follows is secret.
        reading.take(&[bytes, record(20, &[1]), vec![0; 50]].concat(), piece);
        prop_assert_eq!(&reading.findings, &[Finding::Complete]);
        prop_assert_eq!(reading.hello.offer().version(), said.newest());
        prop_assert_eq!(reading.hello.offer().alpn(), alpn(&said));
        prop_assert_eq!(reading.name, said.name.unwrap_or_default());
    }

    #[test]
    fn a_server_says_what_it_chooses(
        said in said(),
        asked in said(),
        is_retried in any::<bool>(),
        record_length in 1_usize..4_000,
        piece in 1_usize..2_000,
    ) {
        let first = if is_retried {
            [records(&asked.server_hello(true), record_length), record(20, &[1])].concat()
        } else {
            Vec::new()
        };
        let bytes = [first, records(&said.server_hello(false), record_length)].concat();
        let mut reading = Reading::of(Role::Server);
        reading.take(&[bytes, record(22, &[11; 900]), record(23, &[0; 50])].concat(), piece);
        prop_assert_eq!(&reading.findings, &[Finding::Complete]);
        prop_assert_eq!(reading.hello.offer().version(), said.chosen());
        prop_assert_eq!(reading.hello.offer().alpn(), alpn(&said));
        prop_assert_eq!(reading.hello.is_over(), true);
    }

    /// Whatever comes, the reading ends or goes on, and is the same in pieces as in one.
    #[test]
    fn noise_reads_the_same_in_any_pieces(
        said in said(),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        piece in 1_usize..100,
    ) {
        let mut bytes = records(&said.client_hello(), 3_000);
        let length = bytes.len();
        for (place, byte) in changes {
            bytes[place % length.min(120)] = byte;
        }
        let mut whole = Reading::of(Role::Client);
        whole.take(&bytes, usize::MAX);
        let mut parts = Reading::of(Role::Client);
        parts.take(&bytes, piece);
        prop_assert_eq!(&parts.findings, &whole.findings);
        prop_assert_eq!(parts.hello, whole.hello);
        if whole.findings.len() > 2 {
            return Err(TestCaseError::fail(format!("{:?}", whole.findings)));
        }
    }
}

#[test]
fn what_is_no_tls_is_seen_at_once() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], b"\x80\x2e\x01\x03", b"\x16\x02", b"\x16\x03\x01\0\0", b"SSH-2.0"]
    {
        let mut reading = Reading::of(Role::Client);
        reading.take(bytes, 1);
        assert_eq!(reading.findings, [Finding::NotTls], "{bytes:?}");
    }
}

#[test]
fn alerts_in_the_clear_are_seen() {
    let mut server = Reading::of(Role::Server);
    server.take(&record(21, &[2, 70]), 3);
    assert_eq!(server.findings, [Finding::Alert]);
    let mut client = Reading::of(Role::Client);
    client.take(&[records(&Said::plain(0x0303).client_hello(), 100), record(21, &[2, 48])].concat(), 9);
    assert_eq!(client.findings, [Finding::Complete, Finding::Alert]);
    assert_eq!(client.hello.offer().version(), TlsVersion::Tls12);
}

fn alpn(said: &Said) -> Alpn {
    let first = said.protocols.as_ref().and_then(|protocols| protocols.first());
    match first.map(String::as_str) {
        None => Alpn::None,
        Some("h2") => Alpn::Http2,
        Some("http/1.1") => Alpn::Http11,
        Some(_) => Alpn::Other,
    }
}

/// A side that is read.
struct Reading {
    hello: Hello,
    findings: Vec<Finding>,
    name: String,
}

impl Reading {
    fn of(role: Role) -> Self {
        Self { hello: Hello::of(role), findings: Vec::new(), name: String::new() }
    }

    fn take(&mut self, bytes: &[u8], piece: usize) {
        for mut piece in bytes.chunks(piece) {
            while let Some((first, rest)) = piece.split_first() {
                let passed = self.hello.pass(u32::try_from(piece.len()).unwrap_or(u32::MAX));
                if passed > 0 {
                    piece = &piece[usize::try_from(passed).unwrap_or(usize::MAX)..];
                } else {
                    piece = rest;
                    let finding = self.hello.read(*first);
                    self.note(finding);
                }
                let completed = self.hello.completed();
                self.note(completed);
            }
        }
    }

    fn note(&mut self, finding: Finding) {
        match finding {
            Finding::Nothing => {}
            Finding::Name(byte) => self.name.push(char::from(byte)),
            Finding::Complete | Finding::Alert | Finding::NotTls => self.findings.push(finding),
        }
    }
}
