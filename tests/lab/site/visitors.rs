//! Those who ask for pages, by h2load.

use std::{process::Command, thread, time::Duration};

use anyhow::{Context as _, Result};
use foobar_tests::command::succeed;

use super::NAME;
use crate::{hosts::Host, lab::Lab};

/// The pages that visitors ask for in turn.
const PAGES: [&str; 4] = ["/", "/hello", "/read", "/write?tag=visitor"];

/// What came of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Requests that were answered.
    pub(crate) answered: u64,
    /// Those answered with a status of 2xx.
    pub(crate) succeeded: u64,
}

/// Asks for pages now and then until the process is ended, whatever comes of it.
pub(crate) fn day_and_night() -> Result<()> {
    loop {
        // Whoever does not get in tries again.
        drop(load(Command::new("h2load"), &["--clients=6", "--rps=5", "--duration=5"], &PAGES, Http::One));
        thread::sleep(Duration::from_millis(200));
    }
}

/// Asks for the former site now and then, in the clear, until the process is ended.
pub(crate) fn of_the_former_site() -> Result<()> {
    loop {
        let url = format!("http://{}:8444/", Host::Balancer.address());
        drop(Command::new("curl").args(["--silent", "--max-time", "2", &url]).output().context("run curl")?);
        thread::sleep(Duration::from_millis(250));
    }
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// Asks for one page so many times, over 20 connections, as fast as it is answered.
pub(crate) fn ask_for(lab: &Lab, page: &str, requests: u64, version: Http) -> Result<Done> {
    let namespace = lab.hosts.namespace(Host::Client)?;
    load(namespace.command("h2load"), &["--clients=20", &format!("--requests={requests}")], &[page], version)
}

fn load(mut command: Command, options: &[&str], pages: &[&str], version: Http) -> Result<Done> {
    if version == Http::One {
        command.arg("--h1");
    }
    command.args(options).arg(format!("--connect-to={}:443", Host::Balancer.address()));
    command.args(pages.iter().map(|page| format!("https://{NAME}{page}")));
    let said = succeed(&mut command)?;
    read(&said).with_context(|| format!("h2load said\n{said}"))
}

/// Reads `requests: 8 total, 8 started, 8 done, …` and `status codes: 8 2xx, …`.
fn read(said: &str) -> Option<Done> {
    let number = |line: &str, unit: &str| {
        let list = said.lines().find_map(|text| text.strip_prefix(line))?;
        list.split(',').find_map(|one| one.trim().strip_suffix(unit)?.trim().parse().ok())
    };
    Some(Done { answered: number("requests:", "done")?, succeeded: number("status codes:", "2xx")? })
}
