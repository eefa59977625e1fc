//! What an init process does, and no more.

use std::{
    ffi::CString,
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    libc,
    mount::{MsFlags, mount},
    sys::utsname::uname,
};

/// Where frames are sent from.
pub(crate) const SENDER: &str = "v0";
/// Where they arrive, and are filtered.
pub(crate) const FILTERED: &str = "v1";

/// Mounts what the kernel shows of itself.
pub(crate) fn mount_all() -> Result<()> {
    for (kind, folder) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("bpf", "/sys/fs/bpf"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
    ] {
        if !Path::new(folder).is_dir() {
            fs::create_dir_all(folder).with_context(|| format!("create {folder}"))?;
        }
        mount(Some(kind), folder, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {folder}"))?;
    }
    Ok(())
}

/// What the kernel calls itself.
pub(crate) fn release() -> Result<String> {
    let name = uname().context("ask for the kernel's name")?;
    let version = name.version().to_string_lossy().into_owned();
    // Debian's ABI names say less than the version inside: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-10-01)`.
    let debian = version.split("Debian ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(debian.map_or_else(|| name.release().to_string_lossy().into_owned(), str::to_owned))
}

/// Loads every module of `/modules`.
pub(crate) fn load_modules() -> Result<()> {
    for entry in fs::read_dir("/modules").context("read /modules")? {
        let path = entry?.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let parameters = CString::default();
        // SAFETY: finit_module(2) takes an open file, a string that ends in zero, and flags.
        let done = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) };
        ensure!(done == 0, "load {}: {}", path.display(), std::io::Error::last_os_error());
    }
    Ok(())
}

/// Makes two interfaces joined by a wire, on which nothing is said that was not sent by a test.
pub(crate) fn make_veth_pair() -> Result<()> {
    for family in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{family}/disable_ipv6");
        fs::write(&path, "1").with_context(|| format!("write {path}"))?;
    }
    ip(&["link", "add", SENDER, "type", "veth", "peer", "name", FILTERED])?;
    for interface in ["lo", SENDER, FILTERED] {
        ip(&["link", "set", interface, "up"])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("/sbin/ip").args(arguments).output().context("start /sbin/ip")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Ends the machine.
pub(crate) fn power_off() -> ! {
    // SAFETY: reboot(2) takes a number, and this process has nothing that would have to be saved.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    // Refused: the end of the init process is a panic of the kernel, which ends the machine as well.
    std::process::abort()
}
