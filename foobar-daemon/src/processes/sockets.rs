//! Who listens on a TCP port.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use anyhow::{Context as _, Result};

/// The state of a listening socket in the kernel's tables (`TCP_LISTEN` of `include/net/tcp_states.h`).
const LISTENING: &str = "0A";

/// The sockets that listen on these ports, by inode.
pub(super) fn listening(ports: &BTreeSet<u16>) -> Result<BTreeMap<u64, u16>> {
    let mut sockets = BTreeMap::new();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match fs::read_to_string(table) {
            Ok(text) => {
                let found = text.lines().filter_map(socket);
                sockets.extend(found.filter(|(_, port)| ports.contains(port)));
            }
            // Without IPv6, there is no table of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {table}")),
        }
    }
    Ok(sockets)
}

/// Inode and port of a listening socket, from a line of the table.
fn socket(line: &str) -> Option<(u64, u16)> {
    let mut words = line.split_whitespace().skip(1);
    let (local, _remote, state) = (words.next()?, words.next()?, words.next()?);
    if state != LISTENING {
        return None;
    }
    let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    // Between are queues, timers, retransmissions, user and timeouts.
    let inode = words.nth(5)?.parse().ok()?;
    Some((inode, port))
}

/// On which of these sockets' ports a process listens; workers have the sockets of the process that made them.
pub(super) fn ports_of(process: &Path, sockets: &BTreeMap<u64, u16>) -> BTreeSet<u16> {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return BTreeSet::new() };
    let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let inodes = targets.filter_map(|target| {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    });
    inodes.filter_map(|inode| sockets.get(&inode).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read() {
        let listens = "   0: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 \
                       0000000000000000 100 0 0 10 0";
        assert_eq!(socket(listens), Some((4711, 443)));
        assert_eq!(socket(&listens.replace(" 0A ", " 01 ")), None);
        assert_eq!(socket("  sl  local_address rem_address   st tx_queue"), None);
    }
}
