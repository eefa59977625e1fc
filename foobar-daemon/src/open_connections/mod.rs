//! TCP connections that are open now, as the kernel lists them (`sock_diag(7)`).
//!
//! Packets do not tell: a peer that vanishes leaves none. The kernel knows what it has a socket for, in the network
//! namespace of whoever asks.

mod request;

use std::{collections::BTreeSet, io, net::SocketAddr, time::Instant};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6},
    inet::SocketId,
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};

use self::request::{Request, Wanted};

/// What the kernel gives at a time is at most so long, in bytes (`netlink_dump` of `net/netlink/af_netlink.c`).
const ANSWER_MAX: usize = 32 << 10;
/// What is said when there is no time for all connections.
pub const TOO_MANY: &str = "there are so many TCP connections that nobody can wait until all are listed, so none \
     are told";
/// Messages begin at multiples of so many bytes (`NLMSG_ALIGNTO` of `include/uapi/linux/netlink.h`).
const ALIGNMENT: usize = 4;

/// A connection that both sides have agreed to, and that not both have closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// This server's end. A client of IPv4 is one even where the socket is of IPv6.
    pub local: SocketAddr,
    /// The client's end.
    pub remote: SocketAddr,
}

/// Lists the connections of these local ports, until `deadline` at most: between two answers of the kernel, that is,
/// each of which has some hundred connections.
///
/// The kernel goes through its table bit by bit: a connection that comes or goes meanwhile may be there or not.
///
/// # Errors
/// A kernel that cannot tell, or so many connections that there is no time for all.
pub fn list(ports: &BTreeSet<u16>, deadline: Instant) -> Result<Vec<OpenConnection>> {
    let mut connections = Vec::new();
    if ports.is_empty() {
        return Ok(connections);
    }
    list_families(Wanted::At(ports), deadline, &mut connections)?;
    Ok(connections)
}

/// Lists all connections, until `deadline` at most, as [`list`] does.
///
/// # Errors
/// As [`list`].
pub fn all(deadline: Instant) -> Result<Vec<OpenConnection>> {
    let mut connections = Vec::new();
    list_families(Wanted::All, deadline, &mut connections)?;
    Ok(connections)
}

/// The local ports of sockets that wait for connections.
///
/// # Errors
/// As [`list`].
pub fn listening(deadline: Instant) -> Result<BTreeSet<u16>> {
    let mut sockets = Vec::new();
    list_families(Wanted::Listening, deadline, &mut sockets)?;
    Ok(sockets.into_iter().map(|socket| socket.local.port()).collect())
}

fn list_families(wanted: Wanted<'_>, deadline: Instant, connections: &mut Vec<OpenConnection>) -> Result<()> {
    let listed = [AF_INET, AF_INET6]
        .into_iter()
        .try_for_each(|family| list_family(family, wanted, deadline, connections));
    match listed {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => bail!(TOO_MANY),
        Err(error) => Err(error).context(
            "ask the kernel for its TCP connections (sock_diag): it takes the modules inet_diag and tcp_diag, or a \
             kernel with CONFIG_INET_DIAG, and a sandbox that lets AF_NETLINK pass",
        ),
    }
}

fn list_family(
    family: u8,
    wanted: Wanted<'_>,
    deadline: Instant,
    connections: &mut Vec<OpenConnection>,
) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&NetlinkAddress::new(0, 0))?;
    socket.send(&Request::new(family, wanted).bytes(), 0)?;
    let mut buffer = vec![0; ANSWER_MAX];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
            if let NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) = &message.payload {
                connections.push(OpenConnection::of(&response.header.socket_id));
            } else if let NetlinkPayload::Done(done) = &message.payload {
                // What fails while the kernel looks is told here.
                return if done.code < 0 { Err(io::Error::from_raw_os_error(-done.code)) } else { Ok(()) };
            } else if let NetlinkPayload::Error(error) = &message.payload {
                return Err(error.to_io());
            } else {
                return Err(io::Error::other("the kernel gave an answer of another kind"));
            }
            let whole = message.header.length as usize;
            rest = rest.get(whole.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

impl OpenConnection {
    fn of(ends: &SocketId) -> Self {
        Self {
            local: SocketAddr::new(ends.source_address.to_canonical(), ends.source_port),
            remote: SocketAddr::new(ends.destination_address.to_canonical(), ends.destination_port),
        }
    }
}
