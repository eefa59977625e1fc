//! PROXY headers, whole and cut.

use foobar_common::proxy::{LOOKED_AT, ProxyHeader, header};

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
