//! A ruleset as its author meant it: the rule language of [`super::file`] with every name resolved.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    time::Duration,
};

use foobar_common::{
    flow::{Direction, protocol},
    service::Protocol,
    syn_cookies::CookieMode,
    tls::TlsVersion,
    tracking::State,
    verdict::Verdict,
};
use ipnet::IpNet;

use super::{
    limit::{Rate, RateLimit, RateSpan},
    log::OneIn,
    rule_id::RuleId,
};

/// Everything that a rule file or a folder of them says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// What happens to packets that no rule decides.
    pub policy: Policy,
    /// What is accepted before everything.
    pub failsafe: Failsafe,
    /// Who connects: names of groups with their addresses. No prefix is given twice, and of those that contain an
    /// address the longest one counts.
    pub peers: BTreeMap<String, Vec<IpNet>>,
    /// Named sets of addresses.
    pub sets: BTreeMap<String, AddressSet>,
    /// The ports that are counted by themselves.
    pub services: Vec<Service>,
    /// The rules; the first that matches decides.
    pub rules: Vec<Rule>,
    /// When a guard takes these rules back.
    pub guard: GuardTerms,
}

/// `[guard]`: on which terms new rules are taken back because services lose traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardTerms {
    /// How long it is watched.
    pub within: Duration,
    /// By how much the traffic of a service has to fall, in percent.
    pub fall: u8,
    /// The services that are watched; `None` is all of them.
    pub services: Option<Vec<String>>,
}

impl Default for GuardTerms {
    fn default() -> Self {
        Self { within: Duration::from_secs(30), fall: 50, services: None }
    }
}

impl GuardTerms {
    /// Whether a service is watched.
    pub fn watches(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|name| name == service))
    }
}

/// `[policy]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// No rule matched a packet that comes in.
    pub inbound: Verdict,
    /// No rule matched a packet that goes out.
    pub outbound: Verdict,
    /// A frame that cannot be parsed.
    pub malformed: Verdict,
    /// Non-first fragments.
    pub fragments: FragmentPolicy,
    /// Whether ARP, neighbour discovery and DHCP, as a client has it, are always accepted.
    pub infrastructure: bool,
    /// Whether answers in known flows, and ICMP errors about them, are accepted before the rules.
    pub replies: bool,
    /// Of how many packets that go no further one is told of, unless their rule says otherwise.
    pub log_drops: Option<OneIn>,
    /// How long TCP connections that are older than the tracking of flows are learnt from what this server sends in them.
    pub adopt: Duration,
    /// How many rejected packets are answered at most, of each direction.
    pub reject_rate: Rate,
}

/// The label of everyone who is in no group of peers.
pub const OTHER_PEERS: &str = "other";

impl Default for Policy {
    fn default() -> Self {
        Self {
            inbound: Verdict::Accept,
            outbound: Verdict::Accept,
            malformed: Verdict::Drop,
            fragments: FragmentPolicy::Rules,
            infrastructure: true,
            replies: true,
            log_drops: None,
            adopt: Duration::from_secs(30),
            reject_rate: Rate { packets: 1_000, span: RateSpan::Second },
        }
    }
}

impl Ruleset {
    /// Whether connections of groups of peers are counted at all.
    pub fn counts_groups(&self) -> bool {
        !self.peers.is_empty() && self.spoken().iter().any(|(port, spoken)| spoken.counts_connections(*port))
    }

    /// Whether packets are told of at all.
    pub fn logs(&self) -> bool {
        self.policy.log_drops.is_some() || self.rules.iter().any(|rule| rule.log.is_some())
    }

    /// Whether flows have to be tracked: a rule asks for the state of a packet, or an answer may be dropped.
    pub fn tracks(&self) -> bool {
        let refuses = self.verdicts().any(|(_, verdict)| verdict.is_refusal());
        (self.policy.replies && refuses) || self.rules.iter().any(|rule| rule.state.is_some())
    }

    /// Whether some packet can be rejected.
    pub fn rejects(&self) -> bool {
        self.names_clients() || self.verdicts().any(|(_, verdict)| verdict == Verdict::Reject)
    }

    /// Whether proxies speak for clients at some service.
    pub fn names_clients(&self) -> bool {
        self.services.iter().any(|service| service.proxy_protocol)
    }

    /// Whether some packet that goes out can be.
    pub fn rejects_out(&self) -> bool {
        self.verdicts().any(|said| said == (Direction::Out, Verdict::Reject))
    }

    /// What the policy and the rules say of each direction, each as often as they do.
    fn verdicts(&self) -> impl Iterator<Item = (Direction, Verdict)> {
        let of_rules = self.rules.iter().flat_map(|rule| {
            let over = rule.limit.map(|limit| limit.over);
            [rule.action].into_iter().chain(over).map(|verdict| (rule.direction, verdict))
        });
        Direction::ALL.map(|direction| (direction, self.policy.of(direction))).into_iter().chain(of_rules)
    }

    /// Whether SYNs to some service may be answered with cookies.
    pub fn sends_cookies(&self) -> bool {
        self.services.iter().any(Service::sends_cookies)
    }

    /// What is spoken on each port of a service.
    pub fn spoken(&self) -> BTreeMap<ServicePort, Spoken> {
        let of_port = |service: &Service| Spoken {
            service: service.name.clone(),
            protocol: service.protocol,
            tls: service.tls,
            proxy_protocol: service.proxy_protocol,
            responses: service.responses,
            syn_cookies: service.syn_cookies,
        };
        let services = self.services.iter();
        services.flat_map(|service| service.ports.iter().map(move |port| (*port, of_port(service)))).collect()
    }
}

impl Policy {
    /// What becomes of a packet that no rule matches.
    pub const fn of(&self, direction: Direction) -> Verdict {
        match direction {
            Direction::In => self.inbound,
            Direction::Out => self.outbound,
        }
    }
}

/// `policy.fragments`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentPolicy {
    /// They meet the rules; only rules without ports, flags and ICMP types can match.
    Rules,
    /// All of them get this verdict.
    Always(Verdict),
}

/// `[failsafe]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failsafe {
    /// Destination ports that are always accepted.
    pub ports: Vec<ServicePort>,
    /// Sources that are always accepted.
    pub peers: Vec<IpNet>,
    /// Sources that no ban and no automatic limit reaches, besides the peers.
    pub never_ban: Vec<IpNet>,
}

/// `[sets.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// Where the entries come from, when not from the rule file itself.
    pub file: Option<String>,
    /// The entries, in their order.
    pub entries: Vec<IpNet>,
    /// How many entries of the file had bits behind their prefix, which were set to zero.
    pub masked: usize,
}

/// `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The ports it listens on.
    pub ports: Vec<ServicePort>,
    /// What is spoken there.
    pub protocol: Protocol,
    /// What clients have to offer there.
    pub tls: TlsRequirements,
    /// Whether a proxy says who the client is, before the client speaks.
    pub proxy_protocol: bool,
    /// Whether what the server answers is read, which only a service of HTTP/1.x can do without.
    pub responses: bool,
    /// When a client's SYN is answered with a cookie.
    pub syn_cookies: SynCookies,
    /// Whose TLS library tells the requests, if one does.
    pub decrypt: Option<DecryptFrom>,
    /// With whose count that of foobar is compared, if it is.
    pub reconcile: Option<Reconcile>,
}

/// A server whose own count is compared with that of foobar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// The server.
    pub server: CountingServer,
    /// From one comparison to the next.
    pub every: Duration,
}

/// A server that counts what it is asked, and where it tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountingServer {
    /// nginx, on a page of `stub_status`.
    Nginx(StatusPage),
    /// MySQL or MariaDB, with the credentials in this file.
    Mysql(String),
}

/// A page that is served on this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusPage {
    /// Where; on the loopback interface.
    pub address: SocketAddr,
    /// Which, from the first slash on.
    pub path: String,
}

impl CountingServer {
    /// The label `source`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Nginx(_) => "nginx",
            Self::Mysql(_) => "mysql",
        }
    }
}

impl fmt::Display for StatusPage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, path } = self;
        write!(formatter, "http://{address}{path}")
    }
}

impl fmt::Display for CountingServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nginx(page) => write!(formatter, "nginx_status {page}"),
            Self::Mysql(path) => write!(formatter, "mysql {path}"),
        }
    }
}

/// By what the processes of a service are known whose TLS library tells the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecryptFrom {
    /// They listen on a port of the service.
    Listeners,
    /// They are in this unit of systemd.
    Unit(String),
    /// They run this program.
    Path(String),
}

impl fmt::Display for DecryptFrom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listeners => write!(formatter, "listens on a port of the service"),
            Self::Unit(unit) => write!(formatter, "is in the unit {unit}"),
            Self::Path(path) => write!(formatter, "runs {path}"),
        }
    }
}

/// What is spoken on a port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Name of the service.
    pub service: String,
    /// What is counted there.
    pub protocol: Protocol,
    /// What clients have to offer.
    pub tls: TlsRequirements,
    /// Whether proxies speak before clients do.
    pub proxy_protocol: bool,
    /// Whether what servers answer is read.
    pub responses: bool,
    /// When a client's SYN is answered with a cookie.
    pub syn_cookies: SynCookies,
}

impl Spoken {
    /// The number that the program has for it: [`Protocol`], with [`Protocol::REQUESTS_ONLY`] in it.
    pub const fn number(&self) -> u32 {
        let mark = if self.responses { 0 } else { Protocol::REQUESTS_ONLY };
        self.protocol.number() | mark
    }

    /// Whether more is counted of a port where this is spoken than packets and bytes.
    pub fn is_counted(&self, port: ServicePort) -> bool {
        self.protocol.is_read() || port.protocol == PortProtocol::Tcp
    }

    /// Whether connections to a port are counted where this is spoken. Queries of DNS are, however they come.
    pub fn counts_connections(&self, port: ServicePort) -> bool {
        port.protocol == PortProtocol::Tcp && self.protocol != Protocol::Dns
    }
}

/// `syn_cookies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynCookies {
    /// Whether, or while many come.
    pub mode: CookieMode,
    /// Above so many SYNs in a second it begins.
    pub start: u32,
    /// It ends when no second has had more than these for a while.
    pub stop: u32,
}

impl SynCookies {
    /// While more than `start` come in a second, and until no more than `stop` do.
    pub const fn auto(start: u32, stop: u32) -> Self {
        Self { mode: CookieMode::Auto, start, stop }
    }

    /// Whether SYNs to a port may be answered so.
    pub fn reach(&self, port: ServicePort) -> bool {
        self.mode != CookieMode::Off && port.protocol == PortProtocol::Tcp
    }
}

impl Default for SynCookies {
    fn default() -> Self {
        Self { mode: CookieMode::Off, ..Self::auto(1_000, 500) }
    }
}

impl fmt::Display for SynCookies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, start, stop } = self;
        match mode {
            CookieMode::Off | CookieMode::Always => formatter.write_str(mode.label()),
            CookieMode::Auto => write!(formatter, "auto above {start}/s until {stop}/s"),
        }
    }
}

/// `require_tls` and `min_tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsRequirements {
    /// What is no TLS is dropped.
    pub required: bool,
    /// Clients that offer nothing as new as this are dropped.
    pub oldest: Option<TlsVersion>,
}

impl Service {
    /// Whether SYNs to it may be answered with cookies.
    pub fn sends_cookies(&self) -> bool {
        self.ports.iter().any(|port| self.syn_cookies.reach(*port))
    }

    /// One of which nothing is read.
    pub fn raw(name: &str, ports: Vec<ServicePort>) -> Self {
        Self {
            name: name.to_owned(),
            ports,
            protocol: Protocol::Raw,
            tls: TlsRequirements::default(),
            proxy_protocol: false,
            responses: true,
            syn_cookies: SynCookies::default(),
            decrypt: None,
            reconcile: None,
        }
    }
}

/// A port with its protocol, as `tcp/443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// The protocol.
    pub protocol: PortProtocol,
    /// The port.
    pub port: u16,
}

/// The protocols that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortProtocol {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Sctp => protocol::SCTP,
        }
    }

    /// The word for it in rule files and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.protocol.label(), self.port)
    }
}

/// `[[rule]]`. An absent condition is met by every packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its stable name.
    pub id: RuleId,
    /// What becomes of a packet that matches.
    pub action: Verdict,
    /// Which way the packet goes.
    pub direction: Direction,
    /// Source address.
    pub source: Option<AddressCondition>,
    /// Destination address.
    pub destination: Option<AddressCondition>,
    /// IP protocol numbers, as written; [`Rule::protocols`] also says what ports, flags and types imply.
    pub protocol: Option<BTreeSet<u8>>,
    /// Source port.
    pub source_port: Option<Vec<RangeInclusive<u16>>>,
    /// Destination port.
    pub destination_port: Option<Vec<RangeInclusive<u16>>>,
    /// TCP flags.
    pub tcp_flags: Option<FlagCondition>,
    /// Messages of ICMP and `ICMPv6`.
    pub icmp: Option<Vec<IcmpCondition>>,
    /// `true`: later fragments only. `false`: anything else.
    pub fragment: Option<bool>,
    /// What the packet is to the flows that are known.
    pub state: Option<BTreeSet<State>>,
    /// Names of interfaces.
    pub interface: Option<BTreeSet<String>>,
    /// Ids of the outermost VLAN tag.
    pub vlan: Option<BTreeSet<u16>>,
    /// Bytes of the IP packet.
    pub length: Option<RangeInclusive<u16>>,
    /// Up to which rate it holds.
    pub limit: Option<RateLimit>,
    /// Of how many of its packets one is told of.
    pub log: Option<OneIn>,
    /// What its author says of it.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without conditions, which every incoming packet matches.
    pub fn new(id: &str, action: Verdict) -> Self {
        Self {
            id: id.into(),
            action,
            direction: Direction::In,
            source: None,
            destination: None,
            protocol: None,
            source_port: None,
            destination_port: None,
            tcp_flags: None,
            icmp: None,
            fragment: None,
            state: None,
            interface: None,
            vlan: None,
            length: None,
            limit: None,
            log: None,
            comment: None,
        }
    }

    /// The IP protocols that the rule can match: those it names, and of these the ones that have the ports,
    /// flags or messages it asks for. `None` is every protocol.
    pub fn protocols(&self) -> Option<BTreeSet<u8>> {
        let mut protocols = self.protocol.clone();
        let mut restrict = |to: BTreeSet<u8>| {
            protocols = Some(match protocols.take() {
                Some(named) => named.intersection(&to).copied().collect(),
                None => to,
            });
        };
        if self.source_port.is_some() || self.destination_port.is_some() {
            restrict(PortProtocol::ALL.into_iter().map(PortProtocol::number).collect());
        }
        if self.tcp_flags.is_some() {
            restrict(BTreeSet::from([protocol::TCP]));
        }
        if let Some(messages) = &self.icmp {
            restrict(messages.iter().map(|message| message.protocol).collect());
        }
        protocols
    }
}

/// Which addresses a condition accepts: those in a prefix or set of `include` (all, if it is empty) that are in
/// none of `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressCondition {
    /// Accepted.
    pub include: Vec<AddressMatch>,
    /// Not accepted, even if included.
    pub exclude: Vec<AddressMatch>,
}

/// One entry of an address list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressMatch {
    /// A prefix, or a single address as one of full length.
    Prefix(IpNet),
    /// The name of a set of this ruleset, without the `@`.
    Set(String),
}

/// TCP flags that must and must not be set, as bits of the flags byte. Nothing is in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagCondition {
    /// All of these are set.
    pub set: u8,
    /// None of these is set.
    pub clear: u8,
}

/// One message of ICMP or `ICMPv6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IcmpCondition {
    /// [`foobar_common::flow::protocol::ICMP`] or [`foobar_common::flow::protocol::ICMPV6`].
    pub protocol: u8,
    /// Message type.
    pub kind: u8,
    /// Message code; `None` is any.
    pub code: Option<u8>,
}
