//! A cable that loses, repeats, delays, cuts and overlaps what goes over it.

use std::{
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use etherparse::{NetHeaders, PacketHeaders, TcpHeader, TransportHeader};
use nix::{
    errno::Errno,
    sys::{
        socket::{LinkAddr, recvfrom, setsockopt, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};

use crate::{
    command::succeed,
    namespace::Namespace,
    network::{CLIENT, Network, SERVER},
    random::Random,
    sender::PacketSocket,
};

/// Ends of the two cables in the middle.
const TO_SERVER: &str = "mid0";
const TO_CLIENT: &str = "mid1";
/// `PACKET_OUTGOING` of `include/uapi/linux/if_packet.h`: what the other direction has sent.
const OUTGOING: u8 = 4;

/// How often a frame meets something, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disturbance {
    /// It is gone.
    pub lost: u32,
    /// It comes twice, the second time up to 2 ms later.
    pub doubled: u32,
    /// It comes up to 3 ms later, behind others.
    pub delayed: u32,
    /// Its data comes in two segments, which have some of it in common, in either order.
    pub cut: u32,
    /// Before its data come some bytes that were in the segment before.
    pub repeated: u32,
}

/// A server and a client with such a cable between them.
#[derive(Debug)]
pub struct Wire {
    stop: Arc<AtomicBool>,
    disturbed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
    _middle: Namespace,
}

impl Wire {
    /// Puts it in the place of the cable of a network.
    pub fn between(network: &Network, disturbance: Disturbance, seed: u64) -> Result<Self> {
        let middle = Namespace::new()?;
        network.unplug()?;
        network.plug_into(&middle, [TO_SERVER, TO_CLIENT])?;
        for (namespace, interface) in [
            (&*network.server, SERVER),
            (&*network.client, CLIENT),
            (&middle, TO_SERVER),
            (&middle, TO_CLIENT),
        ] {
            let words =
                ["-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off", "txvlan", "off"];
            succeed(namespace.command("ethtool").args(words))?;
        }
        let (stop, disturbed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sockets = [TO_SERVER, TO_CLIENT].map(|name| PacketSocket::new(&middle, name).map(Arc::new));
        let [server, client] = sockets;
        let (server, client) = (server?, client?);
        let mut threads = Vec::new();
        for (number, from, to) in [(1, &server, &client), (2, &client, &server)] {
            setsockopt(from.fd(), sockopt::ReceiveTimeout, &TimeVal::milliseconds(1))?;
            let mut way = Way {
                from: Arc::clone(from),
                to: Arc::clone(to),
                disturbance,
                random: Random::new(seed * 2 + number),
                held: Vec::new(),
                before: None,
                disturbed: Arc::clone(&disturbed),
            };
            let stop = Arc::clone(&stop);
            threads.push(thread::spawn(move || way.run(&stop)));
        }
        Ok(Self { stop, disturbed, threads, _middle: middle })
    }

    /// How many frames did not come as they went.
    pub fn disturbed(&self) -> u64 {
        self.disturbed.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_payload| anyhow!("a thread of the wire panicked"))??;
        }
        Ok(self.disturbed())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The test is over, and what it says matters more than how its wire ended.
            drop(thread.join());
        }
    }
}

/// One direction.
struct Way {
    from: Arc<PacketSocket>,
    to: Arc<PacketSocket>,
    disturbance: Disturbance,
    random: Random,
    held: Vec<(Instant, Vec<u8>)>,
    /// The last segment with data that came by.
    before: Option<Segment>,
    disturbed: Arc<AtomicU64>,
}

/// A segment with data, and nothing special about it.
#[derive(Clone)]
struct Segment {
    headers: Headers,
    data: Vec<u8>,
}

#[derive(Clone)]
struct Headers {
    link: Vec<u8>,
    network: NetHeaders,
    transport: TcpHeader,
}

impl Way {
    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut frame = vec![0; 1 << 16];
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let (due, held) = self.held.drain(..).partition(|(time, _)| *time <= now);
            self.held = held;
            let due: Vec<(Instant, Vec<u8>)> = due;
            for (_, frame) in due {
                self.to.send(&frame)?;
            }
            match recvfrom::<LinkAddr>(self.from.fd().as_raw_fd(), &mut frame) {
                Ok((_, Some(address))) if address.pkttype() == OUTGOING => {}
                Ok((length, _)) => {
                    let frame = frame.get(..length).unwrap_or_default().to_vec();
                    self.carry(frame)?;
                }
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {}
                Err(error) => return Err(error).context("receive a frame"),
            }
        }
        Ok(())
    }

    fn carry(&mut self, frame: Vec<u8>) -> Result<()> {
        let Disturbance { lost, doubled, delayed, cut, repeated } = self.disturbance;
        if !is_tcp(&frame) {
            return self.to.send(&frame);
        }
        let frames = if self.random.percent(lost) {
            Vec::new()
        } else if self.random.percent(delayed) {
            self.hold(frame, 3_000);
            Vec::new()
        } else if self.random.percent(doubled) {
            self.hold(frame.clone(), 2_000);
            vec![frame]
        } else {
            let segment = Segment::of(&frame);
            let before = std::mem::replace(&mut self.before, segment.clone());
            match segment {
                Some(segment) if self.random.percent(cut) => segment.cut(&mut self.random),
                Some(segment) if self.random.percent(repeated) => {
                    vec![before.and_then(|before| segment.behind(&before)).unwrap_or(frame)]
                }
                _ => return self.to.send(&frame),
            }
        };
        self.disturbed.fetch_add(1, Ordering::Relaxed);
        frames.iter().try_for_each(|frame| self.to.send(frame))
    }

    fn hold(&mut self, frame: Vec<u8>, microseconds: u64) {
        let wait = Duration::from_micros(200 + self.random.below(microseconds));
        self.held.push((Instant::now() + wait, frame));
    }
}

fn is_tcp(frame: &[u8]) -> bool {
    let headers = PacketHeaders::from_ethernet_slice(frame);
    headers.is_ok_and(|headers| matches!(headers.transport, Some(TransportHeader::Tcp(_))))
}

impl Segment {
    fn of(frame: &[u8]) -> Option<Self> {
        let parsed = PacketHeaders::from_ethernet_slice(frame).ok()?;
        let Some(TransportHeader::Tcp(transport)) = parsed.transport else { return None };
        let data = parsed.payload.slice().to_vec();
        if data.len() < 2 || transport.syn || transport.fin || transport.rst {
            return None;
        }
        let headers = Headers { link: frame.get(..14)?.to_vec(), network: parsed.net?, transport };
        Some(Self { headers, data })
    }

    /// Two segments that have some bytes in common.
    fn cut(&self, random: &mut Random) -> Vec<Vec<u8>> {
        let place = 1 + random.index(self.data.len() - 1);
        let common = random.index(self.data.len() - place + 1);
        let first = self.headers.frame(0, self.data.get(..place + common).unwrap_or_default());
        let second = self.headers.frame(place, self.data.get(place..).unwrap_or_default());
        if random.percent(25) { vec![second, first] } else { vec![first, second] }
    }

    /// The segment with the last bytes of the one before it, if this follows that.
    fn behind(&self, before: &Self) -> Option<Vec<u8>> {
        let (one, other) = (&before.headers.transport, &self.headers.transport);
        let next = one.sequence_number.wrapping_add(u32::try_from(before.data.len()).ok()?);
        let same = (one.source_port, one.destination_port) == (other.source_port, other.destination_port);
        let again = before.data.len().min(100);
        if !same || next != other.sequence_number || self.data.len() + again > 1_400 {
            return None;
        }
        let data = [before.data.get(before.data.len() - again..)?, &self.data].concat();
        let mut headers = self.headers.clone();
        headers.transport.sequence_number = other.sequence_number.wrapping_sub(u32::try_from(again).ok()?);
        Some(headers.frame(0, &data))
    }
}

impl Headers {
    /// The frame with this data, so far behind the data that was there; with right checksums.
    fn frame(&self, offset: usize, data: &[u8]) -> Vec<u8> {
        let Self { link, network, transport } = self;
        let mut transport = transport.clone();
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        transport.sequence_number = transport.sequence_number.wrapping_add(offset);
        let mut frame = link.clone();
        match network {
            NetHeaders::Ipv4(header, _) => {
                let mut header = header.clone();
                let length = transport.header_len() + data.len();
                if header.set_payload_len(length).is_ok() {
                    transport.checksum = transport.calc_checksum_ipv4(&header, data).unwrap_or_default();
                }
                // Into memory, so that nothing can fail.
                drop(header.write(&mut frame));
            }
            NetHeaders::Ipv6(header, _) => {
                let mut header = header.clone();
                header.payload_length =
                    u16::try_from(transport.header_len() + data.len()).unwrap_or(u16::MAX);
                transport.checksum = transport.calc_checksum_ipv6(&header, data).unwrap_or_default();
                drop(header.write(&mut frame));
            }
            NetHeaders::Arp(_) => {}
        }
        drop(transport.write(&mut frame));
        frame.extend(data);
        frame
    }
}
