//! Captures, byte by byte.

/// Byte order of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) fn u16(self, number: u16) -> [u8; 2] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    pub(crate) fn u32(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

/// A pcap of this link type.
pub(crate) fn pcap(order: Order, link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = order.u32(0xa1b2_c3d4).to_vec();
    bytes.extend([order.u16(2), order.u16(4)].concat());
    bytes.extend([0, 0, 262_144, link].map(|number| order.u32(number)).concat());
    bytes.extend(frames.iter().flat_map(|frame| record(order, frame, frame.len())));
    bytes
}

/// A record of a pcap, of a frame that was `length` bytes long on the wire.
pub(crate) fn record(order: Order, frame: &[u8], length: usize) -> Vec<u8> {
    let lengths = [frame.len(), length].map(|length| order.u32(u32::try_from(length).unwrap()));
    [[0; 8].to_vec(), lengths.concat(), frame.to_vec()].concat()
}

/// A section of a pcapng.
pub(crate) fn pcapng(order: Order, blocks: &[Vec<u8>]) -> Vec<u8> {
    [section(order), blocks.concat()].concat()
}

/// A section header block, which begins a pcapng.
pub(crate) fn section(order: Order) -> Vec<u8> {
    let body = [order.u32(0x1a2b_3c4d).to_vec(), order.u16(1).to_vec(), order.u16(0).to_vec(), vec![0xff; 8]];
    block(order, 0x0a0d_0d0a, &body.concat())
}

/// An interface description block.
pub(crate) fn interface(order: Order, link: u16, snap_length: u32) -> Vec<u8> {
    block(order, 1, &[order.u16(link).to_vec(), vec![0; 2], order.u32(snap_length).to_vec()].concat())
}

/// An enhanced packet block.
pub(crate) fn enhanced(order: Order, interface: u32, frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap();
    let header = [interface, 0, 0, length, length].map(|number| order.u32(number)).concat();
    block(order, 6, &[header, frame.to_vec()].concat())
}

/// A simple packet block: of the first interface, without a time.
pub(crate) fn simple(order: Order, frame: &[u8]) -> Vec<u8> {
    let length = order.u32(u32::try_from(frame.len()).unwrap());
    block(order, 3, &[length.to_vec(), frame.to_vec()].concat())
}

/// A block of any kind, filled up to a multiple of four bytes.
pub(crate) fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = order.u32(u32::try_from(body.len() + 12).unwrap());
    [&order.u32(kind)[..], &length, &body, &length].concat()
}
