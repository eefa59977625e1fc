//! What outlives the daemon, and where it lies on the bpffs.
//!
//! Below the folder: `ingress/INTERFACE` and `egress/INTERFACE`, the links that keep programs on an interface (none for
//! what goes out where there is no tcx), and `maps/NAME`, the maps that survive a ruleset. The name of the folder ends in the layout version, so that a daemon with other
//! records never adopts them.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapInfo, MapType};
use foobar_common::{
    LAYOUT_VERSION,
    ahead::{BLOCKS_MAX, Block, BlockKey},
    bans::{BANS_MAX, Ban, BanCounters, BanKey, BanLengths},
    connection::{CONNECTIONS_MAX, Connection, ConnectionKey, NAMES_MAX, NameKey, TlsConnection},
    counters::{
        Counter, GROUP_ENTRIES, MORE_RULE_SLOTS, PORT_ENTRIES, RULE_SLOTS, SERVICE_SLOTS, VERDICT_ENTRIES,
    },
    dns::{DnsConnection, DnsCounters, QUERIES_MAX, QueryKey},
    event::{EventCounters, EventReader, RING_BYTES, RING_BYTES_UNUSED},
    flow::Direction,
    http2::{HTTP2_CONNECTIONS_MAX, Http2Connection},
    limit::{BUCKETS_MAX, BucketKey},
    maps,
    mysql::{REPLICAS_MAX, ReplicaKey, SESSIONS_MAX, STATEMENTS_MAX, Session, StatementKey},
    peers::PeerConnections,
    proxy::{CLIENTS_MAX, Client, ProxyCounters, WAITING_MAX},
    raw::{RawConnection, RawCounters},
    service::{HttpCounters, MysqlCounters, ServiceBytes, TlsCounters},
    syn_cookies::{Pace, SynCounters},
    tracking::{
        DATAGRAMS_MAX, Datagram, DatagramKey, FLOW_COUNTER_ENTRIES, FLOWS_MAX, FlowCounters, FlowKey,
        FlowKeyV4, TrackedFlow, UNPROVED_FLOWS_MAX,
    },
};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::rejects;

/// What is below the folder.
const FOLDERS: [&str; 4] = [links(Direction::In), links(Direction::Out), "maps", SERVICES];
/// Where the arrays of programs are.
const SERVICES: &str = "services";
/// Where links were up to layout 2.
const OLD_LINKS: &str = "links";
/// Where a bpffs is mounted by custom.
const BPFFS: &str = "/sys/fs/bpf";

const fn links(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "ingress",
        Direction::Out => "egress",
    }
}

/// The default folder for pins of this layout.
pub fn default_folder() -> PathBuf {
    PathBuf::from(format!("{BPFFS}/foobar/v{LAYOUT_VERSION}"))
}

/// A folder of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinFolder {
    root: PathBuf,
}

impl PinFolder {
    /// Names the folder; nothing is made or read.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The path of a pinned link of an interface. bpffs refuses dots in names, interfaces may have them.
    pub fn link(&self, direction: Direction, interface: &str) -> PathBuf {
        self.root.join(links(direction)).join(interface.replace('.', "\u{b7}"))
    }

    /// The path of a pinned map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    /// When a map was pinned, if it is.
    pub fn made(&self, name: &str) -> Option<SystemTime> {
        fs::metadata(self.map(name)).and_then(|metadata| metadata.modified()).ok()
    }

    /// The folder of the arrays of programs that read services.
    pub fn services_folder(&self) -> PathBuf {
        self.root.join(SERVICES)
    }

    /// The path of such an array, by its name and the id of the ruleset's program.
    pub fn services(&self, name: &str, program: u32) -> PathBuf {
        self.services_folder().join(format!("{name}-{program}"))
    }

    /// Names of the interfaces with a pinned link, in order.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let mut names = BTreeSet::new();
        for folder in Direction::ALL.map(links).into_iter().chain([OLD_LINKS]) {
            let folder = self.root.join(folder);
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("read {}", folder.display())),
            };
            for entry in entries {
                let entry = entry.with_context(|| format!("read {}", folder.display()))?;
                names.insert(entry.file_name().to_string_lossy().replace('\u{b7}', "."));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Makes the folder, on a bpffs that is mounted if it has to be.
    ///
    /// # Errors
    /// Says how to mount a bpffs, or which pins of another layout stand beside the folder.
    pub fn prepare(&self) -> Result<()> {
        self.mount_bpffs()?;
        self.refuse_other_layouts()?;
        for folder in FOLDERS {
            let folder = self.root.join(folder);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("make {}", folder.display()))?;
        }
        Ok(())
    }

    fn mount_bpffs(&self) -> Result<()> {
        let existing = self.root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let kind = statfs(existing).with_context(|| format!("look at {}", existing.display()))?;
        if kind.filesystem_type() == BPF_FS_MAGIC {
            return Ok(());
        }
        ensure!(
            self.root.starts_with(BPFFS),
            "{} is on no BPF file system; mount one there (mount -t bpf bpf {}) or point --pins below {BPFFS}",
            self.root.display(),
            existing.display()
        );
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .with_context(|| format!("mount the BPF file system; do it by hand: mount -t bpf bpf {BPFFS}"))
    }

    /// Folders beside this one that are named as another layout version and hold links.
    fn refuse_other_layouts(&self) -> Result<()> {
        let (Some(parent), Some(own)) = (self.root.parent(), self.root.file_name()) else {
            return Ok(());
        };
        let Ok(entries) = fs::read_dir(parent) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix('v')?.parse::<u32>().ok());
            if version.is_none() || name == own {
                continue;
            }
            let others = Self::new(&entry.path()).interfaces()?;
            if !others.is_empty() {
                bail!(
                    "{} holds the filter of another version of foobar, in force on {}; take it away with that \
                     version ('foobar detach') or with 'foobar detach --pins {}', then start again",
                    entry.path().display(),
                    others.join(", "),
                    entry.path().display()
                );
            }
        }
        Ok(())
    }

    /// Checks that the pinned maps, where there are any, are what this version of foobar would make.
    ///
    /// # Errors
    /// Names the first map that is not.
    pub fn verify_maps(&self) -> Result<()> {
        for name in maps::SURVIVING {
            let path = self.map(name);
            if !path.exists() {
                continue;
            }
            let info = MapInfo::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
            let found = (info.map_type()?, info.key_size(), info.value_size(), info.max_entries());
            let expected = shape(name);
            let (kind, key, value, entries) = found;
            let is_expected =
                (kind, key, value) == (expected.0, expected.1, expected.2) && is_whole(name, entries);
            ensure!(
                is_expected,
                "{} is not the map that this version of foobar makes (found {found:?}, expected {expected:?}); \
                 'foobar detach --pins {}' takes the old filter away",
                path.display(),
                self.root.display()
            );
        }
        Ok(())
    }

    /// Removes every pin and the folder. What was pinned lives on only where something holds it open.
    pub fn remove(&self) -> Result<()> {
        for folder in FOLDERS.into_iter().chain([OLD_LINKS]) {
            let folder = self.root.join(folder);
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
            fs::remove_dir(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        match fs::remove_dir(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.root.display()))
            }
            _ => {
                // The folder above, if this was all it held; it stays where it is somebody else's.
                let parent = self.root.parent().unwrap_or(Path::new(BPFFS));
                if parent != Path::new(BPFFS) {
                    let _stays: io::Result<()> = fs::remove_dir(parent);
                }
                Ok(())
            }
        }
    }
}

/// Whether a surviving map with so many entries is of its true size, and not one that is not in use.
pub(super) fn is_whole(name: &str, entries: u32) -> bool {
    let (_, _, _, expected) = shape(name);
    match name {
        // These are as large as the settings say.
        maps::EVENTS => entries != RING_BYTES_UNUSED,
        maps::FLOWS_V4 | maps::FLOWS_V6 | maps::UNPROVED_FLOWS => entries > 1,
        _ => entries == expected,
    }
}

/// Type of a surviving map, bytes of its keys and values, and how many entries it has where it is used.
#[expect(clippy::cast_possible_truncation, reason = "small records")]
pub(super) fn shape(name: &str) -> (MapType, u32, u32, u32) {
    let counters = |entries| (MapType::PerCpuArray, 4, size_of::<Counter>() as u32, entries);
    match name {
        maps::RULE_COUNTERS => counters(RULE_SLOTS),
        maps::MORE_RULE_COUNTERS => counters(MORE_RULE_SLOTS),
        maps::VERDICT_COUNTERS => counters(VERDICT_ENTRIES),
        maps::PORT_COUNTERS => counters(PORT_ENTRIES),
        maps::HTTP_COUNTERS => (MapType::PerCpuArray, 4, size_of::<HttpCounters>() as u32, SERVICE_SLOTS),
        maps::SERVICE_BYTES => (MapType::PerCpuArray, 4, size_of::<ServiceBytes>() as u32, SERVICE_SLOTS),
        maps::CONNECTIONS => {
            let (key, value) = (size_of::<ConnectionKey>() as u32, size_of::<Connection>() as u32);
            (MapType::LruHash, key, value, CONNECTIONS_MAX)
        }
        maps::TLS_COUNTERS => (MapType::PerCpuArray, 4, size_of::<TlsCounters>() as u32, SERVICE_SLOTS),
        maps::TLS_NAMES => (MapType::Hash, size_of::<NameKey>() as u32, 8, NAMES_MAX),
        maps::TLS_CONNECTIONS => {
            let (key, value) = (size_of::<ConnectionKey>() as u32, size_of::<TlsConnection>() as u32);
            (MapType::LruHash, key, value, CONNECTIONS_MAX)
        }
        maps::MYSQL_COUNTERS => (MapType::PerCpuArray, 4, size_of::<MysqlCounters>() as u32, SERVICE_SLOTS),
        maps::MYSQL_SESSIONS => {
            let (key, value) = (size_of::<ConnectionKey>() as u32, size_of::<Session>() as u32);
            (MapType::LruHash, key, value, SESSIONS_MAX)
        }
        maps::MYSQL_STATEMENTS => (MapType::LruHash, size_of::<StatementKey>() as u32, 8, STATEMENTS_MAX),
        maps::PROXY_HEADERS => (MapType::PerCpuArray, 4, size_of::<ProxyCounters>() as u32, SERVICE_SLOTS),
        maps::PROXY_CLIENTS => {
            let (key, value) = (size_of::<ConnectionKey>() as u32, size_of::<Client>() as u32);
            (MapType::LruHash, key, value, CLIENTS_MAX)
        }
        maps::PROXY_WAITING => (MapType::LruHash, size_of::<ConnectionKey>() as u32, 4, WAITING_MAX),
        maps::MYSQL_REPLICAS => (MapType::LruHash, size_of::<ReplicaKey>() as u32, 8, REPLICAS_MAX),
        maps::HTTP2_CONNECTIONS => {
            let (key, value) = (size_of::<ConnectionKey>() as u32, size_of::<Http2Connection>() as u32);
            (MapType::LruHash, key, value, HTTP2_CONNECTIONS_MAX)
        }
        maps::SEGMENTS_AHEAD => (MapType::LruHash, size_of::<BlockKey>() as u32, Block::SIZE, BLOCKS_MAX),
        maps::DNS_COUNTERS => (MapType::PerCpuArray, 4, size_of::<DnsCounters>() as u32, SERVICE_SLOTS),
        maps::DNS_CONNECTIONS => {
            let (key, value) = (size_of::<ConnectionKey>() as u32, size_of::<DnsConnection>() as u32);
            (MapType::LruHash, key, value, CONNECTIONS_MAX)
        }
        maps::DNS_PENDING => (MapType::LruHash, size_of::<QueryKey>() as u32, 8, QUERIES_MAX),
        maps::BUCKETS => (MapType::LruHash, size_of::<BucketKey>() as u32, 8, BUCKETS_MAX),
        maps::RAW_COUNTERS => (MapType::PerCpuArray, 4, size_of::<RawCounters>() as u32, SERVICE_SLOTS),
        maps::RAW_CONNECTIONS => {
            let (key, value) = (size_of::<ConnectionKey>() as u32, size_of::<RawConnection>() as u32);
            (MapType::LruHash, key, value, CONNECTIONS_MAX)
        }
        maps::BANS => (MapType::Hash, size_of::<BanKey>() as u32, size_of::<Ban>() as u32, BANS_MAX),
        maps::BAN_LENGTHS => (MapType::Array, 4, size_of::<BanLengths>() as u32, 2),
        maps::BAN_COUNTERS => (MapType::PerCpuArray, 4, size_of::<BanCounters>() as u32, 1),
        maps::PEER_CONNECTIONS => {
            (MapType::PerCpuArray, 4, size_of::<PeerConnections>() as u32, GROUP_ENTRIES)
        }
        maps::FLOWS_V4 => {
            (MapType::LruHash, size_of::<FlowKeyV4>() as u32, size_of::<TrackedFlow>() as u32, FLOWS_MAX)
        }
        maps::FLOWS_V6 | maps::UNPROVED_FLOWS => {
            let entries = if name == maps::FLOWS_V6 { FLOWS_MAX } else { UNPROVED_FLOWS_MAX };
            (MapType::LruHash, size_of::<FlowKey>() as u32, size_of::<TrackedFlow>() as u32, entries)
        }
        maps::DATAGRAMS => {
            let (key, value) = (size_of::<DatagramKey>() as u32, size_of::<Datagram>() as u32);
            (MapType::LruHash, key, value, DATAGRAMS_MAX)
        }
        maps::FLOW_COUNTERS => {
            (MapType::PerCpuArray, 4, size_of::<FlowCounters>() as u32, FLOW_COUNTER_ENTRIES)
        }
        maps::SYN_COUNTERS => (MapType::PerCpuArray, 4, size_of::<SynCounters>() as u32, SERVICE_SLOTS),
        maps::SYN_PACES => (MapType::Array, 4, size_of::<Pace>() as u32, SERVICE_SLOTS),
        maps::EVENTS => (MapType::RingBuf, 0, 0, RING_BYTES),
        maps::EVENT_COUNTERS => (MapType::PerCpuArray, 4, size_of::<EventCounters>() as u32, 1),
        maps::EVENT_READER => (MapType::Array, 4, size_of::<EventReader>() as u32, 1),
        maps::REJECT_COUNTERS => (MapType::PerCpuArray, 4, 8, rejects::OUTCOMES),
        _ => counters(0),
    }
}
