//! The health of the machine, compared with what `/proc` and other programs say.
#![expect(clippy::float_cmp, reason = "both are the same number, written by the same kernel")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::succeed,
    daemon::Foobar,
    metrics::Metrics,
    network::{Network, SERVER},
    wait,
};

fn running(options: &[&str]) -> Result<(Network, Foobar)> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?.with_options(options);
    foobar.start()?;
    Ok((network, foobar))
}

/// The numbers of the line of a file of `/proc` that begins so.
fn numbers(path: &str, begin: &str) -> Result<Vec<f64>> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find(|line| line.trim_start().starts_with(begin));
    let line = line.with_context(|| format!("no {begin} in {path}"))?;
    Ok(line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

/// A value that only grows lies between what it was before and what it is after.
fn check_between(what: &str, before: f64, value: f64, after: f64) -> Result<()> {
    ensure!(before <= value && value <= after, "{what}: {value} is not between {before} and {after}");
    Ok(())
}

#[test]
fn it_is_what_the_kernel_says() -> Result<()> {
    let (_network, foobar) = running(&[])?;
    // USER_HZ is 100 on every architecture that Debian has.
    let seconds = || {
        Ok::<_, anyhow::Error>(
            numbers("/proc/stat", "cpu ")?.iter().map(|ticks| ticks / 100.0).collect::<Vec<_>>(),
        )
    };
    let disk = succeed(Command::new("lsblk").args(["--nodeps", "--noheadings", "--output", "NAME"]))?;
    let stats = fs::read_to_string("/proc/diskstats")?;
    let is_used = |name: &&str| {
        let words = stats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut lines = words.filter(|words| words.get(2) == Some(name));
        lines.any(|words| words.get(3) != Some(&"0"))
    };
    let disks: Vec<&str> =
        disk.split_whitespace().filter(is_used).filter(|name| !name.starts_with("loop")).collect();
    let sectors = |name: &str| {
        let text = fs::read_to_string("/proc/diskstats")?;
        let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = words.into_iter().find(|words| words.get(2) == Some(&name)).context("no such disk")?;
        Ok::<_, anyhow::Error>((line[5].parse::<f64>()?, line[9].parse::<f64>()?))
    };

    let before = seconds()?;
    let disks_before = disks.iter().map(|name| sectors(name)).collect::<Result<Vec<_>>>()?;
    let metrics = foobar.scrape()?;
    let after = seconds()?;
    let value = |name: &str, labels: &[(&str, &str)]| metrics.value(name, labels);
    for (number, mode) in
        ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"].into_iter().enumerate()
    {
        let told = value("foobar_host_cpu_seconds_total", &[("mode", mode)])?;
        check_between(mode, before[number], told, after[number])?;
    }
    for (name, before) in disks.iter().zip(disks_before) {
        let after = sectors(name)?;
        for (op, before, after) in [("read", before.0, after.0), ("write", before.1, after.1)] {
            let told = value("foobar_host_disk_bytes_total", &[("disk", name), ("op", op)])?;
            check_between(name, before * 512.0, told, after * 512.0)?;
        }
    }
    assert_eq!(metrics.select("foobar_host_disk_busy_seconds_total", &[]).count(), disks.len());
    let processors: f64 = succeed(&mut Command::new("nproc"))?.trim().parse()?;
    assert_eq!(value("foobar_host_cpus", &[])?, processors);
    assert_eq!(value("foobar_host_start_timestamp_seconds", &[])?, numbers("/proc/stat", "btime")?[0]);
    for (part, line) in [("total", "MemTotal:"), ("swap_total", "SwapTotal:")] {
        assert_eq!(
            value("foobar_host_memory_bytes", &[("part", part)])?,
            numbers("/proc/meminfo", line)?[0] * 1024.0
        );
    }
    let available = value("foobar_host_memory_bytes", &[("part", "available")])?;
    let now = numbers("/proc/meminfo", "MemAvailable:")?[0] * 1024.0;
    ensure!((available - now).abs() < 2e9, "{available} was available, now {now}");
    ensure!(value("foobar_host_load", &[("span", "15m")])? >= 0.0);
    let blocks = succeed(Command::new("stat").args(["--file-system", "--format", "%S %b %c", "/"]))?;
    let blocks: Vec<f64> = blocks.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    assert_eq!(value("foobar_host_file_system_size_bytes", &[("path", "/")])?, blocks[0] * blocks[1]);
    assert_eq!(value("foobar_host_file_system_files", &[("path", "/")])?, blocks[2]);
    let state = foobar.state_path().display().to_string();
    ensure!(value("foobar_host_file_system_available_bytes", &[("path", &state)])? > 0.0);
    ensure!(value("foobar_collector_success", &[("collector", "host")])? > 0.5);
    Ok(())
}

#[test]
fn what_tcp_repeats_and_listeners_turn_away_is_counted() -> Result<()> {
    let (network, foobar) = running(&[])?;
    network.introduce()?;
    // Nobody answers at this address, so the SYN is sent again.
    network.server.ip("neigh replace 192.0.2.77 lladdr 02:00:00:00:00:77 dev srv0 nud permanent\n")?;
    let nobody = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 77), 80));
    let refused = network
        .server
        .enter(|| Ok(TcpStream::connect_timeout(&nobody, Duration::from_millis(2_500)).is_err()))?;
    ensure!(refused, "somebody is there");
    // A listener with a queue of one, which takes nobody in.
    let listener = network.server.enter(|| Ok(TcpListener::bind("127.0.0.1:8000")?))?;
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1)?)?;
    let address = listener.local_addr()?;
    let connections: Vec<_> = network.server.enter(|| {
        Ok((0..6).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(100))).collect())
    })?;
    let count = |metrics: &Metrics, name: &str| metrics.count(name, &[]);
    wait::until("the queue has overflown", Duration::from_secs(10), || {
        let metrics = foobar.scrape()?;
        Ok(count(&metrics, "foobar_host_listen_overflows_total") > 0)
    })?;
    let metrics = foobar.scrape()?;
    let said =
        succeed(network.server.command("nstat").args(["-a", "-s", "-z", "TcpRetransSegs", "TcpOutSegs"]))?;
    let said = |name: &str| -> Result<u64> {
        let line = said.lines().find(|line| line.starts_with(name)).with_context(|| said.clone())?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    };
    ensure!(count(&metrics, "foobar_host_tcp_segments_repeated_total") >= 1);
    ensure!(count(&metrics, "foobar_host_tcp_segments_repeated_total") <= said("TcpRetransSegs")?);
    ensure!(count(&metrics, "foobar_host_tcp_segments_sent_total") <= said("TcpOutSegs")?);
    ensure!(
        count(&metrics, "foobar_host_listen_drops_total")
            >= count(&metrics, "foobar_host_listen_overflows_total")
    );
    drop(connections);
    Ok(())
}

#[test]
fn interfaces_have_errors_and_drops_and_nothing_is_told_where_it_is_not_wanted() -> Result<()> {
    let (_network, foobar) = running(&[])?;
    let metrics = foobar.scrape()?;
    for name in ["foobar_host_interface_errors_total", "foobar_host_interface_drops_total"] {
        let mut found: Vec<_> = metrics
            .select(name, &[])
            .map(|sample| (sample.labels["iface"].as_str(), sample.labels["direction"].as_str()))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [(SERVER, "in"), (SERVER, "out")], "{name}");
    }
    let (_network, foobar) = running(&["--no-host-metrics"])?;
    let metrics = foobar.scrape()?;
    ensure!(!metrics.samples().iter().any(|sample| sample.name.starts_with("foobar_host_")));
    assert_eq!(metrics.select("foobar_collector_success", &[("collector", "host")]).count(), 0);
    Ok(())
}
