//! PROXY headers, whole and cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foobar_common::proxy::{
    Client, LOOKED_AT, ProxyHeader, TextAddress, V1_ADDRESS_AT, V1_ADDRESS_MAX, header, is_v6,
};
use proptest::{collection::vec, prelude::*, sample::select};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x1f\x90\0\x50";

#[test]
fn headers_are_told_with_their_length() {
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert_eq!(longest.len(), 104);
    for (begins, kind) in [
        (&b"PROXY TCP4 192.0.2.1 192.0.2.2 8080 80\r\n"[..], ProxyHeader::V1),
        (b"PROXY UNKNOWN\r\n", ProxyHeader::V1),
        (longest.as_bytes(), ProxyHeader::V1),
        (V2, ProxyHeader::V2),
        // Of a check of the proxy itself.
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", ProxyHeader::V2),
    ] {
        let length = u32::try_from(begins.len()).unwrap();
        assert_eq!(read(begins), (kind, length), "{begins:?}");
        assert_eq!(read(&[begins, b"GET / HTTP/1.1\r\n\r\n"].concat()), (kind, length), "{begins:?}");
        for cut in 1..begins.len() {
            // The length of a binary one is in its first sixteen bytes.
            let expected =
                if kind == ProxyHeader::V2 && cut >= 16 { (kind, length) } else { (ProxyHeader::Cut, 0) };
            assert_eq!(read(&begins[..cut]), expected, "{:?}", &begins[..cut]);
        }
    }
    // One of 65,551 bytes.
    assert_eq!(read(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"), (ProxyHeader::V2, 65_551));
}

#[test]
fn everything_else_is_none() {
    let too_long = [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n"].concat();
    for begins in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PUT / HTTP/1.1\r\n\r\n",
        b"PROPFIND / HTTP/1.1\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"proxy TCP4 192.0.2.1 192.0.2.2 8080 80\r\n",
        // Version 1 in binary.
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
        &too_long,
    ] {
        assert_eq!(read(begins), (ProxyHeader::None, 0), "{begins:?}");
    }
}

/// As the programs read a segment; behind it is what an earlier one left there.
fn read(begins: &[u8]) -> (ProxyHeader, u32) {
    let mut bytes = *b"\r\n".repeat(64).first_chunk::<{ LOOKED_AT as usize }>().expect("as many");
    let there = begins.len().min(bytes.len());
    bytes[..there].copy_from_slice(&begins[..there]);
    header(&bytes, u32::try_from(there).expect("at most as many"))
}

/// Whom the header names.
fn client(begins: &[u8]) -> Client {
    let mut bytes = [0; LOOKED_AT as usize];
    let there = begins.len().min(bytes.len());
    bytes[..there].copy_from_slice(&begins[..there]);
    let (kind, length) = header(&bytes, u32::try_from(there).expect("a short one"));
    match kind {
        ProxyHeader::V1 => {
            let Some(is_v6) = is_v6(&bytes, length) else { return Client::NOBODY };
            let mut text = TextAddress::BEGINNING;
            let begins_at = V1_ADDRESS_AT as usize;
            let _all = bytes[begins_at..][..V1_ADDRESS_MAX as usize].iter().all(|byte| text.take(*byte));
            text.client(is_v6)
        }
        ProxyHeader::V2 => Client::of_v2(&bytes, u32::try_from(begins.len()).expect("a short one"), length),
        ProxyHeader::None | ProxyHeader::Cut => Client::NOBODY,
    }
}

/// The same as it is meant.
fn expected(address: IpAddr) -> Client {
    match address.to_canonical() {
        IpAddr::V4(v4) => Client::v4(IpAddr::V4(v4).into()),
        IpAddr::V6(v6) => Client { address: IpAddr::V6(v6).into(), family: 6, padding: 0 },
    }
}

fn line(word: &str, address: &str) -> Vec<u8> {
    format!("PROXY {word} {address} 2001:db8::1 50000 443\r\n").into_bytes()
}

/// What somebody may write for an address: addresses with and without groups of zeros, and pieces of them in any order.
fn text() -> impl Strategy<Value = String> {
    const PIECES: [&str; 17] = [
        "::", ":", ".", "0", "1", "10", "255", "256", "01", "ffff", "FFFF", "10000", "abc", "g", "-",
        "::ffff:", "1.2.3.4",
    ];
    let groups = vec(prop_oneof![Just(0_u16), any::<u16>()], 8);
    prop_oneof![
        any::<Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<Ipv4Addr>().prop_map(|address| address.to_ipv6_mapped().to_string()),
        groups.prop_map(|groups| {
            let groups: [u16; 8] = groups.try_into().expect("eight of them");
            Ipv6Addr::from(groups).to_string()
        }),
        vec(select(&PIECES[..]), 1..10).prop_map(|pieces| pieces.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_line_names_its_client_as_the_standard_library_reads_it(text in text()) {
        let v4 = text.parse().ok().map(IpAddr::V4);
        let v6 = text.parse().ok().map(IpAddr::V6);
        for (word, address) in [("TCP4", v4), ("TCP6", v6)] {
            let named = address.map_or(Client::NOBODY, expected);
            prop_assert_eq!(client(&line(word, &text)), named, "{} {}", word, text);
        }
    }
}

#[test]
fn other_headers_name_nobody() {
    for begins in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 8080 80\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP4 \r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.2 8080 80\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 8080 80\r\n",
        // A check of the proxy itself, datagrams between files, and a length that ends inside of the addresses.
        b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x1f\x90\0\x50",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x1f\x90\0\x50",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b\xc0\0\x02\x01\xc0\0\x02\x02\x1f\x90\0\x50",
        &V2[..27],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(client(begins), Client::NOBODY, "{:?}", begins.escape_ascii().to_string());
    }
}

#[test]
fn a_binary_header_names_its_client() {
    assert_eq!(client(V2), expected("192.0.2.1".parse().unwrap()));
    for address in
        ["2001:db8::7", "::1", "::ffff:192.0.2.7", "::192.0.2.7", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
    {
        let address: Ipv6Addr = address.parse().unwrap();
        // With more behind the addresses, which a proxy may add.
        for more in [0, 200_u8] {
            let addresses =
                [&address.octets()[..], &[0xff; 16], &[1, 2, 3, 4], &vec![more; usize::from(more)]].concat();
            let begins = [&V2[..13], &[0x21, 0, 36 + more], &addresses].concat();
            assert_eq!(client(&begins), expected(address.into()), "{address}");
        }
    }
}
