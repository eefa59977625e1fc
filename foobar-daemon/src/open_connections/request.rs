//! What the kernel is asked: in which states connections are, and at which ports.

use std::collections::BTreeSet;

use netlink_packet_core::{
    DefaultNla, Emitable as _, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_sock_diag::{
    SOCK_DIAG_BY_FAMILY,
    constants::{AF_INET, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};

/// The attribute with a [filter](filter) (`INET_DIAG_REQ_BYTECODE` of `include/uapi/linux/inet_diag.h`).
const BYTECODE: u16 = 1;
/// Instructions of a filter (the same file): go on elsewhere, or compare the local port with the one behind them.
const JUMP: u8 = 1;
const PORT_AT_LEAST: u8 = 2;
const PORT_AT_MOST: u8 = 3;
/// Bytes of an instruction, and of the port behind it.
const INSTRUCTION: u16 = 4;
/// Bytes of a comparison.
const COMPARISON: u16 = 2 * INSTRUCTION;
/// Bytes of the part of a filter that one port takes.
const PART: u16 = 2 * COMPARISON + INSTRUCTION;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'p> {
    /// Connections of these local ports.
    At(&'p BTreeSet<u16>),
    /// All connections.
    All,
    /// Sockets that wait for connections.
    Listening,
}

/// A request for all sockets of one family at some ports (`NLM_F_DUMP`).
pub(super) struct Request {
    connections: InetRequest,
    ports: DefaultNla,
}

impl Request {
    pub(super) fn new(family: u8, wanted: Wanted<'_>) -> Self {
        // Established, or closed by one side alone (RFC 9293 section 3.3.2).
        let open =
            StateFlags::ESTABLISHED | StateFlags::FIN_WAIT1 | StateFlags::FIN_WAIT2 | StateFlags::CLOSE_WAIT;
        let (states, filter) = match wanted {
            Wanted::At(ports) => (open, filter(ports)),
            Wanted::All => (open, every_port()),
            Wanted::Listening => (StateFlags::LISTEN, every_port()),
        };
        let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let connections = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states,
            socket_id,
        };
        Self { connections, ports: DefaultNla::new(BYTECODE, filter) }
    }

    /// The message, as the kernel takes it.
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(self));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        self.connections.buffer_len() + self.ports.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (connections, ports) = buffer.split_at_mut(self.connections.buffer_len());
        self.connections.emit(connections);
        self.ports.emit(ports);
    }
}

/// A program for the kernel that lets connections with one of these local ports pass (`inet_diag_bc_run` of
/// `net/ipv4/inet_diag.c`), so that it need not tell of all others: a balancer has as many that it made itself.
///
/// An instruction says how far to go on if its condition holds, and how far if not. To go exactly to the end is to
/// pass, to go further is not to.
fn filter(ports: &BTreeSet<u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut instruction = |code: u8, yes: u16, no: u16| {
        bytes.extend([code, u8::try_from(yes).unwrap_or_default()]);
        bytes.extend(no.to_ne_bytes());
    };
    let parts = (0..u16::try_from(ports.len()).unwrap_or(u16::MAX)).rev();
    for (port, parts_left) in ports.iter().zip(parts) {
        let end = parts_left.saturating_mul(PART);
        // To the next part, or beyond the end of the last one.
        let beyond = if parts_left == 0 { INSTRUCTION } else { 0 };
        instruction(PORT_AT_LEAST, COMPARISON, PART + beyond);
        instruction(0, 0, *port);
        instruction(PORT_AT_MOST, COMPARISON, PART - COMPARISON + beyond);
        instruction(0, 0, *port);
        // From this instruction to the end; one that says yes nowhere goes on to the next one only for the kernel's check.
        instruction(JUMP, INSTRUCTION, INSTRUCTION + end);
    }
    bytes
}

/// The same, with which every port passes.
fn every_port() -> Vec<u8> {
    let mut bytes = vec![PORT_AT_LEAST, u8::try_from(COMPARISON).unwrap_or_default()];
    bytes.extend((COMPARISON + INSTRUCTION).to_ne_bytes());
    // The port that they are at least.
    bytes.extend([0; INSTRUCTION as usize]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel makes of a filter: whether a local port passes.
    fn passes(filter: &[u8], local: u16) -> bool {
        let read =
            |at: usize| (filter[at], filter[at + 1], u16::from_ne_bytes([filter[at + 2], filter[at + 3]]));
        let mut at = 0;
        while at < filter.len() {
            let (code, yes, no) = read(at);
            let holds = match code {
                JUMP => false,
                PORT_AT_LEAST => local >= read(at + 4).2,
                PORT_AT_MOST => local <= read(at + 4).2,
                _ => unreachable!("instruction {code}"),
            };
            at += usize::from(if holds { u16::from(yes) } else { no });
        }
        at == filter.len()
    }

    #[test]
    fn every_port_passes() {
        assert!((0..=u16::MAX).all(|port| passes(&every_port(), port)));
    }

    #[test]
    fn a_filter_lets_its_ports_pass_and_no_others() {
        let many: BTreeSet<u16> = (0..32).map(|number| 100 + number * 3).collect();
        for ports in
            [BTreeSet::from([443]), BTreeSet::from([80, 443]), BTreeSet::from([0, 1, u16::MAX]), many]
        {
            let filter = filter(&ports);
            for port in 0..=u16::MAX {
                assert_eq!(passes(&filter, port), ports.contains(&port), "port {port} of {ports:?}");
            }
        }
    }
}
