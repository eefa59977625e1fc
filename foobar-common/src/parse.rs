//! Frame to [`Flow`], or the reason why there is none.
//!
//! Ethernet (IEEE 802.3) with up to two VLAN tags (802.1Q, 802.1ad), IPv4 (RFC 791), IPv6 with its extension
//! headers (RFC 8200, RFC 4302), TCP, UDP, SCTP, ICMP and ICMPv6. Bytes behind the end that the IP header
//! gives are padding and are never read.

use crate::{
    address::Address,
    flow::{Family, Flow, Fragment, UNTAGGED, protocol},
    frame::{Frame, without_history},
    verdict::Reason,
};

/// Deepest VLAN nesting that is read.
pub const VLAN_TAGS_MAX: usize = 2;
/// Longest chain of IPv6 extension headers that is read.
pub const EXTENSION_HEADERS_MAX: usize = 8;

const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_AT: usize = 12;
const VLAN_TAG: usize = 4;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// The largest IPv4 packet, and so the end that no fragment may lie beyond.
const IPV4_PACKET_MAX: u32 = 65_535;
/// Offset of a fragment plus its length with the IPv6 header (40) and the fragment header (8), both of which
/// are not part of the payload length that must not exceed 65,535.
const IPV6_FRAGMENT_END_MAX: u32 = 65_535 + 40 + 8;
/// Every IPv6 extension header is at least this long.
const EXTENSION_HEADER_MIN: u32 = 8;
const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;
/// No header begins further into a frame than this: 14 bytes of Ethernet, two VLAN tags, 40 bytes of IPv6 and
/// eight extension headers of at most 2,048 bytes each are 16,446.
const HEADER_OFFSET_MASK: u32 = 0x7fff;
/// No frame is longer: jumbograms exist on paper only.
const LENGTH_MASK: u32 = 0xff_ffff;

/// EtherTypes (IANA, IEEE 802 Numbers).
mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
    /// Smaller values are the length of an LLC frame.
    pub(super) const SMALLEST: u16 = 0x0600;
}

/// IPv6 extension headers that are walked over.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

/// Reads the headers of a frame.
///
/// # Errors
/// The [`Reason`] why there is no flow: [`Reason::is_malformed`] tells broken frames from such as are not IP.
#[inline(always)]
pub fn parse(frame: &Frame<'_>) -> Result<Flow, Reason> {
    let mut headers = Headers::NONE;
    network(frame, UNTAGGED, &mut headers)?;
    transport(frame, &mut headers)?;
    Ok(headers.flow)
}

/// What has been read of a frame.
///
/// Written where it is kept, and each field once: a copy would be made of words whose bytes have only just been
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Headers {
    /// The flow; without ports, flags and types until the transport header has been read.
    pub flow: Flow,
    /// Where the transport header begins in the frame.
    pub transport: u32,
    /// Bytes of the IP packet from there on.
    pub left: u32,
    /// Where in the frame begins what the last header that was read has in it.
    pub payload: u32,
    /// The identification of the datagram that this is a fragment of, as memory has it; has no meaning of a whole one.
    pub identification: u32,
}

impl Headers {
    /// Nothing yet.
    pub const NONE: Self = Self { flow: Flow::EMPTY, transport: 0, left: 0, payload: 0, identification: 0 };

    /// Bytes of the IP packet behind the last header that was read.
    #[inline(always)]
    pub const fn payload_length(&self) -> u32 {
        self.transport.wrapping_add(self.left).wrapping_sub(self.payload)
    }
}

/// Reads the headers up to the IP header and its extensions: the first half of [`parse`]. `headers` then lacks
/// nothing but what the transport header says, whatever it held before. `tag` is the id of a VLAN tag that lies beside
/// the frame, outside of all those in it, or [`UNTAGGED`].
///
/// # Errors
/// As [`parse`]; `headers` has no meaning then.
#[inline(always)]
pub fn network(frame: &Frame<'_>, tag: u16, headers: &mut Headers) -> Result<(), Reason> {
    headers.payload = 0;
    let link = link(frame, tag)?;
    match link.ethertype {
        ethertype::IPV4 => ipv4(frame, &link, headers),
        ethertype::IPV6 => ipv6(frame, &link, headers),
        ethertype::ARP => Err(Reason::Arp),
        ethertype::VLAN | ethertype::SERVICE_VLAN => Err(Reason::VlanDepth),
        length if length < ethertype::SMALLEST => Err(Reason::Llc),
        _ => Err(Reason::NotIp),
    }
}

/// What the link layer says: what follows, where, and in which VLAN.
struct Link {
    ethertype: u16,
    vlan: u16,
    network: usize,
}

#[inline(always)]
fn link(frame: &Frame<'_>, tag: u16) -> Result<Link, Reason> {
    // The whole header must be there, though only its last two bytes are of interest.
    let mut ethertype = u16::from_be_bytes(frame.read(ETHERTYPE_AT, Reason::TruncatedLink)?);
    let mut vlan = tag;
    let mut network = ETHERNET_HEADER;
    for _ in 0..VLAN_TAGS_MAX {
        if !matches!(ethertype, ethertype::VLAN | ethertype::SERVICE_VLAN) {
            break;
        }
        let [high, low, inner @ ..] = frame.read::<[u8; VLAN_TAG]>(network, Reason::TruncatedLink)?;
        if vlan == UNTAGGED {
            // The upper four bits are priority and drop eligibility (802.1Q section 9.6).
            vlan = u16::from_be_bytes([high, low]) & 0x0fff;
        }
        ethertype = u16::from_be_bytes(inner);
        network = network.wrapping_add(VLAN_TAG);
    }
    Ok(Link { ethertype, vlan, network: header_offset(network) })
}

#[inline(always)]
#[expect(clippy::host_endian_bytes, reason = "words are as memory has them")]
fn ipv4(frame: &Frame<'_>, link: &Link, headers: &mut Headers) -> Result<(), Reason> {
    let words: [u32; IPV4_HEADER / 4] = frame.read(link.network, Reason::TruncatedNetwork)?;
    let [first, second, third, source, destination] = words;
    let [version_length, _, t0, t1] = first.to_ne_bytes();
    let [i0, i1, f0, f1] = second.to_ne_bytes();
    let [hop_limit, protocol, _, _] = third.to_ne_bytes();
    if version_length >> 4 != 4 {
        return Err(Reason::IpVersion);
    }
    let header_length = u32::from(version_length & 0x0f).wrapping_mul(4);
    if header_length < 20 {
        return Err(Reason::IpHeaderLength);
    }
    let in_frame = frame.length().wrapping_sub(offset_u32(link.network));
    let total_length = match u32::from(u16::from_be_bytes([t0, t1])) {
        0 if frame.is_offloaded() => in_frame,
        said => said,
    };
    if total_length < header_length || total_length > in_frame {
        return Err(Reason::IpLength);
    }
    let payload = total_length.wrapping_sub(header_length);
    let fragment_field = u16::from_be_bytes([f0, f1]);
    let fragment_offset = u32::from(fragment_field & 0x1fff).wrapping_mul(8);
    let more_fragments = fragment_field & 0x2000 != 0;
    if fragment_offset > 0 && fragment_offset.wrapping_add(total_length) > IPV4_PACKET_MAX {
        return Err(Reason::FragmentOverflow);
    }
    if overwrites_header(protocol, fragment_offset) {
        return Err(Reason::TinyFragment);
    }
    headers.flow = Flow {
        source: Address::from_word(source),
        destination: Address::from_word(destination),
        vlan: link.vlan,
        length: clamp_length(total_length),
        family: Family::V4,
        protocol,
        fragment: fragment(fragment_offset, more_fragments),
        hop_limit,
        ..Flow::EMPTY
    };
    headers.transport = offset_u32(link.network).wrapping_add(header_length);
    headers.left = payload;
    headers.payload = headers.transport;
    headers.identification = u32::from_ne_bytes([i0, i1, 0, 0]);
    Ok(())
}

#[inline(always)]
#[expect(clippy::host_endian_bytes, reason = "words are as memory has them")]
fn ipv6(frame: &Frame<'_>, link: &Link, headers: &mut Headers) -> Result<(), Reason> {
    let words: [u64; IPV6_HEADER / 8] = frame.read(link.network, Reason::TruncatedNetwork)?;
    let [first, source_high, source_low, destination_high, destination_low] = words;
    let [version, _, _, _, l0, l1, next_header, hop_limit] = first.to_ne_bytes();
    if version >> 4 != 6 {
        return Err(Reason::IpVersion);
    }
    let in_frame = frame.length().wrapping_sub(offset_u32(link.network));
    let payload_length = u32::from(u16::from_be_bytes([l0, l1]));
    // A jumbogram (RFC 2675) says zero here and the true length in a hop-by-hop option; the frame's own
    // length bounds it all the same.
    let is_jumbogram = next_header == extension::HOP_BY_HOP || frame.is_offloaded();
    let total_length =
        if payload_length == 0 && is_jumbogram { in_frame } else { payload_length.wrapping_add(40) };
    if total_length > in_frame {
        return Err(Reason::IpLength);
    }

    let mut at = link.network.wrapping_add(IPV6_HEADER);
    let mut left = total_length.wrapping_sub(40);
    let mut protocol = next_header;
    let mut fragment = Fragment::Whole;
    for _ in 0..EXTENSION_HEADERS_MAX {
        // What follows the header of a later fragment is data, whatever number stands there.
        if matches!(fragment, Fragment::Later) || !is_extension(protocol) {
            break;
        }
        if left < EXTENSION_HEADER_MIN {
            return Err(short(fragment, Reason::TruncatedNetwork));
        }
        let [first, second]: [u32; 2] = frame.read(at, Reason::TruncatedNetwork)?;
        let [next, units, o0, o1] = first.to_ne_bytes();
        let length = match protocol {
            extension::FRAGMENT => {
                let field = u16::from_be_bytes([o0, o1]);
                let offset = u32::from(field & 0xfff8);
                // The datagram put together again has the headers before this one, too (RFC 8200 section 4.5).
                if offset.wrapping_add(total_length) > IPV6_FRAGMENT_END_MAX {
                    return Err(Reason::FragmentOverflow);
                }
                if overwrites_header(next, offset) {
                    return Err(Reason::TinyFragment);
                }
                headers.identification = second;
                // A fragment of a fragment stays one, however the inner header describes itself.
                fragment = match (fragment, self::fragment(offset, field & 1 != 0)) {
                    (Fragment::First, Fragment::Whole) => Fragment::First,
                    (_, inner) => inner,
                };
                EXTENSION_HEADER_MIN
            }
            // The only extension header that counts in four bytes, RFC 4302 section 2.2.
            extension::AUTHENTICATION => u32::from(units).wrapping_add(2).wrapping_mul(4),
            _ => u32::from(units).wrapping_add(1).wrapping_mul(8),
        };
        if length > left {
            return Err(short(fragment, Reason::TruncatedNetwork));
        }
        left = without_history::<LENGTH_MASK>(left.wrapping_sub(length));
        at = header_offset(at.wrapping_add(length as usize));
        protocol = next;
    }
    if !matches!(fragment, Fragment::Later) && is_extension(protocol) {
        return Err(Reason::ExtensionHeaders);
    }
    headers.flow = Flow {
        source: Address::from_words([source_high, source_low]),
        destination: Address::from_words([destination_high, destination_low]),
        vlan: link.vlan,
        length: clamp_length(total_length),
        family: Family::V6,
        protocol,
        fragment,
        hop_limit,
        ..Flow::EMPTY
    };
    headers.transport = offset_u32(at);
    headers.left = left;
    headers.payload = headers.transport;
    Ok(())
}

/// Adds what the transport header says: the second half of [`parse`].
///
/// # Errors
/// As [`network`].
#[inline(always)]
pub fn transport(frame: &Frame<'_>, headers: &mut Headers) -> Result<(), Reason> {
    let Headers { flow, transport, left, payload, identification: _ } = headers;
    let (at, left) = (header_offset(*transport as usize), *left);
    if matches!(flow.fragment, Fragment::Later) {
        return Ok(());
    }
    let truncated = short(flow.fragment, Reason::TruncatedTransport);
    let whole = matches!(flow.fragment, Fragment::Whole);
    match flow.protocol {
        protocol::TCP => {
            if left < TCP_HEADER {
                return Err(truncated);
            }
            let [s0, s1, d0, d1]: [u8; 4] = frame.read(at, truncated)?;
            let [offset, flags]: [u8; 2] = frame.read(at.wrapping_add(12), truncated)?;
            let header_length = u32::from(offset >> 4).wrapping_mul(4);
            if header_length < TCP_HEADER {
                return Err(Reason::TransportLength);
            }
            if header_length > left {
                return Err(short(flow.fragment, Reason::TransportLength));
            }
            flow.source_port = [s0, s1];
            flow.destination_port = [d0, d1];
            flow.tcp_flags = flags;
            *payload = offset_u32(at).wrapping_add(header_length);
        }
        protocol::UDP => {
            if left < UDP_HEADER {
                return Err(truncated);
            }
            let [s0, s1, d0, d1, l0, l1]: [u8; 6] = frame.read(at, truncated)?;
            let length = u32::from(u16::from_be_bytes([l0, l1]));
            // Zero stands for "more than 65,535" in a jumbogram (RFC 2675 section 4).
            let jumbo = length == 0 && left > IPV4_PACKET_MAX;
            if !jumbo && (length < UDP_HEADER || (whole && length > left)) {
                return Err(Reason::TransportLength);
            }
            flow.source_port = [s0, s1];
            flow.destination_port = [d0, d1];
            *payload = offset_u32(at).wrapping_add(UDP_HEADER);
        }
        protocol::SCTP => {
            if left < 12 {
                return Err(truncated);
            }
            let [s0, s1, d0, d1]: [u8; 4] = frame.read(at, truncated)?;
            flow.source_port = [s0, s1];
            flow.destination_port = [d0, d1];
        }
        protocol::ICMP | protocol::ICMPV6 => {
            if left < 4 {
                return Err(truncated);
            }
            let [kind, code]: [u8; 2] = frame.read(at, truncated)?;
            flow.icmp_type = kind;
            flow.icmp_code = code;
        }
        _ => {}
    }
    Ok(())
}

/// The reason why a header is cut short: a first fragment is made so on purpose (RFC 1858 section 3).
#[inline(always)]
fn short(fragment: Fragment, otherwise: Reason) -> Reason {
    if matches!(fragment, Fragment::First) { Reason::TinyFragment } else { otherwise }
}

#[inline(always)]
fn fragment(offset: u32, more_fragments: bool) -> Fragment {
    match (offset, more_fragments) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}

/// Whether a later fragment lies over the TCP header, which its first fragment must hold whole: made to slip
/// other ports or flags past a filter (RFC 1858 section 4, RFC 3128).
#[inline(always)]
fn overwrites_header(protocol: u8, offset: u32) -> bool {
    protocol == protocol::TCP && offset > 0 && offset < TCP_HEADER
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        extension::HOP_BY_HOP
            | extension::ROUTING
            | extension::FRAGMENT
            | extension::AUTHENTICATION
            | extension::DESTINATION
    )
}

#[inline(always)]
fn clamp_length(length: u32) -> u16 {
    length.min(65_535) as u16
}

/// The offset of a header, in words that the verifier can follow.
#[inline(always)]
pub(crate) fn header_offset(offset: usize) -> usize {
    without_history::<HEADER_OFFSET_MASK>(offset_u32(offset)) as usize
}

/// Offsets are a few hundred bytes at most, so this never truncates.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an offset into a frame, whose length is a u32")]
fn offset_u32(offset: usize) -> u32 {
    offset as u32
}
