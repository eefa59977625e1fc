//! Messages of HTTP/1.x, right ones and such as try to be taken for what they are not.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, any, prop_oneof},
    sample::select,
    strategy::{BoxedStrategy, Strategy},
};

const METHODS: [&str; 14] = [
    "GET",
    "GET",
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "M-SEARCH",
    "PROPPATCHES",
    "get",
];
const TARGETS: [&str; 6] = ["/", "*", "http://www.foobar.com/a?b=c", "/a b", "a:443", "/HTTP/1.1"];
const VERSIONS: [&str; 8] =
    ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", ""];
const DECOYS: [&str; 12] = [
    "Host: www.foobar.com",
    "Accept: */*",
    "Cookie: content-length: 5",
    "Content-Type: text/plain",
    "content-length-x: 7",
    "X-Content-Length: 9",
    "Transfer-Encodings: chunked",
    "t",
    "c: transfer-encoding: chunked",
    "TE: chunked",
    "content\rlength: 3",
    "Content-Lengt\u{e4}: 1",
];
const ODD: [&str; 14] = [
    "Content-Length : 3",
    " folded",
    "\tfolded",
    "Content-Length: 3, 3",
    "Content-Length:",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Content-Length: 4 ",
    "CONTENT-LENGTH:\t2",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "transfer-encoding:chunked ",
    "\rX",
];

/// A request with its body.
pub(crate) fn request() -> BoxedStrategy<Vec<u8>> {
    let empty = prop_oneof![8 => Just(""), 1 => Just("\r\n"), 1 => Just("\n\r\n")];
    let line = (empty, select(&METHODS[..]), select(&TARGETS[..]), select(&VERSIONS[..]));
    let first = (line, line_end()).prop_map(|((empty, method, target, version), end)| {
        format!("{empty}{method} {target} {version}{end}")
    });
    prop_oneof![30 => message(first), 1 => vec(any::<u8>(), 0..40)].boxed()
}

/// A response with its body.
pub(crate) fn response() -> BoxedStrategy<Vec<u8>> {
    let status = select(&["200", "200", "200", "204", "304", "404", "500", "100", "101", "999", "2x0"][..]);
    let version = select(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2"][..]);
    let reason = select(&[" OK", "", " Not Found", " \u{e4}"][..]);
    let first = (version, status, reason, line_end())
        .prop_map(|(version, status, reason, end)| format!("{version} {status}{reason}{end}"));
    prop_oneof![30 => message(first), 1 => vec(any::<u8>(), 0..40)].boxed()
}

fn line_end() -> BoxedStrategy<&'static str> {
    prop_oneof![12 => Just("\r\n"), 1 => Just("\n")].boxed()
}

fn message(first: impl Strategy<Value = String> + 'static) -> BoxedStrategy<Vec<u8>> {
    let header = prop_oneof![20 => select(&DECOYS[..]), 1 => select(&ODD[..])];
    let header = (header, 0_usize..200, line_end());
    let header = header.prop_map(|(line, more, end)| {
        // Long lines, too.
        let filling = if more > 180 { "x".repeat(more) } else { String::new() };
        if line.starts_with("Cookie") { format!("{line}{filling}{end}") } else { format!("{line}{end}") }
    });
    (first, vec(header.clone(), 0..5), body(), vec(header, 0..3), line_end())
        .prop_map(|(first, before, (header, body), after, end)| {
            let mut bytes = first.into_bytes();
            bytes.extend(before.concat().into_bytes());
            bytes.extend(header.into_bytes());
            bytes.extend(after.concat().into_bytes());
            bytes.extend(end.as_bytes());
            bytes.extend(body);
            bytes
        })
        .boxed()
}

/// A header that tells how long the body is, and the body.
fn body() -> BoxedStrategy<(String, Vec<u8>)> {
    let content = prop_oneof![
        3 => vec(any::<u8>(), 0..400),
        1 => Just(b"GET / HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".repeat(3)),
    ];
    let by_length =
        (content.clone(), select(&["Content-Length: ", "content-length:", "CONTENT-Length:  "][..]))
            .prop_map(|(content, name)| (format!("{name}{}\r\n", content.len()), content));
    let chunk = (content, option::weighted(0.2, select(&[";a=b", " ", ";x=\"0\""][..])), any::<bool>());
    let chunk = chunk.prop_map(|(content, extension, is_lower)| {
        let size = content.len().max(1);
        let size = if is_lower { format!("{size:x}") } else { format!("{size:04X}") };
        let mut bytes = format!("{size}{}\r\n", extension.unwrap_or_default()).into_bytes();
        bytes.extend(if content.is_empty() { b"x".to_vec() } else { content });
        bytes.extend(b"\r\n");
        bytes
    });
    let trailer = prop_oneof![3 => Just(""), 1 => Just("Content-Length: 5\r\n"), 1 => Just("x: \n")];
    let name = select(&["Transfer-Encoding: chunked\r\n", "transfer-encoding:CHUNKED \r\n"][..]);
    let chunked = (vec(chunk, 0..4), trailer, name).prop_map(|(chunks, trailer, name)| {
        (name.to_owned(), [chunks.concat(), b"0\r\n".to_vec(), trailer.into(), b"\r\n".to_vec()].concat())
    });
    let neither = Just((String::new(), Vec::new()));
    prop_oneof![3 => neither, 3 => by_length, 3 => chunked].boxed()
}
