//! Frames put on a cable as they are, and floods of them.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
        socket, sockopt,
    },
    sys::time::{TimeVal, TimeValLike as _},
};

use crate::namespace::Namespace;

/// Frames that a flood sends before it looks at the clock: fewer than the receive ring of a veth holds, 256.
const BURST: u64 = 32;

/// A packet socket (`AF_PACKET`) on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// A socket that sends and receives whole frames. It receives from the moment it exists.
    pub fn new(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace.enter(|| {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                    .context("open a packet socket")?;
            setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20))?;
            bind(socket.as_raw_fd(), &link_address(interface)?)
                .with_context(|| format!("bind a packet socket to {interface}"))?;
            Ok(Self { socket })
        })
    }

    /// Sends a frame; `false` if the receiver had no room, and nothing was sent.
    pub fn try_send(&self, frame: &[u8]) -> Result<bool> {
        match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(sent) if sent == frame.len() => Ok(true),
            Ok(sent) => Err(anyhow!("{sent} of {} bytes of a frame sent", frame.len())),
            Err(Errno::ENOBUFS) => Ok(false),
            Err(error) => Err(error).context("send a frame"),
        }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let start = Instant::now();
        while !self.try_send(frame)? {
            ensure!(start.elapsed() < Duration::from_secs(5), "no room for a frame in 5 seconds");
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Sends a frame so many times.
    pub fn send_times(&self, frame: &[u8], times: u64) -> Result<()> {
        (0..times).try_for_each(|_| self.send(frame))
    }

    /// The next frame that arrives within so long. The kernel has taken the outermost VLAN tag off.
    pub fn receive(&self, limit: Duration) -> Result<Option<Vec<u8>>> {
        setsockopt(
            &self.socket,
            sockopt::ReceiveTimeout,
            &TimeVal::microseconds(limit.as_micros().try_into()?),
        )?;
        let mut frame = vec![0; 1 << 16];
        match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error).context("receive a frame"),
        }
    }

    /// The socket itself.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.socket
    }
}

/// The same frames again and again, until told to stop.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Starts sending frames in turn, so many per second.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        frames: Vec<Vec<u8>>,
        per_second: u64,
    ) -> Result<Self> {
        ensure!(!frames.is_empty(), "a flood of nothing");
        let socket = PacketSocket::new(namespace, interface)?;
        let sent = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (counter, end) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut frames = frames.iter().cycle();
            while !end.load(Ordering::Relaxed) {
                for frame in frames.by_ref().take(usize::try_from(BURST)?) {
                    socket.send(frame)?;
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                let due = Duration::from_secs_f64(
                    Duration::from_secs(counter.load(Ordering::Relaxed)).as_secs_f64()
                        / Duration::from_secs(per_second).as_secs_f64(),
                );
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
            Ok(())
        });
        Ok(Self { sent, stop, thread: Some(thread) })
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it and tells how many frames it sent in all.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_payload| anyhow!("the thread that floods panicked"))??;
        }
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test is over, and what it says matters more than how its flood ended.
            drop(thread.join());
        }
    }
}

fn link_address(interface: &str) -> Result<LinkAddr> {
    getifaddrs()
        .context("list the interfaces")?
        .find_map(|entry| {
            (entry.interface_name == interface).then(|| entry.address?.as_link_addr().copied()).flatten()
        })
        .with_context(|| format!("no interface {interface}"))
}
