//! A real Prometheus asks, over the network.

use anyhow::{Result, ensure};
use foobar_tests::prometheus::Prometheus;

use crate::{Served, TLS, users};

/// A job of the client's Prometheus.
fn job(served: &Served, name: &str, lines: &str) -> String {
    format!(
        "- job_name: {name}\n  scheme: https\n  static_configs:\n  - targets: [\"192.0.2.1:9477\"]\n{}",
        lines.replace("<ca>", &served.authority.certificate.display().to_string())
    )
}

#[test]
fn it_gets_the_metrics_with_a_password_and_not_without() -> Result<()> {
    let served = Served::start(&format!("{TLS}{}", users(&[("prometheus", "secret")])?))?;
    let tls = "  tls_config: { ca_file: <ca> }\n";
    let login =
        |password: &str| format!("{tls}  basic_auth: {{ username: prometheus, password: {password} }}\n");
    let jobs = [
        job(&served, "right", &login("secret")),
        job(&served, "wrong", &login("terces")),
        job(&served, "nobody", tls),
        job(&served, "doubts", "  basic_auth: { username: prometheus, password: secret }\n"),
    ];
    let prometheus = Prometheus::start(&served.network.client, &jobs.concat())?;
    let client = &served.network.client;
    prometheus.wait_until(client, "right", "up")?;
    assert_eq!(prometheus.value(client, "foobar_up{job=\"right\"}")?, "1");
    for (name, why) in [("wrong", "401"), ("nobody", "401"), ("doubts", "x509")] {
        let error = prometheus.wait_until(client, name, "down")?;
        ensure!(error.contains(why), "{name}: {error}");
    }
    Ok(())
}

#[test]
fn it_gets_the_metrics_with_a_certificate_and_not_without() -> Result<()> {
    let clients = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: <ca>\n  client_allowed_sans: [prometheus]\n";
    let served = Served::start(&format!("{TLS}{clients}"))?;
    let right = served.authority.client("DNS:prometheus")?;
    let other = served.authority.client("DNS:grafana")?;
    let tls = |signed: &foobar_tests::authority::Signed| {
        format!(
            "  tls_config: {{ ca_file: <ca>, cert_file: {}, key_file: {} }}\n",
            signed.certificate.display(),
            signed.key.display()
        )
    };
    let jobs = [
        job(&served, "right", &tls(&right)),
        job(&served, "other", &tls(&other)),
        job(&served, "nobody", "  tls_config: { ca_file: <ca> }\n"),
    ];
    let prometheus = Prometheus::start(&served.network.client, &jobs.concat())?;
    let client = &served.network.client;
    prometheus.wait_until(client, "right", "up")?;
    for name in ["other", "nobody"] {
        let error = prometheus.wait_until(client, name, "down")?;
        ensure!(error.contains("tls: "), "{name}: {error}");
    }
    Ok(())
}
