//! The frames of a TCP connection, segment by segment, in any order.

use crate::{
    frames::Family,
    packets::{self, flag},
};

/// A connection between a client and a server.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// IP version.
    pub family: Family,
    /// Port of the client.
    pub client_port: u16,
    /// Port of the server.
    pub server_port: u16,
    /// Sequence number of the client's first byte.
    pub client_first: u32,
    /// Sequence number of the server's first byte.
    pub server_first: u32,
}

impl Connection {
    /// One to this port of the server.
    pub fn to(server_port: u16) -> Self {
        // Both sides run over the end of their numbers soon.
        Self {
            family: Family::V4,
            client_port: 40_000,
            server_port,
            client_first: u32::MAX - 90,
            server_first: u32::MAX - 50,
        }
    }

    /// The server's answer to the client's first segment.
    pub fn syn_ack(&self) -> Vec<u8> {
        let sequence = self.server_first.wrapping_sub(1);
        self.from_server(flag::SYN | flag::ACK, sequence, self.client_first, &[])
    }

    /// Bytes of the client that begin so far behind its first one.
    pub fn asked(&self, offset: usize, bytes: &[u8]) -> Vec<u8> {
        let sequence = behind(self.client_first, offset);
        self.from_client(flag::PSH | flag::ACK, sequence, bytes)
    }

    /// Bytes of the server that begin so far behind its first one, after it has accepted so many of the client.
    pub fn answered(&self, offset: usize, accepted: usize, bytes: &[u8]) -> Vec<u8> {
        let acknowledged = behind(self.client_first, accepted);
        self.from_server(flag::PSH | flag::ACK, behind(self.server_first, offset), acknowledged, bytes)
    }

    /// The same, and the server says that it sends no more.
    pub fn answered_last(&self, offset: usize, accepted: usize, bytes: &[u8]) -> Vec<u8> {
        let acknowledged = behind(self.client_first, accepted);
        self.from_server(flag::FIN | flag::ACK, behind(self.server_first, offset), acknowledged, bytes)
    }

    /// Any segment of the client; it acknowledges the server's first byte.
    pub fn from_client(&self, flags: u8, sequence: u32, bytes: &[u8]) -> Vec<u8> {
        let header = header((self.client_port, self.server_port), flags, sequence, self.server_first);
        let (client, server) = self.addresses();
        frame(&client, &server, header, bytes)
    }

    /// Any segment of the server.
    pub fn from_server(&self, flags: u8, sequence: u32, acknowledged: u32, bytes: &[u8]) -> Vec<u8> {
        let header = header((self.server_port, self.client_port), flags, sequence, acknowledged);
        let (client, server) = self.addresses();
        frame(&server, &client, header, bytes)
    }

    fn addresses(&self) -> (String, String) {
        (self.family.client().to_string(), self.family.server().to_string())
    }
}

/// The sequence number so many bytes behind another.
fn behind(first: u32, offset: usize) -> u32 {
    first.wrapping_add(u32::try_from(offset).expect("a connection of less than 4 GiB"))
}

fn header(ports: (u16, u16), flags: u8, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut header = packets::tcp_header(ports.0, ports.1, flags);
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    header
}

fn frame(source: &str, destination: &str, mut header: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    header.extend(bytes);
    packets::packet(source, destination, 6, header).frame()
}
