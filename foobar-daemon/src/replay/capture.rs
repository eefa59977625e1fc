//! Frames out of a pcap or pcapng file.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Chain, Cursor, ErrorKind, Read},
    path::{Path, PathBuf},
    rc::Rc,
};

use pcap_file::{
    Endianness,
    pcap::{PcapReadError, PcapReader},
    pcapng::{
        PcapNgReadError, PcapNgReader, PcapNgState, RawBlock,
        blocks::{ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, PACKET_BLOCK, SIMPLE_PACKET_BLOCK},
    },
};

use super::link::LinkLayer;
use crate::outcome::InvalidInput;

/// Longest block or record that is read; what is longer is taken for a broken length.
const RECORD_MAX: usize = 8 << 20;
/// A recorded frame may always be this long, whatever limit the capture states (as in libpcap).
const FRAME_MAX: u32 = 262_144;
/// The kinds of blocks that hold a packet.
const PACKET_BLOCKS: [u32; 3] = [ENHANCED_PACKET_BLOCK, SIMPLE_PACKET_BLOCK, PACKET_BLOCK];
/// Most interfaces of one section of a pcapng.
const INTERFACES_MAX: usize = 4_096;

/// A capture that is being read.
pub struct Capture {
    path: PathBuf,
    reader: Reader,
    bytes_read: Rc<Cell<u64>>,
    frames: u64,
    /// The bytes of the last frame.
    bytes: Vec<u8>,
}

/// A frame as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// Counted from 1.
    pub number: u64,
    /// What its first bytes are.
    pub link: LinkLayer,
    /// As much of it as was recorded.
    pub bytes: &'a [u8],
    /// How long it was on the wire; at least as long as `bytes`.
    pub length: usize,
}

/// Why a capture cannot be read on.
#[derive(Debug)]
pub enum Stop {
    /// The file is broken at this frame; those before it are good.
    Broken(InvalidInput),
    /// It cannot be read at all, or has frames that cannot be judged.
    Unreadable(InvalidInput),
}

impl From<Stop> for anyhow::Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Broken(error) | Stop::Unreadable(error) => error.into(),
        }
    }
}

type Source = Chain<Cursor<[u8; 4]>, Counted>;

enum Reader {
    Pcap { reader: Box<PcapReader<Source>>, link: LinkLayer, frame_max: u32 },
    PcapNg(Box<PcapNgReader<Source>>),
}

impl Capture {
    /// Opens a capture and reads its header.
    ///
    /// # Errors
    /// [`InvalidInput`] if it cannot be opened, is compressed, is no capture, or has a link type that cannot be
    /// judged.
    pub fn open(path: &Path) -> Result<Self, InvalidInput> {
        let unreadable = |cause: &str| InvalidInput(format!("read capture {}: {cause}", path.display()));
        let mut file = File::open(path).map_err(|error| unreadable(&error.to_string()))?;
        let mut magic = [0; 4];
        let read = read_up_to(&mut file, &mut magic).map_err(|error| unreadable(&error.to_string()))?;
        if read < magic.len() {
            return Err(unreadable("it ends before its header"));
        }
        if let Some((program, tool)) = compression(magic) {
            return Err(unreadable(&format!("it is compressed with {program}; unpack it first: {tool}")));
        }
        let bytes_read = Rc::new(Cell::new(0));
        let source = Cursor::new(magic).chain(Counted { file, bytes_read: Rc::clone(&bytes_read) });
        let reader = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                let reader = PcapNgReader::with_capacity(source, RECORD_MAX);
                Reader::PcapNg(Box::new(reader.map_err(|error| unreadable(&pcapng_cause(&error)))?))
            }
            [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1] => {
                let reader = PcapReader::with_capacity(source, RECORD_MAX);
                let reader = reader.map_err(|error| unreadable(&pcap_cause(&error)))?;
                let header = reader.header();
                // The upper half tells the length of checksums behind the frames.
                let link = LinkLayer::of(u32::from(header.datalink) & 0xffff);
                let link = link.map_err(|error| unreadable(&error.to_string()))?;
                Reader::Pcap { reader: Box::new(reader), link, frame_max: header.snaplen.max(FRAME_MAX) }
            }
            other => {
                return Err(unreadable(&format!(
                    "it starts with {other:02x?}, which is neither pcap nor pcapng; record one with tcpdump -w"
                )));
            }
        };
        Ok(Self { path: path.to_path_buf(), reader, bytes_read, frames: 0, bytes: Vec::new() })
    }

    /// The next frame, or `None` at the end.
    ///
    /// # Errors
    /// Says which frame is broken and how. There is nothing to read behind it.
    pub fn next_frame(&mut self) -> Result<Option<Recorded<'_>>, Stop> {
        let number = self.frames.saturating_add(1);
        let found = match &mut self.reader {
            Reader::Pcap { reader, link, frame_max } => next_record(reader, *frame_max, &mut self.bytes)
                .map(|length| length.map(|length| (*link, length))),
            Reader::PcapNg(reader) => next_packet_block(reader, &mut self.bytes),
        };
        let place = |cause: &str| {
            InvalidInput(format!("read capture {}: frame {number}: {cause}", self.path.display()))
        };
        let (link, length) = match found {
            Ok(None) => return Ok(None),
            Ok(Some(found)) => found,
            Err(Problem::Broken(cause)) => return Err(Stop::Broken(place(&cause))),
            Err(Problem::Link(error)) => return Err(Stop::Unreadable(place(&error.to_string()))),
        };
        self.frames = number;
        // A length on the wire below what was recorded is a slip of the program that recorded it.
        let length = (length as usize).max(self.bytes.len());
        Ok(Some(Recorded { number, link, bytes: &self.bytes, length }))
    }

    /// Bytes read from the file.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }
}

enum Problem {
    Broken(String),
    Link(InvalidInput),
}

/// Puts the next frame of a pcap into `bytes` and tells how long it was on the wire.
fn next_record(
    reader: &mut PcapReader<Source>,
    frame_max: u32,
    bytes: &mut Vec<u8>,
) -> Result<Option<u32>, Problem> {
    let record = match reader.next_raw_packet() {
        None => return Ok(None),
        Some(record) => record.map_err(|error| Problem::Broken(pcap_cause(&error)))?,
    };
    if record.incl_len > frame_max {
        let cause = format!("its length is {}, more than {frame_max}: the file is broken", record.incl_len);
        return Err(Problem::Broken(cause));
    }
    bytes.clear();
    bytes.extend(record.data.iter());
    Ok(Some(record.orig_len))
}

/// Puts the next frame of a pcapng into `bytes` and tells its link layer and how long it was on the wire.
fn next_packet_block(
    reader: &mut PcapNgReader<Source>,
    bytes: &mut Vec<u8>,
) -> Result<Option<(LinkLayer, u32)>, Problem> {
    let broken = |cause: &str| Problem::Broken(cause.to_owned());
    loop {
        let (block, state) = match reader.next_raw_block() {
            None => return Ok(None),
            Some(block) => block.map_err(|error| Problem::Broken(pcapng_cause(&error)))?,
        };
        if block.type_ == INTERFACE_DESCRIPTION_BLOCK && state.interfaces().len() > INTERFACES_MAX {
            return Err(broken("more interfaces than any capture has: the file is broken"));
        }
        if !PACKET_BLOCKS.contains(&block.type_) {
            continue;
        }
        let packet = packet_of(&block, state);
        let Packet { interface, data, length } =
            packet.ok_or_else(|| broken("its block is shorter than the frame in it"))?;
        let interface = usize::try_from(interface).ok().and_then(|number| state.interfaces().get(number));
        let interface =
            interface.ok_or_else(|| broken("it is from an interface that the file does not describe"))?;
        let link = LinkLayer::of(u32::from(interface.linktype)).map_err(Problem::Link)?;
        bytes.clear();
        bytes.extend(data);
        return Ok(Some((link, length)));
    }
}

/// What a packet block says.
struct Packet<'a> {
    interface: u32,
    data: &'a [u8],
    length: u32,
}

/// Reads one of the [`PACKET_BLOCKS`], if it is as long as it says. Options and times are of no interest, so
/// they may be broken.
fn packet_of<'b>(block: &'b RawBlock<'_>, state: &PcapNgState) -> Option<Packet<'b>> {
    let number = |at: usize| {
        let bytes = block.body.get(at..)?.first_chunk::<4>()?;
        Some(match state.endianness() {
            Endianness::Big => u32::from_be_bytes(*bytes),
            Endianness::Little => u32::from_le_bytes(*bytes),
        })
    };
    let data = |at: usize, length: u32| block.body.get(at..)?.get(..usize::try_from(length).ok()?);
    if block.type_ == SIMPLE_PACKET_BLOCK {
        let length = number(0)?;
        let limit = state.interfaces().first().map_or(0, |interface| interface.snaplen);
        let recorded = if limit == 0 { length } else { length.min(limit) };
        return Some(Packet { interface: 0, data: data(4, recorded)?, length });
    }
    let interface = match (block.type_, state.endianness()) {
        // The obsolete block has an interface of two bytes, and behind it a count of drops.
        (PACKET_BLOCK, Endianness::Big) => number(0)? >> 16,
        (PACKET_BLOCK, Endianness::Little) => number(0)? & 0xffff,
        _ => number(0)?,
    };
    Some(Packet { interface, data: data(20, number(12)?)?, length: number(16)? })
}

fn pcap_cause(error: &PcapReadError) -> String {
    match error {
        PcapReadError::Io(error) => io_cause(error),
        PcapReadError::Validation(error) => error.to_string(),
    }
}

fn pcapng_cause(error: &PcapNgReadError) -> String {
    if let PcapNgReadError::Io(error) = error {
        return io_cause(error);
    }
    let mut causes = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    causes.join(": ")
}

fn io_cause(error: &io::Error) -> String {
    if error.kind() == ErrorKind::UnexpectedEof {
        "the file ends inside it, or its length is broken".to_owned()
    } else {
        error.to_string()
    }
}

/// Which program compressed a file that starts so, and what unpacks it.
fn compression(magic: [u8; 4]) -> Option<(&'static str, &'static str)> {
    match magic {
        [0x1f, 0x8b, ..] => Some(("gzip", "gunzip --keep")),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(("zstd", "unzstd")),
        [0xfd, b'7', b'z', b'X'] => Some(("xz", "unxz --keep")),
        [b'B', b'Z', b'h', _] => Some(("bzip2", "bunzip2 --keep")),
        [0x04, 0x22, 0x4d, 0x18] => Some(("lz4", "unlz4")),
        _ => None,
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A file that tells how much of it has been read.
struct Counted {
    file: File,
    bytes_read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => {
                    let read = u64::try_from(*other.as_ref().unwrap_or(&0)).unwrap_or(0);
                    self.bytes_read.set(self.bytes_read.get().saturating_add(read));
                    return other;
                }
            }
        }
    }
}
