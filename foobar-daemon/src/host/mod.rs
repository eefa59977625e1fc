//! The health of the machine, as a server's monitoring client is expected to tell it: processors, memory, load, file systems,
//! disks, errors of interfaces, and what TCP has to repeat or turn away. All from `/proc`, read when it is asked for.

mod tcp;

use std::{path::PathBuf, time::Duration};

use nix::sys::statvfs::statvfs;
use procfs::{
    Current as _, CurrentSI as _, DiskStat, KernelStats, LoadAverage, Meminfo, current_system_info, net,
};

pub use self::tcp::Tcp;

/// Disks that are told of; the names of more would be a series each.
const DISKS_MAX: usize = 32;
/// Bytes of a sector in `/proc/diskstats`, whatever the disk has (`Documentation/admin-guide/iostats.rst` of Linux).
const SECTOR: u64 = 512;

/// When the machine started, as time since 1970.
pub fn started() -> Option<Duration> {
    KernelStats::current().ok().map(|stats| Duration::from_secs(stats.btime))
}

/// Which parts of the machine are looked at.
#[derive(Clone, Debug)]
pub struct Host {
    /// Names of interfaces.
    pub interfaces: Vec<String>,
    /// The state folder: the file system that it is on.
    pub state: PathBuf,
}

/// What was read; parts that could not be are not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Time of all processors together.
    pub processors: Option<Processors>,
    /// Memory by what it is, in bytes.
    pub memory: Vec<(&'static str, u64)>,
    /// Load average over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// File systems.
    pub file_systems: Vec<FileSystem>,
    /// Whole disks, by name.
    pub disks: Vec<Disk>,
    /// What went wrong on interfaces.
    pub interfaces: Vec<Interface>,
    /// TCP of this network namespace.
    pub tcp: Option<Tcp>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

/// Time of processors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Processors {
    /// How many there are.
    pub number: usize,
    /// Seconds since the machine started, by what they were spent on.
    pub seconds: Vec<(&'static str, f64)>,
    /// When the machine started, in seconds since 1970.
    pub started: u64,
}

/// A file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// A path on it.
    pub path: String,
    /// How much it holds, in bytes.
    pub size: u64,
    /// How much of that is left to those who are not root.
    pub available: u64,
    /// How many more files it has room for; 0 of 0 where it does not say.
    pub files_free: u64,
    /// How many it has room for in all.
    pub files: u64,
}

/// What was done on a disk since the machine started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    /// Its name.
    pub name: String,
    /// Bytes that were read and written.
    pub bytes: [u64; 2],
    /// How often.
    pub operations: [u64; 2],
    /// How long something was on its way, in seconds.
    pub busy: f64,
}

/// What went wrong on an interface, of what came in and of what went out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Frames that were not right.
    pub errors: [u64; 2],
    /// Frames that there was no room for.
    pub drops: [u64; 2],
}

impl Host {
    /// Reads all of it. Takes about a millisecond.
    pub fn read(&self) -> Readings {
        let mut readings = Readings::default();
        let mut problems = Vec::new();
        let mut keep = |what: &str, result: Result<(), String>| {
            if let Err(error) = result {
                problems.push(format!("read {what} of /proc: {error}"));
            }
        };
        let text = |error: procfs::ProcError| error.to_string();
        keep(
            "stat",
            KernelStats::current().map(|stats| readings.processors = Some(processors(&stats))).map_err(text),
        );
        keep("meminfo", Meminfo::current().map(|memory| readings.memory = parts(&memory)).map_err(text));
        let load = LoadAverage::current().map_err(text);
        keep(
            "loadavg",
            load.map(|load| readings.load = Some([load.one, load.five, load.fifteen].map(f64::from))),
        );
        keep(
            "diskstats",
            procfs::diskstats().map(|disks| readings.disks = whole_disks(&disks)).map_err(text),
        );
        let devices = net::dev_status().map_err(text);
        keep("net/dev", devices.map(|devices| readings.interfaces = self.interfaces_of(&devices)));
        keep("net/snmp and net/netstat", Tcp::read().map(|tcp| readings.tcp = Some(tcp)));
        for path in ["/", &self.state.display().to_string()] {
            keep(path, file_system(path).map(|found| readings.file_systems.push(found)));
        }
        readings.problems = problems;
        readings
    }

    fn interfaces_of(
        &self,
        devices: &std::collections::HashMap<String, net::DeviceStatus>,
    ) -> Vec<Interface> {
        let found = self.interfaces.iter().filter_map(|name| devices.get(name));
        found
            .map(|device| Interface {
                name: device.name.clone(),
                errors: [device.recv_errs, device.sent_errs],
                drops: [device.recv_drop, device.sent_drop],
            })
            .collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of centuries are far below 2^53")]
fn processors(stats: &KernelStats) -> Processors {
    let per_second = current_system_info().ticks_per_second() as f64;
    let total = &stats.total;
    // The time of guests is in that of users.
    let ticks = [
        ("user", total.user),
        ("nice", total.nice),
        ("system", total.system),
        ("idle", total.idle),
        ("iowait", total.iowait.unwrap_or(0)),
        ("irq", total.irq.unwrap_or(0)),
        ("softirq", total.softirq.unwrap_or(0)),
        ("steal", total.steal.unwrap_or(0)),
    ];
    Processors {
        number: stats.cpu_time.len(),
        seconds: ticks.map(|(mode, ticks)| (mode, ticks as f64 / per_second)).to_vec(),
        started: stats.btime,
    }
}

fn parts(memory: &Meminfo) -> Vec<(&'static str, u64)> {
    let Meminfo { mem_total, mem_free, mem_available, buffers, cached, swap_total, swap_free, .. } = memory;
    let all = [
        ("total", Some(mem_total)),
        ("free", Some(mem_free)),
        ("available", mem_available.as_ref()),
        ("buffers", Some(buffers)),
        ("cached", Some(cached)),
        ("swap_total", Some(swap_total)),
        ("swap_free", Some(swap_free)),
    ];
    all.into_iter().filter_map(|(part, bytes)| Some((part, *bytes?))).collect()
}

/// Disks that hold something: no partitions of others, no loops, nothing that was never used.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of centuries are far below 2^53")]
fn whole_disks(disks: &[DiskStat]) -> Vec<Disk> {
    let is_whole = |disk: &&DiskStat| {
        let name = &disk.name;
        let is_made_up = ["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind));
        // Slashes in names are exclamation marks there.
        let is_block = PathBuf::from("/sys/block").join(name.replace('/', "!")).exists();
        !is_made_up && is_block && (disk.reads > 0 || disk.writes > 0)
    };
    disks
        .iter()
        .filter(is_whole)
        .take(DISKS_MAX)
        .map(|disk| Disk {
            name: disk.name.clone(),
            bytes: [disk.sectors_read, disk.sectors_written].map(|sectors| sectors.saturating_mul(SECTOR)),
            operations: [disk.reads, disk.writes],
            busy: disk.time_in_progress as f64 / 1000.0,
        })
        .collect()
}

fn file_system(path: &str) -> Result<FileSystem, String> {
    let found = statvfs(path).map_err(|error| error.to_string())?;
    let block = found.fragment_size();
    Ok(FileSystem {
        path: path.to_owned(),
        size: found.blocks().saturating_mul(block),
        available: found.blocks_available().saturating_mul(block),
        files_free: found.files_free(),
        files: found.files(),
    })
}
