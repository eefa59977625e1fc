//! Links between the program and interfaces.

use std::{fs, io};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::XdpLink,
};
use clap::ValueEnum;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{
    interfaces::{Interface, InterfaceProgram},
    load::LoadedRuleset,
    pins::PinFolder,
};

/// Where in the kernel the program runs, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Native where the driver can, otherwise generic.
    #[default]
    Auto,
    /// In the driver, before the kernel allocates anything.
    Native,
    /// In the network stack: works with every driver, slower.
    Generic,
}

/// Where in the kernel the program runs, in fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
}

impl AttachedMode {
    /// The word for it in metrics, JSON and on the terminal.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// An interface and what runs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// Its index, or `None` while it does not exist.
    pub index: Option<u32>,
    /// How the program is attached, or `None` if it is not.
    pub mode: Option<AttachedMode>,
    /// Why it is not native though native was tried first.
    pub fallback: Option<String>,
    /// Id of the program that was put there.
    pub expected_program: Option<u32>,
    /// Id of the program that the kernel says is there.
    pub found_program: Option<u32>,
}

/// A program on an interface.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) handle: FdLink,
    pub(super) mode: AttachedMode,
    pub(super) fallback: Option<String>,
}

/// Puts the program on an interface that has none, and pins the link.
///
/// # Errors
/// Nothing is attached.
pub(super) fn attach(
    loaded: &mut LoadedRuleset,
    name: &str,
    interface: &Interface,
    mode: Mode,
    pins: &PinFolder,
) -> Result<Link> {
    if let Some(foreign) = interface.program {
        bail!(
            "attach to {name}: another XDP program is there already ({}); nothing was changed. Stop its owner, or \
             take it away with 'ip link set dev {name} xdp off' or 'bpftool link detach'",
            describe(foreign)
        );
    }
    let program = loaded.ingress_mut()?;
    let (handle, mode, fallback) = match mode {
        Mode::Native => (try_mode(program, interface, XdpMode::Driver), AttachedMode::Native, None),
        Mode::Generic => (try_mode(program, interface, XdpMode::Skb), AttachedMode::Generic, None),
        Mode::Auto => match try_mode(program, interface, XdpMode::Driver) {
            Err(refusal) => {
                let reason = refusal.reason(interface);
                tracing::warn!(interface = name, %reason, "native mode was refused, trying generic mode");
                (try_mode(program, interface, XdpMode::Skb), AttachedMode::Generic, Some(reason))
            }
            native => (native, AttachedMode::Native, None),
        },
    };
    let handle = handle.map_err(|refusal| {
        let hint =
            if mode == AttachedMode::Native { "; '--mode auto' falls back to generic mode" } else { "" };
        anyhow!("attach to {name}: {}{hint}", refusal.reason(interface))
    })?;
    let path = pins.link(name);
    let pinned =
        handle.pin(&path).with_context(|| format!("pin the link of {name} at {}", path.display()))?;
    Ok(Link { handle: FdLink::from(pinned), mode, fallback })
}

/// Opens the pinned link of an interface, if it still is what keeps the program there. The pin of a link whose
/// interface is gone (and perhaps came back as another) is removed.
pub(super) fn adopt(name: &str, interface: &Interface, mode: Mode, pins: &PinFolder) -> Result<Option<Link>> {
    let path = pins.link(name);
    if !path.exists() {
        return Ok(None);
    }
    let open =
        || PinnedLink::from_pin(&path).with_context(|| format!("open the pinned link {}", path.display()));
    let handle = FdLink::from(open()?);
    let program = handle.info().with_context(|| format!("ask for the link {}", path.display()))?.program_id();
    let Some(found) = interface.program.filter(|found| found.id == program) else {
        tracing::warn!(
            interface = name,
            "the pinned link belongs to an interface that is gone; attaching anew"
        );
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        return Ok(None);
    };
    let wanted = match mode {
        Mode::Auto => found.mode,
        Mode::Native => AttachedMode::Native,
        Mode::Generic => AttachedMode::Generic,
    };
    let fallback = (wanted != found.mode).then(|| {
        "adopted as the last daemon attached it; 'foobar detach' and a new start change the mode".to_owned()
    });
    Ok(Some(Link { handle, mode: found.mode, fallback }))
}

/// Lets the link of an interface run another program from the next packet on. The handle in `link` stays valid
/// whatever happens.
///
/// # Errors
/// The old program is still there. [`is_gone`] tells whether the interface is not.
pub(super) fn update(program: &mut Xdp, name: &str, pins: &PinFolder) -> Result<()> {
    let path = pins.link(name);
    let second =
        PinnedLink::from_pin(&path).with_context(|| format!("open the pinned link {}", path.display()))?;
    let second = XdpLink::try_from(FdLink::from(second)).context("the pinned link is no XDP link")?;
    let id = program.attach_to_link(second).with_context(|| format!("update the program on {name}"))?;
    // The program would close the link with itself; the pin and the first handle hold it.
    drop(program.take_link(id)?);
    Ok(())
}

/// Whether an error of [`update`] says that the interface of the link no longer exists.
pub(super) fn is_gone(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.raw_os_error() == Some(Errno::ENOLINK as i32))
}

/// The kernel's refusal to attach.
struct Refusal(ProgramError);

impl Refusal {
    fn errno(&self) -> Option<Errno> {
        let Self(ProgramError::SyscallError(error)) = self else { return None };
        error.io_error.raw_os_error().map(Errno::from_raw)
    }

    fn reason(&self, interface: &Interface) -> String {
        match self.errno() {
            Some(Errno::EOPNOTSUPP) => "the driver cannot run XDP programs".to_owned(),
            Some(Errno::ERANGE) => {
                format!("the MTU of {} is too large for XDP in this driver", interface.mtu)
            }
            Some(Errno::EBUSY | Errno::EEXIST) => "another XDP program is there already".to_owned(),
            Some(Errno::EPERM) => "not permitted: foobar needs CAP_NET_ADMIN and CAP_BPF".to_owned(),
            Some(errno) => format!("the kernel refuses: {} ({errno:?})", errno.desc()),
            None => format!("the kernel refuses: {}", self.0),
        }
    }
}

fn try_mode(program: &mut Xdp, interface: &Interface, mode: XdpMode) -> Result<FdLink, Refusal> {
    let id = program.attach_to_if_index(interface.index, mode).map_err(Refusal)?;
    let link = program.take_link(id).map_err(Refusal)?;
    // aya falls back to a netlink attachment where bpf_link says EINVAL; such a one cannot be pinned or swapped,
    // and goes with this error.
    FdLink::try_from(link).map_err(|error| Refusal(ProgramError::IOError(io::Error::other(error))))
}

fn describe(program: InterfaceProgram) -> String {
    let info = loaded_programs().flatten().find(|info| info.id() == program.id);
    let name = info.as_ref().and_then(|info| info.name_as_str()).unwrap_or("without a name").to_owned();
    let uid = info.and_then(|info| info.created_by_uid());
    let owner = uid.map(|uid| format!(", loaded by uid {uid}")).unwrap_or_default();
    format!("id {}, '{name}'{owner}", program.id)
}
