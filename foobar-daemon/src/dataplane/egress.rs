//! The program for what goes out, on interfaces: by tcx (Linux 6.6), before that by the queueing discipline clsact.

use std::{fs, mem};

use anyhow::{Context as _, Result};
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
};
use foobar_common::flow::Direction;
use nix::{errno::Errno, libc, net::if_::if_nametoindex};
use serde::{Deserialize, Serialize};

use super::pins::PinFolder;

/// Where the filters of clsact are that are foobar's: before most others, and never at a place that the kernel chose
/// for somebody else (those count down from 49152).
const PRIORITY: u16 = 7;
const HANDLE: u32 = 1;

/// How the program got its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EgressHook {
    /// A link, which is pinned.
    Tcx,
    /// A filter of the queueing discipline: it stays until it is removed, whoever put it there.
    Clsact,
}

impl EgressHook {
    /// The word for it in JSON and on the terminal.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// The program on an interface.
#[derive(Debug)]
pub(super) enum EgressLink {
    Tcx(FdLink),
    /// If there is a link in it, the filter is removed with it.
    Clsact(Option<SchedClassifierLink>),
}

impl EgressLink {
    pub(super) const fn hook(&self) -> EgressHook {
        match self {
            Self::Tcx(_) => EgressHook::Tcx,
            Self::Clsact(_) => EgressHook::Clsact,
        }
    }

    /// Whether the program is where it was put. A filter of clsact is believed to be.
    pub(super) fn is_on(&self, name: &str) -> bool {
        match self {
            Self::Tcx(link) => link.info().is_ok_and(|info| runs_on(name, info.program_id())),
            Self::Clsact(_) => true,
        }
    }
}

/// Puts the program on an interface, and pins the link if it can be. An older filter of clsact gives its place.
///
/// # Errors
/// Nothing is attached.
pub(super) fn attach(
    program: &mut SchedClassifier,
    name: &str,
    pins: &PinFolder,
    ephemeral: bool,
) -> Result<EgressLink> {
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    match program.attach_with_options(name, TcAttachType::Egress, order) {
        Ok(id) => {
            let handle = FdLink::try_from(program.take_link(id)?)?;
            let path = pins.link(Direction::Out, name);
            let pinned =
                handle.pin(&path).with_context(|| format!("pin the link of {name} at {}", path.display()))?;
            Ok(EgressLink::Tcx(pinned.into()))
        }
        Err(error) if errno(&error) == Some(Errno::EINVAL) => {
            attach_clsact(program, name, ephemeral).map(EgressLink::Clsact)
        }
        Err(error) => Err(error).with_context(|| format!("attach the program for what goes out to {name}")),
    }
}

fn attach_clsact(
    program: &mut SchedClassifier,
    name: &str,
    ephemeral: bool,
) -> Result<Option<SchedClassifierLink>> {
    // That it is there already is no harm.
    let added = tc::qdisc_add_clsact(name);
    let id = match program.attach_to_link(clsact_filter(name)?) {
        Ok(id) => id,
        Err(_nothing_to_replace) => {
            let options =
                NlOptions { priority: PRIORITY, handle: TcHandle::from(HANDLE), ..NlOptions::default() };
            program
                .attach_with_options(name, TcAttachType::Egress, TcAttachOptions::Netlink(options))
                .map_err(|error| match added {
                    Err(no_qdisc) => anyhow::Error::from(error).context(no_qdisc.to_string()),
                    Ok(()) => error.into(),
                })
                .with_context(|| format!("attach the program for what goes out to {name} by clsact"))?
        }
    };
    let link = program.take_link(id)?;
    if ephemeral {
        return Ok(Some(link));
    }
    // It would take the filter away.
    mem::forget(link);
    Ok(None)
}

/// The filter of foobar on an interface, whether there is one or not.
fn clsact_filter(name: &str) -> Result<SchedClassifierLink> {
    SchedClassifierLink::attached(name, TcAttachType::Egress, PRIORITY, TcHandle::from(HANDLE), None)
        .with_context(|| format!("no interface {name}"))
}

/// Opens the pinned link of an interface, if it still is what keeps a program there. The pin of a link whose
/// interface is gone is removed.
pub(super) fn adopt(name: &str, pins: &PinFolder) -> Result<Option<EgressLink>> {
    let path = pins.link(Direction::Out, name);
    if !path.exists() {
        return Ok(None);
    }
    let link =
        PinnedLink::from_pin(&path).with_context(|| format!("open the pinned link {}", path.display()))?;
    let link = EgressLink::Tcx(FdLink::from(link));
    if link.is_on(name) {
        return Ok(Some(link));
    }
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(None)
}

/// Lets another program take the place of the one on an interface, from the next packet on.
///
/// # Errors
/// The old program is still there.
pub(super) fn update(
    program: &mut SchedClassifier,
    name: &str,
    link: &mut EgressLink,
    pins: &PinFolder,
) -> Result<()> {
    match link {
        EgressLink::Tcx(_) => {
            let path = pins.link(Direction::Out, name);
            let second = PinnedLink::from_pin(&path)
                .with_context(|| format!("open the pinned link {}", path.display()))?;
            let second = SchedClassifierLink::try_from(FdLink::from(second))
                .context("the pinned link is no link of tcx")?;
            let id = program
                .attach_to_link(second)
                .with_context(|| format!("update the program for what goes out on {name}"))?;
            // The program would close the link with itself; the pin and the first handle hold it.
            drop(program.take_link(id)?);
        }
        EgressLink::Clsact(held) => {
            let id = program
                .attach_to_link(clsact_filter(name)?)
                .with_context(|| format!("update the program for what goes out on {name}"))?;
            let new = program.take_link(id)?;
            if let Some(old) = held.replace(new) {
                mem::forget(old);
            } else {
                mem::forget(held.take());
            }
        }
    }
    Ok(())
}

/// Removes the filter of clsact from an interface, if it has one.
pub(super) fn remove_clsact(name: &str) {
    // Dropped, it is detached. There is none where there is tcx.
    if let Ok(filter) = clsact_filter(name) {
        drop(filter);
    }
}

fn runs_on(name: &str, id: u32) -> bool {
    tcx_programs(name).is_ok_and(|ids| ids.contains(&id))
}

/// The ids of the programs that tcx runs for what goes out of an interface (`BPF_PROG_QUERY`, Linux 6.6). aya opens each
/// of them by its id to say more, which takes `CAP_SYS_ADMIN`.
fn tcx_programs(name: &str) -> Result<Vec<u32>> {
    // Of include/uapi/linux/bpf.h.
    const BPF_PROG_QUERY: libc::c_long = 16;
    const BPF_TCX_EGRESS: u32 = 47;
    /// No hook has more (`BPF_MPROG_MAX`).
    const PROGRAMS_MAX: usize = 64;

    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut query = Query {
        target_ifindex: if_nametoindex(name).with_context(|| format!("no interface {name}"))?,
        attach_type: BPF_TCX_EGRESS,
        flags: [0; 2],
        prog_ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(PROGRAMS_MAX)?,
        padding: 0,
    };
    // SAFETY: bpf(2) reads and writes the fields of the query, and as many ids as it says there is room for.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    Errno::result(result).with_context(|| format!("ask which programs run on {name}"))?;
    Ok(ids.into_iter().take(query.count as usize).collect())
}

/// `union bpf_attr`, as far as `BPF_PROG_QUERY` asks.
#[repr(C)]
struct Query {
    target_ifindex: u32,
    attach_type: u32,
    /// `query_flags` and `attach_flags`.
    flags: [u32; 2],
    prog_ids: u64,
    count: u32,
    padding: u32,
}

fn errno(error: &ProgramError) -> Option<Errno> {
    let ProgramError::SyscallError(error) = error else { return None };
    error.io_error.raw_os_error().map(Errno::from_raw)
}
