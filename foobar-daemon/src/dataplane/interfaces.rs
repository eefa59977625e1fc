//! Interfaces as the kernel lists them: whether they exist, and which XDP program they run.

use std::{io, os::fd::AsRawFd as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    net::if_::if_indextoname,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::attach::AttachedMode;

/// An interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number, which a new interface of the same name does not share.
    pub index: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Its link-layer address, if it has one.
    pub card: Option<[u8; 6]>,
    /// The XDP program on it, if there is any.
    pub program: Option<InterfaceProgram>,
}

/// The XDP program of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceProgram {
    /// Its id in the kernel.
    pub id: u32,
    /// Where it runs.
    pub mode: AttachedMode,
}

/// Asks the kernel for an interface (`RTM_GETLINK`); `None` if there is none of this name.
///
/// # Errors
/// A name that no interface can have, or a kernel that does not answer.
pub fn find(name: &str) -> Result<Option<Interface>> {
    // IFNAMSIZ is 16 with the terminating zero.
    if name.is_empty() || name.len() > 15 || name.contains(['/', '\0', ' ']) {
        bail!("'{name}' cannot be the name of an interface: those have 1 to 15 bytes without '/' and space");
    }
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match exchange(RouteNetlinkMessage::GetLink(request)) {
        Ok(message) => Ok(Some(read(&message))),
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("ask the kernel for interface {name}")),
    }
}

/// The name of the interface with this index, in the network namespace of this thread; `None` if there is none any more.
pub fn name_of(index: u32) -> Option<String> {
    Some(if_indextoname(index).ok()?.to_string_lossy().into_owned())
}

fn read(message: &LinkMessage) -> Interface {
    let mut interface = Interface { index: message.header.index, mtu: 0, card: None, program: None };
    for attribute in &message.attributes {
        if let LinkAttribute::Mtu(mtu) = attribute {
            interface.mtu = *mtu;
        } else if let LinkAttribute::Address(card) = attribute {
            interface.card = card.as_slice().try_into().ok().filter(|card| *card != [0; 6]);
        } else if let LinkAttribute::Xdp(xdp) = attribute {
            interface.program = program(xdp);
        }
    }
    interface
}

fn program(xdp: &[LinkXdp]) -> Option<InterfaceProgram> {
    let attached = xdp
        .iter()
        .find_map(|part| if let LinkXdp::Attached(attached) = part { Some(attached) } else { None });
    let id = xdp.iter().find_map(|part| if let LinkXdp::ProgId(id) = part { Some(*id) } else { None });
    // Without a program there is no id. What is neither is in the driver or the hardware.
    let generic = matches!(attached?, XdpAttached::SocketBuffer);
    Some(InterfaceProgram {
        id: id?,
        mode: if generic { AttachedMode::Generic } else { AttachedMode::Native },
    })
}

/// Sends one request and waits for its one answer.
fn exchange(request: RouteNetlinkMessage) -> io::Result<LinkMessage> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload {
        return Ok(link);
    }
    if let NetlinkPayload::Error(error) = answer.payload {
        return Err(error.to_io());
    }
    Err(io::Error::other("the kernel gave an answer of another kind"))
}

/// Wakes up when some interface comes, goes or changes.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl Watch {
    /// Starts watching the network namespace of the calling thread.
    pub fn new() -> Result<Self> {
        /// Group of `RTM_NEWLINK` and `RTM_DELLINK` (`RTNLGRP_LINK`).
        const LINK_GROUP: u32 = 1;
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, LINK_GROUP))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        Ok(Self { socket: open().context("watch the interfaces")? })
    }

    /// Waits until something changed, `timeout` at most, and says whether it did.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        // SAFETY: the descriptor belongs to `self.socket`, which lives longer than this borrow.
        let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(self.socket.as_raw_fd()) };
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let ready = match poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], timeout) {
            Ok(ready) => ready > 0,
            Err(Errno::EINTR) => false,
            Err(error) => return Err(error).context("wait for a change of interfaces"),
        };
        // What changed does not matter: the caller looks at its own interfaces. A full buffer (ENOBUFS) is news
        // as well.
        if ready {
            while self.socket.recv_from_full().is_ok() {}
        }
        Ok(ready)
    }
}
