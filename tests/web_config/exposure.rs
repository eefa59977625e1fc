//! Off the loopback, the metrics are not for everybody unless somebody says so.

use anyhow::{Result, ensure};
use foobar_tests::{
    curl::Curl,
    daemon::Foobar,
    network::{Network, SERVER, SERVER_V4},
    refusal,
};

use crate::{PLAIN_URL, RULES, Served, TLS, check_served, users};

#[test]
fn a_start_that_would_tell_everybody_is_refused() -> Result<()> {
    let network = Network::new()?;
    for listen in ["0.0.0.0:9477", "[::]:9477", "192.0.2.1:9477", "[2001:db8::1]:9477"] {
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_listen(listen.parse()?);
        let words = [listen, "--web-config", "--insecure-listen", "tls_server_config", "basic_auth_users"];
        refusal::check(&foobar.run_to_end()?, 2, &words)?;
        // A file that protects nothing is none.
        let path = foobar.write("web.yml", "http_server_config:\n  http2: false\n")?;
        foobar = foobar.with_options(&["--web-config", &path.display().to_string()]);
        refusal::check(&foobar.run_to_end()?, 2, &words)?;
        assert_eq!(network.xdp_program()?, None);
    }
    Ok(())
}

#[test]
fn who_says_that_it_is_meant_tells_everybody() -> Result<()> {
    let network = Network::new()?;
    let everywhere = "0.0.0.0:9477".parse()?;
    for is_by_file in [false, true] {
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_listen(everywhere);
        let settings = foobar.write("foobar.toml", "insecure_listen = true\n")?.display().to_string();
        let by_file = ["--config", &settings];
        foobar = foobar.with_options(if is_by_file { &by_file } else { &["--insecure-listen"] });
        foobar.start()?;
        check_served(&Curl::new(&network.client).get(PLAIN_URL)?)?;
        let log = foobar.log()?;
        ensure!(log.contains("whoever reaches 0.0.0.0:9477 can read the metrics"), "{log}");
        ensure!(foobar.status()?["web_config"].is_null());
        foobar.terminate()?;
    }
    Ok(())
}

#[test]
fn any_protection_is_enough() -> Result<()> {
    let client = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: <ca>\n";
    for text in [TLS.to_owned(), format!("{TLS}{client}"), users(&[("alice", "secret")])?] {
        let mut served = Served::start(&text)?;
        let facts = served.facts()?;
        let told = ["tls", "client_certificates", "passwords"].map(|name| facts[name] == true);
        let expected = [text.contains("cert_file"), text.contains("client_ca"), text.contains("users")];
        assert_eq!(told, expected, "{facts}");
        served.foobar.terminate()?;
    }
    Ok(())
}

#[test]
fn the_file_can_be_named_by_the_settings() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_listen((SERVER_V4, 9477).into());
    let web = foobar.write("web.yml", &users(&[("alice", "secret")])?)?;
    let settings = foobar.write("foobar.toml", &format!("web_config = {:?}\n", web.display().to_string()))?;
    foobar = foobar.with_options(&["--config", &settings.display().to_string()]);
    foobar.start_guarded()?;
    let curl = Curl::new(&network.client);
    assert_eq!(curl.get(PLAIN_URL)?.status, 401);
    check_served(&curl.logged_in("alice:secret").get(PLAIN_URL)?)
}

#[test]
fn a_broken_file_is_refused_at_the_start_and_nothing_is_attached() -> Result<()> {
    let served = Served::prepare(
        "tls_server_config:\n  cert_file: <cert>\n  key_file: <key>\n  min_version: TLS11\n",
    )?;
    refusal::check(&served.foobar.run_to_end()?, 2, &["web.yml:4:16: ", "TLS11", "TLS12 or TLS13"])?;
    assert_eq!(served.network.xdp_program()?, None);
    std::fs::remove_file(served.foobar.folder().join("web.yml"))?;
    refusal::check(&served.foobar.run_to_end()?, 2, &["web.yml", "No such file", "--web-config"])
}
