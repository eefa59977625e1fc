//! What others' rules say and this version of the rule language does not enforce.
//!
//! When the language grows, the sentence goes and the place that uses it says the thing: this is the list of
//! all such places.

/// Rules up to or over a rate are refused: what is over the limit goes on to the next rule there, and ends at the rule here.
pub(super) const LIMIT: &str = "what is over this limit goes on to the next rule, where here it ends; write the rule by hand, with limit and over";

/// Rules on the hop limit are refused. Most of them are for neighbour discovery.
pub(super) const HOP_LIMIT: &str = "the hop limit is not in the rule language; neighbour discovery, of which it must \
    be 255, is accepted before the rules (policy.infrastructure)";

/// Rules that do nothing but log are refused.
pub(super) const ONLY_LOGS: &str = "a rule that only logs is left out: here a rule logs what it decides; write log = \"1/1\" \
    into the rule that decides these packets, and foobar watch shows them";

/// A rule that logs and decides only decides.
pub(super) const LOG_LEFT_OUT: &str = "log is left out: nothing is written to the system's log here; with log = \"1/1\" foobar watch shows the packets";

/// Rejected packets get another answer.
pub(super) const OTHER_ANSWER: &str = "what is rejected gets the answer that foobar has: TCP a RST, everything else ICMP \
    \"administratively prohibited\"";

/// Rules behind routing are refused.
pub(super) const POSTROUTING: &str = "packets that are passed on leave there, too, and are not told from those that this \
    server sends; rules for these belong on the hook output";

/// Rules for forwarded packets are refused: the filter judges before the kernel routes.
pub(super) const FORWARD: &str = "packets that are passed on are not told from those for this server: on a router, \
    all of them meet the rules for what comes in";

/// A change that comes with every policy that drops.
pub(super) const DROP_POLICY: &str = "the policy also drops frames that are neither IPv4 nor IPv6; ARP, neighbour \
    discovery and DHCP replies are accepted before the rules (policy.infrastructure)";
