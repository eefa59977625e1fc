//! Runs programs on many different frames and tells how long each took.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunAttrs, TestRunOptions,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, Xdp, XdpMode},
};
use foobar_bench_programs::{Cursor, FRAME_WORDS, FRAMES_MAX, Frame, Stream, Target, maps, programs};
use foobar_tests::namespace::Namespace;
use nix::{
    net::if_::if_nametoindex,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::object;

/// Bytes of every frame.
const FRAME_BYTES: usize = FRAME_WORDS * 8;
/// Frames that a sender puts on the cable before the receiver looks; the ring of a veth holds 256.
const BATCH: u32 = 64;

/// The programs of the benchmark, loaded.
pub(crate) struct Driver {
    object: Ebpf,
    frames: Array<MapData, Frame>,
    cursor: Array<MapData, CursorRecord>,
    stream: Array<MapData, StreamRecord>,
    targets: ProgramArray<MapData>,
    /// One less than how many frames take turns.
    mask: u32,
    /// The program is attached to the loopback device in there, which sees no packet. The kernel calls attached
    /// programs directly; to prepare that for each test run anew takes 20 ms (`bpf_prog_change_xdp` in
    /// `bpf_prog_test_run_xdp`, Linux 6.18).
    _attached: Namespace,
}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct CursorRecord(Cursor);

// SAFETY: four integers without padding.
unsafe impl Pod for CursorRecord {}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct StreamRecord(Stream);

// SAFETY: as above.
unsafe impl Pod for StreamRecord {}

impl Driver {
    /// Builds and loads them.
    pub(crate) fn load() -> Result<Self> {
        let mut object = EbpfLoader::new().load(&object::build()?).context("load the benchmark's object")?;
        for name in [programs::BARE, programs::PARSE_ONLY, programs::VARY, programs::CONTINUE, programs::SEND]
        {
            let program: &mut Xdp = object.program_mut(name).context("a program is missing")?.try_into()?;
            program.load().with_context(|| format!("load the benchmark's program '{name}'"))?;
        }
        let attached = Namespace::new()?;
        let vary: &mut Xdp =
            object.program_mut(programs::VARY).context("a program is missing")?.try_into()?;
        attached.enter(|| {
            vary.attach("lo", XdpMode::Skb).context("attach the benchmark's program to a loopback device")?;
            Ok(())
        })?;
        let mut take = |name: &str| object.take_map(name).with_context(|| format!("no map {name}"));
        let frames = take(maps::FRAMES)?.try_into()?;
        let cursor = take(maps::CURSOR)?.try_into()?;
        let stream = take(maps::STREAM)?.try_into()?;
        let targets = take(maps::TARGETS)?.try_into()?;
        let mut driver = Self { object, frames, cursor, stream, targets, mask: 0, _attached: attached };
        for (target, name) in [(Target::Bare, programs::BARE), (Target::ParseOnly, programs::PARSE_ONLY)] {
            let program = driver.program(name)?.fd()?.try_clone()?;
            driver.targets.set(target as u32, &program, 0).context("enter a program")?;
        }
        Ok(driver)
    }

    /// Makes this program the subject.
    pub(crate) fn aim(&mut self, program: &ProgramFd) -> Result<()> {
        self.targets.set(Target::Subject as u32, program, 0).context("enter the measured program")
    }

    /// From now on these frames take turns.
    pub(crate) fn feed(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        ensure!(!frames.is_empty(), "no frames to feed");
        let count = u32::try_from(frames.len())?.next_power_of_two().min(FRAMES_MAX);
        for (number, frame) in (0..count).zip(frames.iter().cycle()) {
            self.frames.set(number, words(frame)?, 0).context("write a frame")?;
        }
        self.mask = count - 1;
        Ok(())
    }

    /// Nanoseconds that each of so many runs took, frames taking turns.
    pub(crate) fn time(&mut self, target: Target, runs: u32) -> Result<f64> {
        self.run(target, 0, self.mask, runs).map(|(_, duration)| nanoseconds(duration))
    }

    /// Nanoseconds that each of so many runs of the subject took on one frame.
    pub(crate) fn time_one(&mut self, number: u32, runs: u32) -> Result<f64> {
        self.run(Target::Subject, number, 0, runs).map(|(_, duration)| nanoseconds(duration))
    }

    /// What the subject returns for a frame.
    pub(crate) fn action(&mut self, number: u32) -> Result<u32> {
        self.run(Target::Subject, number, 0, 1).map(|(action, _)| action)
    }

    /// Nanoseconds that each of so many segments took that follow this one on its connection, of which it has so many
    /// bytes.
    pub(crate) fn time_segments(
        &mut self,
        target: Target,
        frame: &[u8],
        length: u32,
        runs: u32,
    ) -> Result<f64> {
        let before = self.stream.get(&0, 0).context("read the stream")?.0;
        let stream = Stream { length, target: target as u32, ..before };
        self.stream.set(0, StreamRecord(stream), 0).context("write the stream")?;
        let options = TestRunOptions { data_in: Some(frame), repeat: runs, ..TestRunOptions::default() };
        let result = self.program(programs::CONTINUE)?.test_run(options).context("send segments")?;
        if !matches!(target, Target::Subject) {
            self.stream.set(0, StreamRecord(before), 0).context("write the stream")?;
        }
        ensure!(result.return_value != 0, "segments did not reach their target {target:?} (XDP_ABORTED)");
        Ok(nanoseconds(result.duration))
    }

    /// The next segment has this sequence number.
    pub(crate) fn begin_stream(&mut self, next: u32) -> Result<()> {
        let stream = Stream { next, ..Stream::default() };
        self.stream.set(0, StreamRecord(stream), 0).context("write the stream")
    }

    /// Nanoseconds of a program that does nothing.
    pub(crate) fn time_bare(&self, runs: u32) -> Result<f64> {
        let frame = [0; FRAME_BYTES];
        let options = TestRunOptions { data_in: Some(&frame), repeat: runs, ..TestRunOptions::default() };
        Ok(nanoseconds(self.program(programs::BARE)?.test_run(options)?.duration))
    }

    /// Puts the bare program on an interface, for as long as the driver lives.
    pub(crate) fn attach_bare(&mut self, namespace: &Namespace, interface: &str) -> Result<()> {
        let program: &mut Xdp =
            self.object.program_mut(programs::BARE).context("a program is missing")?.try_into()?;
        namespace.enter(|| {
            program.attach(interface, XdpMode::Driver).context("attach the bare program")?;
            Ok(())
        })
    }

    /// Sends so many frames from this interface of the namespace, in turns, and gives the nanoseconds of each,
    /// in which the receiver judged it too: both work on this processor.
    pub(crate) fn send(&mut self, client: &Namespace, interface: &str, frames: u32) -> Result<f64> {
        self.cursor.set(0, CursorRecord(Cursor { mask: self.mask, ..Cursor::default() }), 0)?;
        let program = self.program(programs::SEND)?;
        client.enter(|| {
            pin_to_last_processor()?;
            let index = if_nametoindex(interface).with_context(|| format!("no interface {interface}"))?;
            let context = context(index)?;
            let frame = [0; FRAME_BYTES];
            let options = TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            };
            let result = program.test_run(options).context("send live frames (Linux 5.18)")?;
            Ok(nanoseconds(result.duration))
        })
    }

    fn run(&mut self, target: Target, first: u32, mask: u32, runs: u32) -> Result<(u32, Duration)> {
        let cursor = Cursor { next: 0, mask, first, target: target as u32 };
        self.cursor.set(0, CursorRecord(cursor), 0).context("write the cursor")?;
        let frame = [0; FRAME_BYTES];
        let options = TestRunOptions { data_in: Some(&frame), repeat: runs, ..TestRunOptions::default() };
        let result =
            self.program(programs::VARY)?.test_run(options).context("run the benchmark's program")?;
        ensure!(
            result.return_value != 0,
            "the benchmark's program did not reach its target {target:?} (XDP_ABORTED)"
        );
        Ok((result.return_value, result.duration))
    }

    fn program(&self, name: &str) -> Result<&Xdp> {
        Ok(self.object.program(name).context("a program is missing")?.try_into()?)
    }
}

/// Keeps this thread where nobody moves it while it measures.
pub(crate) fn pin_to_last_processor() -> Result<()> {
    let mut set = CpuSet::new();
    set.set(std::thread::available_parallelism()?.get().saturating_sub(1))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .or_else(|_no_such_processor| {
            // Processors that this process may use need not be numbered from 0.
            let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
            let mut one = CpuSet::new();
            let last = (0..CpuSet::count()).rev().find(|number| allowed.is_set(*number).unwrap_or(false));
            one.set(last.unwrap_or(0))?;
            sched_setaffinity(Pid::from_raw(0), &one)
        })
        .context("stay on one processor")
}

fn words(frame: &[u8]) -> Result<Frame> {
    ensure!(frame.len() <= FRAME_BYTES, "a frame of {} bytes; there is room for {FRAME_BYTES}", frame.len());
    let mut words = Frame::default();
    for (word, bytes) in words.iter_mut().zip(frame.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(padded);
    }
    Ok(words)
}

/// `struct xdp_md` of `include/uapi/linux/bpf.h`: `data`, `data_end`, `data_meta`, `ingress_ifindex`,
/// `rx_queue_index`, `egress_ifindex`.
fn context(ingress: u32) -> Result<Vec<u8>> {
    let fields = [0, u32::try_from(FRAME_BYTES)?, 0, ingress, 0, 0];
    Ok(fields.iter().copied().flat_map(u32::to_ne_bytes).collect())
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}
