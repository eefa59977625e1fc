//! What is asked for, and what comes of it.

use crate::words::words;

words! {
    /// The type of records that a query asks for (IANA, Domain Name System Parameters); the label `qtype`.
    QueryType {
        A = 0, "A", "addresses of IPv4 (RFC 1035)";
        Aaaa = 1, "AAAA", "addresses of IPv6 (RFC 3596)";
        Https = 2, "HTTPS", "how to reach a web server (RFC 9460)";
        Mx = 3, "MX", "mail servers (RFC 1035)";
        Ns = 4, "NS", "name servers (RFC 1035)";
        Ptr = 5, "PTR", "the name of an address (RFC 1035)";
        Soa = 6, "SOA", "where authority begins (RFC 1035)";
        Txt = 7, "TXT", "text (RFC 1035)";
        Other = 8, "other", "any other type, and messages that are no queries: updates, notifications";
    }
}

impl QueryType {
    /// From its number in a question.
    #[inline(always)]
    pub const fn from_wire(number: u16) -> Self {
        match number {
            1 => Self::A,
            2 => Self::Ns,
            6 => Self::Soa,
            12 => Self::Ptr,
            15 => Self::Mx,
            16 => Self::Txt,
            28 => Self::Aaaa,
            65 => Self::Https,
            _ => Self::Other,
        }
    }
}

words! {
    /// The response code in the header of an answer (RFC 1035 section 4.1.1, RFC 2136 section 2.2); the label `rcode`.
    ResponseCode {
        NoError = 0, "noerror", "it went well";
        FormErr = 1, "formerr", "the server could not read the query";
        ServFail = 2, "servfail", "the server could not find out";
        NxDomain = 3, "nxdomain", "there is no such name";
        NotImp = 4, "notimp", "the server does not know this kind of query";
        Refused = 5, "refused", "the server does not want to";
        YxDomain = 6, "yxdomain", "a name is there that must not be";
        YxRrSet = 7, "yxrrset", "records are there that must not be";
        NxRrSet = 8, "nxrrset", "records are missing that have to be there";
        NotAuth = 9, "notauth", "the server has no authority, or the client may not do this";
        NotZone = 10, "notzone", "a name is not in the zone";
        Other = 11, "other", "any other code";
    }
}

impl ResponseCode {
    /// From the four bits in a header.
    #[inline(always)]
    pub const fn from_wire(number: u16) -> Self {
        match Self::from_number(number as u32) {
            Some(code) => code,
            None => Self::Other,
        }
    }
}
