//! `cargo xtask lab load`.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{command::succeed, wait};

use crate::{
    banned, denied,
    hosts::Host,
    lab::Lab,
    monitoring::{scrape, value},
    pushed,
    say::{print, say},
    services::{Service, database_run},
    site::visitors::{Http, ask_for},
};

/// How long what is on its way takes to be counted.
const SETTLED: Duration = Duration::from_millis(1500);
/// How long Prometheus may take to have what foobar has.
const SCRAPED_WITHIN: Duration = Duration::from_secs(15);

/// The pages, how many of a hundred requests are for each, and how they are asked for.
const PAGES: [(&str, u64, Http); 5] = [
    ("/", 40, Http::One),
    ("/", 30, Http::Two),
    ("/hello", 10, Http::One),
    ("/read", 10, Http::Two),
    ("/write?tag=load", 10, Http::One),
];

/// Flags of `load`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many requests
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) requests: u64,
}

/// What everybody has counted so far.
struct Counts {
    foobar_requests: u64,
    prometheus_requests: f64,
    foobar_writes: u64,
    rows: u64,
    site_writes: u64,
    foobar_reads: u64,
    site_reads: u64,
}

/// Asks for pages, compares, and tries what is closed.
///
/// # Errors
/// A count that differs, requests that were not answered well, a way that is open and should not be.
pub(crate) fn run(lab: &Lab, args: &Args) -> Result<()> {
    // Others would be counted, too.
    lab.stop(Service::Visitors)?;
    let done = compare(lab, args.requests).and_then(|()| pushed::compare(lab));
    let tried = done.and_then(|()| denied::try_all(lab));
    let banned = if tried.is_ok() { banned::show(lab) } else { Ok(()) };
    lab.start(Service::Visitors)?;
    print(&format!("{} closed ways tried: all closed, and each attempt counted", tried?));
    banned?;
    print("a client that the servers ban is turned away behind the balancer, and no other");
    Ok(())
}

fn compare(lab: &Lab, requests: u64) -> Result<()> {
    thread::sleep(SETTLED);
    let before = counts(lab)?;
    let (mut sent, mut reads, mut writes) = (0, 0, 0);
    for (page, share, version) in PAGES {
        let asked = requests * share / 100;
        say(&format!(
            "asking {asked} times for {page} by HTTP/{}",
            if version == Http::One { "1.1" } else { "2" }
        ));
        let done = ask_for(lab, page, asked, version)?;
        ensure!(
            (done.answered, done.succeeded) == (asked, asked),
            "of {asked} requests for {page}, {} were answered, {} of them well",
            done.answered,
            done.succeeded
        );
        sent += asked;
        reads += if page.starts_with("/read") { asked } else { 0 };
        writes += if page.starts_with("/write") { asked } else { 0 };
    }
    thread::sleep(SETTLED);
    let after = counts(lab)?;
    let in_prometheus = after.prometheus_requests - before.prometheus_requests;
    let rows = [
        ("HTTPS requests", "h2load", sent, "foobar", after.foobar_requests - before.foobar_requests),
        ("SQL writes", "the site", writes, "foobar", after.foobar_writes - before.foobar_writes),
        ("SQL writes", "the site", after.site_writes - before.site_writes, "rows", after.rows - before.rows),
        ("SQL reads", "h2load", reads, "the site", after.site_reads - before.site_reads),
    ];
    print(&format!("{:16} {:>10} {:>10}   {:>10} {:>10}", "", "", "asked", "", "counted"));
    for (what, asker, asked, counter, counted) in rows {
        print(&format!("{what:16} {asker:>10} {asked:>10}   {counter:>10} {counted:>10}"));
    }
    print(&format!(
        "{:16} {:>10} {sent:>10}   {:>10} {in_prometheus:>10}",
        "HTTPS requests", "h2load", "Prometheus"
    ));
    for (what, asker, asked, counter, counted) in rows {
        ensure!(asked == counted, "{what}: {asker} had {asked}, {counter} counts {counted}");
    }
    let more_reads = after.foobar_reads - before.foobar_reads;
    ensure!(more_reads >= reads, "foobar counts {more_reads} SQL reads of {reads}");
    ensure!(
        (in_prometheus - as_float(sent)?).abs() < 0.5,
        "Prometheus has {in_prometheus} of {sent} requests"
    );
    Ok(())
}

fn counts(lab: &Lab) -> Result<Counts> {
    let mut counts = Counts {
        foobar_requests: 0,
        prometheus_requests: 0.0,
        foobar_writes: 0,
        rows: 0,
        site_writes: 0,
        foobar_reads: 0,
        site_reads: 0,
    };
    for host in Host::SERVERS {
        let metrics = scrape(lab, host)?;
        counts.foobar_requests += metrics.count("foobar_http_requests_total", &[("proto", "https")]);
        counts.foobar_writes += metrics.count("foobar_db_queries_total", &[("op", "write")]);
        counts.foobar_reads += metrics.count("foobar_db_queries_total", &[("op", "read")]);
        let statements = succeed(lab.hosts.namespace(host)?.command("curl").args([
            "--silent",
            "--fail",
            "http://127.0.0.1:8080/statements",
        ]))?;
        let (read, written) = statements.trim().split_once(' ').context("two numbers of the application")?;
        counts.site_reads += read.parse::<u64>()?;
        counts.site_writes += written.parse::<u64>()?;
    }
    let expected = as_float(counts.foobar_requests)?;
    // If it never has, what it has is told.
    let scraped = wait::until("Prometheus has what foobar has", SCRAPED_WITHIN, || {
        counts.prometheus_requests = value(lab, "sum(foobar_http_requests_total{proto=\"https\"})")?;
        Ok((counts.prometheus_requests - expected).abs() < 0.5)
    });
    if let Err(error) = scraped {
        say(&format!("{error:#}"));
    }
    // Com_insert counts what is applied from other nodes, too.
    counts.rows =
        database_run(lab, 1, "SELECT COUNT(*) FROM site.pages")?.trim().parse().context("a count of rows")?;
    Ok(counts)
}

fn as_float(count: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(count).context("so many requests")?))
}
