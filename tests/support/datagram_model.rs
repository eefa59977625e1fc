//! Datagrams in fragments by plain reading: what rules/README.md says of them.

use std::{collections::HashMap, net::IpAddr};

use foobar_common::{
    flow::{Family, Fragment},
    frame::Frame,
    parse::parse,
};

/// What became of first fragments that were accepted, as far as somebody wants to know of it.
#[derive(Clone, Debug)]
pub struct DatagramModel<T>(HashMap<Datagram, T>);

/// What the fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// Of IPv4.
    protocol: Option<u8>,
}

impl<T> Default for DatagramModel<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone> DatagramModel<T> {
    /// What became of the first fragment of the datagram that this frame is a later one of.
    pub fn first(&self, frame: &[u8]) -> Option<T> {
        let (datagram, Fragment::Later) = fragment(frame)? else { return None };
        self.0.get(&datagram).cloned()
    }

    /// A frame was accepted.
    pub fn accepted(&mut self, frame: &[u8], judged: T) {
        if let Some((datagram, Fragment::First)) = fragment(frame) {
            self.0.insert(datagram, judged);
        }
    }
}

/// Which datagram a frame is a fragment of, and which one.
fn fragment(frame: &[u8]) -> Option<(Datagram, Fragment)> {
    let flow = parse(&Frame::from_slice(frame)).ok()?;
    if flow.fragment == Fragment::Whole {
        return None;
    }
    let mut network = 14;
    while [[0x81, 0x00], [0x88, 0xa8]].contains(&[frame[network - 2], frame[network - 1]]) {
        network += 4;
    }
    let (identification, protocol) = match flow.family {
        Family::V4 => {
            (u16::from_be_bytes([frame[network + 4], frame[network + 5]]).into(), Some(flow.protocol))
        }
        Family::V6 => (identification_v6(&frame[network..])?, None),
    };
    let [source, destination] = [flow.source, flow.destination].map(|address| address.ip(flow.family));
    Some((Datagram { source, destination, identification, protocol }, flow.fragment))
}

/// That of the last fragment header before the data: of a fragment of a fragment, the inner one.
fn identification_v6(packet: &[u8]) -> Option<u32> {
    let (mut kind, mut at, mut found) = (packet[6], 40, None);
    while [0, 43, 44, 51, 60].contains(&kind) {
        let header = packet.get(at..at + 8)?;
        if kind == 44 {
            found = Some(u32::from_be_bytes(header[4..8].try_into().expect("four bytes")));
            if u16::from_be_bytes([header[2], header[3]]) >> 3 != 0 {
                break;
            }
        }
        at += match kind {
            44 => 8,
            51 => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        kind = header[0];
    }
    found
}
