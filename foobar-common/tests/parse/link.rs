//! Rows about Ethernet, VLAN tags and what is not IP.

use super::*;

pub(crate) fn rows() -> Vec<Row> {
    let two = syn4().tag(SERVICE_VLAN, 200).vlan(30);
    let tag = |id: u16| Ok(Flow { vlan: id, ..v4_syn(40) });
    vec![
        ("an empty frame", vec![], Err(Reason::TruncatedLink)),
        ("13 bytes", vec![0; 13], Err(Reason::TruncatedLink)),
        ("14 bytes are a header, of nothing known", ethernet(0x88b5, &[]), Err(Reason::NotIp)),
        ("no tag", syn4().frame(), Ok(v4_syn(40))),
        ("an 802.1Q tag", syn4().vlan(10).frame(), tag(10)),
        ("an 802.1ad tag alone", syn4().tag(SERVICE_VLAN, 10).frame(), tag(10)),
        ("a priority tag is VLAN 0", syn4().tag(VLAN, 0xe000).frame(), tag(0)),
        ("priority and eligibility are no part of the id", syn4().tag(VLAN, 0xffff).frame(), tag(4095)),
        ("of two tags the outer one counts", two.frame(), tag(200)),
        ("a priority tag outside a tag", syn4().vlan(0).vlan(7).frame(), tag(0)),
        ("two 802.1Q tags", syn4().vlan(1).vlan(2).frame(), tag(1)),
        ("three tags", syn4().vlan(1).vlan(2).vlan(3).frame(), Err(Reason::VlanDepth)),
        (
            "three tags, the innermost 802.1ad",
            two.clone().tag(SERVICE_VLAN, 1).frame(),
            Err(Reason::VlanDepth),
        ),
        ("a tag without the EtherType behind it", ethernet(VLAN, &[0, 10, 8]), Err(Reason::TruncatedLink)),
        ("a second tag cut short", ethernet(VLAN, &[0, 10, 0x88, 0xa8, 0]), Err(Reason::TruncatedLink)),
        ("a frame that ends with its tag", ethernet(VLAN, &[0, 10, 8, 0]), Err(Reason::TruncatedNetwork)),
        ("ARP", arp(), Err(Reason::Arp)),
        ("ARP without a body", ethernet(packets::ARP, &[]), Err(Reason::Arp)),
        ("LLC: spanning tree", ethernet(38, &[0x42, 0x42, 3, 0, 0]), Err(Reason::Llc)),
        ("SNAP that says IPv4", ethernet(48, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45]), Err(Reason::Llc)),
        ("SNAP behind a tag", ethernet(VLAN, &[0, 5, 0, 48, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), Err(Reason::Llc)),
        ("a length of zero", ethernet(0, &[0; 46]), Err(Reason::Llc)),
        ("one below the first EtherType", ethernet(0x05ff, &[0; 46]), Err(Reason::Llc)),
        ("the first EtherType", ethernet(0x0600, &[0; 46]), Err(Reason::NotIp)),
        ("MPLS", ethernet(0x8847, &[0, 0, 0x11, 0x40, 0x45, 0]), Err(Reason::NotIp)),
        ("PPPoE", ethernet(0x8864, &[0x11, 0, 0, 1, 0, 42, 0, 0x21, 0x45]), Err(Reason::NotIp)),
        ("the old tag 0x9100, which is no VLAN tag", ethernet(0x9100, &[0, 1, 8, 0]), Err(Reason::NotIp)),
    ]
}
