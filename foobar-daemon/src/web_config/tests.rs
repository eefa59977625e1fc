use proptest::prelude::*;

use super::*;

/// What is wrong with a text, with its place; no other file is read.
fn wrong(text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"of a test");
    let document = Document::parse(text.as_bytes());
    let config = document
        .and_then(|document| WebConfig::of(document, Path::new("/nowhere"), &key, &mut Files::default()));
    match config {
        Ok(config) => panic!("this is taken: {text}\n{config:?}"),
        Err(problem) => problem.told(Path::new("web.yml")),
    }
}

/// Each row: a text, and what its error begins with and has in it.
#[test]
fn every_error_says_where_and_what_to_do() {
    let tls = "tls_server_config:\n  cert: x\n  key: x\n";
    let rows = [
        // No YAML.
        ("tls_server_config: [", "web.yml:1:", ""),
        ("a: b: c", "web.yml:1:", ""),
        ("\tx: 1", "web.yml:1:", ""),
        ("tls_server_config: *x", "web.yml:1:20: ", ""),
        ("--- {}\n--- {}\n", "web.yml:2:", ""),
        // No key that there is.
        ("tls_config: {}", "web.yml:1:1: ", "tls_server_config"),
        ("tls_server_config:\n  cert_path: x", "web.yml:2:3: ", "cert_file"),
        ("http_server_config:\n  http3: true", "web.yml:2:3: ", "http2"),
        ("http_server_config:\n  headers:\n    Server: x", "web.yml:3:5: ", "X-Frame-Options"),
        ("http_server_config:\n  headers:\n    x-frame-options: deny", "web.yml:3:5: ", "X-Frame-Options"),
        ("rate_limit:\n  rate: 1", "web.yml:2:3: ", "interval"),
        // A key twice.
        ("rate_limit: {}\nrate_limit: {}", "web.yml:2:1: ", "rate_limit"),
        ("basic_auth_users:\n  a: x\n  a: y", "web.yml:3:3: ", ""),
        // No value of the right form.
        ("[]", "web.yml:1:1: ", ""),
        ("text", "web.yml:1:1: ", ""),
        ("tls_server_config: text", "web.yml:1:20: ", "key: value"),
        ("tls_server_config:\n  cert_file: [x]", "web.yml:2:14: ", ""),
        ("tls_server_config:\n  prefer_server_cipher_suites: 2", "web.yml:2:32: ", "true or false"),
        ("http_server_config:\n  http2: maybe", "web.yml:2:10: ", ""),
        ("basic_auth_users: [a]", "web.yml:1:19: ", ""),
        ("rate_limit:\n  burst: -1", "web.yml:2:10: ", "whole number"),
        // No value that there is.
        ("basic_auth_users:\n  alice: secret", "web.yml:2:10: password of \"alice\": ", "htpasswd"),
        (
            "basic_auth_users:\n  \"a:b\": $2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
            "web.yml:2:10: ",
            "first colon",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: allow",
            "web.yml:3:22: ",
            "deny or sameorigin",
        ),
        ("http_server_config:\n  headers:\n    X-Content-Type-Options: sniff", "web.yml:3:29: ", "nosniff"),
        (
            "http_server_config:\n  headers:\n    Content-Security-Policy: \"a\\nb\"",
            "web.yml:3:30: ",
            "one line",
        ),
        ("rate_limit:\n  interval: soon\n  burst: 1", "web.yml:2:13: ", "500ms"),
        ("rate_limit:\n  interval: 1s", "web.yml:2:13: ", "burst: 1"),
        ("rate_limit:\n  interval: 1s\n  burst: 0", "web.yml:3:10: ", "1 or more"),
        // TLS that cannot be.
        ("tls_server_config:\n  min_version: TLS13", "web.yml:2:3: ", "cert_file"),
        ("tls_server_config:\n  cert: x", "web.yml:2:9: ", "key_file"),
        ("tls_server_config:\n  key: x", "web.yml:2:8: ", "cert_file"),
        ("tls_server_config:\n  cert: x\n  cert_file: x\n  key: x", "web.yml:3:14: ", "one of them"),
        (
            "tls_server_config:\n  cert_file: a\n  key_file: b",
            "web.yml:2:14: cert_file /nowhere/a: ",
            "No such file",
        ),
        (tls, "web.yml:2:9: cert: ", "no certificate in PEM"),
    ];
    for (text, begins, says) in rows {
        let said = wrong(text);
        assert!(
            said.starts_with(begins) && said.contains(says),
            "{text}\n{begins} … {says} expected:\n{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.len() < 600, "{said}");
    }
}

#[test]
fn secrets_are_in_no_error() {
    let key = "-----BEGIN PRIVATE KEY-----";
    for text in [
        format!("tls_server_config:\n  cert: x\n  key: \"{key}\"\n"),
        format!("tls_server_config:\n  key: [\"{key}\"]\n"),
        format!("tls_server_config:\n  key: {{ \"{key}\": 1 }}\n"),
        format!("tls_server_config: \"{key}\"\n"),
        format!("basic_auth_users: \"{key}\"\n"),
        format!("basic_auth_users:\n  alice: \"{key}\"\n"),
    ] {
        let said = wrong(&text);
        assert!(!said.contains(key), "{text}\n{said}");
    }
}

#[test]
fn a_text_that_never_ends_is_refused_soon() {
    let lines = (1..30).map(|number| format!("a{number}: &a{number} [*a{0},*a{0}]\n", number - 1));
    let bomb = lines.fold("a0: &a0 [x]\n".to_owned(), |bomb, line| bomb + &line);
    for text in ["[".repeat(1 << 20), bomb, "- ".repeat(1 << 19), "a".repeat(1 << 20)] {
        let said = wrong(&text);
        assert!(said.len() < 600, "{} bytes", said.len());
    }
    assert!(wrong("\u{1b}[31m: 1").chars().all(|letter| !letter.is_control()));
    let said = Document::parse(b"a: 1\n\xff").unwrap_err().told(Path::new("web.yml"));
    assert_eq!(said, "web.yml:2:1: this is no text in UTF-8");
}

/// All keys that there are.
const WHOLE: &str = "tls_server_config:
  cert: x
  key: x
  cert_file: a
  key_file: b
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: c
  client_ca: x
  client_allowed_sans: [a, \"b\"]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_AES_128_GCM_SHA256]
  curve_preferences:
  - X25519
  prefer_server_cipher_suites: false
http_server_config:
  http2: true
  headers: { X-Frame-Options: deny, X-XSS-Protection: 0 }
basic_auth_users: &users
  alice: $2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW
rate_limit:
  interval: 1s
  burst: 3
";

/// Reading ends, whatever it is.
fn check_survives(text: &str) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"of a test");
    let config = Document::parse(text.as_bytes())
        .and_then(|document| WebConfig::of(document, Path::new("/nowhere"), &key, &mut Files::default()));
    if let Err(problem) = config {
        assert!(!problem.told(Path::new("web.yml")).is_empty());
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|[-\\[\\]{}\"'=,.:#&*!|>%@?<\n\r\t 0-9a-z\\\\]{0,200}") {
        check_survives(&text);
    }

    #[test]
    fn no_mutation_panics(
        edits in prop::collection::vec(
            (0..WHOLE.len(), 0..20usize, "[-\\[\\]{}\"'=,.:#&*!|>%@?<\n\r\t 0-9a-z\\\\]{0,12}|\\PC{0,8}"), 1..6)
    ) {
        let mut text = WHOLE.to_owned();
        for (at, length, replacement) in edits {
            let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let (from, to) = (boundary(at), boundary(at + length));
            text.replace_range(from..to, &replacement);
        }
        check_survives(&text);
    }
}
