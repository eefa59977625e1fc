//! Random frames that are mostly right: headers of every kind, then bytes that are changed, cut or added.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select},
};

use crate::packets::{self, Packet, SERVICE_VLAN, VLAN};

/// What frames are made of: values next to the edges of what a test is about. No list may be empty.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Addresses, both families in one list.
    pub addresses: Vec<std::net::IpAddr>,
    /// Ports.
    pub ports: Vec<u16>,
    /// Protocol numbers other than those that the frames have anyway.
    pub protocols: Vec<u8>,
    /// Type and code of ICMP and ICMPv6.
    pub icmp: Vec<(u8, u8)>,
    /// VLAN ids.
    pub vlans: Vec<u16>,
    /// Lengths of IP packets, reached where the headers allow it.
    pub lengths: Vec<u16>,
}

impl Default for Pool {
    fn default() -> Self {
        let addresses = ["192.0.2.1", "198.51.100.2", "0.0.0.0", "2001:db8::1", "2001:db8:1::2", "ff02::1"];
        Self {
            addresses: addresses.map(|text| text.parse().expect("an address")).to_vec(),
            ports: vec![0, 22, 53, 67, 68, 443, 546, 547, 65_535],
            protocols: vec![0, 4, 41, 43, 44, 47, 50, 51, 59, 60, 135, 255],
            icmp: vec![(0, 0), (8, 0), (3, 4), (128, 0), (133, 0), (135, 0), (136, 1), (255, 255)],
            vlans: vec![0, 1, 10, 4095],
            lengths: vec![20, 28, 40, 60, 128, 576, 1_500],
        }
    }
}

/// A frame of these values, and in one of three cases something is wrong with it.
pub fn frame(pool: &Pool) -> impl Strategy<Value = Vec<u8>> + use<> {
    (packet(pool), change()).prop_map(|(packet, change)| change.apply(packet.frame()))
}

/// A packet that is right in itself, though not every host would send it.
pub fn packet(pool: &Pool) -> impl Strategy<Value = Packet> + use<> {
    let pool = pool.clone();
    let ends = (select(pool.addresses.clone()), any::<Index>());
    let around = (tags(&pool.vlans), select(vec![0_u8, 1, 64, 254, 255]), select(vec![0_usize, 0, 1, 6, 46]));
    let inside = (
        prop_oneof![8 => Just(0_usize), 1 => 1_usize..=10].prop_map(|words| words * 4),
        prop_oneof![6 => Just(Vec::new()), 3 => vec(extension(), 1..4), 1 => vec(extension(), 4..11)],
        prop_oneof![6 => Just((0, false)), 1 => Just((0, true)), 1 => Just((8, false)),
            1 => (0_u16..=8_191, any::<bool>()).prop_map(|(units, more)| (units * 8, more))],
        prop_oneof![3 => Just(None), 1 => select(pool.lengths.clone()).prop_map(Some)],
    );
    (ends, transport(&pool), around, inside).prop_map(move |(ends, (protocol, payload), around, inside)| {
        let (source, other) = ends;
        let family: Vec<_> = pool.addresses.iter().filter(|one| one.is_ipv4() == source.is_ipv4()).collect();
        let destination = other.get(&family);
        let (tags, hop_limit, padding) = around;
        let (options, extensions, fragment, length) = inside;

        let protocol = if protocol == 1 && source.is_ipv6() { 58 } else { protocol };
        let mut packet = packets::packet(&source.to_string(), &destination.to_string(), protocol, payload)
            .hop_limit(hop_limit)
            .padding(padding);
        for (ethertype, control) in tags {
            packet = packet.tag(ethertype, control);
        }
        if source.is_ipv4() {
            packet = packet.options(&vec![1; options]).fragment(fragment.0, fragment.1);
        } else {
            for (number, units) in extensions {
                packet = match number {
                    44 => packet.fragment_header(fragment.0, fragment.1),
                    51 => packet.extension_of(51, 8 + 4 * units),
                    number => packet.extension_of(number, 8 + 8 * units),
                };
            }
        }
        match length {
            Some(length) => packet.grown_to(usize::from(length)),
            None => packet,
        }
    })
}

/// Number of an extension header and how many units it is longer than it must be.
fn extension() -> impl Strategy<Value = (u8, usize)> {
    (select(vec![0_u8, 43, 44, 51, 60, 60]), select(vec![0_usize, 0, 0, 1, 4, 255]))
}

/// EtherType and control field of each tag.
fn tags(ids: &[u16]) -> impl Strategy<Value = Vec<(u16, u16)>> + use<> {
    let tag =
        (select(vec![VLAN, SERVICE_VLAN]), select(ids.to_vec()), select(vec![0_u16, 0, 0xe000, 0x1000]))
            .prop_map(|(ethertype, id, priority)| (ethertype, id | priority));
    prop_oneof![4 => Just(0_usize), 3 => Just(1), 2 => Just(2), 1 => Just(3)]
        .prop_flat_map(move |count| vec(tag.clone(), count))
}

/// Protocol number, and transport header with some payload.
fn transport(pool: &Pool) -> impl Strategy<Value = (u8, Vec<u8>)> + use<> {
    let ports = (select(pool.ports.clone()), select(pool.ports.clone()));
    let flags = prop_oneof![select(vec![0x02_u8, 0x10, 0x12, 0x04, 0x11, 0x00]), any::<u8>()];
    let tcp = (ports.clone(), flags, 0_usize..=10).prop_map(|((source, destination), flags, words)| {
        let mut header = packets::tcp_header(source, destination, flags);
        header[12] = u8::try_from(5 + words).expect("at most 15") << 4;
        header.resize(20 + words * 4, 1);
        (6, header)
    });
    let udp = (ports.clone(), 0_u16..40).prop_map(|((source, destination), data)| {
        let mut payload = packets::udp_header(source, destination, 8 + data);
        payload.resize(8 + usize::from(data), 0);
        (17, payload)
    });
    let sctp = ports.prop_map(|(source, destination)| {
        let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        header.resize(12, 0);
        (132, header)
    });
    let icmp = (select(vec![1_u8, 1, 58]), select(pool.icmp.clone()), 2_usize..12)
        .prop_map(|(protocol, icmp, more)| (protocol, [vec![icmp.0, icmp.1], vec![0; more]].concat()));
    let other = (prop_oneof![select(pool.protocols.clone()), any::<u8>()], vec(any::<u8>(), 0..40));
    prop_oneof![4 => tcp, 3 => udp, 1 => sctp, 2 => icmp, 1 => other]
}

/// What happens to a frame after it was built.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    /// These bytes become something else; most of them near the beginning.
    Bytes(Vec<(Index, u8)>),
    /// One bit of the first 80 bytes is the other one.
    Bit(usize),
    /// Cut here.
    Cut(Index),
    /// Bytes behind its end.
    More(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        12 => Just(Change::Nothing),
        2 => vec((any::<Index>(), any::<u8>()), 1..4).prop_map(Change::Bytes),
        2 => (0_usize..640).prop_map(Change::Bit),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => vec(any::<u8>(), 1..64).prop_map(Change::More),
    ]
}

impl Change {
    fn apply(self, mut frame: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Nothing => {}
            Self::Bytes(bytes) => {
                for (index, byte) in bytes {
                    // Half of all changes hit the first 80 bytes, where the headers are.
                    let near = frame.len().min(80);
                    let end = if byte & 1 == 0 { near } else { frame.len() };
                    frame[index.index(end)] = byte;
                }
            }
            Self::Bit(bit) => {
                let at = (bit / 8).min(frame.len() - 1);
                frame[at] ^= 1 << (bit % 8);
            }
            Self::Cut(index) => {
                let length = index.index(frame.len());
                frame.truncate(length);
            }
            Self::More(bytes) => frame.extend(bytes),
        }
        frame
    }
}
