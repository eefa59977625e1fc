//! Events as a pcapng file.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use foobar_common::{event::EVENT_BYTES, flow::Direction};
use pcap_file::{
    DataLink,
    pcapng::{
        PcapNgWriteError, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{
                InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
            },
            opt_common::CommonOption,
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use super::words;
use crate::control::events::ToldEvent;

/// The longest recorded frame: what an event has, and a VLAN tag that lay beside it.
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
const SNAP_LENGTH: u32 = EVENT_BYTES as u32 + 4;
/// What stands for stdout.
const STDOUT: &str = "-";

/// A capture that grows block by block. Blocks are put together in memory, so that the file only ever has whole ones.
pub(super) struct CaptureFile {
    /// `None` is stdout.
    file: Option<BufWriter<File>>,
    blocks: Option<PcapNgWriter<Vec<u8>>>,
    /// Names of the interfaces that are described, in their order.
    interfaces: Vec<String>,
}

impl CaptureFile {
    /// Opens the file for writing. What it holds goes with the first packet, or at the end: where the daemon refuses, it
    /// stays.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let file = if path == Path::new(STDOUT) {
            None
        } else {
            Some(BufWriter::new(File::options().write(true).create(true).truncate(false).open(path)?))
        };
        Ok(Self { file, blocks: None, interfaces: Vec::new() })
    }

    /// Empties the file and writes its head, unless that is done.
    pub(super) fn open(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.blocks.is_some() {
            return Ok(());
        }
        if let Some(file) = &self.file
            && file.get_ref().metadata()?.is_file()
        {
            file.get_ref().set_len(0)?;
        }
        let application = concat!("foobar ", env!("CARGO_PKG_VERSION"));
        let header = SectionHeaderBlock {
            options: vec![SectionHeaderOption::UserApplication(application.into())],
            ..SectionHeaderBlock::default()
        };
        self.blocks = Some(PcapNgWriter::with_section_header(Vec::new(), header).map_err(cause)?);
        self.pass_on(out)
    }

    /// Writes a packet, and before it its interface if it is the first one of it.
    pub(super) fn write(&mut self, event: &ToldEvent, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.open(out)?;
        let Some(blocks) = &mut self.blocks else { return Ok(()) };
        let ToldEvent {
            unix_ns,
            interface,
            direction,
            verdict,
            reason,
            rule,
            one_in,
            packets,
            length,
            bytes: _,
        } = event;
        let number = self.interfaces.iter().position(|name| name == interface);
        let number = if let Some(number) = number {
            number
        } else {
            let description = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: SNAP_LENGTH,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Owned(words::printable(interface))),
                    InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
                ],
            };
            blocks.write_pcapng_block(description).map_err(cause)?;
            self.interfaces.push(interface.clone());
            self.interfaces.len() - 1
        };
        let rule = rule.as_ref().map_or_else(String::new, |rule| format!(", rule {rule}"));
        let segments = if *packets > 1 { format!(", {packets} packets on the wire") } else { String::new() };
        let comment = format!("verdict {verdict}, reason {reason}{rule}, drawn 1/{one_in}{segments}");
        // The lowest two bits of epb_flags: 1 is inbound, 2 is outbound.
        let flags = if direction == Direction::In.label() { 1 } else { 2 };
        let packet = EnhancedPacketBlock {
            interface_id: u32::try_from(number).unwrap_or(u32::MAX),
            timestamp: Duration::from_nanos(*unix_ns),
            original_len: (*length).max(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            data: Cow::Borrowed(bytes),
            options: vec![
                EnhancedPacketOption::Flags(flags),
                EnhancedPacketOption::Common(CommonOption::Comment(Cow::Owned(words::printable(&comment)))),
            ],
        };
        blocks.write_pcapng_block(packet).map_err(cause)?;
        self.pass_on(out)
    }

    /// Gives everything to the system.
    pub(super) fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => out.flush(),
        }
    }

    fn pass_on(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(blocks) = &mut self.blocks else { return Ok(()) };
        let bytes = std::mem::take(blocks.get_mut());
        match &mut self.file {
            Some(file) => file.write_all(&bytes),
            None => out.write_all(&bytes),
        }
    }
}

fn cause(error: PcapNgWriteError) -> io::Error {
    io::Error::other(error)
}
