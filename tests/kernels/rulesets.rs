//! Rulesets that between them give the programs every set of constants that foobar uses, and what becomes of each
//! frame of [`crate::frames`] under them.

use anyhow::{Context as _, Result};
use foobar_common::{classes::Tier, counters::Counter};
use foobar_daemon::{
    rules::{
        bundle::Bundle,
        compile::{CompiledRuleset, compile},
        log::OneIn,
    },
    slots::Slots,
};

use crate::{machine::FILTERED, many};

/// A ruleset.
pub(crate) struct Ruleset {
    /// What the report calls it.
    pub(crate) name: &'static str,
    /// The rule file.
    pub(crate) text: &'static str,
    /// How many rules of [`many`] come before those of the file.
    pub(crate) many: usize,
    /// Frame, and its verdict with its reason, or with the rule in place of the reason `rule`.
    pub(crate) judged: &'static [(&'static str, &'static str)],
    /// The same for frames that go out.
    pub(crate) judged_out: &'static [(&'static str, &'static str)],
}

/// Every one.
pub(crate) const ALL: &[&Ruleset] =
    &[&NOTHING, &POLICIES, &EVERYTHING, &HUNDREDS, &THOUSANDS, &LIMITS, &BANNING_LIMITS, &FLOWS];

/// One packet after the other, each of which changes what the next one is.
const FLOWS: Ruleset = Ruleset {
    name: "flows",
    text: "schema = 1\n[policy]\nin = \"drop\"\nout = \"drop\"\n\
        [[rule]]\nid = \"strangers\"\naction = \"drop\"\nstate = \"invalid\"\n\
        [[rule]]\nid = \"known\"\naction = \"accept\"\nstate = [\"established\", \"related\"]\n\
        [[rule]]\nid = \"web\"\naction = \"accept\"\ndestination_port = 443\nstate = \"new\"\n\
        [[rule]]\nid = \"datagrams\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 9999\n",
    many: 0,
    judged: &[
        ("tcp ack to 443", "drop strangers"),
        ("tcp syn to 443", "accept web"),
        ("tcp ack to 443", "accept web"),
        ("later fragment", "drop strangers"),
        ("first fragment", "accept datagrams"),
        ("later fragment", "accept datagrams"),
        ("error about udp from 53", "drop strangers"),
        ("ping of ipv6", "drop policy"),
    ],
    judged_out: &[
        ("tcp syn-ack from 443", "accept replies"),
        ("udp to 9999", "drop policy"),
        ("udp from 9999", "accept replies"),
    ],
};

/// No rule, every policy as it is by itself: all that can be left out of the program is.
pub(crate) const NOTHING: Ruleset = Ruleset {
    name: "no rules",
    text: "schema = 1\n",
    many: 0,
    judged_out: &[("udp to 9999", "accept policy"), ("ping of ipv6", "accept policy")],
    judged: &[
        ("tcp syn to 443", "accept policy"),
        ("tcp syn to 22", "accept policy"),
        ("tcp ack to 8080", "accept policy"),
        ("udp to 9999", "accept policy"),
        ("udp from 53", "accept policy"),
        ("udp to 192.0.2.77", "accept policy"),
        ("udp from a failsafe peer", "accept policy"),
        ("udp of 28 bytes", "accept policy"),
        ("udp in vlan 10", "accept policy"),
        ("udp in two vlans", "accept policy"),
        ("udp in three vlans", "drop vlan_depth"),
        ("ping", "accept policy"),
        ("ping of ipv6", "accept policy"),
        ("neighbour solicitation", "accept infrastructure"),
        ("arp", "accept infrastructure"),
        ("later fragment", "accept policy"),
        ("tcp of ipv6 from an office", "accept policy"),
        ("udp of ipv6 behind options", "accept policy"),
        ("llc", "accept llc"),
        ("unknown ethertype", "accept not_ip"),
        ("half an ip header", "drop truncated_network"),
        ("half a tcp header", "drop truncated_transport"),
    ],
};

/// Bursts of one packet, of a rule and of sources.
pub(crate) const LIMITS: Ruleset = Ruleset {
    name: "limits",
    text: r#"schema = 1
[[rule]]
id = "udp"
action = "accept"
protocol = "udp"
limit = { rate = "1/d", burst = 1, per = "source/24" }
[[rule]]
id = "out"
action = "accept"
direction = "out"
limit = { rate = "1/d", burst = 1 }
"#,
    many: 0,
    judged_out: &[("udp to 9999", "accept out"), ("ping of ipv6", "drop limit")],
    judged: &[
        ("udp to 9999", "accept udp"),
        ("udp to 9999", "drop limit"),
        ("tcp syn to 22", "accept policy"),
        ("udp of ipv6 behind options", "accept udp"),
        ("udp of ipv6 behind options", "drop limit"),
    ],
};

/// The same, and whoever is over the limit is banned: a prefix of one family, and of the other what has a bucket.
pub(crate) const BANNING_LIMITS: Ruleset = Ruleset {
    name: "limits that ban",
    text: r#"schema = 1
[failsafe]
never_ban = ["198.51.100.10"]
[[rule]]
id = "udp"
action = "accept"
protocol = "udp"
limit = { rate = "1/d", burst = 1, per = "source/24" }
over = { ban = "10m" }
"#,
    many: 0,
    judged_out: &[("udp to 9999", "accept policy")],
    judged: &[
        ("tcp syn to 443", "accept policy"),
        ("udp to 9999", "accept udp"),
        ("udp to 9999", "drop limit"),
        ("udp to 9999", "drop ban"),
        ("tcp syn to 443", "drop ban"),
        ("udp from a failsafe peer", "accept udp"),
        ("udp of ipv6 behind options", "accept udp"),
        ("udp of ipv6 behind options", "drop limit"),
        ("udp of ipv6 behind options", "drop ban"),
    ],
};

/// No rule, every policy the other way round.
pub(crate) const POLICIES: Ruleset = Ruleset {
    name: "policies",
    text: r#"schema = 1
[policy]
in = "drop"
out = "drop"
malformed = "accept"
fragments = "drop"
infrastructure = false
"#,
    many: 0,
    judged_out: &[("udp to 9999", "drop policy"), ("later fragment", "drop fragments")],
    judged: &[
        ("tcp syn to 443", "drop policy"),
        ("udp to 9999", "drop policy"),
        ("udp in two vlans", "drop policy"),
        ("udp in three vlans", "accept vlan_depth"),
        ("ping of ipv6", "drop policy"),
        ("neighbour solicitation", "drop policy"),
        ("arp", "drop arp"),
        ("later fragment", "drop fragments"),
        ("udp of ipv6 behind options", "drop policy"),
        ("llc", "drop llc"),
        ("unknown ethertype", "drop not_ip"),
        ("half an ip header", "accept truncated_network"),
        ("half a tcp header", "accept truncated_transport"),
    ],
};

/// Every condition there is: nothing can be left out of the program.
pub(crate) const EVERYTHING: Ruleset = Ruleset {
    name: "every condition",
    text: EVERY_CONDITION,
    many: 0,
    judged: OF_EVERY_CONDITION,
    judged_out: OUT,
};

/// The same behind so many rules that a unit has 64 clauses.
pub(crate) const HUNDREDS: Ruleset =
    Ruleset { name: "hundreds of rules", text: EVERY_CONDITION, many: 300, judged: OF_MANY, judged_out: OUT };

/// The same behind so many rules that a unit has 512 clauses.
pub(crate) const THOUSANDS: Ruleset = Ruleset {
    name: "thousands of rules",
    text: EVERY_CONDITION,
    many: Tier::Words.clauses_max() / many::CLAUSES,
    judged: OF_MANY,
    judged_out: OUT,
};

/// A service whose TLS is read by probes.
pub(crate) const DECRYPTED: Ruleset = Ruleset {
    name: "decrypted",
    text: "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/443\"\nprotocol = \"tls\"\ndecrypt_by = \"uprobe\"\n",
    many: 0,
    judged: &[],
    judged_out: &[],
};

/// A service of each protocol, behind these lines.
macro_rules! services {
    ($lines:literal) => {
        concat!(
            "schema = 1\n",
            $lines,
            r#"[[service]]
name = "www"
port = ["tcp/80", "tcp/8080"]
protocol = "http1"
[[service]]
name = "h2c"
port = ["tcp/8081"]
protocol = "h2c"
[[service]]
name = "tls"
port = ["tcp/443"]
protocol = "tls"
require_tls = true
[[service]]
name = "db"
port = ["tcp/3306"]
protocol = "mysql"
[[service]]
name = "dns"
port = ["udp/53", "tcp/53"]
protocol = "dns"
[[service]]
name = "mail"
port = ["tcp/25"]
"#
        )
    };
}

/// A service of each protocol.
pub(crate) const SERVICES: Ruleset =
    Ruleset { name: "services", text: services!(""), many: 0, judged: &[], judged_out: &[] };

/// The same, and who connects to them.
pub(crate) const SERVICES_BY_GROUP: Ruleset = Ruleset {
    name: "services by group",
    text: services!("[peers]\nlb = [\"192.0.2.0/29\"]\nmonitoring = [\"2001:db8::/32\", \"192.0.2.3\"]\n"),
    many: 0,
    judged: &[],
    judged_out: &[],
};

/// Every condition there is, behind these lines.
macro_rules! every_condition {
    ($lines:literal) => {
        concat!(
            r#"schema = 1
[policy]
in = "drop"
[failsafe]
ports = ["tcp/22"]
peers = ["198.51.100.10", "2001:db8:99::/48"]
[sets.offices]
entries = ["203.0.113.0/24", "2001:db8:40::/48"]
[sets.servers]
entries = ["192.0.2.10/32", "2001:db8:2::/64"]
[[service]]
name = "www"
port = ["tcp/80", "tcp/443"]
protocol = "raw"
[[rule]]
id = "elsewhere"
action = "drop"
interface = ["eth7"]
[[rule]]
id = "vlan"
action = "accept"
vlan = [10]
[[rule]]
id = "short"
action = "accept"
protocol = "udp"
length = "0-28"
[[rule]]
id = "fragments"
action = "accept"
fragment = true
source = ["198.51.100.0/24"]
[[rule]]
id = "web"
action = "accept"
destination_port = [80, 443, "8000-8010"]
tcp_flags = { set = ["syn"], clear = ["ack", "rst"] }
[[rule]]
id = "answers"
action = "accept"
protocol = "udp"
source_port = 53
[[rule]]
id = "ping"
action = "accept"
icmp = ["echo-request"]
[[rule]]
id = "offices"
action = "accept"
source = ["@offices", "!203.0.113.9"]
[[rule]]
id = "printers"
action = "drop"
protocol = "tcp"
destination = ["@servers", "192.0.2.99"]
destination_port = 9100
[[rule]]
id = "host"
action = "accept"
destination = ["192.0.2.77"]
[[rule]]
id = "no-way-out"
action = "drop"
direction = "out"
protocol = "udp"
destination_port = 9999
"#,
            $lines
        )
    };
}

const EVERY_CONDITION: &str = every_condition!("");

/// Services of each protocol that answer with SYN cookies, and flows.
pub(crate) const SYN_COOKIES: Ruleset = Ruleset {
    name: "syn cookies",
    text: r#"schema = 1
[policy]
in = "drop"
[[rule]]
id = "services"
action = "accept"
destination_port = [25, 53, 80, 443, 3306, 8080, 8081, 8443]
state = ["new", "established"]
[[service]]
name = "www"
port = ["tcp/80"]
protocol = "http1"
syn_cookies = "always"
[[service]]
name = "busy"
port = ["tcp/8080"]
protocol = "http1"
syn_cookies = { start = "20/s" }
[[service]]
name = "h2c"
port = ["tcp/8081"]
protocol = "h2c"
syn_cookies = "always"
[[service]]
name = "tls"
port = ["tcp/443"]
protocol = "tls"
require_tls = true
syn_cookies = "always"
[[service]]
name = "db"
port = ["tcp/3306"]
protocol = "mysql"
syn_cookies = "always"
[[service]]
name = "dns"
port = ["udp/53", "tcp/53"]
protocol = "dns"
syn_cookies = "always"
[[service]]
name = "mail"
port = ["tcp/25"]
syn_cookies = "always"
[[service]]
name = "old"
port = ["tcp/8443"]
syn_cookies = "always"
"#,
    many: 0,
    judged: &[],
    judged_out: &[],
};

/// Every condition, a limit, and services with cookies: what takes most room on the stack.
pub(crate) const EVERYTHING_WITH_SYN_COOKIES: Ruleset = Ruleset {
    name: "every condition and syn cookies",
    text: every_condition!(
        r#"[[rule]]
id = "services"
action = "accept"
destination_port = [25, 8080, 8443]
state = ["new", "established"]
limit = { rate = "100000/s", per = "source" }
[[service]]
name = "busy"
port = ["tcp/8080"]
protocol = "http1"
syn_cookies = { start = "20/s" }
[[service]]
name = "mail"
port = ["tcp/25"]
syn_cookies = "always"
[[service]]
name = "old"
port = ["tcp/8443"]
syn_cookies = "always"
"#
    ),
    many: 0,
    judged: &[],
    judged_out: &[],
};

/// Services behind proxies that answer with cookies, and a limit for clients.
pub(crate) const CLIENTS: Ruleset = Ruleset {
    name: "clients",
    text: every_condition!(
        r#"[[rule]]
id = "clients"
action = "accept"
protocol = "tcp"
destination_port = [8443, 8080, 3306, 8081]
limit = { rate = "1/d", burst = 20, per = "client" }
over = { ban = "10m" }
[[service]]
name = "behind-http1"
port = ["tcp/8080"]
protocol = "http1"
proxy_protocol = true
syn_cookies = { start = "1000/s" }
[[service]]
name = "behind-h2c"
port = ["tcp/8081"]
protocol = "h2c"
proxy_protocol = true
[[service]]
name = "behind-tls"
port = ["tcp/8443"]
protocol = "tls"
proxy_protocol = true
syn_cookies = { start = "1000/s" }
[[service]]
name = "behind-mysql"
port = ["tcp/3306"]
protocol = "mysql"
proxy_protocol = true
syn_cookies = { start = "1000/s" }
"#
    ),
    many: 0,
    judged: &[],
    judged_out: &[],
};

const OF_EVERY_CONDITION: &[(&str, &str)] = &[
    ("tcp syn to 443", "accept web"),
    ("tcp syn to 22", "accept failsafe"),
    ("tcp ack to 8080", "drop policy"),
    ("udp to 9999", "drop policy"),
    ("udp from 53", "accept answers"),
    ("udp to 192.0.2.77", "accept host"),
    ("udp from a failsafe peer", "accept failsafe"),
    ("udp of 28 bytes", "accept short"),
    ("udp in vlan 10", "accept vlan"),
    ("udp in two vlans", "accept vlan"),
    ("udp in three vlans", "drop vlan_depth"),
    ("ping", "accept ping"),
    ("ping of ipv6", "accept ping"),
    ("neighbour solicitation", "accept infrastructure"),
    ("arp", "accept infrastructure"),
    ("later fragment", "accept fragments"),
    ("tcp of ipv6 from an office", "accept offices"),
    ("udp of ipv6 behind options", "drop policy"),
    ("llc", "drop llc"),
    ("unknown ethertype", "drop not_ip"),
    ("half an ip header", "drop truncated_network"),
    ("half a tcp header", "drop truncated_transport"),
];

/// The same frames on their way out, where failsafe is what goes back.
const OUT: &[(&str, &str)] = &[
    ("udp to 9999", "drop no-way-out"),
    ("tcp syn to 443", "accept policy"),
    ("udp from 53", "accept policy"),
    ("tcp of ipv6 from an office", "accept policy"),
    ("neighbour solicitation", "accept infrastructure"),
];

/// What lies behind the many rules is judged as without them; and what they ask for, by one of them.
const OF_MANY: &[(&str, &str)] = &[
    ("tcp syn to 443", "accept web"),
    ("tcp syn to 22", "accept failsafe"),
    ("tcp ack to 8080", "drop policy"),
    ("udp from 53", "accept answers"),
    ("udp to 192.0.2.77", "accept host"),
    ("udp of 28 bytes", "accept short"),
    ("udp in two vlans", "accept vlan"),
    ("ping of ipv6", "accept ping"),
    ("later fragment", "accept fragments"),
    ("tcp of ipv6 from an office", "accept offices"),
    ("half a tcp header", "drop truncated_transport"),
    ("first of many", "accept many-0"),
    ("network of many to a server", "accept many-299"),
    ("network of many to another's network", "drop policy"),
    ("network of many to its network", "accept many-299"),
    ("office of ipv6 to a network of many", "accept many-299"),
    ("network of many to another port", "drop policy"),
];

impl Ruleset {
    /// Compiles it, with counters in the book of slots.
    pub(crate) fn compile(&self, slots: &mut Slots) -> Result<CompiledRuleset> {
        self.compile_with(slots, None)
    }

    /// The same; of so many packets that a rule decides, or that go no further, one is drawn.
    pub(crate) fn compile_logged(&self, slots: &mut Slots, one_in: u32) -> Result<CompiledRuleset> {
        self.compile_with(slots, OneIn::new(one_in))
    }

    fn compile_with(&self, slots: &mut Slots, log: Option<OneIn>) -> Result<CompiledRuleset> {
        let mut ruleset =
            Bundle::of_text(self.name, self.text).parse().with_context(|| format!("read '{}'", self.name))?;
        ruleset.rules.splice(..0, many::rules(self.many)?);
        ruleset.policy.log_drops = log;
        for rule in &mut ruleset.rules {
            rule.log = log;
        }
        // Rules that give their counters away would need a look at them; these are too few for that.
        let assigned = slots.assign(&ruleset, &[FILTERED.to_owned()], &|_| Ok(Counter::default()))?;
        compile(&ruleset, &assigned)
    }
}
