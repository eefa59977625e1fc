//! The example of `packaging/`.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::command::succeed;

use crate::{Served, URL, bcrypt, check_refused, check_served, check_status};

#[test]
fn the_example_does_what_it_says() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/web.yml");
    let example = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let hash = example.lines().find_map(|line| line.strip_prefix("  prometheus: ")).context("no hash")?;
    ensure!(hash.starts_with("$2y$10$"), "{hash}");
    let mut served = Served::prepare(&example.replace(hash, &bcrypt("secret", 4)?))?;
    for (name, from) in [
        ("server.pem", &served.server.certificate),
        ("server.key", &served.server.key),
        ("clients.pem", &served.authority.certificate),
    ] {
        fs::copy(from, served.foobar.folder().join(name))?;
    }
    let file = served.foobar.folder().join("web.yml");
    succeed(Command::new("promtool").args(["check", "web-config"]).arg(&file))?;
    served.foobar.start_guarded()?;
    let client = served.authority.client("DNS:prometheus")?;
    let identified = served.curl().identified(&client);
    check_served(&identified.clone().logged_in("prometheus:secret").get(URL)?)?;
    check_status(&identified.get(URL)?, 401)?;
    check_refused(&served.curl().logged_in("prometheus:secret").get(URL)?, &["alert"])
}
