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
use foobar_common::flow::Direction;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{
    egress::EgressHook,
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

/// What keeps the program from running natively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// The driver has no XDP.
    Driver,
    /// The MTU is too large for the driver.
    Mtu,
    /// Another program is there.
    OtherProgram,
    /// The process may not.
    Permission,
    /// An earlier start attached it so, and the mode of a link cannot be changed.
    Adopted,
    /// Anything else; the words say what.
    Other,
}

impl Obstacle {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Driver, Self::Mtu, Self::OtherProgram, Self::Permission, Self::Adopted, Self::Other];

    /// The word for it in metrics and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Mtu => "mtu",
            Self::OtherProgram => "other_program",
            Self::Permission => "permission",
            Self::Adopted => "adopted",
            Self::Other => "other",
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
    /// Why it is not attached in the mode that was asked for, or not at all.
    pub fallback: Option<String>,
    /// The same in one word, if it is attached.
    pub obstacle: Option<Obstacle>,
    /// Id of the program that was put there.
    pub expected_program: Option<u32>,
    /// Id of the program that the kernel says is there.
    pub found_program: Option<u32>,
    /// How the program for what goes out is attached, or `None` if it is not.
    pub egress: Option<EgressHook>,
}

/// A program on an interface.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) handle: FdLink,
    pub(super) mode: AttachedMode,
    pub(super) fallback: Option<Fallback>,
}

/// Why a link is not in the mode that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Fallback {
    pub(super) obstacle: Obstacle,
    pub(super) words: String,
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
                let fallback = refusal.reason(interface);
                let reason = &fallback.words;
                tracing::warn!(interface = name, %reason, "native mode was refused, trying generic mode");
                (try_mode(program, interface, XdpMode::Skb), AttachedMode::Generic, Some(fallback))
            }
            native => (native, AttachedMode::Native, None),
        },
    };
    let handle = handle.map_err(|refusal| {
        let hint =
            if mode == AttachedMode::Native { "; '--mode auto' falls back to generic mode" } else { "" };
        anyhow!("attach to {name}: {}{hint}", refusal.reason(interface).words)
    })?;
    let path = pins.link(Direction::In, name);
    let pinned =
        handle.pin(&path).with_context(|| format!("pin the link of {name} at {}", path.display()))?;
    Ok(Link { handle: FdLink::from(pinned), mode, fallback })
}

/// Opens the pinned link of an interface, if it still is what keeps the program there. The pin of a link whose
/// interface is gone (and perhaps came back as another) is removed.
pub(super) fn adopt(name: &str, interface: &Interface, mode: Mode, pins: &PinFolder) -> Result<Option<Link>> {
    let path = pins.link(Direction::In, name);
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
    let wanted = if mode == Mode::Generic { AttachedMode::Generic } else { AttachedMode::Native };
    let fallback = (wanted != found.mode).then(|| Fallback {
        obstacle: Obstacle::Adopted,
        words: format!(
            "adopted in {} mode, as an earlier start attached it; 'foobar detach' and a new start try again",
            found.mode.label()
        ),
    });
    Ok(Some(Link { handle, mode: found.mode, fallback }))
}

/// Lets the link of an interface run another program from the next packet on. The handle in `link` stays valid
/// whatever happens.
///
/// # Errors
/// The old program is still there. [`is_gone`] tells whether the interface is not.
pub(super) fn update(program: &mut Xdp, name: &str, pins: &PinFolder) -> Result<()> {
    let path = pins.link(Direction::In, name);
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

    fn reason(&self, interface: &Interface) -> Fallback {
        let (obstacle, words) = match self.errno() {
            Some(Errno::EOPNOTSUPP) => (Obstacle::Driver, "the driver cannot run XDP programs".to_owned()),
            Some(Errno::ERANGE) => {
                (Obstacle::Mtu, format!("the MTU of {} is too large for XDP in this driver", interface.mtu))
            }
            Some(Errno::EBUSY | Errno::EEXIST) => {
                (Obstacle::OtherProgram, "another XDP program is there already".to_owned())
            }
            Some(Errno::EPERM) => {
                (Obstacle::Permission, "not permitted: foobar needs CAP_NET_ADMIN and CAP_BPF".to_owned())
            }
            Some(errno) => (Obstacle::Other, format!("the kernel refuses: {} ({errno:?})", errno.desc())),
            None => (Obstacle::Other, format!("the kernel refuses: {}", self.0)),
        };
        Fallback { obstacle, words }
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
