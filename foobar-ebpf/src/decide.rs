//! The order in which a packet is judged.

use aya_ebpf::programs::XdpContext;
use foobar_common::{
    classes::NO_GROUP,
    counters::Transport,
    flow::{Direction, Flow, Fragment},
    rule::{NO_RULE, RankedRule, uses},
    tracking::Standing,
    verdict::{Reason, Verdict},
};

use crate::{
    bans,
    classify::{self, Peer, Ports, Service},
    clients, fragments, infrastructure,
    interface::Interface,
    limit, settings, syn_cookies, track,
};

/// What becomes of a packet, why, and where it is counted.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    /// Counter slot of the rule that matched, or [`NO_RULE`].
    pub(crate) rule: u32,
    /// Counter slot of the port.
    pub(crate) port: u32,
    /// [`foobar_common::service::Protocol`] of its service as a number, with
    /// [`REQUESTS_ONLY`](foobar_common::service::Protocol::REQUESTS_ONLY) in it, or the one of none: with branches
    /// instead of a number here, the verifier walks all that comes later twice (Linux 6.18).
    pub(crate) protocol: u32,
    /// Counter slot of the group of peers that the other end is in, or [`NO_GROUP`]: a number, for the same reason.
    pub(crate) group: u32,
}

impl Decision {
    /// For a packet that comes in, whose headers could be read.
    #[inline(always)]
    pub(crate) fn of_arrived(flow: &Flow, interface: &Interface, context: &XdpContext) -> Self {
        let direction = Direction::In;
        let Some(ports) = Ports::of(flow, direction) else {
            return Self::without_flow(Reason::Internal, direction);
        };
        let Service { port, protocol } = ports.service(flow);
        let standing = track::stand_arrived(flow, port, context);
        let decision = Self::by_steps(flow, interface, direction, &ports, standing, (port, protocol));
        // A SYN that is answered with a cookie makes no flow; the program that answers makes it of those that it does not.
        if !(settings::uses(uses::SYN_COOKIES) && syn_cookies::may_answer(flow, port)) {
            track::follow(standing, &decision, direction);
        }
        fragments::keep(standing, &decision, direction);
        decision
    }

    /// For a packet that goes out, whose headers could be read.
    #[inline(always)]
    pub(crate) fn of_sent(flow: &Flow, interface: &Interface) -> Self {
        let direction = Direction::Out;
        let Some(ports) = Ports::of(flow, direction) else {
            return Self::without_flow(Reason::Internal, direction);
        };
        let Service { port, protocol } = ports.service(flow);
        let standing = track::stand(flow, direction);
        let decision = Self::by_steps(flow, interface, direction, &ports, standing, (port, protocol));
        track::follow(standing, &decision, direction);
        fragments::keep(standing, &decision, direction);
        decision
    }

    #[inline(always)]
    fn by_steps(
        flow: &Flow,
        interface: &Interface,
        direction: Direction,
        ports: &Ports,
        standing: Standing,
        (port, protocol): (u32, u32),
    ) -> Self {
        let group = u32::from(NO_GROUP);
        let decided = |verdict, reason| Self { verdict, reason, rule: NO_RULE, port, protocol, group };

        if settings::infrastructure() && infrastructure::accepts(flow, direction) {
            return decided(Verdict::Accept, Reason::Infrastructure);
        }
        let Some(peer) = Peer::of(flow, direction) else {
            return decided(settings::malformed(), Reason::Internal);
        };
        let group = peer.group();
        let decided = |verdict, reason| Self { verdict, reason, rule: NO_RULE, port, protocol, group };
        if peer.is_failsafe() || ports.is_failsafe(flow) {
            return decided(Verdict::Accept, Reason::Failsafe);
        }
        if matches!(direction, Direction::In) && bans::reach(flow, &peer) {
            return decided(Verdict::Drop, Reason::Ban);
        }
        if matches!(direction, Direction::In) && clients::are_banned(port) {
            return decided(Verdict::Reject, Reason::Ban);
        }
        if let Some(decision) = fragments::followed(standing, direction) {
            return decision;
        }
        if matches!(flow.fragment, Fragment::Later)
            && let Some(verdict) = settings::fragments()
        {
            return decided(verdict, Reason::Fragments);
        }
        if settings::uses(uses::REPLIES) && standing.is_answer() {
            return decided(Verdict::Accept, Reason::Replies);
        }
        match classify::rule(flow, interface, direction, &peer, ports, standing) {
            Ok(RankedRule::NONE) => decided(settings::policy(direction), Reason::Policy),
            Ok(rule) => {
                let decision = Self {
                    verdict: settings::verdict(rule.verdict()),
                    reason: Reason::Rule,
                    rule: rule.slot(),
                    port,
                    protocol,
                    group,
                };
                if settings::uses(uses::LIMITS)
                    && rule.is_limited()
                    && let Some(limit) = limit::exceeded(
                        flow,
                        rule.slot(),
                        port,
                        matches!(direction, Direction::In) && peer.is_never_banned(flow),
                    )
                {
                    return Self {
                        verdict: settings::verdict(limit.over),
                        reason: Reason::Limit,
                        rule: limit.over_slot,
                        ..decision
                    };
                }
                decision
            }
            Err(classify::Unreadable) => decided(settings::malformed(), Reason::Internal),
        }
    }

    /// For what this server was to send, was rejected, and comes back to it as an answer.
    #[inline(always)]
    pub(crate) fn own_answer() -> Self {
        let Service { port, protocol } = Service::none(Transport::Other);
        let (verdict, reason) = (Verdict::Accept, Reason::Replies);
        Self { verdict, reason, rule: NO_RULE, port, protocol, group: u32::from(NO_GROUP) }
    }

    /// For a packet that has no flow, for this reason.
    #[inline(always)]
    pub(crate) fn without_flow(reason: Reason, direction: Direction) -> Self {
        let (verdict, reason) = if matches!(reason, Reason::Arp) && settings::infrastructure() {
            (Verdict::Accept, Reason::Infrastructure)
        } else if reason.is_malformed() {
            (settings::malformed(), reason)
        } else {
            (settings::policy(direction), reason)
        };
        let Service { port, protocol } = Service::none(Transport::Other);
        Self { verdict, reason, rule: NO_RULE, port, protocol, group: u32::from(NO_GROUP) }
    }
}
