//! Keys and certificates as tools write them, and whether foobar reads a file as Prometheus does.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::web_config::{exposure::Exposure, live::Live};
use foobar_tests::{
    authority::{Authority, Signed},
    command::{stderr, stdout, succeed},
};
use tempfile::TempDir;

use crate::bcrypt;

/// A place for a file, with certificates beside it.
struct Desk {
    folder: TempDir,
    authority: Authority,
    server: Signed,
}

impl Desk {
    fn new() -> Result<Self> {
        let authority = Authority::new("authority")?;
        let server = authority.server(&["192.0.2.1"])?;
        let folder = TempDir::new()?;
        for (from, to) in [
            (&server.certificate, "server.pem"),
            (&server.key, "server.key"),
            (&authority.certificate, "ca.pem"),
        ] {
            fs::copy(from, folder.path().join(to))?;
        }
        Ok(Self { folder, authority, server })
    }

    /// What foobar says of a file, nothing if it takes it.
    fn foobar(&self, text: &str) -> Result<String> {
        let path = self.folder.path().join("web.yml");
        fs::write(&path, text)?;
        let exposure = Exposure { listen: "127.0.0.1:9477".parse()?, is_insecure_wanted: false };
        Ok(Live::open(Some(&path), exposure).err().map_or_else(String::new, |error| format!("{error:#}")))
    }

    /// What Prometheus says of the file that foobar was just asked about.
    fn promtool(&self) -> Result<String> {
        let mut command = Command::new("promtool");
        let output =
            command.args(["check", "web-config"]).arg(self.folder.path().join("web.yml")).output()?;
        let said = format!("{}{}", stdout(&output), stderr(&output));
        Ok(if output.status.success() { String::new() } else { said })
    }
}

/// `<tls>` in a text.
const SECTION: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
/// `<suites>` in a text.
const SUITES: &str = "  cipher_suites:\n  - TLS_AES_128_GCM_SHA256\n  - TLS_AES_256_GCM_SHA384\n  \
                      - TLS_CHACHA20_POLY1305_SHA256\n  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n  \
                      - TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n  - TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\n  \
                      - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  - TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n  \
                      - TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256\n";

/// What foobar and Prometheus take.
const BOTH: &[&str] = &[
    "",
    "# nothing\n---\n",
    "tls_server_config:\nhttp_server_config: {}\nbasic_auth_users:\n",
    "<tls>",
    "<tls><suites>",
    "<tls>  curve_preferences: [X25519, CurveP256, \"CurveP384\"]\n",
    "<tls>  min_version: TLS12\n  max_version: TLS13\n",
    "<tls>  prefer_server_cipher_suites: false\n",
    "<tls>  client_auth_type: RequestClientCert\n",
    "<tls>  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n",
    "basic_auth_users:\n  alice: <hash>\n",
    "basic_auth_users:\n  alice: &one <hash>\n  bob: *one\n",
    "http_server_config:\n  http2: yes\n  headers:\n    X-XSS-Protection: 0\n",
];

/// What neither takes.
const NEITHER: &[&str] = &[
    "tls_server_config: [\n",
    "tls_config: {}\n",
    "<tls>  cert_path: x\n",
    "<tls>  cert_file: server.pem\n",
    "http_server_config:\n  headers:\n    Server: x\n",
    "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
    "tls_server_config:\n  cert_file: server.pem\n",
    "tls_server_config:\n  key_file: server.key\n",
    "tls_server_config:\n  cert_file: none.pem\n  key_file: server.key\n",
    "tls_server_config:\n  cert_file: server.key\n  key_file: server.key\n",
    "tls_server_config:\n  cert_file: ca.pem\n  key_file: server.key\n",
    "<tls>  client_auth_type: Any\n",
    "<tls>  client_ca_file: ca.pem\n",
    "<tls>  cipher_suites: [TLS_NULL]\n",
    "<tls>  curve_preferences: [secp256r1]\n",
    "<tls>  min_version: TLS14\n",
    "basic_auth_users:\n  alice: secret\n",
    "basic_auth_users: [alice]\n",
];

/// What Debian's Prometheus is too old for.
const FOOBAR_ALONE: &[&str] = &[
    "tls_server_config:\n<cert><key>",
    "<tls>  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a]\n",
    "rate_limit:\n  interval: 1s\n  burst: 3\n",
];

/// What rustls cannot do, and what would not do what it seems to.
const PROMETHEUS_ALONE: &[&str] = &[
    "<tls>  min_version: TLS10\n",
    "<tls>  curve_preferences: [CurveP521]\n",
    "<tls>  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n",
    "<tls>  client_auth_type: RequireAndVerifyClientCert\n",
    "<tls>  min_version: TLS13\n  max_version: TLS12\n",
    "tls_server_config:\n<suites>",
    "basic_auth_users:\n  alice: <slow hash>\n",
    "basic_auth_users:\n  \"a:b\": <hash>\n",
];

#[test]
fn foobar_reads_a_file_as_prometheus_does() -> Result<()> {
    let desk = Desk::new()?;
    let inline = |name: &str, path: &str| -> Result<String> {
        let text = fs::read_to_string(desk.folder.path().join(path))?;
        Ok(format!("  {name}: |\n    {}\n", text.trim().replace('\n', "\n    ")))
    };
    let (cert, key, hash) =
        (inline("cert", "server.pem")?, inline("key", "server.key")?, bcrypt("secret", 4)?);
    for (texts, takes_foobar, takes_prometheus) in [
        (BOTH, true, true),
        (NEITHER, false, false),
        (FOOBAR_ALONE, true, false),
        (PROMETHEUS_ALONE, false, true),
    ] {
        for text in texts {
            let text = text
                .replace("<tls>", SECTION)
                .replace("<suites>", SUITES)
                .replace("<cert>", &cert)
                .replace("<key>", &key)
                .replace("<hash>", &hash)
                .replace("<slow hash>", &hash.replace("$04$", "$20$"));
            let (foobar, promtool) = (desk.foobar(&text)?, desk.promtool()?);
            let takes = (foobar.is_empty(), promtool.is_empty());
            ensure!(
                takes == (takes_foobar, takes_prometheus),
                "{text}\nfoobar: {foobar}\npromtool: {promtool}"
            );
            if !foobar.is_empty() {
                ensure!(foobar.contains("web.yml:") && foobar.lines().count() == 1, "{text}\n{foobar}");
            }
        }
    }
    Ok(())
}

#[test]
fn keys_are_read_as_tools_write_them() -> Result<()> {
    let desk = Desk::new()?;
    let path = |name: &str| desk.folder.path().join(name);
    let convert = |name: &str, from: &Signed, arguments: &[&str]| -> Result<()> {
        fs::copy(&from.certificate, path(&format!("{name}.pem")))?;
        let mut command = Command::new("openssl");
        command.args(arguments).arg("-in").arg(&from.key).arg("-out").arg(path(&format!("{name}.key")));
        succeed(&mut command).with_context(|| format!("write the key {name}")).map(drop)
    };
    let extensions = "subjectAltName=DNS:localhost\n";
    let rsa = desk.authority.sign(&["rsa:2048"], extensions, "2")?;
    let p384 = desk.authority.sign(&["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], extensions, "2")?;
    let ed25519 = desk.authority.sign(&["ed25519"], extensions, "2")?;
    let p521 = desk.authority.sign(&["ec", "-pkeyopt", "ec_paramgen_curve:P-521"], extensions, "2")?;
    let small = desk.authority.sign(&["rsa:1024"], extensions, "2")?;
    let version_1 = desk.authority.sign(&["rsa:2048"], "", "2")?;
    let pkcs8 = &["pkcs8", "-topk8", "-nocrypt"][..];
    let taken: &[(&str, &Signed, &[&str])] = &[
        ("rsa in PKCS#8", &rsa, pkcs8),
        ("rsa in PKCS#1", &rsa, &["rsa", "-traditional"]),
        ("ec in PKCS#8", &desk.server, pkcs8),
        ("ec in SEC1", &desk.server, &["ec"]),
        ("P-384", &p384, pkcs8),
        ("Ed25519", &ed25519, pkcs8),
    ];
    let refused: &[(&str, &Signed, &[&str], &str)] = &[
        ("encrypted", &rsa, &["pkcs8", "-topk8", "-passout", "pass:secret"], "not encrypted"),
        ("P-521", &p521, pkcs8, "P-256"),
        ("1024 bits", &small, pkcs8, "2048 bits"),
        ("version 1", &version_1, pkcs8, "version 3"),
    ];
    let text = |name: &str| format!("tls_server_config:\n  cert_file: {name}.pem\n  key_file: {name}.key\n");
    for (name, from, arguments) in taken {
        convert(name, from, arguments)?;
        assert_eq!(desk.foobar(&text(name))?, "", "{name}");
    }
    for (name, from, arguments, said) in refused {
        convert(name, from, arguments)?;
        let foobar = desk.foobar(&text(name))?;
        ensure!(foobar.contains(said) && foobar.contains(".yml:"), "{name}: {foobar}");
    }
    // With text around it, as `openssl x509 -text` writes it, and a chain.
    let chain = [&desk.server.certificate, &desk.authority.certificate].map(fs::read_to_string);
    let chain = chain.into_iter().collect::<Result<Vec<_>, _>>()?.join("Certificate:\n    Data:\n");
    fs::write(path("chain.pem"), chain)?;
    assert_eq!(desk.foobar(&SECTION.replace("server.pem", "chain.pem"))?, "");
    Ok(())
}
