use super::*;

/// An inet table with a chain on the input hook; the first of the lines is line 4.
fn input(policy: &str, lines: &[&str]) -> String {
    format!(
        "table inet filter {{\nchain input {{\ntype filter hook input priority filter; policy {policy};\n{}\n}}\n}}\n",
        lines.join("\n")
    )
}

#[test]
fn matches() {
    let rows: &[(&str, &[&str])] = &[
        ("tcp dport 22", &[r#"protocol = "tcp"; destination_port = [22]"#]),
        (
            "tcp dport { 22, http, 8000-8099 } counter packets 1 bytes 2",
            &[r#"protocol = "tcp"; destination_port = [22, 80, "8000-8099"]"#],
        ),
        ("udp sport != 53", &[r#"protocol = "udp"; source_port = ["0-52", "54-65535"]"#]),
        ("th dport >= 1024", &[r#"destination_port = ["1024-65535"]"#]),
        ("meta l4proto { tcp, udp } th dport 53", &[r#"protocol = ["tcp", "udp"]; destination_port = [53]"#]),
        ("ip saddr 10.0.0.0/8", &[r#"source = ["10.0.0.0/8"]"#]),
        (
            "ip saddr != { 10.0.0.0/8, 192.0.2.0-192.0.2.1 }",
            &[r#"source = ["0.0.0.0/0", "!10.0.0.0/8", "!192.0.2.0/31"]"#],
        ),
        ("ip6 daddr 2001:db8::/32", &[r#"destination = ["2001:db8::/32"]"#]),
        ("ip protocol icmp", &[r#"source = ["0.0.0.0/0"]; protocol = "icmp""#]),
        ("ip6 nexthdr udp", &[r#"source = ["::/0"]; protocol = "udp""#]),
        (
            "meta nfproto ipv6 tcp dport 1",
            &[r#"source = ["::/0"]; protocol = "tcp"; destination_port = [1]"#],
        ),
        (
            "icmp type { echo-request, 3 }",
            &[r#"protocol = "icmp"; icmp = ["echo-request", "destination-unreachable"]"#],
        ),
        ("icmp type destination-unreachable icmp code 4", &[r#"protocol = "icmp"; icmp = ["3/4"]"#]),
        ("icmpv6 type nd-neighbor-solicit", &[r#"protocol = "icmpv6"; icmp = ["neighbour-solicitation"]"#]),
        ("iifname \"lo\"", &[r#"interface = ["lo"]"#]),
        ("meta iif { eth0, eth1 }", &[r#"interface = ["eth0", "eth1"]"#]),
        ("meta length 0-128", &[r#"length = "0-128""#]),
        ("meta length > 1000", &[r#"length = "1001-65535""#]),
        ("vlan id 10", &["vlan = [10]"]),
        ("ct state established,related", &[r#"state = ["established", "related"]"#]),
        (
            "ct state { new, untracked } tcp dport 80",
            &[r#"protocol = "tcp"; destination_port = [80]; state = ["new"]"#],
        ),
        ("ct state != invalid", &[r#"state = ["new", "established", "related"]"#]),
        (
            "tcp flags & (fin|syn|rst|ack) == syn",
            &[r#"protocol = "tcp"; tcp_flags = { set = ["syn"], clear = ["fin", "rst", "ack"] }"#],
        ),
        ("tcp flags syn / syn,ack", &[r#"protocol = "tcp"; tcp_flags = { set = ["syn"], clear = ["ack"] }"#]),
        (
            "tcp flags & (syn | ack) != syn | ack",
            &[
                r#"protocol = "tcp"; tcp_flags = { clear = ["syn"] }"#,
                r#"protocol = "tcp"; tcp_flags = { clear = ["ack"] }"#,
            ],
        ),
        (
            "tcp flags ack,rst",
            &[
                r#"protocol = "tcp"; tcp_flags = { set = ["rst"] }"#,
                r#"protocol = "tcp"; tcp_flags = { set = ["ack"] }"#,
            ],
        ),
        ("tcp flags & syn == 0x0", &[r#"protocol = "tcp"; tcp_flags = { clear = ["syn"] }"#]),
        (
            "tcp flags == syn",
            &[
                r#"protocol = "tcp"; tcp_flags = { set = ["syn"], clear = ["fin", "rst", "psh", "ack", "urg", "ece", "cwr"] }"#,
            ],
        ),
    ];
    for (words, expected) in rows {
        let import = import(Format::Nftables, &input("accept", &[&format!("{words} accept")])).unwrap();
        ruleset(&import);
        let number = |index: usize| if index == 0 { String::new() } else { format!("-{}", index + 1) };
        let expected: Vec<String> = expected
            .iter()
            .enumerate()
            .map(|(index, rule)| format!("input-4{} accept; {rule}", number(index)))
            .collect();
        assert_eq!(rule_lines(&import.toml), expected, "{words}");
        assert_eq!((import.refused.len(), import.changed.len()), (0, 0), "{words}: {import:?}");
    }
}

#[test]
fn what_cannot_be_said_is_refused() {
    for (words, why) in [
        ("ct state snat accept", "the state \"snat\""),
        ("ct direction reply accept", "ct direction is not"),
        ("icmp type echo-request limit rate 5/second accept", "goes on to the next rule"),
        ("log prefix \"drop: \" flags all", "only logs"),
        ("iifname != \"lo\" drop", "cannot exclude one"),
        ("iifname \"eth*\" drop", "patterns"),
        ("ip saddr . tcp dport { 10.0.0.1 . 22 } accept", "several values"),
        ("ip ttl 1 drop", "ip ttl is not"),
        ("fib daddr type local accept", "fib is not"),
        ("meta mark 1 accept", "meta mark is not"),
        ("ct count over 3 drop", "ct count is not"),
        ("ip saddr @nowhere drop", "@nowhere is not"),
        ("ip saddr $nowhere drop", "$nowhere is not defined"),
        ("add @seen { ip saddr } accept", "add is not"),
        ("jump nowhere", "nowhere\" is not in this file"),
        ("tcp dport", "a value is missing"),
        ("ip saddr 300.0.0.1 drop", "no address"),
    ] {
        let import = import(Format::Nftables, &input("accept", &[words])).unwrap();
        ruleset(&import);
        assert_eq!(rule_lines(&import.toml), [""; 0], "{words}");
        assert_eq!(import.refused.len(), 1, "{words}: {:?}", import.refused);
        assert!(import.refused[0].why.contains(why), "{words}: {:?}", import.refused);
        assert_eq!((import.refused[0].line, import.said), (4, 0), "{words}");
    }
}

#[test]
fn sets_maps_and_variables() {
    let text = "define web = { 80, 443 }\n\
        table inet filter {\n\
        set bad {\ntype ipv4_addr\nflags interval, timeout\nelements = { 203.0.113.0/24,\n192.0.2.1-192.0.2.2 timeout 1h }\n}\n\
        set ports { type inet_service; elements = { 25, 26-27 }; }\n\
        map way { type inet_service : verdict; elements = { 53 : accept } }\n\
        chain input {\ntype filter hook input priority 0; policy drop;\n\
        ip saddr @bad drop\n\
        tcp dport $web accept comment \"the web\"\n\
        tcp dport @ports log reject with tcp reset\n\
        udp dport vmap @way\n\
        tcp dport vmap { 22 : jump ssh, 8000-8099 : drop }\n\
        meta protocol vmap { ip : goto four, ip6 : accept }\n}\n\
        chain ssh {\nip saddr 10.0.0.0/8 accept\nreturn\n}\n\
        chain four { icmp type echo-request accept; }\n}\n";
    let expected = Expected {
        policy: "drop",
        rules: &[
            r#"input-13 drop; source = ["@bad"]"#,
            r#"input-14 accept; protocol = "tcp"; destination_port = [80, 443]; comment = "the web""#,
            r#"input-15 reject; protocol = "tcp"; destination_port = ["25-27"]"#,
            r#"input-16 accept; protocol = "udp"; destination_port = [53]"#,
            r#"ssh-21 accept; source = ["10.0.0.0/8"]; protocol = "tcp"; destination_port = [22]"#,
            r#"input-17 drop; protocol = "tcp"; destination_port = ["8000-8099"]"#,
            r#"four-24 accept; source = ["0.0.0.0/0"]; protocol = "icmp"; icmp = ["echo-request"]"#,
            r#"input-18 drop; source = ["0.0.0.0/0"]"#,
            r#"input-18-2 accept; source = ["::/0"]"#,
        ],
        changed: &[
            (5, "nothing is added"),
            (7, "for ever"),
            (12, "frames that are neither"),
            (15, "log is left out"),
        ],
        refused: &[],
    };
    let import = check(Format::Nftables, text, &expected);
    assert_eq!(ruleset(&import).sets["bad"].entries.len(), 3);
}

#[test]
fn what_stands_for_all_others_is_for_others_only() {
    let vmap = "tcp dport vmap { * : drop, 22 : jump ssh, 80 : continue }";
    let text = format!(
        "{}table inet filter {{\nchain ssh {{ ip saddr 10.0.0.0/8 accept; }}\n}}\n",
        input("accept", &[vmap])
    );
    let expected = Expected {
        policy: "accept",
        rules: &[
            r#"input-4 drop; protocol = "tcp"; destination_port = ["0-21", "23-79", "81-65535"]"#,
            r#"ssh-8 accept; source = ["10.0.0.0/8"]; protocol = "tcp"; destination_port = [22]"#,
        ],
        changed: &[],
        refused: &[],
    };
    check(Format::Nftables, &text, &expected);
}

#[test]
fn what_one_chain_accepts_the_next_still_judges() {
    let text = "table netdev early {\nchain cards {\ntype filter hook ingress device \"eth0\" priority -500;\n\
        tcp dport 23 drop\nip saddr 10.0.0.0/8 accept\n}\n}\n\
        table ip second {\nchain input {\ntype filter hook input priority filter + 10; policy drop;\n\
        tcp dport 22 accept\n}\n}\n\
        table ip first {\nchain input {\ntype filter hook input priority filter;\n\
        tcp dport { 22, 80 } accept\nudp dport 53 drop\n}\n}\n";
    let import = import(Format::Nftables, text).unwrap();
    ruleset(&import);
    let lines = rule_lines(&import.toml);
    assert_eq!(lines[0], r#"cards-4 drop; protocol = "tcp"; destination_port = [23]; interface = ["eth0"]"#);
    // What the card's chain accepts goes through both tables, in the order of their priority.
    assert_eq!(
        lines[1],
        r#"input-11 accept; source = ["10.0.0.0/8"]; protocol = "tcp"; destination_port = [22]; interface = ["eth0"]"#
    );
    assert_eq!(lines.last().unwrap(), r#"input-policy-4 drop; source = ["0.0.0.0/0"]"#);
    assert!(import.toml.contains("in = \"accept\""));
    assert_eq!(import.changed.len(), 2, "{:?}", import.changed);
}

#[test]
fn other_hooks_tables_and_commands_are_refused() {
    let text = "#!/usr/sbin/nft -f\nflush ruleset\ninclude \"/etc/nftables.d/*.nft\"\n\
        add table inet f\nadd chain inet f in { type filter hook input priority 0; policy accept; }\n\
        add rule inet f in tcp dport 22 accept\nadd rule inet f gone drop\n\
        table inet g {\nchain out {\ntype filter hook output priority 0; policy drop;\noifname lo accept\n}\n\
        chain nat {\ntype nat hook prerouting priority dstnat;\ntcp dport 80 redirect to :8080\n}\n\
        flowtable fast { hook ingress priority 0; devices = { eth0 }; }\n}\n\
        table arp a {\nchain in { type filter hook input priority 0;\ndrop\n}\n}\n";
    let expected = Expected {
        policy: "accept",
        rules: &[
            r#"in-6 accept; protocol = "tcp"; destination_port = [22]"#,
            r#"out-11 accept; direction = "out"; interface = ["lo"]"#,
        ],
        changed: &[(10, "the policy also drops frames")],
        refused: &[
            (3, "other files"),
            (7, "\"gone\" is not in this file"),
            (15, "type nat on hook prerouting"),
            (17, "flowtable"),
            (21, "only IPv4 and IPv6"),
        ],
    };
    check(Format::Nftables, text, &expected);
}

#[test]
fn files_of_another_kind_are_errors() {
    for (text, line, words) in [
        ("", 0, "no table of nftables"),
        ("*filter\n:INPUT ACCEPT [0:0]\n", 1, "* is no command"),
        ("table inet x {\nchain y {\n", 1, "not closed"),
        ("table inet x {\nchain y {\nlog prefix \"z\n}\n}\n", 3, "a quote is not closed"),
        ("table inet x {\nchain a { jump b; }\nchain b { jump a; }\n}\n", 2, "leads back"),
        ("table inet x {\nchain a { policy drop; }\n}\n", 2, "only a chain with a hook"),
        ("table inet x {\nset { type ipv4_addr; }\n}\n", 2, "the name of the set is missing"),
        ("table inet x {\n}\nadd map inet x\n", 3, "a table and a name are missing"),
    ] {
        let problem = import(Format::Nftables, text).unwrap_err();
        assert!(problem.line == line && problem.message.contains(words), "{text}: {problem}");
    }
}

#[test]
fn the_usual_map_of_states_is_said() {
    let text = input(
        "drop",
        &["ct state vmap { established : accept, related : accept, invalid : drop }", "tcp dport 80 accept"],
    );
    let import = import(Format::Nftables, &text).unwrap();
    ruleset(&import);
    assert_eq!(
        rule_lines(&import.toml),
        [
            r#"input-4 accept; state = ["established"]"#,
            r#"input-4-2 accept; state = ["related"]"#,
            r#"input-4-3 drop; state = ["invalid"]"#,
            r#"input-5 accept; protocol = "tcp"; destination_port = [80]"#,
        ]
    );
    assert!(import.toml.contains("replies = \"rules\"\n"), "{}", import.toml);
}
