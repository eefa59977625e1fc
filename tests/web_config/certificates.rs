//! Certificates: the server's, and those of clients.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Result, ensure};
use foobar_tests::{
    authority::{Authority, Signed, self_signed},
    curl::Fetched,
    network::SERVER_V4,
};

use crate::{PLAIN_URL, Served, TLS, URL, check_refused, check_served, check_status};

/// What curl says when the server sends an alert; the second is that of a certificate that has expired.
const ALERT: &[&str] = &["alert", "SSL certificate verification failed"];

#[test]
fn the_server_shows_its_certificate() -> Result<()> {
    let served = Served::start(TLS)?;
    check_served(&served.curl().get(URL)?)?;
    check_served(&served.curl().with(&["--tlsv1.2", "--tls-max", "1.2"]).get(URL)?)?;
    check_served(&served.curl().with(&["--http1.0"]).get(URL)?)?;
    let stranger = Authority::new("stranger")?;
    let fetched = served.curl().trusting(&stranger.certificate).get(URL)?;
    check_refused(&fetched, &["SSL certificate problem"])?;
    // A server of today speaks nothing older.
    let old = ["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"];
    check_refused(&served.curl().with(&old).get(URL)?, ALERT)?;
    Ok(())
}

#[test]
fn who_does_not_speak_tls_is_told_so() -> Result<()> {
    let served = Served::start(TLS)?;
    let fetched = served.curl().get(PLAIN_URL)?;
    check_status(&fetched, 400)?;
    ensure!(fetched.text.contains("https://"), "{fetched:?}");
    // A handshake that is none is ended, at once and with an alert.
    let answer = served.network.client.enter(|| {
        let mut stream = TcpStream::connect((SERVER_V4, 9477))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        // A record with a ClientHello that says nothing (RFC 8446, sections 4.1.2 and 5.1).
        stream.write_all(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    })?;
    // decode_error (section 6.2).
    assert_eq!(answer, b"\x15\x03\x03\x00\x02\x02\x32");
    check_served(&served.curl().get(URL)?)
}

/// Clients with certificates of all kinds.
struct Clients {
    /// Whose files are gone with it.
    _stranger: Authority,
    right: Signed,
    other_name: Signed,
    of_stranger: Signed,
    itself: Signed,
    expired: Signed,
    for_servers: Signed,
}

impl Clients {
    fn new(served: &Served) -> Result<Self> {
        let stranger = Authority::new("authority")?;
        let key = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        Ok(Self {
            right: served
                .authority
                .client("DNS:prometheus,IP:192.0.2.2,URI:spiffe://foobar/a,email:a@foobar.com")?,
            other_name: served.authority.client("DNS:grafana")?,
            of_stranger: stranger.client("DNS:prometheus")?,
            _stranger: stranger,
            itself: self_signed(served.foobar.folder(), "itself")?,
            expired: served.authority.sign(&key, "subjectAltName=DNS:prometheus\n", "-1")?,
            for_servers: served.authority.server(&["192.0.2.2"])?,
        })
    }

    fn all(&self) -> [(&str, &Signed); 6] {
        let Self { _stranger: _, right, other_name, of_stranger, itself, expired, for_servers } = self;
        [
            ("right", right),
            ("other name", other_name),
            ("of a stranger", of_stranger),
            ("itself", itself),
            ("expired", expired),
            ("for servers", for_servers),
        ]
    }
}

#[test]
fn each_kind_of_policy_takes_the_certificates_that_it_says() -> Result<()> {
    let served = Served::start(TLS)?;
    let clients = Clients::new(&served)?;
    let all = ["", "right", "other name", "of a stranger", "itself", "expired", "for servers"];
    for (policy, taken) in [
        ("client_auth_type: NoClientCert", &all[..]),
        ("client_auth_type: RequestClientCert", &all),
        ("client_auth_type: RequireAnyClientCert", &all[1..]),
        ("client_auth_type: RequireClientCert", &all[1..]),
        ("client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: <ca>", &["", "right", "other name"]),
        ("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: <ca>", &["right", "other name"]),
        (
            "client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: <ca>\n  client_allowed_sans: [a, prometheus]",
            &["right"],
        ),
        (
            "client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [prometheus]",
            &["right", "of a stranger", "expired"],
        ),
    ] {
        served.write(&format!("{TLS}  {policy}\n"))?;
        for version in ["1.2", "1.3"] {
            let curl = served.curl().with(&[&format!("--tlsv{version}"), "--tls-max", version]);
            let check = |name: &str, fetched: &Fetched| {
                if taken.contains(&name) { check_served(fetched) } else { check_refused(fetched, ALERT) }
            };
            check("", &curl.get(URL)?).map_err(|error| error.context(format!("{policy}: none")))?;
            for (name, client) in clients.all() {
                let fetched = curl.clone().identified(client).get(URL)?;
                check(name, &fetched).map_err(|error| error.context(format!("{policy}: {name}")))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_client_may_be_named_itself_as_its_own_authority() -> Result<()> {
    let served = Served::start(TLS)?;
    let itself = self_signed(served.foobar.folder(), "itself")?;
    let other = self_signed(served.foobar.folder(), "other")?;
    served.write(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {}\n",
        itself.certificate.display()
    ))?;
    check_served(&served.curl().identified(&itself).get(URL)?)?;
    check_refused(&served.curl().identified(&other).get(URL)?, ALERT)?;
    check_refused(&served.curl().get(URL)?, ALERT)?;
    // The name alone is not enough: it takes the key.
    let forged = Signed { key: other.key, ..itself };
    let fetched = served.curl().identified(&forged).get(URL)?;
    ensure!(fetched.exit != 0 && fetched.status == 0, "{fetched:?}");
    Ok(())
}

#[test]
fn names_of_every_kind_are_compared_whole() -> Result<()> {
    let served = Served::start(TLS)?;
    let client =
        served.authority.client("DNS:prometheus,IP:2001:db8::2,URI:spiffe://foobar/a,email:a@foobar.com")?;
    let nameless = served.authority.sign(&["ed25519"], "extendedKeyUsage=clientAuth\n", "2")?;
    for (name, is_allowed) in [
        ("prometheus", true),
        ("2001:db8::2", true),
        ("spiffe://foobar/a", true),
        ("a@foobar.com", true),
        ("Prometheus", false),
        ("prometheu", false),
        ("foobar.com", false),
        ("*", false),
        ("signed", false),
    ] {
        served.write(&format!(
            "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: <ca>\n  client_allowed_sans: [\"{name}\"]\n"
        ))?;
        let fetched = served.curl().identified(&client).get(URL)?;
        if is_allowed { check_served(&fetched) } else { check_refused(&fetched, ALERT) }
            .map_err(|error| error.context(name))?;
        check_refused(&served.curl().identified(&nameless).get(URL)?, ALERT)?;
    }
    Ok(())
}

#[test]
fn versions_suites_and_curves_are_those_that_the_file_says() -> Result<()> {
    let served = Served::start(TLS)?;
    let v12 = |suite: &'static str| ["--tlsv1.2", "--tls-max", "1.2", "--ciphers", suite];
    for (lines, arguments, is_served) in [
        ("min_version: TLS13", vec!["--tlsv1.3"], true),
        ("min_version: TLS13", vec!["--tls-max", "1.2"], false),
        ("max_version: TLS12", vec!["--tls-max", "1.2"], true),
        ("max_version: TLS12", vec!["--tlsv1.3"], false),
        (
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]",
            v12("ECDHE-ECDSA-AES256-GCM-SHA384").to_vec(),
            true,
        ),
        (
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]",
            v12("ECDHE-ECDSA-AES128-GCM-SHA256").to_vec(),
            false,
        ),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]", vec!["--tlsv1.3"], true),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]", vec!["--tls-max", "1.2"], false),
        ("curve_preferences: [CurveP384]", vec!["--curves", "secp384r1"], true),
        ("curve_preferences: [CurveP384]", vec!["--curves", "X25519"], false),
        ("curve_preferences: [X25519, CurveP256]", vec!["--curves", "prime256v1"], true),
    ] {
        served.write(&format!("{TLS}  {lines}\n"))?;
        let fetched = served.curl().with(&arguments).get(URL)?;
        if is_served { check_served(&fetched) } else { check_refused(&fetched, ALERT) }
            .map_err(|error| error.context(format!("{lines}: {arguments:?}")))?;
        assert_eq!(served.facts()?["error"], serde_json::Value::Null, "{lines}");
    }
    Ok(())
}
