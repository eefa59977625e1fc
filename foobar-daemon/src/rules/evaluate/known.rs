//! What is known of a packet beside what its headers say.

use foobar_common::{
    flow::{Flow, Fragment, protocol},
    tracking::State,
    verdict::Reason,
};

use crate::rules::model::Ruleset;

/// What is known of the flow that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What the packet is to it.
    pub state: State,
    /// Whether it goes towards the side that began, or is an ICMP error about a packet of the flow.
    pub is_answer: bool,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Known {
    /// Of a packet that belongs to no flow that was there before, and may begin one.
    pub const NEW: Self = Self { state: State::New, is_answer: false };

    /// The words for what can be known, as packets in words have them.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("new", Self::NEW),
        ("established", Self { state: State::Established, is_answer: false }),
        ("answer", Self { state: State::Established, is_answer: true }),
        ("related", Self { state: State::Related, is_answer: true }),
        ("invalid", Self { state: State::Invalid, is_answer: false }),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, known)| *known == self).map_or(self.state.label(), |(word, _)| word)
    }

    /// What a packet most likely is, by its headers alone: a SYN is new, any other TCP packet goes on with a connection that
    /// the other side of this server began, an ICMP error is about something that was sent.
    /// While nothing is tracked, everything is new.
    pub fn likely(ruleset: &Ruleset, packet: &Result<Flow, Reason>) -> Self {
        let Ok(flow) = packet else { return Self::NEW };
        if !ruleset.tracks() {
            return Self::NEW;
        }
        let state = |state, is_answer| Self { state, is_answer };
        match (flow.protocol, flow.icmp_type) {
            _ if flow.fragment == Fragment::Later => state(State::Invalid, false),
            (protocol::TCP, _) => match flow.tcp_flags & (FIN | SYN | RST | ACK) {
                SYN => Self::NEW,
                flags if flags == SYN | ACK => state(State::Established, true),
                flags if [ACK, FIN | ACK, RST, RST | ACK].contains(&flags) => {
                    state(State::Established, false)
                }
                _ => state(State::Invalid, false),
            },
            (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => state(State::Established, true),
            (protocol::ICMP, 3 | 11 | 12) | (protocol::ICMPV6, 1..=4) => state(State::Related, true),
            _ => Self::NEW,
        }
    }
}
