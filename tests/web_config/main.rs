//! The metrics behind TLS, client certificates and passwords: `foobar run --web-config`.

mod certificates;
mod example;
mod exposure;
mod files;
mod hostile;
mod passwords;
mod prometheus;
mod reload;

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use foobar_tests::{
    authority::{Authority, Signed},
    command::succeed,
    curl::{Curl, Fetched},
    daemon::Foobar,
    network::{Network, SERVER, SERVER_V4},
};

const RULES: &str = "schema = 1\n";

/// Where the client asks.
const URL: &str = "https://192.0.2.1:9477/metrics";
/// The same in the clear.
const PLAIN_URL: &str = "http://192.0.2.1:9477/metrics";

/// A foobar that serves its metrics to the network, by a web configuration.
struct Served {
    network: Network,
    foobar: Foobar,
    authority: Authority,
    server: Signed,
}

impl Served {
    /// One that serves by this file, where `<cert>` and `<key>` stand for those of the server, and `<ca>` for that of the
    /// authority. Nothing runs yet.
    fn prepare(web_config: &str) -> Result<Self> {
        let authority = Authority::new("authority")?;
        let server = authority.server(&["192.0.2.1", "127.0.0.1"])?;
        let network = Network::new()?;
        let mut foobar =
            Foobar::new(&network.server, &[SERVER], RULES)?.with_listen((SERVER_V4, 9477).into());
        let path = foobar.folder().join("web.yml");
        foobar = foobar.with_options(&["--web-config", &path.display().to_string()]);
        let served = Self { network, foobar, authority, server };
        served.write(web_config)?;
        Ok(served)
    }

    /// The same, running.
    fn start(web_config: &str) -> Result<Self> {
        let mut served = Self::prepare(web_config)?;
        served.foobar.start_guarded()?;
        Ok(served)
    }

    /// Replaces the file.
    fn write(&self, web_config: &str) -> Result<PathBuf> {
        let shown = |path: &PathBuf| path.display().to_string();
        let text = web_config
            .replace("<cert>", &shown(&self.server.certificate))
            .replace("<key>", &shown(&self.server.key))
            .replace("<ca>", &shown(&self.authority.certificate));
        self.foobar.write("web.yml", &text)
    }

    /// A curl of the client, who trusts the authority.
    fn curl(&self) -> Curl<'_> {
        Curl::new(&self.network.client).trusting(&self.authority.certificate)
    }

    /// What `status` tells of the file.
    fn facts(&self) -> Result<serde_json::Value> {
        Ok(self.foobar.status()?["web_config"].clone())
    }
}

/// The metrics came.
fn check_served(fetched: &Fetched) -> Result<()> {
    ensure!(fetched.exit == 0 && fetched.status == 200, "{fetched:?}");
    ensure!(fetched.text.contains("foobar_up 1") || fetched.text.contains("alive"), "{fetched:?}");
    Ok(())
}

/// There was an answer with this status.
fn check_status(fetched: &Fetched, status: u16) -> Result<()> {
    ensure!(fetched.exit == 0 && fetched.status == status, "{status} expected: {fetched:?}");
    ensure!(!fetched.text.contains("foobar_"), "metrics with {status}: {fetched:?}");
    Ok(())
}

/// There was no answer, as TLS did not let anybody in.
fn check_refused(fetched: &Fetched, words: &[&str]) -> Result<()> {
    ensure!(fetched.exit != 0 && fetched.status == 0, "{fetched:?}");
    ensure!(words.iter().any(|word| fetched.error.contains(word)), "one of {words:?} expected: {fetched:?}");
    Ok(())
}

/// A bcrypt hash by libxcrypt.
fn bcrypt(password: &str, cost: u32) -> Result<String> {
    const SCRIPT: &str = "print crypt($ARGV[0], $ARGV[1])";
    let salt = format!("$2b${cost:02}$abcdefghijklmnopqrstuu");
    let hash = succeed(Command::new("perl").args(["-e", SCRIPT, password, &salt]))?;
    ensure!(hash.len() == 60, "perl made {hash:?}");
    Ok(hash)
}

/// `basic_auth_users` with these names and passwords.
fn users(logins: &[(&str, &str)]) -> Result<String> {
    let lines = logins.iter().map(|(name, password)| Ok(format!("  {name}: {}\n", bcrypt(password, 4)?)));
    Ok(format!("basic_auth_users:\n{}", lines.collect::<Result<Vec<_>>>()?.concat()))
}

/// TLS with the certificate of the server.
const TLS: &str = "tls_server_config:\n  cert_file: <cert>\n  key_file: <key>\n";
