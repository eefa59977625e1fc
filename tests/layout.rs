//! The bytes that programs, pins and daemons share.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt::Write as _, mem::offset_of};

use foobar_common::{
    LAYOUT_VERSION,
    classes::{Block, ClassBlocks, ClassHead, ClassWords, FirstRules, Tier, UNITS, WordRules},
    counters::{
        Counter, INTERFACE_SLOTS, MORE_RULE_SLOTS, OTHER_INTERFACE, PORT_ENTRIES, PORT_SLOTS, RULE_SLOTS,
        SERVICE_SLOTS, Transport, VERDICT_ENTRIES, port_slot, verdict_slot,
    },
    fields::{AddressField, Root, Stride, Table, TableField},
    flow::Direction,
    maps,
    rule::{DecisionRecord, InterfaceRecord, Interfaces, RankedRule, Settings},
    sets::Line,
    verdict::{Reason, Verdict},
};

/// Everything that outlives a ruleset, as version 3 has it.
const VERSION_3: &str = "\
map RULE_COUNTERS
map MORE_RULE_COUNTERS
map VERDICT_COUNTERS
map PORT_COUNTERS
counter 16 bytes: packets at 0, bytes at 8
slots: 32768 and 229376 rules, 17 interfaces (16 is other), 64 services, 70 ports
entries: 1428 verdicts, 2380 ports
verdict 0 accept
verdict 1 drop
reason 0 policy
reason 1 rule
reason 2 infrastructure
reason 3 failsafe
reason 4 fragments
reason 5 arp
reason 6 not_ip
reason 7 llc
reason 8 vlan_depth
reason 9 truncated_link
reason 10 truncated_network
reason 11 truncated_transport
reason 12 ip_version
reason 13 ip_header_length
reason 14 ip_length
reason 15 extension_headers
reason 16 fragment_overflow
reason 17 tiny_fragment
reason 18 transport_length
reason 19 nonlinear
reason 20 internal
direction 0 in
direction 1 out
port 64 tcp
port 65 udp
port 66 sctp
port 67 icmp
port 68 icmpv6
port 69 other
interface 2, out, drop, malformed ip_length: entry 245
interface 2, out, port 5: entry 355
";

#[test]
fn what_outlives_a_ruleset_changes_only_with_the_layout_version() {
    let found = surviving();
    assert_eq!(LAYOUT_VERSION, 3, "write down what version {LAYOUT_VERSION} has:\n{found}");
    assert_eq!(
        found, VERSION_3,
        "daemons of either layout would read the other's counters wrongly: raise LAYOUT_VERSION and write the new \
         layout down here"
    );
}

fn surviving() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    for map in maps::SURVIVING {
        line(format!("map {map}"));
    }
    let (packets, bytes) = (offset_of!(Counter, packets), offset_of!(Counter, bytes));
    line(format!("counter {} bytes: packets at {packets}, bytes at {bytes}", size_of::<Counter>()));
    line(format!(
        "slots: {RULE_SLOTS} and {MORE_RULE_SLOTS} rules, {INTERFACE_SLOTS} interfaces ({OTHER_INTERFACE} is other), {SERVICE_SLOTS} \
         services, {PORT_SLOTS} ports"
    ));
    line(format!("entries: {VERDICT_ENTRIES} verdicts, {PORT_ENTRIES} ports"));
    for verdict in Verdict::ALL {
        line(format!("verdict {} {}", verdict.number(), verdict.label()));
    }
    for reason in Reason::ALL {
        line(format!("reason {} {}", reason.number(), reason.label()));
    }
    for direction in Direction::ALL {
        line(format!("direction {} {}", direction as u8, direction.label()));
    }
    for transport in Transport::ALL {
        line(format!("port {} {}", transport.other_port(), transport.label()));
    }
    let verdict = verdict_slot(2, Direction::Out, Verdict::Drop, Reason::IpLength);
    line(format!("interface 2, out, drop, malformed ip_length: entry {verdict}"));
    line(format!("interface 2, out, port 5: entry {}", port_slot(2, Direction::Out, 5)));
    text
}

/// No record has padding: its fields fill it, or it would leak bytes of the daemon into maps.
#[test]
fn records_have_these_sizes_and_no_padding() {
    assert_eq!((size_of::<Counter>(), align_of::<Counter>()), (8 + 8, 8));
    assert_eq!((size_of::<ClassHead>(), align_of::<ClassHead>()), (32 + 4 + 3 + 25, 64));
    assert_eq!((size_of::<ClassWords>(), align_of::<ClassWords>()), (64 + UNITS * 8, 64));
    assert_eq!((size_of::<ClassBlocks>(), align_of::<ClassBlocks>()), (64 + UNITS * 4, 64));
    assert_eq!((size_of::<Block>(), align_of::<Block>()), (64, 64));
    assert_eq!((size_of::<FirstRules>(), align_of::<FirstRules>()), (UNITS * 4, 4));
    assert_eq!((size_of::<WordRules>(), align_of::<WordRules>()), (64 * 8, 8));
    assert_eq!((size_of::<Root>(), align_of::<Root>()), (4 * 65_536, 4));
    assert_eq!((size_of::<Stride>(), align_of::<Stride>()), (4 * 256, 4));
    assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    assert_eq!((size_of::<RankedRule>(), align_of::<RankedRule>()), (8, 8));
    assert_eq!((size_of::<InterfaceRecord>(), align_of::<InterfaceRecord>()), (4 + 4 + 8, 4));
    assert_eq!((size_of::<Interfaces>(), align_of::<Interfaces>()), (8 * 16, 4));
    assert_eq!((size_of::<Table>(), align_of::<Table>()), (2 * 65_536, 2));
    assert_eq!((size_of::<Settings>(), align_of::<Settings>()), (19 * 4, 4));
    assert_eq!((size_of::<DecisionRecord>(), align_of::<DecisionRecord>()), (4 * 4, 4));
}

#[test]
fn fields_are_where_the_programs_look_for_them() {
    assert_eq!(offset_of!(ClassHead, units), 0);
    assert_eq!(offset_of!(ClassHead, failsafe), 32);
    assert_eq!(offset_of!(ClassHead, service), 36);
    assert_eq!(offset_of!(InterfaceRecord, index), 0);
    assert_eq!(offset_of!(InterfaceRecord, slot), 4);
    assert_eq!(offset_of!(InterfaceRecord, classes), 8);
    assert_eq!(offset_of!(DecisionRecord, verdict), 0);
    assert_eq!(offset_of!(DecisionRecord, reason), 4);
    assert_eq!(offset_of!(DecisionRecord, rule), 8);
    assert_eq!(offset_of!(DecisionRecord, port), 12);
}

#[test]
fn numbers_count_up_without_gaps() {
    for (number, verdict) in (0..).zip(Verdict::ALL) {
        assert_eq!((verdict.number(), Verdict::from_number(number)), (number, Some(*verdict)));
    }
    for (number, reason) in (0..).zip(Reason::ALL) {
        assert_eq!((reason.number(), Reason::from_number(number)), (number, Some(*reason)));
    }
    assert_eq!(Verdict::from_number(Verdict::COUNT), None);
    assert_eq!(Reason::from_number(Reason::COUNT), None);
    for (number, field) in (0..).zip(TableField::ALL) {
        assert_eq!(field as u32, number);
    }
    assert_eq!(usize::try_from(TableField::COUNT).unwrap(), TableField::ALL.len());
    for (number, field) in (0..).zip(AddressField::ALL) {
        assert_eq!(field as u32, number);
    }
    assert_eq!(usize::try_from(AddressField::COUNT).unwrap(), AddressField::ALL.len());
    for (number, tier) in (0..).zip(Tier::ALL) {
        assert_eq!(tier as u32, number);
    }
    assert_eq!(usize::try_from(Transport::COUNT).unwrap(), Transport::ALL.len());
}

/// Two counters in one entry would be a silent lie.
#[test]
fn no_two_counters_share_an_entry() {
    let mut verdicts = vec![0; usize::try_from(VERDICT_ENTRIES).unwrap()];
    let mut ports = vec![0; usize::try_from(PORT_ENTRIES).unwrap()];
    for interface in 0..INTERFACE_SLOTS {
        for verdict in Verdict::ALL {
            for reason in Reason::ALL {
                for direction in Direction::ALL {
                    let slot = verdict_slot(interface, direction, *verdict, *reason);
                    verdicts[usize::try_from(slot).unwrap()] += 1;
                }
            }
        }
        for direction in Direction::ALL {
            for port in 0..PORT_SLOTS {
                ports[usize::try_from(port_slot(interface, direction, port)).unwrap()] += 1;
            }
        }
    }
    assert!(verdicts.iter().all(|used| *used == 1), "{verdicts:?}");
    assert!(ports.iter().all(|used| *used == 1), "{ports:?}");
}
