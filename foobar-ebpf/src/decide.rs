//! The order in which a packet is judged.

use foobar_common::{
    counters::Transport,
    flow::{Flow, Fragment},
    rule::{NO_RULE, RankedRule},
    verdict::{Reason, Verdict},
};

use crate::{
    classify::{self, Ports, Source},
    infrastructure,
    interface::Interface,
    settings,
};

/// What becomes of a packet, why, and where it is counted.
#[derive(Clone, Copy)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    /// Counter slot of the rule that matched, or [`NO_RULE`].
    pub(crate) rule: u32,
    /// Counter slot of the port.
    pub(crate) port: u32,
}

impl Decision {
    /// For a packet whose headers could be read.
    #[inline(always)]
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "inlined, so nothing is passed")]
    pub(crate) fn of(flow: &Flow, interface: &Interface) -> Self {
        let Some(ports) = Ports::of(flow) else {
            return Self::without_flow(Reason::Internal);
        };
        let port = ports.service_slot(flow);
        let decided = |verdict, reason| Self { verdict, reason, rule: NO_RULE, port };

        if settings::infrastructure() && infrastructure::accepts(flow) {
            return decided(Verdict::Accept, Reason::Infrastructure);
        }
        let Some(source) = Source::of(flow) else {
            return decided(settings::malformed(), Reason::Internal);
        };
        if source.is_failsafe_peer() || ports.is_failsafe(flow) {
            return decided(Verdict::Accept, Reason::Failsafe);
        }
        if matches!(flow.fragment, Fragment::Later)
            && let Some(verdict) = settings::fragments()
        {
            return decided(verdict, Reason::Fragments);
        }
        match classify::rule(flow, interface, &source, &ports) {
            Ok(RankedRule::NONE) => decided(settings::policy_in(), Reason::Policy),
            Ok(rule) => Self {
                verdict: settings::verdict(rule.verdict()),
                reason: Reason::Rule,
                rule: rule.slot(),
                port,
            },
            Err(classify::Unreadable) => decided(settings::malformed(), Reason::Internal),
        }
    }

    /// For a packet that has no flow, for this reason.
    #[inline(always)]
    pub(crate) fn without_flow(reason: Reason) -> Self {
        let (verdict, reason) = if matches!(reason, Reason::Arp) && settings::infrastructure() {
            (Verdict::Accept, Reason::Infrastructure)
        } else if reason.is_malformed() {
            (settings::malformed(), reason)
        } else {
            (settings::policy_in(), reason)
        };
        Self { verdict, reason, rule: NO_RULE, port: Transport::Other.other_port() }
    }
}
