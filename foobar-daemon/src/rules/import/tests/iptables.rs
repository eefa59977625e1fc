use super::*;

/// The table filter with these lines in it, the first of which is line 2.
fn filter(lines: &[&str]) -> String {
    format!("*filter\n{}\nCOMMIT\n", lines.join("\n"))
}

#[test]
fn matches() {
    let rows: &[(&str, &[&str])] = &[
        ("-s 10.1.2.3/8", &[r#"source = ["10.0.0.0/8"]"#]),
        ("-d 192.0.2.1,192.0.2.2", &[r#"destination = ["192.0.2.1", "192.0.2.2"]"#]),
        ("! -s 10.0.0.0/255.0.0.0", &[r#"source = ["0.0.0.0/0", "!10.0.0.0/8"]"#]),
        ("-m iprange --src-range 192.0.2.1-192.0.2.2", &[r#"source = ["192.0.2.1", "192.0.2.2"]"#]),
        ("-i lo", &[r#"source = ["0.0.0.0/0"]; interface = ["lo"]"#]),
        ("-f", &[r#"source = ["0.0.0.0/0"]; fragment = true"#]),
        ("! -f", &[r#"source = ["0.0.0.0/0"]; fragment = false"#]),
        ("-p 89", &[r#"source = ["0.0.0.0/0"]; protocol = 89"#]),
        (
            "-s 10.0.0.0/8 -p tcp -m tcp --dport 22",
            &[r#"source = ["10.0.0.0/8"]; protocol = "tcp"; destination_port = [22]"#],
        ),
        (
            "-s 10.0.0.0/8 -p udp -m multiport --dports 53,8000:8099,54 -m udp --sport 1024:",
            &[
                r#"source = ["10.0.0.0/8"]; protocol = "udp"; source_port = ["1024-65535"]; destination_port = ["53-54", "8000-8099"]"#,
            ],
        ),
        (
            "-s 10.0.0.0/8 -p tcp -m tcp ! --dport 1:65534",
            &[r#"source = ["10.0.0.0/8"]; protocol = "tcp"; destination_port = [0, 65535]"#],
        ),
        (
            "-s 10.0.0.0/8 -p tcp -m multiport --ports 80",
            &[
                r#"source = ["10.0.0.0/8"]; protocol = "tcp"; source_port = [80]"#,
                r#"source = ["10.0.0.0/8"]; protocol = "tcp"; destination_port = [80]"#,
            ],
        ),
        (
            "-s 10.0.0.0/8 -p tcp --syn",
            &[
                r#"source = ["10.0.0.0/8"]; protocol = "tcp"; tcp_flags = { set = ["syn"], clear = ["fin", "rst", "ack"] }"#,
            ],
        ),
        (
            "-s 10.0.0.0/8 -p tcp ! --tcp-flags SYN,ACK SYN",
            &[
                r#"source = ["10.0.0.0/8"]; protocol = "tcp"; tcp_flags = { clear = ["syn"] }"#,
                r#"source = ["10.0.0.0/8"]; protocol = "tcp"; tcp_flags = { set = ["ack"] }"#,
            ],
        ),
        (
            "-p icmp -m icmp --icmp-type fragmentation-needed -s 10.0.0.0/8",
            &[r#"source = ["10.0.0.0/8"]; protocol = "icmp"; icmp = ["3/4"]"#],
        ),
        ("-p icmp --icmp-type any", &[r#"source = ["0.0.0.0/0"]; protocol = "icmp""#]),
        ("-m length --length :128 -s 10.0.0.0/8", &[r#"source = ["10.0.0.0/8"]; length = "0-128""#]),
        ("-p udp ! --dport 0:65535", &[]),
        (
            "-m conntrack --ctstate RELATED,ESTABLISHED",
            &[r#"source = ["0.0.0.0/0"]; state = ["established", "related"]"#],
        ),
        (
            "-m state --state NEW -p tcp --dport 80",
            &[r#"source = ["0.0.0.0/0"]; protocol = "tcp"; destination_port = [80]; state = ["new"]"#],
        ),
        (
            "-s 10.0.0.0/8 -m conntrack ! --ctstate INVALID,UNTRACKED",
            &[r#"source = ["10.0.0.0/8"]; state = ["new", "established", "related"]"#],
        ),
        ("-m conntrack --ctstate UNTRACKED", &[]),
    ];
    for (words, expected) in rows {
        let text = filter(&[":INPUT ACCEPT [0:0]", &format!("-A INPUT {words} -j DROP")]);
        let import = import(Format::Iptables, &text).unwrap();
        ruleset(&import);
        let number = |index: usize| if index == 0 { String::new() } else { format!("-{}", index + 1) };
        let expected: Vec<String> = expected
            .iter()
            .enumerate()
            .map(|(index, rule)| format!("input-3{} drop; {rule}", number(index)))
            .collect();
        assert_eq!(rule_lines(&import.toml), expected, "{words}");
        assert_eq!(
            (import.refused.len(), import.changed.len()),
            (0, usize::from(expected.is_empty())),
            "{words}"
        );
    }
}

#[test]
fn what_cannot_be_said_is_refused() {
    for (words, why) in [
        ("-m conntrack --ctstate DNAT -j ACCEPT", "the state \"dnat\""),
        ("-m conntrack --ctorigdstport 80 -j ACCEPT", "--ctorigdstport is not"),
        ("-m limit --limit 5/s -j ACCEPT", "goes on to the next rule"),
        ("-j LOG --log-prefix \"in: \" --log-level 4", "only logs"),
        ("-m recent --set --name DEFAULT --rsource -j DROP", "the match recent"),
        ("-p icmp -m hl --hl-eq 255 -j ACCEPT", "accepted before the rules"),
        ("-m addrtype --dst-type LOCAL -j DROP", "the match addrtype"),
        ("! -i lo -d 127.0.0.0/8 -j DROP", "cannot exclude one"),
        ("-i eth+ -j DROP", "patterns like \"eth+\""),
        ("-s 10.0.0.0/8 -d 2001:db8::1 -j DROP", "is taken as one of"),
        ("-s example.org -j DROP", "names are not looked up"),
        ("-p tcp --dport gopherd -j DROP", "no port"),
        ("-p tcp --tcp-option 8 -j DROP", "--tcp-option is not"),
        ("-p dccp -m dccp --dport 1 -j DROP", "the match dccp"),
        ("-m set --match-set x src,dst -j DROP", "anything but one address"),
        ("-m set --match-set böse src -j DROP", "cannot be the name"),
        ("-j MARK --set-mark 1", "the target MARK"),
        ("-j nowhere", "\"nowhere\" is not in this file"),
        ("-p tcp --dport", "a value is missing"),
    ] {
        let text = filter(&[":INPUT ACCEPT [0:0]", &format!("-A INPUT {words}")]);
        let import = import(Format::Iptables, &text).unwrap();
        ruleset(&import);
        assert_eq!(rule_lines(&import.toml), [""; 0], "{words}");
        assert_eq!(import.refused.len(), 1, "{words}: {:?}", import.refused);
        assert!(import.refused[0].why.contains(why), "{words}: {:?}", import.refused);
        assert_eq!((import.refused[0].line, import.said), (3, 0));
    }
}

#[test]
fn chains_become_one_list() {
    let text = filter(&[
        ":INPUT DROP [0:0]",
        ":FORWARD DROP [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        ":web - [0:0]",
        ":lonely - [0:0]",
        "-A INPUT -s 10.0.0.0/8 -p tcp -j web",
        "-A INPUT -p udp --dport 53 -m comment --comment dns -j ACCEPT",
        "-A INPUT -p udp --dport 54 -m comment --comment \"second \\\"dns\\\"\" -j REJECT --reject-with icmp-port-unreachable",
        "-A OUTPUT -o lo -j ACCEPT",
        "-A FORWARD -j DROP",
        "-A web -s 10.6.6.0/24 -j RETURN",
        "-A web -s 192.0.2.0/24 -j ACCEPT",
        "-A web -p tcp --dport 80 -j ACCEPT",
        "-A web -j RETURN",
        "-A web -j DROP",
        "-A lonely -j DROP",
    ]);
    let expected = Expected {
        policy: "drop",
        rules: &[
            r#"web-12 drop; source = ["10.6.6.0/24"]; protocol = "tcp""#,
            r#"web-14 accept; source = ["10.0.0.0/8"]; protocol = "tcp"; destination_port = [80]"#,
            r#"dns accept; source = ["0.0.0.0/0"]; protocol = "udp"; destination_port = [53]; comment = "dns""#,
            r#"input-9 reject; source = ["0.0.0.0/0"]; protocol = "udp"; destination_port = [54]; comment = 'second "dns"'"#,
            r#"output-10 accept; direction = "out"; source = ["0.0.0.0/0"]; interface = ["lo"]"#,
        ],
        changed: &[
            (2, "the policy also drops IPv6"),
            (2, "the policy also drops frames"),
            (3, "passed on"),
            (9, "TCP a RST, everything else ICMP"),
            (16, "no packet gets"),
            (17, "no packet gets"),
        ],
        refused: &[(11, "passed on")],
    };
    let import = check(Format::Iptables, &text, &expected);
    assert_eq!(import.said, 8);
}

#[test]
fn a_return_that_cannot_be_said_takes_the_rest_of_its_chain_along() {
    let text = filter(&[
        ":INPUT ACCEPT [0:0]",
        "-A INPUT -j local",
        "-A INPUT -m limit --limit 5/s -j new",
        "-A local -m addrtype --dst-type LOCAL -j RETURN",
        "-A local -j DROP",
        "-A new -p tcp --dport 80 -j ACCEPT",
        "-A local -j far",
        "-A far -j DROP",
    ]);
    let expected = Expected {
        policy: "accept",
        rules: &[],
        changed: &[],
        refused: &[
            (4, "limit"),
            (5, "addrtype"),
            (6, "in line 5"),
            (7, "only line 4 leads here"),
            (8, "in line 5"),
            (9, "only line 5 leads here"),
        ],
    };
    check(Format::Iptables, &text, &expected);
}

#[test]
fn sets_are_taken_from_ipset_or_left_to_fill() {
    let rules = [
        ":INPUT ACCEPT [0:0]",
        "-A INPUT -m set --match-set bad src -j DROP",
        "-A INPUT -p tcp -m set ! --match-set good src --dport 22 -j DROP",
        "-A INPUT -m set --match-set bad src -s 10.0.0.0/8 -j DROP",
    ];
    let ipset = "create bad hash:net family inet hashsize 1024\nadd bad 203.0.113.0/24\nadd bad 192.0.2.1-192.0.2.2\n";
    let expected = Expected {
        policy: "accept",
        rules: &[
            r#"input-6 drop; source = ["@bad"]"#,
            r#"input-7 drop; source = ["0.0.0.0/0", "!@good"]; protocol = "tcp"; destination_port = [22]"#,
        ],
        changed: &[(7, "write it into [sets.good]")],
        refused: &[(8, "in @bad and in 10.0.0.0/8")],
    };
    let import = check(Format::Iptables, &format!("{ipset}{}", filter(&rules)), &expected);
    let sets = ruleset(&import).sets;
    assert_eq!((sets["bad"].entries.len(), sets["good"].entries.len()), (3, 0));
}

#[test]
fn other_tables_are_refused_line_by_line() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080\nCOMMIT\n\
        *filter\n:INPUT ACCEPT [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n";
    let refused = [(3, "in the table \"nat\"")];
    let changed = [(7, "the policy also drops IPv6"), (7, "the policy also drops frames")];
    let expected = Expected { policy: "accept", rules: &[], changed: &changed, refused: &refused };
    let import = check(Format::Iptables, text, &expected);
    assert!(import.toml.contains("in = \"accept\"\nout = \"drop\"\n"), "{}", import.toml);
}

#[test]
fn pieces_of_ufw_and_ipv6() {
    let text = filter(&[
        ":ufw6-before-input - [0:0]",
        ":ufw6-user-input - [0:0]",
        "-A ufw6-before-input -p icmpv6 --icmpv6-type echo-request -j ACCEPT",
        "-A ufw6-before-output -o lo -j ACCEPT",
        "-A ufw6-user-input -p tcp --dport 80 -j ACCEPT",
        "-A ufw6-user-limit -j DROP",
    ]);
    let expected = Expected {
        policy: "accept",
        rules: &[
            r#"ufw6-before-input-4 accept; source = ["::/0"]; protocol = "icmpv6"; icmp = ["echo-request"]"#,
            r#"ufw6-user-input-6 accept; source = ["::/0"]; protocol = "tcp"; destination_port = [80]"#,
            r#"ufw6-before-output-5 accept; direction = "out"; source = ["::/0"]; interface = ["lo"]"#,
        ],
        changed: &[(4, "INPUT leads to"), (5, "OUTPUT leads to"), (6, "INPUT leads to")],
        refused: &[(7, "nothing in this file leads")],
    };
    check(Format::Iptables, &text, &expected);
}

#[test]
fn commands_that_iptables_prints_are_read_too() {
    let text = "-P INPUT DROP\n-N web\n-A INPUT -g web\n-A web -i eth0 -j ACCEPT\n";
    let expected = Expected {
        policy: "drop",
        rules: &[r#"web-4 accept; source = ["0.0.0.0/0"]; interface = ["eth0"]"#],
        changed: &[(1, "also drops IPv6"), (1, "also drops frames")],
        refused: &[],
    };
    check(Format::Iptables, text, &expected);
}

#[test]
fn loops_and_chains_that_multiply_are_errors() {
    let text = filter(&[":INPUT ACCEPT [0:0]", "-A INPUT -j a", "-A a -j b", "-A b -g a"]);
    let problem = import(Format::Iptables, &text).unwrap_err();
    assert!(problem.message.contains("leads back to itself"), "{problem}");

    let mut wide = vec![":INPUT ACCEPT [0:0]".to_owned()];
    let mut deep = wide.clone();
    for number in 0..30 {
        let name = if number == 0 { "INPUT".to_owned() } else { format!("c{number}") };
        wide.extend((1..20).map(|port| format!("-A {name} -p tcp --dport 1:{port} -j c{}", number + 1)));
    }
    wide.push("-A c30 -j DROP".to_owned());
    for number in 0..200 {
        deep.push(format!("-A INPUT -s 10.0.0.0/8 -j r{number}"));
        deep.push(format!("-A r{number} -p tcp --dport {number}:1000 -j RETURN"));
        deep.push(format!("-A r{number} -s 10.{number}.0.0/16 -j DROP"));
    }
    for (lines, words) in [(wide, "more than 131072 rules"), (deep, "entered 64 deep")] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let problem = import(Format::Iptables, &filter(&lines)).unwrap_err();
        assert!(problem.message.contains(words) && problem.line > 0, "{problem}");
    }
}

#[test]
fn interfaces_are_for_the_direction_that_has_them() {
    let text = filter(&[
        ":INPUT ACCEPT [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        "-A INPUT -j both",
        "-A OUTPUT -j both",
        "-A both -i eth0 -j DROP",
        "-A both -o eth1 -j DROP",
        "-A both -p tcp --dport 25 -j DROP",
    ]);
    let expected = Expected {
        policy: "accept",
        rules: &[
            r#"both-6 drop; source = ["0.0.0.0/0"]; interface = ["eth0"]"#,
            r#"both-8 drop; source = ["0.0.0.0/0"]; protocol = "tcp"; destination_port = [25]"#,
            r#"both-7 drop; direction = "out"; source = ["0.0.0.0/0"]; interface = ["eth1"]"#,
            r#"both-8-2 drop; direction = "out"; source = ["0.0.0.0/0"]; protocol = "tcp"; destination_port = [25]"#,
        ],
        changed: &[(6, "did not come in"), (7, "no interface to leave by")],
        refused: &[],
    };
    check(Format::Iptables, &text, &expected);
}
