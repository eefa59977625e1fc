//! Frames, built byte by byte from what a test says of them.
//!
//! Written by hand and not with the parser's constants, so that a wrong constant there shows here. IP and
//! transport checksums are zero: the programs do not look at them, and frames built here never travel.

/// Flags of TCP, as the bits of its flags byte.
pub mod flag {
    /// Finished sending.
    pub const FIN: u8 = 0x01;
    /// Wants to connect.
    pub const SYN: u8 = 0x02;
    /// Gives up the connection.
    pub const RST: u8 = 0x04;
    /// Has data for the application at once.
    pub const PSH: u8 = 0x08;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer is in use.
    pub const URG: u8 = 0x20;
}

/// EtherTypes.
pub const IPV4: u16 = 0x0800;
/// Address resolution.
pub const ARP: u16 = 0x0806;
/// IPv6.
pub const IPV6: u16 = 0x86dd;
/// 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// 802.1ad tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

/// An address of one family, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

impl From<&str> for Address {
    /// Reads `192.0.2.1` or `2001:db8::1`.
    fn from(text: &str) -> Self {
        match text.parse().expect("an address in a test") {
            std::net::IpAddr::V4(address) => Self::V4(address.octets()),
            std::net::IpAddr::V6(address) => Self::V6(address.octets()),
        }
    }
}

/// One IP packet in an Ethernet frame. Lengths are right unless a test sets them otherwise.
#[derive(Clone, Debug)]
pub struct Packet {
    source: Address,
    destination: Address,
    protocol: u8,
    payload: Vec<u8>,
    /// EtherType and id with priority of each tag, outermost first.
    tags: Vec<(u16, u16)>,
    /// IPv4 options, a multiple of four bytes.
    options: Vec<u8>,
    /// Number and bytes of each IPv6 extension header; their first bytes are set to what follows.
    extensions: Vec<(u8, Vec<u8>)>,
    /// Offset in bytes and more-fragments flag of IPv4.
    fragment: (u16, bool),
    hop_limit: u8,
    /// Total length of IPv4 or payload length of IPv6, if it is to lie.
    length: Option<u16>,
    padding: usize,
}

/// A packet between two addresses of the same family with this protocol number and payload.
pub fn packet(source: &str, destination: &str, protocol: u8, payload: Vec<u8>) -> Packet {
    Packet {
        source: source.into(),
        destination: destination.into(),
        protocol,
        payload,
        tags: Vec::new(),
        options: Vec::new(),
        extensions: Vec::new(),
        fragment: (0, false),
        hop_limit: 64,
        length: None,
        padding: 0,
    }
}

/// A TCP packet without data.
pub fn tcp(source: (&str, u16), destination: (&str, u16), flags: u8) -> Packet {
    packet(source.0, destination.0, 6, tcp_header(source.1, destination.1, flags))
}

/// A UDP packet with `data` bytes of payload.
pub fn udp(source: (&str, u16), destination: (&str, u16), data: u16) -> Packet {
    let mut payload = udp_header(source.1, destination.1, 8 + data);
    payload.resize(8 + usize::from(data), 0xda);
    packet(source.0, destination.0, 17, payload)
}

/// An SCTP packet without chunks.
pub fn sctp(source: (&str, u16), destination: (&str, u16)) -> Packet {
    let mut payload = ports(source.1, destination.1);
    payload.resize(12, 0);
    packet(source.0, destination.0, 132, payload)
}

/// An ICMP or, between IPv6 addresses, ICMPv6 message.
pub fn icmp(source: &str, destination: &str, kind: u8, code: u8) -> Packet {
    let protocol = if matches!(Address::from(source), Address::V4(_)) { 1 } else { 58 };
    packet(source, destination, protocol, vec![kind, code, 0, 0, 0, 0, 0, 0])
}

/// 20 bytes of TCP header.
pub fn tcp_header(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut header = ports(source, destination);
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    header
}

/// 8 bytes of UDP header.
pub fn udp_header(source: u16, destination: u16, length: u16) -> Vec<u8> {
    let mut header = ports(source, destination);
    header.extend(length.to_be_bytes());
    header.extend([0, 0]);
    header
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// An Ethernet frame with this EtherType (or length) and payload.
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ARP request.
pub fn arp() -> Vec<u8> {
    ethernet(ARP, &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 10])
}

impl Packet {
    /// Puts an 802.1Q tag with this id inside the tags that are there.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(VLAN, id)
    }

    /// Puts a tag inside the tags that are there; `control` is priority, eligibility and id.
    #[must_use]
    pub fn tag(mut self, ethertype: u16, control: u16) -> Self {
        self.tags.push((ethertype, control));
        self
    }

    /// Adds IPv4 options; their length must be a multiple of four.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// Makes an IPv4 fragment of it that starts at this byte of the datagram.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = (offset, more);
        self
    }

    /// Adds an IPv6 extension header of eight bytes behind those that are there.
    #[must_use]
    pub fn extension(self, number: u8) -> Self {
        self.extension_of(number, 8)
    }

    /// Adds an IPv6 extension header of this length, of which its length field tells.
    #[must_use]
    pub fn extension_of(mut self, number: u8, length: usize) -> Self {
        let units = if number == 51 { length / 4 - 2 } else { length / 8 - 1 };
        let mut bytes = vec![0; length];
        bytes[1] = u8::try_from(units).expect("an extension header of at most 2,048 bytes");
        self.extensions.push((number, bytes));
        self
    }

    /// Adds an IPv6 fragment header.
    #[must_use]
    pub fn fragment_header(mut self, offset: u16, more: bool) -> Self {
        let [high, low] = ((offset & 0xfff8) | u16::from(more)).to_be_bytes();
        // The reserved second byte is no length, whatever stands there.
        self.extensions.push((44, vec![0, 0xff, high, low, 0, 0, 0, 7]));
        self
    }

    /// Sets TTL or hop limit.
    #[must_use]
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// Sets total length (IPv4) or payload length (IPv6), whatever is true.
    #[must_use]
    pub fn length(mut self, length: u16) -> Self {
        self.length = Some(length);
        self
    }

    /// Adds bytes behind the end of the IP packet; they look like ports.
    #[must_use]
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Replaces the transport header and what follows it.
    #[must_use]
    pub fn payload(mut self, payload: Vec<u8>) -> Self {
        self.payload = payload;
        self
    }

    /// Adds zeros behind the transport header until the IP packet has this length; UDP is told of it. A packet
    /// that is longer stays as it is.
    #[must_use]
    pub fn grown_to(mut self, length: usize) -> Self {
        let now = self.frame().len() - 14 - 4 * self.tags.len() - self.padding;
        self.payload.resize(self.payload.len() + length.saturating_sub(now), 0);
        if self.protocol == 17 && self.payload.len() >= 8 {
            let udp_length = as_u16(self.payload.len()).to_be_bytes();
            self.payload[4..6].copy_from_slice(&udp_length);
        }
        self
    }

    /// Changes one byte of the transport header.
    #[must_use]
    pub fn set(mut self, at: usize, byte: u8) -> Self {
        self.payload[at] = byte;
        self
    }

    /// The Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        let (kind, network) = match (self.source, self.destination) {
            (Address::V4(source), Address::V4(destination)) => (IPV4, self.ipv4(source, destination)),
            (Address::V6(source), Address::V6(destination)) => (IPV6, self.ipv6(source, destination)),
            _ => unreachable!("a packet from {:?} to {:?}", self.source, self.destination),
        };
        let mut behind = Vec::new();
        let mut kinds = self.tags.iter().map(|(ethertype, _)| *ethertype).chain([kind]);
        let outermost = kinds.next().expect("at least the EtherType of IP");
        for ((_, control), inner) in self.tags.iter().zip(kinds) {
            behind.extend(control.to_be_bytes());
            behind.extend(inner.to_be_bytes());
        }
        behind.extend(network);
        behind.extend([0x01, 0xbb].repeat(self.padding.div_ceil(2)).iter().take(self.padding));
        ethernet(outermost, &behind)
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let length = self.length.unwrap_or_else(|| as_u16(header + self.payload.len()));
        let (offset, more) = self.fragment;
        let mut bytes = vec![0x40 | u8::try_from(header / 4).expect("at most 40 bytes of options"), 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
        bytes.extend([self.hop_limit, self.protocol, 0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(&self.options);
        bytes.extend(&self.payload);
        bytes
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let mut numbers = self.extensions.iter().map(|(number, _)| *number).chain([self.protocol]);
        let first = numbers.next().expect("at least the protocol");
        let mut behind = Vec::new();
        for ((_, header), next) in self.extensions.iter().zip(numbers) {
            behind.push(next);
            behind.extend(&header[1..]);
        }
        behind.extend(&self.payload);
        let length = self.length.unwrap_or_else(|| as_u16(behind.len()));
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([first, self.hop_limit]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(behind);
        bytes
    }
}

fn as_u16(length: usize) -> u16 {
    u16::try_from(length).expect("an IP packet of at most 65,535 bytes")
}
