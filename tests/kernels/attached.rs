//! The filter on a real interface: attach, count, swap, stay, adopt, detach.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::flow::Direction;
use foobar_daemon::{
    dataplane::{
        attach::{AttachedMode, Mode},
        counters::Counters,
        detach::detach_pinned,
        filter::{Filter, FilterOptions, Pins},
        interfaces,
        load::MapSizes,
        programs::ProgramFacts,
    },
    slots::Slots,
};
use nix::{
    libc,
    net::if_::if_nametoindex,
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};

use crate::{
    frames,
    machine::{FILTERED, SENDER},
    report::Report,
    rulesets,
};

/// Where links and maps are pinned.
const PINS: &str = "/sys/fs/bpf/foobar/v3";
/// How many frames of a kind are sent at a time.
const FRAMES: u64 = 50;
/// A frame that the first ruleset drops and the second accepts.
const ONE: &str = "udp to 9999";
/// A frame that both accept.
const OTHER: &str = "tcp syn to 443";

/// One step of [`run`]: what was seen, if it was as it should be.
type Step = fn(&mut State) -> Result<String>;

/// Takes an interface through the life of a filter; each step only after the one before.
pub(crate) fn run(report: &mut Report, section: &str, mode: Mode) {
    let mut state = match State::new(mode) {
        Ok(state) => state,
        Err(error) => {
            report.check(section, "prepare", &Err(error));
            return;
        }
    };
    let steps: [(&str, Step); 8] = [
        ("attach", State::attach),
        ("drop, accept and count", State::count),
        ("the same for what goes out", State::count_out),
        ("swap in place", State::swap),
        ("stay in force without a daemon", State::stay),
        ("adopt, and go on counting", State::adopt),
        ("load the probes", State::load_probes),
        ("detach", State::detach),
    ];
    for (name, step) in steps {
        if !report.check(section, name, &step(&mut state)) {
            break;
        }
    }
    // What a step that failed has left must not be in the way of the next mode.
    drop(state.filter.take());
    drop(detach_pinned(Path::new(PINS)));
}

struct State {
    options: FilterOptions,
    slots: Slots,
    wire: Wire,
    filter: Option<Filter>,
}

impl State {
    fn new(mode: Mode) -> Result<Self> {
        Ok(Self {
            options: FilterOptions {
                interfaces: vec![FILTERED.to_owned()],
                mode,
                pins: Pins::Lasting(PathBuf::from(PINS)),
                sizes: MapSizes::default(),
            },
            slots: Slots::default(),
            wire: Wire::new()?,
            filter: None,
        })
    }

    fn filter(&mut self) -> Result<&mut Filter> {
        self.filter.as_mut().context("there is no filter")
    }

    fn attach(&mut self) -> Result<String> {
        let filter = Filter::start(self.options.clone(), &rulesets::EVERYTHING.compile(&mut self.slots)?)?;
        let attachments = filter.attachments();
        let attachment = attachments.first().context("it is attached to nothing")?;
        let wanted = match self.options.mode {
            Mode::Native | Mode::Auto => AttachedMode::Native,
            Mode::Generic => AttachedMode::Generic,
        };
        ensure!(attachment.mode == Some(wanted), "attached as {:?}", attachment.mode);
        ensure!(
            attachment.expected_program == attachment.found_program,
            "program {:?} is there, and not {:?}",
            attachment.found_program,
            attachment.expected_program
        );
        self.filter = Some(filter);
        Ok(format!("program {:?}", attachment.found_program))
    }

    fn count(&mut self) -> Result<String> {
        self.pass(ONE, 0)?;
        self.pass(OTHER, FRAMES)?;
        let counters = self.filter()?.counters()?;
        ensure!(of_rule(&counters, "web") == FRAMES, "the rule counted {}", of_rule(&counters, "web"));
        ensure!(dropped(&counters) == FRAMES, "{} of {FRAMES} are counted as dropped", dropped(&counters));
        Ok(format!("{FRAMES} and {FRAMES} frames"))
    }

    fn count_out(&mut self) -> Result<String> {
        self.leave(ONE, 0)?;
        self.leave(OTHER, FRAMES)?;
        let counters = self.filter()?.counters()?;
        let found = of_rule(&counters, "no-way-out");
        ensure!(found == FRAMES, "the rule counted {found}");
        let attachments = self.filter()?.attachments();
        let hook = attachments.first().and_then(|attachment| attachment.egress);
        Ok(hook.context("the program for what goes out is not attached")?.label().to_owned())
    }

    fn swap(&mut self) -> Result<String> {
        let before = self.filter()?.programs()?;
        let open = rulesets::NOTHING.compile(&mut self.slots)?;
        self.filter()?.swap(&open)?;
        let after = self.filter()?.programs()?;
        self.pass(ONE, FRAMES)?;
        self.leave(ONE, FRAMES)?;
        let strict = rulesets::EVERYTHING.compile(&mut self.slots)?;
        self.filter()?.swap(&strict)?;
        self.pass(ONE, 0)?;
        self.leave(ONE, 0)?;
        let ids = |facts: &[ProgramFacts]| facts.iter().map(|program| program.id).collect::<Vec<_>>();
        ensure!(ids(&before) != ids(&after), "it is the same program as before");
        let counters = self.filter()?.counters()?;
        ensure!(of_rule(&counters, "web") == FRAMES, "the rule's count became {}", of_rule(&counters, "web"));
        ensure!(dropped(&counters) == 2 * FRAMES, "{} are counted as dropped", dropped(&counters));
        Ok(format!("{:?} {:?}", ids(&before), ids(&after)))
    }

    fn stay(&mut self) -> Result<String> {
        self.filter = None;
        self.pass(ONE, 0)?;
        self.pass(OTHER, FRAMES)?;
        self.leave(ONE, 0)?;
        Ok(String::new())
    }

    fn adopt(&mut self) -> Result<String> {
        self.attach()?;
        self.pass(ONE, 0)?;
        self.leave(ONE, 0)?;
        let counters = self.filter()?.counters()?;
        ensure!(dropped(&counters) == 4 * FRAMES, "{} are counted as dropped", dropped(&counters));
        ensure!(of_rule(&counters, "web") == 2 * FRAMES, "the rule counted {}", of_rule(&counters, "web"));
        let out = of_rule(&counters, "no-way-out");
        ensure!(out == 4 * FRAMES, "the rule for what goes out counted {out}");
        Ok(String::new())
    }

    /// There is no library in the machine to put them on, nor anybody who serves.
    fn load_probes(&mut self) -> Result<String> {
        let compiled = rulesets::DECRYPTED.compile(&mut self.slots)?;
        let filter = self.filter()?;
        filter.swap(&compiled)?;
        let facts = filter.decryption();
        let facts = facts.first().context("nothing is known of the service")?;
        let nobody = ["there is no process that listens on a port of the service"];
        ensure!(facts.problems == nobody, "{:?}", facts.problems);
        Ok(String::new())
    }

    fn detach(&mut self) -> Result<String> {
        self.filter.take().context("there is no filter")?.detach()?;
        // The kernel frees what nothing holds any more after a moment.
        thread::sleep(Duration::from_millis(200));
        let interface = interfaces::find(FILTERED)?.context("the interface is gone")?;
        ensure!(interface.program.is_none(), "{:?} is still there", interface.program);
        self.pass(ONE, FRAMES)?;
        self.leave(ONE, FRAMES)?;
        Ok(String::new())
    }

    /// Sends frames to the filter and counts those that come through.
    fn pass(&self, frame: &str, expected: u64) -> Result<()> {
        send_all(frame, expected, &self.wire.sender, &self.wire.receiver)
    }

    /// Sends frames from the filter's interface and counts those that come through.
    fn leave(&self, frame: &str, expected: u64) -> Result<()> {
        send_all(frame, expected, &self.wire.receiver, &self.wire.sender)
    }
}

/// Sends frames by one socket and counts those that come to the other.
fn send_all(frame: &str, expected: u64, from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let bytes = frames::by_name(frame).with_context(|| format!("there is no frame '{frame}'"))?;
    for _ in 0..FRAMES {
        send(from, &bytes)?;
    }
    let arrived = arrived(to, &bytes, expected)?;
    ensure!(arrived == expected, "of {FRAMES} frames '{frame}' {arrived} came through, and not {expected}");
    Ok(())
}

fn of_rule(counters: &Counters, rule: &str) -> u64 {
    counters.rules.get(rule).map_or(0, |counter| counter.packets)
}

fn dropped(counters: &Counters) -> u64 {
    let verdicts = counters.verdicts.iter();
    verdicts
        .filter(|((interface, direction, verdict, _), _)| {
            interface == FILTERED && *direction == Direction::In && verdict.label() == "drop"
        })
        .map(|(_, counter)| counter.packets)
        .sum()
}

/// Both ends of the wire, as packet sockets.
struct Wire {
    sender: OwnedFd,
    receiver: OwnedFd,
}

impl Wire {
    fn new() -> Result<Self> {
        Ok(Self { sender: packet_socket(SENDER)?, receiver: packet_socket(FILTERED)? })
    }
}

fn send(socket: &OwnedFd, frame: &[u8]) -> Result<()> {
    // SAFETY: send(2) reads this many bytes from a slice that has them.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    let error = io::Error::last_os_error();
    // What is dropped on its way out is told to whoever sends it.
    let is_dropped = sent < 0 && error.raw_os_error() == Some(libc::ENOBUFS);
    ensure!(is_dropped || usize::try_from(sent) == Ok(frame.len()), "send a frame: {error}");
    Ok(())
}

/// How many frames like this one came through: waits for those that are expected, then whether there are more.
fn arrived(socket: &OwnedFd, frame: &[u8], expected: u64) -> Result<u64> {
    let mut arrived = 0;
    let mut quiet = 0;
    let mut buffer = [0_u8; 2048];
    // Two tenths of a second of silence; ten seconds for what is expected, on a machine that is emulated.
    while quiet < if arrived < expected { 1000 } else { 20 } {
        // SAFETY: recv(2) writes at most this many bytes into a slice that has room for them.
        let length = unsafe {
            libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
        };
        match usize::try_from(length) {
            Ok(length) => {
                quiet = 0;
                arrived += u64::from(buffer.get(..length) == Some(frame));
            }
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {
                quiet += 1;
                thread::sleep(Duration::from_millis(10));
            }
            Err(_) => return Err(io::Error::last_os_error()).context("receive"),
        }
    }
    Ok(arrived)
}

/// A socket for whole frames of one interface.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
    // SAFETY: socket(2) takes numbers.
    let number =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol.into()) };
    ensure!(number >= 0, "open a packet socket: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just given it, to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: all of its fields are numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = protocol;
    address.sll_ifindex = i32::try_from(if_nametoindex(interface)?)?;
    let size = libc::socklen_t::try_from(size_of_val(&address))?;
    // SAFETY: bind(2) reads this many bytes of an address that has them.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    ensure!(bound == 0, "bind a packet socket to {interface}: {}", io::Error::last_os_error());
    // A frame through native XDP takes a page of it on some kernels.
    setsockopt(&socket, RcvBufForce, &(16 << 20)).context("enlarge the buffer of a packet socket")?;
    Ok(socket)
}
