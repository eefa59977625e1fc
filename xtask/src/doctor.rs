//! `cargo xtask doctor`: what kernel, privileges and toolchain lack, and how to mend it.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    command::{find, output, print, program, status_field},
    setup, workspace,
};

/// The oldest kernel that foobar is tested on.
const MINIMUM_KERNEL: (u32, u32) = (6, 1);

/// What one look found.
enum Finding {
    /// As it should be.
    Good(String),
    /// Worth knowing; foobar works.
    Note(String, &'static str),
    /// foobar does not work like this.
    Bad(String, &'static str),
}

/// Runs the command.
pub(crate) fn doctor() -> Result<()> {
    let findings = [
        kernel(),
        btf(),
        jit(),
        bpf_file_system(),
        capabilities(),
        memory_lock(),
        rust(),
        toolchain(),
        packages(),
    ];
    let mut bad = 0;
    for finding in &findings {
        match finding {
            Finding::Good(what) => print(&format!("ok    {what}")),
            Finding::Note(what, mend) => print(&format!("note  {what}\n      {mend}")),
            Finding::Bad(what, mend) => {
                bad += 1;
                print(&format!("LACKS {what}\n      {mend}"));
            }
        }
    }
    if bad > 0 {
        bail!("{bad} of {} things are not as foobar needs them", findings.len());
    }
    Ok(())
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map(|word| word.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= MINIMUM_KERNEL {
        Finding::Good(format!("kernel {release}"))
    } else {
        Finding::Bad(
            format!("kernel {release} is older than 6.1"),
            "boot a kernel from 6.1 on; Debian 12 comes with one, Debian 11 has none",
        )
    }
}

fn btf() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::Good("the kernel tells its types (BTF)".to_owned())
    } else {
        Finding::Bad(
            "/sys/kernel/btf/vmlinux is not there".to_owned(),
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's are; in a container, mount /sys",
        )
    }
}

fn jit() -> Finding {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable") {
        Ok(value) if value.trim() == "0" => Finding::Note(
            "BPF programs are interpreted, several times slower than compiled".to_owned(),
            "`sysctl net.core.bpf_jit_enable=1`",
        ),
        // Readable by root alone; kernels with CONFIG_BPF_JIT_ALWAYS_ON know nothing but 1.
        _ => Finding::Good("BPF programs are compiled (JIT)".to_owned()),
    }
}

fn bpf_file_system() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        matches!(words.as_slice(), [_, "/sys/fs/bpf", "bpf", ..])
    });
    if mounted {
        Finding::Good("/sys/fs/bpf is mounted".to_owned())
    } else {
        Finding::Note(
            "/sys/fs/bpf is not mounted".to_owned(),
            "foobar mounts it when it may; otherwise `mount -t bpf bpf /sys/fs/bpf` as root",
        )
    }
}

fn capabilities() -> Finding {
    /// Bits of `CapEff`, linux/capability.h.
    const NEEDED: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
    let held = status_field("CapEff:").and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(0);
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(bit, _)| held >> bit & 1 == 0).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        Finding::Good("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there".to_owned())
    } else {
        Finding::Bad(
            format!("this process has no {}", missing.join(", ")),
            "use root, or give the binary the three: `setcap cap_bpf,cap_net_admin,cap_perfmon+ep foobar`",
        )
    }
}

fn memory_lock() -> Finding {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max locked memory")).unwrap_or_default();
    if line.contains("unlimited") {
        Finding::Good("locked memory is not limited".to_owned())
    } else {
        Finding::Good("locked memory is limited, which kernels from 5.11 on do not apply to BPF".to_owned())
    }
}

fn rust() -> Finding {
    let Ok(wanted) = workspace::rust_version() else {
        return Finding::Bad(
            "rust-toolchain.toml cannot be read".to_owned(),
            "run this in a whole checkout of foobar",
        );
    };
    match output(program("rustc").arg("--version")) {
        Ok(version) if version.split(' ').nth(1) == Some(&wanted) => Finding::Good(format!("Rust {wanted}")),
        Ok(version) => Finding::Bad(
            format!("Rust is {}, not {wanted}", version.trim()),
            "`rustup toolchain install` in this folder gets the one of rust-toolchain.toml",
        ),
        Err(error) => {
            Finding::Bad(format!("no Rust: {error:#}"), "install rustup from your distribution or rustup.rs")
        }
    }
}

fn toolchain() -> Finding {
    match setup::lacks_for_building() {
        Ok(lacks) if lacks.is_empty() => Finding::Good("BPF toolchain: bpf-linker and rust-src".to_owned()),
        Ok(lacks) => Finding::Note(
            format!("BPF toolchain: no {}", lacks.join(", no ")),
            "`cargo xtask setup --bpf` gets it; until then an unchanged tree builds with the kept object",
        ),
        Err(error) => Finding::Bad(format!("BPF toolchain: {error:#}"), "mend Rust first"),
    }
}

fn packages() -> Finding {
    let missing = setup::lacks_for_testing();
    if find("apt-get").is_none() {
        return Finding::Note(
            "no apt-get: the tests on other kernels take theirs from Debian".to_owned(),
            "`cargo xtask test --no-kernels` goes without",
        );
    }
    if missing.is_empty() {
        Finding::Good("the programs that the tests call".to_owned())
    } else {
        Finding::Note(
            format!("for the tests only: {}", missing.join(", ")),
            "`cargo xtask setup --tests` installs them",
        )
    }
}
