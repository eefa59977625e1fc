//! What is kept of SYNs, samples and rejected packets.

use std::{fmt::Write as _, mem::offset_of};

use foobar_common::{
    event::{Event, EventCounters, EventReader},
    flow::Direction,
    reject::{Outcome, outcome_slot},
    syn_cookies::{Pace, Passed, SynCounters},
};

/// The part of what outlives a ruleset that they have.
pub(crate) fn surviving() -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    line(format!(
        "SYN counters {} bytes: answered at {}, returned at {}, passed at {}; a pace {} bytes: seen at {}, begun at {}, until at {}",
        size_of::<SynCounters>(),
        offset_of!(SynCounters, answered),
        offset_of!(SynCounters, returned),
        offset_of!(SynCounters, passed),
        size_of::<Pace>(),
        offset_of!(Pace, seen),
        offset_of!(Pace, begun),
        offset_of!(Pace, until)
    ));
    for cause in Passed::ALL {
        line(format!("passed {} {}", cause.number(), cause.label()));
    }
    line(format!(
        "event {} bytes: interface at {}, verdict at {}, rule at {}, length at {}, tag at {}, captured at {}, bytes at {}",
        size_of::<Event>(),
        offset_of!(Event, interface),
        offset_of!(Event, verdict),
        offset_of!(Event, rule),
        offset_of!(Event, length),
        offset_of!(Event, tag),
        offset_of!(Event, captured),
        offset_of!(Event, bytes)
    ));
    line(format!(
        "event counters {} bytes: drawn at {}, lost at {}, unwatched at {}; reader {} bytes: watchers at {}, unwatched at \
         {}, lost at {}",
        size_of::<EventCounters>(),
        offset_of!(EventCounters, drawn),
        offset_of!(EventCounters, lost),
        offset_of!(EventCounters, unwatched),
        size_of::<EventReader>(),
        offset_of!(EventReader, watchers),
        offset_of!(EventReader, unwatched),
        offset_of!(EventReader, lost)
    ));
    let [inbound, outbound] = Direction::ALL.map(|direction| outcome_slot(direction, Outcome::Reset));
    line(format!("rejected: entry {inbound} of in, {outbound} of out"));
    for outcome in Outcome::ALL {
        line(format!("rejected {} {}", outcome.number(), outcome.label()));
    }
    text
}
