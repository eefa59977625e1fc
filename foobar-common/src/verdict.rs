//! What becomes of a packet, and why: number, label and sentence of each in one list.

use crate::words::words;

words! {
    /// What becomes of a packet.
    Verdict {
        Accept = 0, "accept", "goes its way";
        Drop = 1, "drop", "ends here, without an answer";
        Reject = 2, "reject", "ends here, and its sender is told so";
        Answer = 3, "answer", "ends here, answered by foobar in the server's stead";
    }
}

words! {
    /// Why a packet got its verdict. Exactly one reason for every packet.
    Reason {
        Policy = 0, "policy", "no rule matched, so the policy decided";
        Rule = 1, "rule", "a rule matched";
        Infrastructure = 2, "infrastructure", "ARP, IPv6 neighbour discovery or a DHCP reply";
        Failsafe = 3, "failsafe", "a failsafe port or peer";
        Fragments = 4, "fragments", "a later fragment, which policy.fragments decided";
        Arp = 5, "arp", "ARP while policy.infrastructure is off, so the policy decided";
        NotIp = 6, "not_ip", "neither IPv4 nor IPv6, so no rule can match and the policy decided";
        Llc = 7, "llc", "an IEEE 802.2 (LLC) frame, so no rule can match and the policy decided";
        VlanDepth = 8, "vlan_depth", "more than two VLAN tags";
        TruncatedLink = 9, "truncated_link", "ends inside the Ethernet header or a VLAN tag";
        TruncatedNetwork = 10, "truncated_network", "ends inside the IP header or an extension header";
        TruncatedTransport = 11, "truncated_transport", "ends inside the TCP, UDP, SCTP or ICMP header";
        IpVersion = 12, "ip_version", "the IP version contradicts the EtherType";
        IpHeaderLength = 13, "ip_header_length", "an IPv4 header of less than 20 bytes";
        IpLength = 14, "ip_length", "the IP length is less than its header or more than the frame";
        ExtensionHeaders = 15, "extension_headers", "more than eight IPv6 extension headers";
        FragmentOverflow = 16, "fragment_overflow", "a fragment that ends beyond 65,535 bytes";
        TinyFragment = 17, "tiny_fragment", "a fragment that splits or overwrites the headers";
        TransportLength = 18, "transport_length", "a TCP or UDP length that contradicts the packet";
        NonLinear = 19, "nonlinear", "headers beyond the first buffer of a frame of several";
        Internal = 20, "internal", "a table of the ruleset could not be read: a defect of foobar";
        NotTls = 21, "not_tls", "no TLS, to a service that asks for it";
        OldTls = 22, "old_tls", "TLS of no version that the service takes";
        TlsOrder = 23, "tls_order", "came before the hello that a service of TLS asks for; it is sent again";
        Ban = 24, "ban", "from a banned address";
        Limit = 25, "limit", "over the limit of the rule that matched";
        Replies = 26, "replies", "an answer in a known flow, or an ICMP error about one (policy.replies)";
        SynCookie = 27, "syn_cookie", "a SYN, answered with a cookie in the server's stead";
    }
}

impl Verdict {
    /// Whether the packet is refused: it neither goes on nor is what it asks for given in the server's stead.
    #[inline(always)]
    pub const fn is_refusal(self) -> bool {
        !matches!(self, Self::Accept | Self::Answer)
    }
}

impl Reason {
    /// Whether packets that have it have no [`crate::flow::Flow`]: nothing of them could be read as IP, or not to the end.
    #[inline(always)]
    pub const fn is_without_flow(self) -> bool {
        self.number() >= Self::Arp.number() && self.number() <= Self::Internal.number()
    }

    /// Whether `policy.malformed` decides such packets: frames that could not be read to the end.
    #[inline(always)]
    pub const fn is_malformed(self) -> bool {
        self.number() >= Self::VlanDepth.number() && self.number() <= Self::Internal.number()
    }
}
