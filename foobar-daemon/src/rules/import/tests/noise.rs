//! Texts that nobody meant as rules.

use proptest::prelude::*;

use super::*;

const IPTABLES: &str = "create bad hash:net family inet\nadd bad 203.0.113.0/24 timeout 5\n*filter\n:INPUT DROP [0:0]\n\
    :web - [0:0]\n[1:2] -A INPUT -s 10.0.0.0/8 ! -d 192.0.2.0/24 -p tcp -m tcp --dport 80:90 -j web\n\
    -A INPUT -p tcp ! --tcp-flags SYN,ACK SYN -m set --match-set bad src -g web\n\
    -A web -p icmp ! --icmp-type 3/4 -m comment --comment \"a b\" -j RETURN\n-A web -m multiport --ports 1,2:3 -j DROP\n\
    -A web -m length ! --length 0:128 -m iprange --src-range 10.0.0.1-10.0.0.9 -j REJECT\nCOMMIT\n";

const NFTABLES: &str = "define web = { 80, 443 }\ntable inet filter {\n\
    set bad { type ipv4_addr; flags interval; elements = { 203.0.113.0/24, 192.0.2.1-192.0.2.2 timeout 1h } }\n\
    map way { type inet_service : verdict; elements = { 53 : accept } }\n\
    chain input {\ntype filter hook input priority filter - 1; policy drop;\nip saddr @bad drop\n\
    tcp dport $web accept comment \"x\"\ntcp flags & (syn | ack) != syn log prefix \"a\" flags all reject with tcp reset\n\
    udp dport vmap @way\ntcp dport vmap { 22 : jump ssh, * : goto ssh }\nicmp type != 8 icmp code { 1, 2 } drop\n}\n\
    chain ssh { ip6 saddr != 2001:db8::/32 meta length >= 100 return; vlan id 1-2 drop }\n}\n\
    add rule inet filter input th sport != 1-5 accept\n";

/// A piece of the text is taken away, doubled, moved or replaced.
fn mutated(whole: &'static str) -> impl Strategy<Value = String> {
    let replacement = prop_oneof![
        Just(String::new()),
        "\\PC{0,8}",
        "[-\\[\\]{}\"=,./:@!#$;*&|()0-9a-f \n]{0,12}",
        (0..whole.len(), 0..80usize)
            .prop_map(move |(from, length)| { whole[from..(from + length).min(whole.len())].to_owned() }),
    ];
    prop::collection::vec((0..whole.len(), 0..20usize, replacement), 1..6).prop_map(move |edits| {
        let mut text = whole.to_owned();
        for (from, length, replacement) in edits {
            let boundary =
                |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let range = boundary(from)..boundary(from + length);
            text.replace_range(range, &replacement);
        }
        text
    })
}

/// Reading ends. What is said can be read, and every remark has a line of the text.
fn check_survives(format: Format, text: &str) -> Result<(), TestCaseError> {
    let Ok(import) = import(format, text) else {
        return Ok(());
    };
    for remark in import.changed.iter().chain(&import.refused) {
        prop_assert!((1..=text.lines().count().max(1)).contains(&remark.line), "{:?}", remark);
        prop_assert!(!remark.why.is_empty() && !remark.text.contains(char::is_control), "{:?}", remark);
    }
    let read = Bundle::of_text("imported.toml", &import.toml).parse();
    if let Err(errors) = read {
        let is_size = |message: &str| message.contains("not yet possible");
        let others: Vec<_> = errors.errors().iter().filter(|error| !is_size(&error.message)).collect();
        prop_assert!(others.is_empty(), "{}\n{}\n{}", errors, text, import.toml);
    }
    Ok(())
}

#[test]
fn the_texts_themselves_are_read() {
    for (format, text) in [(Format::Iptables, IPTABLES), (Format::Nftables, NFTABLES)] {
        let import = import(format, text).unwrap();
        ruleset(&import);
        assert!(import.said >= 5, "{import:?}");
    }
}

#[test]
fn deep_and_long_noise_ends_soon() {
    for text in
        ["{".repeat(1 << 20), "table x {".repeat(1 << 16), "{}\n;".repeat(1 << 18), "! ".repeat(1 << 18)]
    {
        for format in [Format::Iptables, Format::Nftables] {
            assert!(import(format, &text).is_err());
        }
        let rule =
            format!("table inet x {{\nchain y {{\ntcp dport {}\n}}\n}}\n", text.replace(['{', '}'], "("));
        check_survives(Format::Nftables, &rule).unwrap();
        check_survives(Format::Iptables, &format!("*filter\n-A INPUT {}\n", text.replace('\n', " ")))
            .unwrap();
    }
}

/// What multiplies when it is written out is refused, soon.
#[test]
fn long_lists_do_not_multiply() {
    let addresses: Vec<String> =
        (0..6000).map(|number| format!("10.{}.{}.1", number / 250, number % 250)).collect();
    let ports: Vec<String> = (1..3000).map(|port| format!("{port} : accept")).collect();
    let (addresses, ports) = (addresses.join(","), ports.join(","));
    for rule in [
        format!("ip saddr {{ {addresses} }} ip saddr {{ {addresses} }} drop"),
        format!("ip saddr != {{ {addresses} }} ip saddr != {{ {addresses} }} drop"),
        format!("ip saddr {{ {addresses} }} tcp dport vmap {{ {ports} }}"),
        format!("ip saddr {{ {addresses} }} {} drop", "tcp flags & (syn|ack|rst|fin|psh) != syn ".repeat(3)),
    ] {
        let text =
            format!("table inet f {{\nchain i {{\ntype filter hook input priority 0;\n{rule}\n}}\n}}\n");
        let import = import(Format::Nftables, &text).unwrap();
        assert!(
            import.refused.iter().all(|remark| remark.line == 4 && remark.why.contains("values")),
            "{rule:.80}"
        );
        assert!(!import.refused.is_empty(), "{rule:.80}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|[\\[\\]{}\"'=,.#$@:;!\n\r\t0-9a-z\\\\-]{0,200}") {
        check_survives(Format::Iptables, &text)?;
        check_survives(Format::Nftables, &text)?;
        check_survives(Format::Iptables, &format!("*filter\n-A INPUT {text}"))?;
    }

    #[test]
    fn no_mutation_of_iptables_panics(text in mutated(IPTABLES)) {
        check_survives(Format::Iptables, &text)?;
    }

    #[test]
    fn no_mutation_of_nftables_panics(text in mutated(NFTABLES)) {
        check_survives(Format::Nftables, &text)?;
    }
}
