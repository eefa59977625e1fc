//! Flows by plain reading: what rules/README.md says of them, one sentence after the other, with nothing of the code that it
//! is held against but the parser of headers.

use std::{collections::HashMap, net::IpAddr};

use foobar_common::{
    flow::{Direction, Family, Flow, Fragment, UNTAGGED},
    frame::Frame,
    parse::{Headers, network, transport},
    tracking::State,
};
use foobar_daemon::rules::evaluate::Known;

/// All flows that are known.
#[derive(Clone, Debug, Default)]
pub struct FlowModel {
    flows: HashMap<Ends, Conversation>,
}

/// Both ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    server: IpAddr,
    peer: IpAddr,
    protocol: u8,
    server_port: u16,
    peer_port: u16,
    /// Of a ping, whether the peer asks.
    peer_asks: bool,
}

/// What is remembered of a flow.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Conversation {
    server_began: bool,
    answered: bool,
    confirmed: bool,
    /// Of the SYN-ACK.
    sequence: u32,
    /// FIN and RST, of the server and of its peer.
    server_fin: bool,
    peer_fin: bool,
    server_reset: bool,
    peer_reset: bool,
    /// Seconds.
    last: u64,
}

/// What a packet is about.
enum About {
    Nothing,
    Nonsense,
    Error(Ends),
    /// A packet without connection: whether it can only be an answer.
    Plain(Ends, bool),
    Tcp(Ends, Segment),
}

#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of TCP")]
struct Segment {
    syn: bool,
    ack: bool,
    fin: bool,
    rst: bool,
    sequence: u32,
    acknowledged: u32,
}

impl FlowModel {
    /// What is known of a frame before it is judged, at this second.
    pub fn known(&self, frame: &[u8], direction: Direction, now: u64) -> Known {
        let known = |state, is_answer| Known { state, is_answer };
        let from_server = direction == Direction::Out;
        match about(frame, from_server) {
            About::Nothing => Known::NEW,
            About::Nonsense => known(State::Invalid, false),
            About::Error(ends) => match self.find(&ends, now) {
                Some(_) => known(State::Related, true),
                None => known(State::Invalid, false),
            },
            About::Plain(ends, only_answers) => match self.find(&ends, now) {
                None if only_answers => known(State::Invalid, false),
                Some(flow) if flow.server_began != from_server => known(State::Established, true),
                Some(flow) if flow.answered => known(State::Established, false),
                None | Some(_) => Known::NEW,
            },
            About::Tcp(ends, segment) => {
                if segment.syn && !segment.ack {
                    return Known::NEW;
                }
                let Some(flow) = self.find(&ends, now) else { return known(State::Invalid, false) };
                if flow.server_began == from_server {
                    return if flow.answered { known(State::Established, false) } else { Known::NEW };
                }
                // Before the connection is agreed to, it can be agreed to or refused.
                if flow.answered || segment.syn || segment.rst {
                    known(State::Established, true)
                } else {
                    known(State::Invalid, false)
                }
            }
        }
    }

    /// A frame was accepted, at this second.
    pub fn accepted(&mut self, frame: &[u8], direction: Direction, now: u64) {
        let from_server = direction == Direction::Out;
        if self.known(frame, direction, now).state == State::Invalid {
            return;
        }
        match about(frame, from_server) {
            About::Nothing | About::Nonsense | About::Error(_) => {}
            About::Plain(ends, only_answers) => {
                if self.find(&ends, now).is_none() {
                    if !only_answers {
                        self.flows.insert(ends, Conversation::new(from_server, now));
                    }
                    return;
                }
                let flow = self.flows.get_mut(&ends).expect("it was there");
                flow.answered |= flow.server_began != from_server;
                flow.last = now;
            }
            About::Tcp(ends, segment) => {
                let opens = segment.syn && !segment.ack;
                if self.find(&ends, now).is_none() {
                    if opens {
                        self.flows.insert(ends, Conversation::new(from_server, now));
                    }
                    return;
                }
                let flow = self.flows.get_mut(&ends).expect("it was there");
                flow.segment(segment, from_server, now);
            }
        }
    }

    /// Whether the time of the frame's flow has ended just now, so that a coarse clock may not have noticed.
    pub fn is_doubtful(&self, frame: &[u8], direction: Direction, now: u64) -> bool {
        let ends = match about(frame, direction == Direction::Out) {
            About::Nothing | About::Nonsense => return false,
            About::Error(ends) | About::Plain(ends, _) | About::Tcp(ends, _) => ends,
        };
        self.flows.get(&ends).is_some_and(|flow| {
            let over = (now - flow.last).saturating_sub(flow.patience(ends.protocol));
            (1..=3).contains(&over)
        })
    }

    fn find(&self, ends: &Ends, now: u64) -> Option<&Conversation> {
        self.flows.get(ends).filter(|flow| now - flow.last <= flow.patience(ends.protocol))
    }
}

impl Conversation {
    fn new(server_began: bool, now: u64) -> Self {
        Self {
            server_began,
            answered: false,
            confirmed: false,
            sequence: 0,
            server_fin: false,
            peer_fin: false,
            server_reset: false,
            peer_reset: false,
            last: now,
        }
    }

    fn segment(&mut self, segment: Segment, from_server: bool, now: u64) {
        let Segment { syn, ack, fin, rst, sequence, acknowledged } = segment;
        self.last = now;
        if syn && !ack {
            if from_server {
                *self = Self::new(true, now);
            }
            return;
        }
        if syn {
            if from_server {
                *self = Self { answered: true, sequence, ..Self::new(false, now) };
            } else if self.server_began && !self.confirmed {
                self.answered = true;
                self.sequence = sequence;
            }
            return;
        }
        let from_beginner = self.server_began == from_server;
        if !rst && from_beginner && self.answered && acknowledged == self.sequence.wrapping_add(1) {
            self.confirmed = true;
        }
        if !self.confirmed {
            return;
        }
        match (from_server, fin, rst) {
            (true, true, _) => self.server_fin = true,
            (false, true, _) => self.peer_fin = true,
            (true, _, true) => self.server_reset = true,
            (false, _, true) => self.peer_reset = true,
            (true, false, false) => (self.server_reset, self.peer_reset) = (false, false),
            (false, false, false) => {}
        }
    }

    fn patience(&self, protocol: u8) -> u64 {
        match protocol {
            6 if !self.confirmed => 120,
            6 if self.server_reset => 10,
            6 => match (self.server_fin, self.peer_fin || self.peer_reset) {
                (true, true) => 120,
                (true, false) => 3_600,
                (false, true) => 8_000,
                (false, false) => 5 * 24 * 3_600,
            },
            17 if self.answered => 180,
            1 | 17 | 58 => 30,
            _ if self.answered => 600,
            _ => 60,
        }
    }
}

fn about(frame: &[u8], from_server: bool) -> About {
    let mut headers = Headers::NONE;
    let window = Frame::from_slice(frame);
    if network(&window, UNTAGGED, &mut headers).and_then(|()| transport(&window, &mut headers)).is_err() {
        return About::Nothing;
    }
    let flow = headers.flow;
    if flow.fragment == Fragment::Later {
        return About::Nonsense;
    }
    let (start, length) = (headers.transport as usize, headers.left as usize);
    let bytes = &frame[start..frame.len().min(start + length)];
    let ends = ends(
        flow.source.ip(flow.family),
        flow.destination.ip(flow.family),
        flow.protocol,
        (flow.source_port(), flow.destination_port()),
        from_server,
    );
    match flow.protocol {
        6 => {
            let flags = flow.tcp_flags;
            let [fin, syn, rst, ack] = [0x01, 0x02, 0x04, 0x10].map(|bit| flags & bit != 0);
            let is_possible = matches!(
                (syn, ack, fin, rst),
                (true, _, false, false) | (false, true, _, false) | (false, _, false, true)
            );
            let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
            let segment = Segment { syn, ack, fin, rst, sequence: word(4), acknowledged: word(8) };
            if is_possible { About::Tcp(ends, segment) } else { About::Nonsense }
        }
        1 | 58 => icmp(&flow, bytes, ends, from_server),
        _ => About::Plain(ends, false),
    }
}

fn icmp(flow: &Flow, bytes: &[u8], ends: Ends, from_server: bool) -> About {
    let v6 = flow.protocol == 58;
    let kind = flow.icmp_type;
    let is_error = if v6 { (1..=4).contains(&kind) } else { [3, 11, 12].contains(&kind) };
    if is_error {
        return match quoted(flow, bytes, from_server) {
            Some(ends) => About::Error(ends),
            None => About::Nonsense,
        };
    }
    let (request, reply) = if v6 { (128, 129) } else { (8, 0) };
    if kind != request && kind != reply {
        return About::Nothing;
    }
    match bytes.get(..8) {
        Some(header) => About::Plain(ping(ends, header, kind == request, from_server), kind == reply),
        None => About::Nonsense,
    }
}

fn ping(ends: Ends, header: &[u8], is_request: bool, from_server: bool) -> Ends {
    let id = u16::from_be_bytes([header[4], header[5]]);
    Ends { server_port: id, peer_port: 0, peer_asks: is_request != from_server, ..ends }
}

/// The flow of the packet that an error quotes, if it was sent to whom the error goes.
fn quoted(flow: &Flow, bytes: &[u8], from_server: bool) -> Option<Ends> {
    let packet = bytes.get(8..)?;
    if flow.family == Family::V6 {
        return quoted_v6(flow, packet, from_server);
    }
    let header = packet.get(..20)?;
    let length = usize::from(header[0] & 0x0f) * 4;
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if header[0] >> 4 != 4 || length < 20 || offset != 0 {
        return None;
    }
    let behind = packet.get(length..)?;
    finish(flow, v4(&header[12..16]), v4(&header[16..20]), header[9], behind, from_server)
}

fn quoted_v6(flow: &Flow, packet: &[u8], from_server: bool) -> Option<Ends> {
    let header = packet.get(..40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let (mut protocol, mut behind) = (header[6], &packet[40..]);
    if protocol == 44 {
        let fragment = behind.get(..8)?;
        if u16::from_be_bytes([fragment[2], fragment[3]]) >> 3 != 0 {
            return None;
        }
        (protocol, behind) = (fragment[0], &behind[8..]);
    }
    finish(flow, v6(&header[8..24]), v6(&header[24..40]), protocol, behind, from_server)
}

fn finish(
    flow: &Flow,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    behind: &[u8],
    from_server: bool,
) -> Option<Ends> {
    let start = behind.get(..8)?;
    if flow.destination.ip(flow.family) != source {
        return None;
    }
    let port = |at: usize| u16::from_be_bytes([start[at], start[at + 1]]);
    let ports = if [6, 17, 132].contains(&protocol) { (port(0), port(2)) } else { (0, 0) };
    // It went the other way.
    let ends = ends(source, destination, protocol, ports, !from_server);
    match (protocol, start[0]) {
        (1, 8) | (58, 128) => Some(ping(ends, start, true, !from_server)),
        (1, 0) | (58, 129) => Some(ping(ends, start, false, !from_server)),
        (1 | 58, _) => None,
        _ => Some(ends),
    }
}

fn ends(source: IpAddr, destination: IpAddr, protocol: u8, ports: (u16, u16), from_server: bool) -> Ends {
    let (server, peer, (server_port, peer_port)) =
        if from_server { (source, destination, ports) } else { (destination, source, (ports.1, ports.0)) };
    Ends { server, peer, protocol, server_port, peer_port, peer_asks: false }
}

fn v4(bytes: &[u8]) -> IpAddr {
    IpAddr::from(<[u8; 4]>::try_from(bytes).expect("four bytes"))
}

fn v6(bytes: &[u8]) -> IpAddr {
    IpAddr::from(<[u8; 16]>::try_from(bytes).expect("sixteen bytes"))
}
