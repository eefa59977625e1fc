//! Programs that tests and benchmarks call, from Debian's packages. No service of theirs is started, nor will be.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::command::{find, is_root, output, program, say, succeed};

/// A program that the tests call, and the package it comes in.
const PROGRAMS: [(&str, &str); 30] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("ping", "iputils-ping"),
    ("traceroute", "traceroute"),
    ("curl", "curl"),
    ("nginx", "nginx-light"),
    ("h2load", "nghttp2-client"),
    ("nghttpd", "nghttp2-server"),
    ("nghttpx", "nghttp2-proxy"),
    ("openssl", "openssl"),
    ("haproxy", "haproxy"),
    ("/usr/bin/python3", "python3"),
    ("perl", "perl-base"),
    ("dig", "bind9-dnsutils"),
    ("nsd", "nsd"),
    ("promtool", "prometheus"),
    ("xz", "xz-utils"),
    ("mariadbd", "mariadb-server-core"),
    ("mariadb", "mariadb-client-core"),
    ("fail2ban-server", "fail2ban"),
    ("tshark", "tshark"),
    // A node of a cluster of databases takes the state of another one by a script of the package mariadb-server.
    ("wsrep_sst_rsync", "mariadb-server"),
    ("/usr/lib/galera/libgalera_smm.so", "galera-4"),
    ("rsync", "rsync"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("nft", "nftables"),
    ("/usr/bin/etcd", "etcd-server"),
    ("etcdctl", "etcd-client"),
    ("chromium", "chromium"),
    ("/usr/lib/systemd/systemd-journald", "systemd"),
];

/// A program that the benchmark compares with, and the package it comes in.
const RIVALS: [(&str, &str); 1] = [("xdp-filter", "xdp-tools")];

/// The packages of tests whose programs are not there.
pub(crate) fn missing() -> Vec<&'static str> {
    missing_of(&PROGRAMS)
}

/// Installs what the tests call and is missing.
pub(crate) fn ensure() -> Result<()> {
    ensure_all(&PROGRAMS)
}

/// Installs what the benchmark calls and is missing.
pub(crate) fn ensure_for_benchmarks() -> Result<()> {
    ensure_all(&[PROGRAMS.as_slice(), RIVALS.as_slice()].concat())
}

fn missing_of(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    programs.iter().filter(|(name, _)| find(name).is_none()).map(|(_, package)| *package).collect()
}

fn ensure_all(programs: &[(&str, &'static str)]) -> Result<()> {
    let packages = missing_of(programs);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let install = format!("apt-get install --no-install-recommends {list}");
    if find("apt-get").is_none() {
        bail!(
            "tests and benchmarks need {list}, and this machine has no apt-get: install them by its own means"
        );
    }
    if !is_root() {
        bail!("tests and benchmarks need {list}: run `sudo {install}`");
    }
    say(&format!(
        "setup: installing Debian packages for tests and benchmarks, without starting services: {list}"
    ));
    let before = installed()?;
    with_services_held(&packages)?;
    let new: Vec<String> = installed()?.difference(&before).cloned().collect();
    disable_services(&new)?;
    match missing_of(programs).as_slice() {
        [] => Ok(()),
        still => bail!("after `{install}` the programs of {} are still not there", still.join(" ")),
    }
}

/// Installs packages while `/usr/sbin/policy-rc.d` forbids starting services. The shell puts things back when
/// it is interrupted, too; what a killed one left is recognised by its text.
fn with_services_held(packages: &[&str]) -> Result<()> {
    const SCRIPT: &str = r#"
        set -eu
        policy=/usr/sbin/policy-rc.d
        kept=/usr/sbin/policy-rc.d.before-foobar
        mark='# foobar: while packages are installed'
        restore() {
            if grep -qs "$mark" "$policy"; then rm -f "$policy"; fi
            if [ -e "$kept" ]; then mv -f "$kept" "$policy"; fi
        }
        restore
        trap restore EXIT
        trap 'exit 130' INT TERM HUP
        if [ -e "$policy" ]; then mv "$policy" "$kept"; fi
        printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy"
        chmod 755 "$policy"
        install() {
            apt-get install --quiet --quiet --yes --no-install-recommends \
                -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >/dev/null
        }
        # Lists that are missing or old are the usual cause of a first failure.
        if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then apt-get update --quiet --quiet; fi
        install "$@" || { apt-get update --quiet --quiet; install "$@"; }
    "#;
    succeed(
        program("sh").args(["-c", SCRIPT, "setup"]).args(packages).env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// The names of all installed packages.
fn installed() -> Result<BTreeSet<String>> {
    let lines =
        output(program("dpkg-query").args(["--show", "--showformat", "${db:Status-Abbrev}${Package}\n"]))?;
    Ok(lines.lines().filter_map(|line| Some(line.strip_prefix("ii ")?.trim().to_owned())).collect())
}

/// Sees to it that services of new packages do not start at the next boot either.
fn disable_services(packages: &[String]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let files = output(program("dpkg-query").arg("--listfiles").args(packages))?;
    let mut disabled = Vec::new();
    for path in files.lines() {
        let Some((folder, file)) = path.rsplit_once('/') else { continue };
        // Folders with more of a unit are listed, too.
        if !Path::new(path).is_file() {
            continue;
        }
        if folder.ends_with("/systemd/system") && find("systemctl").is_some() && can_be_enabled(path)? {
            output(program("systemctl").args(["disable", "--root=/", "--quiet", file]))?;
            disabled.push(file);
        } else if folder == "/etc/init.d" && find("update-rc.d").is_some() {
            output(program("update-rc.d").args([file, "disable"]))?;
        }
    }
    if !disabled.is_empty() {
        say(&format!("setup: disabled the services that came along: {}", disabled.join(" ")));
    }
    Ok(())
}

/// Whether the unit is a whole one that asks to be started by another.
fn can_be_enabled(path: &str) -> Result<bool> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    Ok(text.contains("[Install]") && !path.contains('@'))
}
