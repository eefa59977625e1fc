//! Addresses in the forms of packets, numbers and the standard library.

use std::net::IpAddr;

use foobar_common::{address::Address, flow::Family};
use proptest::{prelude::any, prop_assert_eq, proptest};

proptest! {
    #[test]
    fn every_form_of_an_ipv4_address_is_the_same(bytes in any::<[u8; 4]>()) {
        let address = Address::from_word(u32::from_ne_bytes(bytes));
        prop_assert_eq!(address, Address::from(IpAddr::from(bytes)));
        prop_assert_eq!(address.ip(Family::V4), IpAddr::from(bytes));
        prop_assert_eq!(address.number_v4(), u32::from_be_bytes(bytes));
    }

    #[test]
    fn every_form_of_an_ipv6_address_is_the_same(bytes in any::<[u8; 16]>()) {
        let half = |from: usize| -> [u8; 8] { bytes[from..from + 8].try_into().unwrap() };
        let address = Address::from_words([half(0), half(8)].map(u64::from_ne_bytes));
        prop_assert_eq!(address, Address::from(IpAddr::from(bytes)));
        prop_assert_eq!(address.ip(Family::V6), IpAddr::from(bytes));
        prop_assert_eq!(address.numbers_v6(), [half(0), half(8)].map(u64::from_be_bytes));
    }
}

#[test]
fn an_ipv4_address_lies_in_the_first_bytes() {
    assert_eq!(
        Address::from(IpAddr::from([203, 0, 113, 7])),
        Address::from(IpAddr::from([0xcb00, 0x7107, 0, 0, 0, 0, 0, 0]))
    );
    assert_eq!(Address::NONE.ip(Family::V4).to_string(), "0.0.0.0");
    assert_eq!(Address::NONE.ip(Family::V6).to_string(), "::");
}
