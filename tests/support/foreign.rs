//! An XDP program that is not foobar's.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use nix::libc;

use crate::{bpffs::PinFolder, command::succeed, namespace::Namespace};

/// The name under which the kernel lists the program.
pub const NAME: &str = "stranger";

/// `bpf(2)` commands and a program type, from `include/uapi/linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// `r0 = 2` (`XDP_PASS`), `exit`.
const INSTRUCTIONS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// What [`BPF_PROG_LOAD`] reads.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// What [`BPF_OBJ_PIN`] reads.
#[repr(C)]
struct Pin {
    path: u64,
    program: u32,
    flags: u32,
}

/// A program that lets everything pass, put on an interface as `ip link` does it.
#[derive(Debug)]
pub struct ForeignProgram {
    _pin: PinFolder,
}

impl ForeignProgram {
    /// Puts it on an interface in native mode. It stays there with the interface.
    pub fn attach(namespace: &Namespace, interface: &str) -> Result<Self> {
        let program = load().context("load a program")?;
        let folder = PinFolder::new()?;
        std::fs::create_dir_all(folder.path())?;
        let path: PathBuf = folder.path().join(NAME);
        pin(&program, &CString::new(path.display().to_string())?).context("pin a program")?;
        succeed(
            namespace.command("ip").args(["link", "set", "dev", interface, "xdpdrv", "pinned"]).arg(&path),
        )?;
        Ok(Self { _pin: folder })
    }
}

fn load() -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(NAME.bytes()) {
        *to = from;
    }
    let attributes = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: 2,
        instructions: address(INSTRUCTIONS.as_ptr()),
        license: address(c"GPL".as_ptr()),
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name,
    };
    let fd = bpf(BPF_PROG_LOAD, &attributes)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pin(program: &OwnedFd, path: &CString) -> io::Result<()> {
    let program = u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
    bpf(BPF_OBJ_PIN, &Pin { path: address(path.as_ptr()), program, flags: 0 }).map(drop)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    let pointer: *const T = attributes;
    // SAFETY: the pointer is to a struct of this size, and what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}
