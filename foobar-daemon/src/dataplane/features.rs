//! What the kernel and this process lack, in words that say how to mend it.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd as _},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::{
    EbpfError,
    maps::{Map, MapData, MapType},
    programs::{ProgramError, ProgramFd, ProgramType},
    sys::{is_map_supported, is_program_supported},
};

/// Oldest kernel that foobar runs on.
pub const KERNEL_MIN: (u32, u32) = (6, 1);

/// A capability that the filter needs: its bit (`include/uapi/linux/capability.h`), its name, what for.
const CAPABILITIES: [(u32, &str, &str); 3] = [
    (39, "CAP_BPF", "load programs and make maps"),
    (12, "CAP_NET_ADMIN", "attach programs to interfaces"),
    (38, "CAP_PERFMON", "let programs compute with packet pointers"),
];

/// Checks that this process may load and attach programs.
///
/// # Errors
/// Names what is missing.
pub fn check_privileges() -> Result<()> {
    let missing = missing_capabilities(&CAPABILITIES)?;
    ensure!(missing.is_empty(), "this process lacks {missing}; run foobar as root, or by its systemd unit");
    Ok(())
}

/// The capabilities that probes on libraries need besides.
const PROBE_CAPABILITIES: [(u32, &str, &str); 2] = [
    (21, "CAP_SYS_ADMIN", "put probes on libraries"),
    (19, "CAP_SYS_PTRACE", "see which files and libraries other processes have"),
];

/// Checks that this process may put probes on libraries.
///
/// # Errors
/// Names what is missing.
pub(super) fn check_probe_privileges() -> Result<()> {
    let missing = missing_capabilities(&PROBE_CAPABILITIES)?;
    ensure!(
        missing.is_empty(),
        "this process lacks {missing}; run foobar as root, or put decrypt.conf of its package beside its systemd unit"
    );
    Ok(())
}

/// Checks that probes on libraries do no harm.
///
/// Since Linux 6.11 a function that is probed returns by a system call of the kernel's own. Up to 6.12.14 and 6.13.3,
/// processes whose system calls are filtered (seccomp) are killed for it.
///
/// # Errors
/// Names the kernel, and those that can be used.
pub(super) fn check_probe_kernel() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
    let release = release.trim();
    ensure!(
        !is_harmful_to_sandboxes(release),
        "Linux {release} kills processes with filters of system calls (seccomp) where probes are; use Linux 6.12.14, \
         6.13.3, 6.14 or newer, or one older than 6.11"
    );
    Ok(())
}

fn is_harmful_to_sandboxes(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).skip(2).map(str::parse::<u32>);
    let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
    match parse_release(release) {
        Some((6, 11)) => true,
        Some((6, 12)) => patch < 14,
        Some((6, 13)) => patch < 3,
        _ => false,
    }
}

/// Those of these that the process does not have, in words.
fn missing_capabilities(wanted: &[(u32, &str, &str)]) -> Result<String> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or("0").trim();
    let effective = u64::from_str_radix(effective, 16).context("read the capabilities of this process")?;
    let missing: Vec<String> = wanted
        .iter()
        .filter(|(bit, _, _)| effective & (1 << bit) == 0)
        .map(|(_, name, purpose)| format!("{name} (to {purpose})"))
        .collect();
    Ok(missing.join(", "))
}

/// Checks that the kernel has what the programs need.
///
/// # Errors
/// Names each missing feature and the kernel that has it.
pub fn check_kernel() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
    let release = release.trim();
    if parse_release(release).is_some_and(|version| version < KERNEL_MIN) {
        let (major, minor) = KERNEL_MIN;
        bail!("Linux {release} is too old: foobar needs {major}.{minor} or newer");
    }
    let missing: Vec<&str> = missing_features();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this kernel ({release}) was built without {}", missing.join(", "))
}

/// Features that the kernel denies to have. A probe that itself fails says nothing.
fn missing_features() -> Vec<&'static str> {
    let maps = [
        (MapType::Array, "arrays (BPF_MAP_TYPE_ARRAY, Linux 3.19)"),
        (MapType::PerCpuArray, "per-CPU maps (BPF_MAP_TYPE_PERCPU_ARRAY, Linux 4.6)"),
        (MapType::LruHash, "maps that forget (BPF_MAP_TYPE_LRU_HASH, Linux 4.10)"),
        (MapType::ProgramArray, "tail calls (BPF_MAP_TYPE_PROG_ARRAY, Linux 4.2)"),
    ];
    let programs = [
        (ProgramType::Xdp, "XDP (BPF_PROG_TYPE_XDP, Linux 4.8, CONFIG_BPF_SYSCALL)"),
        (
            ProgramType::SchedClassifier,
            "programs for what goes out (BPF_PROG_TYPE_SCHED_CLS, Linux 4.1, CONFIG_NET_CLS_ACT)",
        ),
    ];
    let mut missing: Vec<&str> = programs
        .iter()
        .filter(|(kind, _)| matches!(is_program_supported(*kind), Ok(false)))
        .map(|(_, name)| *name)
        .collect();
    missing.extend(
        maps.iter().filter(|(kind, _)| matches!(is_map_supported(*kind), Ok(false))).map(|(_, name)| *name),
    );
    missing
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Explains why maps could not be made.
pub(super) fn explain_create(error: EbpfError) -> anyhow::Error {
    let reason = lacking();
    anyhow!(error).context(format!("make the maps of the ruleset{reason}"))
}

/// Explains why a program was not loaded: the last useful line of the verifier, the whole log at debug level.
pub(super) fn explain_load(name: &str, error: &ProgramError) -> anyhow::Error {
    let reason = lacking();
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return anyhow!("load the program '{name}'{reason}: {error}");
    };
    let log = verifier_log.to_string();
    tracing::debug!(%log, "the verifier refused the program '{name}'");
    match last_useful_line(&log) {
        Some(line) => anyhow!(
            "load the program '{name}'{reason}: {io_error}: the verifier says '{line}' (all of it with --log debug)"
        ),
        None => anyhow!("load the program '{name}'{reason}: {io_error}"),
    }
}

/// What the process or the kernel is known to lack, as the end of a phrase.
fn lacking() -> String {
    let lacks = [check_privileges(), check_kernel()].into_iter().find_map(Result::err);
    lacks.map(|error| format!(": {error}")).unwrap_or_default()
}

/// Kernels end the log with statistics, and newer ones with advice; the complaint stands before.
fn last_useful_line(log: &str) -> Option<&str> {
    let noise = ["processed ", "verification time", "stack depth", "max_states", "peak_states", "mark_read"];
    let useful = |line: &&str| !line.trim().is_empty() && !noise.iter().any(|start| line.starts_with(start));
    log.lines().rev().find(useful).map(str::trim)
}

/// Bytes of kernel memory of a map, by the kernel's own account.
pub(super) fn map_memory(map: &Map) -> Result<u64> {
    let data = map_data(map)?;
    fdinfo(data.fd(), "memlock")?.context("the kernel does not tell the memory of maps")
}

/// How often a program ran and how many nanoseconds that took; zero unless `kernel.bpf_stats_enabled` is on.
pub(super) fn program_runs(program: &ProgramFd) -> Result<(u64, u64)> {
    Ok((fdinfo(program, "run_cnt")?.unwrap_or(0), fdinfo(program, "run_time_ns")?.unwrap_or(0)))
}

/// A number that the kernel tells about an open object in `/proc/self/fdinfo` (Linux 4.10).
fn fdinfo(object: &impl AsFd, key: &str) -> Result<Option<u64>> {
    let path = format!("/proc/self/fdinfo/{}", object.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.map(|value| value.trim().parse().with_context(|| format!("read {key} in {path}"))).transpose()
}

/// The map behind any of the types that foobar uses.
pub(super) fn map_data(map: &Map) -> Result<&MapData> {
    if let Map::Array(data)
    | Map::PerCpuArray(data)
    | Map::LruHashMap(data)
    | Map::ProgramArray(data)
    | Map::RingBuf(data)
    | Map::HashMap(data) = map
    {
        return Ok(data);
    }
    bail!("a map of a type that foobar does not use: {map:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(parse_release("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(parse_release("6.18.44-fc-v769"), Some((6, 18)));
        assert!(parse_release("5.10.0-46-amd64").unwrap() < KERNEL_MIN);
        assert!(parse_release("6.12.1").unwrap() > KERNEL_MIN);
        assert_eq!(parse_release("custom"), None);
    }

    #[test]
    fn kernels_that_kill_sandboxed_processes_are_known() {
        for release in ["6.11.0-29-generic", "6.11.11", "6.12.13+deb13-amd64", "6.12.0", "6.13.2"] {
            assert!(is_harmful_to_sandboxes(release), "{release}");
        }
        for release in
            ["6.1.0-56-amd64", "6.10.14", "6.12.14", "6.12.117+deb12-amd64", "6.13.3", "6.14.0", "7.3.4"]
        {
            assert!(!is_harmful_to_sandboxes(release), "{release}");
        }
    }

    #[test]
    fn the_complaint_of_the_verifier_is_found_before_the_statistics() {
        let log = "0: (b7) r0 = 1\nR3 min value is outside of the allowed memory range\nprocessed 12 insns (limit \
                   1000000)\nverification time 33 usec\nstack depth 0\n";
        assert_eq!(last_useful_line(log), Some("R3 min value is outside of the allowed memory range"));
        assert_eq!(last_useful_line(""), None);
    }
}
