use super::*;

fn flow_of(text: &str) -> Flow {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).unwrap()
}

#[test]
fn packets_in_words() {
    let flow = flow_of("tcp 203.0.113.7:5555 > 192.0.2.10:443 syn");
    assert_eq!((flow.family, flow.protocol, flow.tcp_flags), (Family::V4, 6, 0x02));
    assert_eq!((flow.source_port(), flow.destination_port()), (5555, 443));
    assert_eq!(flow.source.ip(Family::V4).to_string(), "203.0.113.7");
    assert_eq!((flow.vlan, flow.length, flow.fragment), (UNTAGGED, 40, Fragment::Whole));

    let flow = flow_of("tcp [2001:db8::7]:1 -> [2001:db8::1]:2 syn,ack psh vlan 10 length 1500 ttl 3");
    assert_eq!((flow.family, flow.tcp_flags, flow.vlan), (Family::V6, 0x1a, 10));
    assert_eq!((flow.length, flow.hop_limit), (1500, 3));

    assert_eq!(
        flow_of("tcp 1.2.3.4:1 > 1.2.3.5:2").tcp_flags,
        0x02,
        "a new connection unless said otherwise"
    );
    assert_eq!(flow_of("tcp 1.2.3.4:1 > 1.2.3.5:2 none").tcp_flags, 0);
    let flow = flow_of("icmp 1.2.3.4 > 5.6.7.8 3/4");
    assert_eq!((flow.icmp_type, flow.icmp_code), (3, 4));
    let flow = flow_of("icmpv6 fe80::1 > fe80::2 neighbor-solicitation");
    assert_eq!((flow.icmp_type, flow.hop_limit), (135, 255));
    let flow = flow_of("udp 1.2.3.4 > 5.6.7.8 fragment");
    assert_eq!((flow.fragment, flow.has_ports()), (Fragment::Later, false));
    assert_eq!(flow_of("132 1.2.3.4:1 > 5.6.7.8:2 first-fragment").fragment, Fragment::First);
    assert_eq!(flow_of("gre [::1] > ::2").protocol, 47);
    assert_eq!(parse("arp"), Ok(Err(Reason::Arp)));
    assert_eq!(parse("ip_length"), Ok(Err(Reason::IpLength)));
}

#[test]
fn errors_teach() {
    for (text, message) in [
        ("", "the packet is empty; write it like"),
        ("tpc 1.2.3.4:1 > 1.2.3.4:2", "there is no protocol \"tpc\"; did you mean tcp?"),
        ("policy", "there is no protocol"),
        ("tcp", "the packet has no source"),
        ("tcp 1.2.3.4:1 1.2.3.4:2", "not >; write it like"),
        ("tcp 1.2.3.4:1 >", "the packet has no destination"),
        ("tcp 2001:db8::1:443 > 1.2.3.4:2", "different IP versions"),
        ("tcp 1.2.3.4:99999 > 1.2.3.4:2", "is no address; write 192.0.2.1:443"),
        ("tcp web:1 > 1.2.3.4:2", "is no address"),
        ("tcp 1.2.3.4 > 1.2.3.4:2", "the source has no port"),
        ("tcp 1.2.3.4:1 > 1.2.3.4", "the destination has no port"),
        ("udp 1.2.3.4 > 1.2.3.4", "the packet has no ports"),
        ("icmp 1.2.3.4:1 > 1.2.3.4 echo-request", "icmp has no ports; write the source as 1.2.3.4"),
        ("icmp 1.2.3.4 > 1.2.3.4", "has no message; write its name"),
        ("icmp 1.2.3.4 > 1.2.3.4 eco-request", "did you mean echo-request?"),
        ("icmp 1.2.3.4 > 1.2.3.4 echo-request echo-reply", "says nothing about"),
        ("tcp 1.2.3.4:1 > 1.2.3.4:2 sny", "did you mean syn?"),
        ("tcp 1.2.3.4:1 > 1.2.3.4:2 fragment", "a later fragment has no ports"),
        ("tcp 1.2.3.4 > 1.2.3.4 syn fragment", "neither TCP flags"),
        ("udp 1.2.3.4:1 > 1.2.3.4:2 syn", "says nothing about a packet of udp"),
        ("udp 1.2.3.4:1 > 1.2.3.4:2 vlan", "behind vlan there is no number"),
        ("udp 1.2.3.4:1 > 1.2.3.4:2 vlan 4096", "from 0 to 4095"),
        ("arp 1.2.3.4", "write \"arp\" alone"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn what_describe_says_is_the_same_packet() {
    for text in [
        "tcp 203.0.113.7:5555 > 192.0.2.10:443 syn",
        "tcp [2001:db8::7]:1 > [2001:db8::1]:2 none first-fragment vlan 3",
        "udp 1.2.3.4 > 5.6.7.8 fragment length 9 ttl 1",
        "icmpv6 fe80::1 > fe80::2 packet-too-big",
        "icmp 1.2.3.4 > 5.6.7.8 200/7",
        "253 1.2.3.4 > 5.6.7.8",
    ] {
        assert_eq!(flow_of(&describe(&flow_of(text))), flow_of(text), "{text}");
    }
}
