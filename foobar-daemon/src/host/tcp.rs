//! What TCP has to repeat, and what listeners turn away.

use std::fs;

use procfs::net;

/// Longest `/proc/net/netstat` that is read, in bytes; it has some 5,000.
const TEXT_MAX: usize = 1 << 16;

/// Counts of this network namespace, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Segments that were sent, those that were repeated not among them.
    pub sent: u64,
    /// Segments that were sent again.
    pub repeated: u64,
    /// Connections that were turned away as the queue of their listener was full.
    pub overflows: u64,
    /// Connections that were turned away by a listener, for whatever reason.
    pub turned_away: u64,
}

impl Tcp {
    /// Reads `/proc/net/snmp` and `/proc/net/netstat` (`Documentation/networking/snmp_counter.rst` of Linux).
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn read() -> Result<Self, String> {
        let snmp = net::snmp().map_err(|error| error.to_string())?;
        // The crate does not read this one.
        let text = fs::read_to_string("/proc/self/net/netstat").map_err(|error| error.to_string())?;
        let extended = |name| extended(&text, name).ok_or_else(|| format!("there is no {name}"));
        Ok(Self {
            sent: snmp.tcp_out_segs,
            repeated: snmp.tcp_retrans_segs,
            overflows: extended("ListenOverflows")?,
            turned_away: extended("ListenDrops")?,
        })
    }
}

/// A number of `TcpExt`: a line of names, and one of numbers.
fn extended(text: &str, name: &str) -> Option<u64> {
    let mut lines =
        text.get(..text.len().min(TEXT_MAX))?.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|known| known == name)?;
    numbers.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_below_its_name() {
        let text =
            "IpExt: A B\nIpExt: 8 9\nTcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 2 3\n";
        assert_eq!(extended(text, "ListenOverflows"), Some(2));
        assert_eq!(extended(text, "ListenDrops"), Some(3));
        for none in [
            "",
            "TcpExt: ListenDrops\n",
            "TcpExt: ListenDrops\nTcpExt: x\n",
            "TcpExt: A ListenDrops\nTcpExt: 1\n",
        ] {
            assert_eq!(extended(none, "ListenDrops"), None, "{none}");
        }
    }

    #[test]
    fn this_machine_has_all_of_them() {
        assert!(Tcp::read().is_ok());
    }
}
