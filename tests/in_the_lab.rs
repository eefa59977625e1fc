//! The lab of `cargo xtask lab`: it comes up, counts agree, a database node and a firewall can be lost, and nothing stays behind.

use std::{fs, path::Path, process, process::Command};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    binary,
    command::{stderr, stdout},
    figures::say,
};

/// A lab that is taken away also when the test fails.
struct Lab {
    name: String,
}

impl Lab {
    fn new() -> Result<Self> {
        let lab = Self { name: format!("test-{}", process::id()) };
        lab.run(&["up"])?;
        Ok(lab)
    }

    /// Runs a command of the lab; what it said.
    fn run(&self, words: &[&str]) -> Result<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(["--name", &self.name])
            .args(words)
            .env("FOOBAR_BIN", binary::foobar()?)
            .output()
            .context("run the lab")?;
        let said = format!("{}{}", stdout(&output), stderr(&output));
        ensure!(output.status.success(), "lab {}: {said}", words.join(" "));
        Ok(said)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // One that fails has more to say than this.
        drop(self.run(&["down"]));
    }
}

#[test]
fn it_works_counts_and_goes_away() -> Result<()> {
    let lab = Lab::new()?;
    let again = lab.run(&["up"]).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(again.contains("is up already"), "{again}");

    let told = lab.run(&["load", "--requests", "2000"])?;
    say(&told);
    ensure!(told.contains("22 closed ways tried: all closed, and each attempt counted"), "{told}");
    ensure!(told.contains("is turned away behind the balancer, and no other"), "{told}");
    assert_eq!(told.matches("the same by remote write, OTLP and Sumo Logic").count(), 3, "{told}");

    let told = lab.run(&["break", "firewall"])?;
    ensure!(told.contains("FoobarDown was raised") && told.contains("the site goes on"), "{told}");
    let status: serde_json::Value = serde_json::from_str(&lab.run(&["status", "--json"])?)?;
    ensure!(status["alerts"][0]["alert"] == "FoobarDown", "{status}");
    let twice = lab.run(&["break", "firewall"]).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(twice.contains("firewall is broken already"), "{twice}");
    lab.run(&["heal", "firewall"])?;

    let told = lab.run(&["break", "database"])?;
    say(&told);
    ensure!(told.contains("web1 has all") && told.contains("web3 has all"), "{told}");
    let told = lab.run(&["heal", "database"])?;
    ensure!(told.contains("web2 has all"), "{told}");

    let name = lab.name.clone();
    drop(lab);
    for (folder, begin) in
        [("/run/netns", format!("foobar-{name}-")), ("/sys/fs/bpf", format!("foobar-{name}"))]
    {
        for entry in fs::read_dir(Path::new(folder))? {
            let entry = entry?.file_name();
            ensure!(!entry.to_string_lossy().starts_with(&begin), "{} is still in {folder}", entry.display());
        }
    }
    for entry in fs::read_dir("/proc")? {
        let words = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        ensure!(!words.contains(&format!("lab/{name}/")), "still runs: {words}");
    }
    Ok(())
}
