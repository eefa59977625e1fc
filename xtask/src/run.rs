//! `cargo xtask run`: a first look that can harm nobody.

use std::{fs, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{cargo, is_root, program, say, succeed},
    setup, workspace,
};

/// Flags of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for `foobar run`, such as `--interface eth1 --mode native`; they take precedence
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds foobar and becomes `foobar run`: on the interface of the default route, in generic mode, with rules
/// that accept everything, until Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::for_building_if_possible();
    succeed(&mut cargo(["build", "--release", "--package", "foobar-daemon", "--bin", "foobar"]))?;

    let has =
        |flag: &str| args.arguments.iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
    let mut words = Vec::new();
    let mut add = |flag: &str, value: &str| {
        if !has(flag) {
            words.extend([flag.to_owned(), value.to_owned()]);
        }
    };
    if !has("--interface") {
        add("--interface", &default_interface()?);
    }
    workspace::private("run")?;
    add("--mode", "generic");
    add("--rules", "rules/default.toml");
    add("--listen", LISTEN);
    add("--control", "target/run/control.sock");
    add("--pins", PINS);
    for flag in ["--ephemeral", "--summary"] {
        if !has(flag) {
            words.push(flag.to_owned());
        }
    }
    words.extend(args.arguments.iter().cloned());

    let binary = workspace::target().join("release/foobar");
    if !is_root() {
        bail!(
            "filtering takes root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON), and this is an ordinary user. \
             foobar is built; start it with:\n  cd {} && sudo {} run {}",
            workspace::root().display(),
            binary.display(),
            words.join(" ")
        );
    }
    if !has("--listen") && !has("--web-config") {
        say(&format!(
            "live: http://{LISTEN}/   metrics: http://{LISTEN}/metrics   end: Ctrl-C, which leaves nothing behind"
        ));
    }
    // The shell's signals reach foobar itself, and its exit code is this one's.
    let error = program(&binary).arg("run").args(&words).exec();
    Err(error).with_context(|| format!("start {}", binary.display()))
}

/// Where a first look serves its metrics: foobar's own default.
const LISTEN: &str = "127.0.0.1:9477";

/// Where a first look hands maps over; not where a foobar in service has its pins.
const PINS: &str = "/sys/fs/bpf/foobar-first-look";

/// The interface that the default route goes through.
fn default_interface() -> Result<String> {
    let v4 = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    by_default_route_v4(&v4).or_else(|| by_default_route_v6(&v6)).context(
        "no default route says which interface to look at: name one, `cargo xtask run -- --interface NAME`",
    )
}

/// Of `/proc/net/route`: interface, destination, gateway, flags, references, use, metric, mask; numbers are
/// hexadecimal but for the metric.
fn by_default_route_v4(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", _, _, _, _, metric, "00000000", ..] = words.as_slice() else {
            return None;
        };
        Some((metric.parse::<u32>().ok()?, (*interface).to_owned()))
    });
    routes.min().map(|(_, interface)| interface)
}

/// Of `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, metric, references, use,
/// flags, interface; numbers are hexadecimal.
fn by_default_route_v6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "00", _, _, _, metric, _, _, _, interface] = words.as_slice() else { return None };
        let metric = u32::from_str_radix(metric, 16).ok()?;
        // The kernel's own entry, for what has no route, goes through `lo`.
        (*interface != "lo").then(|| (metric, (*interface).to_owned()))
    });
    routes.min().map(|(_, interface)| interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_lowest_metric_names_the_interface() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     eth1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
        assert_eq!(by_default_route_v4(table), Some("eth0".to_owned()));
    }

    #[test]
    fn a_table_without_default_route_names_none() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
        assert_eq!(by_default_route_v4(table), None);
        assert_eq!(by_default_route_v6(""), None);
    }

    #[test]
    fn a_machine_with_ipv6_alone_has_its_interface_in_the_other_table() {
        let zero = "0".repeat(32);
        let table = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     ens3\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert_eq!(by_default_route_v6(&table), Some("ens3".to_owned()));
    }
}
