//! An event in words. What comes from the wire, from names of interfaces and from rules gets to a terminal as letters only.

use std::time::{Duration, UNIX_EPOCH};

use foobar_common::{frame::Frame, parse::parse, verdict::Reason};

use crate::{
    control::events::{LostEvents, ToldEvent},
    rules::packet::describe,
};

/// An event in one line.
pub fn line(event: &ToldEvent, bytes: &[u8]) -> String {
    let ToldEvent { unix_ns, interface, direction, verdict, reason, rule, packets, .. } = event;
    let mut why = reason.clone();
    if let Some(rule) = rule {
        why = format!("{why} {rule}");
    }
    let on_the_wire = if *packets > 1 { format!("  ({packets} packets on the wire)") } else { String::new() };
    let line = format!(
        "{}  {} {direction:<3}  {verdict:<6}  {why:<20}  {}{on_the_wire}",
        time(*unix_ns),
        interface,
        packet(event, bytes)
    );
    printable(&line)
}

/// When it was, to the nanosecond.
pub fn time(unix_ns: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(unix_ns)).to_string()
}

/// What the packet is, as far as its first bytes tell.
pub fn packet(event: &ToldEvent, bytes: &[u8]) -> String {
    let frame = Frame::from_first_buffer(bytes, event.length).offloaded(event.packets > 1);
    match parse(&frame) {
        Ok(flow) => describe(&flow),
        Err(reason) => without_flow(reason, bytes, event.length),
    }
}

/// A frame that no flow can be read from: its ends, and what it says that it holds.
fn without_flow(reason: Reason, bytes: &[u8], length: u32) -> String {
    let address = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    let (Some(to), Some(from)) = (bytes.get(..6), bytes.get(6..12)) else {
        return format!("{length} bytes without a header");
    };
    let kind = match bytes.get(12..14) {
        Some([high, low]) => format!(" type 0x{high:02x}{low:02x}"),
        _ => String::new(),
    };
    format!("{} > {}{kind} length {length}: {}", address(from), address(to), reason.describe())
}

/// What was lost where.
pub fn losses(LostEvents { ring, watcher }: LostEvents) -> String {
    let mut words = Vec::new();
    if ring > 0 {
        words.push(format!(
            "{ring} in the full buffer (of all packets; --event-buffer of `foobar run` makes it larger)"
        ));
    }
    if watcher > 0 {
        words.push(format!("{watcher} because this watcher is slow"));
    }
    words.join(", ")
}

/// The same text without anything that a terminal obeys: control characters, and those that turn the direction of writing.
pub fn printable(text: &str) -> String {
    let is_obeyed = |one: char| {
        one.is_control()
            || matches!(one, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        if is_obeyed(one) { shown.extend(one.escape_default()) } else { shown.push(one) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: &[u8]) -> ToldEvent {
        ToldEvent {
            unix_ns: 1_700_000_000_123_456_789,
            interface: "eth0".to_owned(),
            direction: "in".to_owned(),
            verdict: "drop".to_owned(),
            reason: "rule".to_owned(),
            rule: Some("web".to_owned()),
            one_in: 10,
            packets: 1,
            length: u32::try_from(bytes.len()).unwrap(),
            bytes: String::new(),
        }
    }

    #[test]
    fn a_line_tells_what_a_frame_is_whatever_it_is() {
        let mut frame = vec![2; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([192, 0, 2, 1, 192, 0, 2, 2, 0, 53, 4, 0, 0, 8, 0, 0]);
        assert_eq!(
            line(&event(&frame), &frame),
            "2023-11-14T22:13:20.123456789Z  eth0 in   drop    rule web              udp 192.0.2.1:53 > 192.0.2.2:1024 \
             length 28 hop-limit 64"
        );
        let arp = [&[0xff; 6][..], &[2; 6], &[8, 6], &[0; 28]].concat();
        assert_eq!(
            packet(&event(&arp), &arp),
            format!(
                "02:02:02:02:02:02 > ff:ff:ff:ff:ff:ff type 0x0806 length 42: {}",
                Reason::Arp.describe()
            )
        );
        for length in 0..frame.len() {
            assert!(!packet(&event(&frame), &frame[..length]).is_empty());
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_there() {
        let named = ToldEvent { interface: "e\u{1b}[2J\r\n".to_owned(), ..event(&[]) };
        let line = line(&ToldEvent { rule: Some("\u{202e}x\u{9b}1m".to_owned()), ..named }, &[]);
        assert!(line.contains("e\\u{1b}[2J\\r\\n in"), "{line}");
        assert!(line.contains("rule \\u{202e}x\\u{9b}1m"), "{line}");
        assert!(!line.chars().any(char::is_control), "{line}");
        assert_eq!(printable("größe ✓"), "größe ✓");
    }
}
