//! Counting the frames that get through to an interface, or leave it.

use std::{
    ops::Range,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, recv, setsockopt, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};

use crate::{namespace::Namespace, sender::PacketSocket};

/// Counts frames on an interface. It stands behind XDP: frames that the filter drops are never seen here.
#[derive(Debug)]
pub struct Tap {
    seen: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Tap {
    /// Counts the frames for which `wanted` says so, from this moment on. Frames of both directions are shown
    /// to it; a VLAN tag may have been taken off by the kernel.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self> {
        let socket = PacketSocket::new(namespace, interface)?;
        setsockopt(socket.fd(), sockopt::ReceiveTimeout, &TimeVal::milliseconds(20))?;
        let seen = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let bytes = Arc::new(AtomicU64::new(0));
        let (counter, size, end) = (Arc::clone(&seen), Arc::clone(&bytes), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut frame = vec![0; 1 << 16];
            loop {
                // Asked before the socket is: what had arrived when the stop was asked for is still counted.
                let last = end.load(Ordering::Relaxed);
                match recv(socket.fd().as_raw_fd(), &mut frame, MsgFlags::empty()) {
                    Ok(length) => {
                        if wanted(frame.get(..length).unwrap_or_default()) {
                            counter.fetch_add(1, Ordering::Relaxed);
                            size.fetch_add(u64::try_from(length)?, Ordering::Relaxed);
                        }
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) if last => return Ok(()),
                    // ENETDOWN: the interface went away. It may be what the test is about.
                    Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {}
                    Err(error) => return Err(error).context("receive a frame"),
                }
            }
        });
        Ok(Self { seen, bytes, stop, thread: Some(thread) })
    }

    /// Frames seen so far.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Their bytes, with the Ethernet header.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts what has arrived by now and tells how many frames there were in all.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_payload| anyhow!("the thread that receives panicked"))??;
        }
        Ok(self.seen())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The test is over, and what it says matters more than how its receiver ended.
            drop(thread.join());
        }
    }
}

/// Waits as long as frames may still be under way on a cable between two namespaces of one machine.
pub fn settle() {
    thread::sleep(Duration::from_millis(100));
}

/// Whether a frame without VLAN tag is a UDP datagram to this port, IPv4 without options or IPv6 without
/// extension headers.
pub fn is_udp_to(frame: &[u8], port: u16) -> bool {
    is_to(frame, 17, port)
}

/// Whether a frame is a TCP segment to this port, under the same conditions.
pub fn is_tcp_to(frame: &[u8], port: u16) -> bool {
    is_to(frame, 6, port)
}

fn is_to(frame: &[u8], protocol: u8, port: u16) -> bool {
    let at = |range: Range<usize>| frame.get(range).unwrap_or_default();
    let port = port.to_be_bytes();
    match at(12..14) {
        [0x08, 0x00] => at(23..24) == [protocol] && at(36..38) == port,
        [0x86, 0xdd] => at(20..21) == [protocol] && at(56..58) == port,
        _ => false,
    }
}
