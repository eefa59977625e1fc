//! From the link layer of a capture to the Ethernet frames that the program reads.

use pcap_file::DataLink;

use crate::outcome::InvalidInput;

const ETHERNET_HEADER: usize = 14;
const COOKED_HEADER: usize = 16;
const COOKED2_HEADER: usize = 20;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Smaller values of an EtherType field are the length of an LLC frame (IEEE 802.3 section 3.2.6).
const ETHERTYPE_MIN: u16 = 0x0600;
/// The longest LLC frame.
const LLC_MAX: usize = 1_500;

/// Link layers of captures that can be judged (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// `LINKTYPE_ETHERNET`, 1.
    Ethernet,
    /// `LINKTYPE_RAW`, 101, and what it was called on the BSDs, 12 and 14: the IP version tells.
    RawIp,
    /// `LINKTYPE_IPV4`, 228.
    Ipv4,
    /// `LINKTYPE_IPV6`, 229.
    Ipv6,
    /// `LINKTYPE_LINUX_SLL`, 113: what a capture on `any` has.
    Cooked,
    /// `LINKTYPE_LINUX_SLL2`, 276.
    Cooked2,
}

impl LinkLayer {
    /// The link layer with this number in a capture.
    ///
    /// # Errors
    /// [`InvalidInput`] that names a link type which cannot be judged.
    pub fn of(number: u32) -> Result<Self, InvalidInput> {
        match number {
            1 => Ok(Self::Ethernet),
            12 | 14 | 101 => Ok(Self::RawIp),
            228 => Ok(Self::Ipv4),
            229 => Ok(Self::Ipv6),
            113 => Ok(Self::Cooked),
            276 => Ok(Self::Cooked2),
            other => Err(InvalidInput(format!(
                "link type {} cannot be judged; record Ethernet (1), raw IP (101, 228, 229) or Linux cooked \
                 frames (113, 276)",
                name(other)
            ))),
        }
    }

    /// The Ethernet frame that a recorded one stands for. `scratch` is where it is put together if need be. A
    /// frame that ends inside a cooked header gives an empty one.
    pub fn to_ethernet<'a>(self, recorded: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let (ethertype, packet) = match self {
            Self::Ethernet => return recorded,
            Self::RawIp => {
                let version = recorded.first().map_or(4, |byte| byte >> 4);
                (if version == 6 { IPV6 } else { IPV4 }, recorded)
            }
            Self::Ipv4 => (IPV4, recorded),
            Self::Ipv6 => (IPV6, recorded),
            Self::Cooked => match recorded.split_at_checked(COOKED_HEADER) {
                Some(([.., high, low], packet)) => (u16::from_be_bytes([*high, *low]), packet),
                _ => return &[],
            },
            Self::Cooked2 => match recorded.split_at_checked(COOKED2_HEADER) {
                Some(([high, low, ..], packet)) => (u16::from_be_bytes([*high, *low]), packet),
                _ => return &[],
            },
        };
        let ethertype = match ethertype {
            // Frames without an EtherType have small numbers here; on the wire their length stands there.
            0..ETHERTYPE_MIN => u16::try_from(packet.len().min(LLC_MAX)).unwrap_or(0),
            known => known,
        };
        scratch.clear();
        scratch.extend([0; ETHERNET_HEADER - 2]);
        scratch.extend(ethertype.to_be_bytes());
        scratch.extend(packet);
        scratch
    }

    /// How long the Ethernet frame of a recorded one of this length is.
    pub fn ethernet_length(self, recorded: usize) -> usize {
        match self {
            Self::Ethernet => recorded,
            Self::RawIp | Self::Ipv4 | Self::Ipv6 => recorded.saturating_add(ETHERNET_HEADER),
            Self::Cooked => recorded.saturating_sub(COOKED_HEADER - ETHERNET_HEADER),
            Self::Cooked2 => recorded.saturating_sub(COOKED2_HEADER - ETHERNET_HEADER),
        }
    }
}

fn name(number: u32) -> String {
    let known = DataLink::from(number);
    if matches!(known, DataLink::Unknown(_)) { number.to_string() } else { format!("{number} ({known:?})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(number: u32, recorded: &[u8]) -> Vec<u8> {
        LinkLayer::of(number).unwrap().to_ethernet(recorded, &mut Vec::new()).to_vec()
    }

    fn header(ethertype: [u8; 2]) -> Vec<u8> {
        [vec![0; 12], ethertype.to_vec()].concat()
    }

    #[test]
    fn ethernet_stays_as_it_is() {
        assert_eq!(ethernet(1, &[1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn raw_ip_gets_the_ethertype_of_its_version() {
        for number in [12, 14, 101] {
            assert_eq!(ethernet(number, &[0x45, 9]), [header([8, 0]), vec![0x45, 9]].concat());
            assert_eq!(ethernet(number, &[0x60, 9]), [header([0x86, 0xdd]), vec![0x60, 9]].concat());
            assert_eq!(ethernet(number, &[0x10]), [header([8, 0]), vec![0x10]].concat());
            assert_eq!(ethernet(number, &[]), header([8, 0]));
        }
        assert_eq!(ethernet(228, &[0x60]), [header([8, 0]), vec![0x60]].concat());
        assert_eq!(ethernet(229, &[0x45]), [header([0x86, 0xdd]), vec![0x45]].concat());
    }

    #[test]
    fn cooked_frames_keep_their_ethertype() {
        let cooked = [vec![0; 14], vec![0x81, 0, 0, 10, 8, 0]].concat();
        assert_eq!(ethernet(113, &cooked), [header([0x81, 0]), vec![0, 10, 8, 0]].concat());
        let cooked2 = [vec![0x86, 0xdd], vec![0; 18], vec![0x60]].concat();
        assert_eq!(ethernet(276, &cooked2), [header([0x86, 0xdd]), vec![0x60]].concat());
    }

    #[test]
    fn cooked_frames_without_ethertype_are_llc() {
        let cooked = [vec![0; 14], vec![0, 4], vec![0x42; 38]].concat();
        assert_eq!(ethernet(113, &cooked), [header([0, 38]), vec![0x42; 38]].concat());
    }

    #[test]
    fn a_cut_cooked_header_gives_an_empty_frame() {
        for (number, recorded) in [(113, vec![0; 15]), (276, vec![0; 19]), (113, Vec::new())] {
            assert_eq!(ethernet(number, &recorded), Vec::<u8>::new());
        }
    }

    #[test]
    fn lengths_are_those_of_the_frames() {
        for number in [1, 12, 14, 101, 228, 229, 113, 276] {
            let link = LinkLayer::of(number).unwrap();
            let recorded = vec![0; 100];
            let frame = link.to_ethernet(&recorded, &mut Vec::new()).len();
            assert_eq!(link.ethernet_length(100), frame, "{number}");
        }
    }

    #[test]
    fn other_link_types_are_named() {
        let error = LinkLayer::of(127).unwrap_err().to_string();
        assert!(error.starts_with("link type 127 (IEEE802_11_RADIOTAP) cannot be judged"), "{error}");
        assert!(LinkLayer::of(60_000).unwrap_err().to_string().starts_with("link type 60000 cannot"));
    }
}
