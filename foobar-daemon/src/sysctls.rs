//! Settings of the kernel's TCP, below `/proc/sys/net`, that SYN cookies depend on.
//!
//! They are those of the network namespace of the thread that asks.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use foobar_common::syn_cookies::{NO_SCALE, SynOffer};

const ROOT: &str = "/proc/sys/net";
/// The kernel's own (`net.ipv4.tcp_rmem`), where it does not tell.
const USUAL_BUFFERS: [u32; 2] = [131_072, 6_291_456];
/// Windows are 16 bits, shifted by at most this (RFC 7323 section 2.3).
const SCALE_MAX: u32 = 14;

/// What they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sysctls {
    /// `net.ipv4.tcp_syncookies`; `None` if the kernel has none.
    pub syncookies: Option<u32>,
    /// `net.ipv4.tcp_timestamps`
    pub timestamps: u32,
    /// `net.ipv4.tcp_sack`
    pub sack: u32,
    /// `net.ipv4.tcp_window_scaling`
    pub window_scaling: u32,
    /// How much a socket takes in by itself, the second of `net.ipv4.tcp_rmem`.
    pub buffer: u32,
    /// How much one may ever take in: the last of `net.ipv4.tcp_rmem`, or `net.core.rmem_max`.
    pub buffer_max: u32,
    /// Whether packets are forwarded, on any interface.
    pub forwards: bool,
}

impl Sysctls {
    /// What they are now, of the interfaces with these names.
    pub fn read(interfaces: &[String]) -> Self {
        let number = |path: &str| first(path).and_then(|text| text.parse::<u32>().ok());
        let buffers: Vec<u32> = text("ipv4/tcp_rmem")
            .iter()
            .flat_map(|text| text.split_whitespace())
            .filter_map(|word| word.parse().ok())
            .collect();
        let [usual, usual_max] = USUAL_BUFFERS;
        let of_all = buffers.get(2).copied().unwrap_or(usual_max);
        let names = interfaces.iter().map(String::as_str).chain(["all"]);
        let forwards = names
            .flat_map(|name| ["ipv4", "ipv6"].map(|family| format!("{family}/conf/{name}/forwarding")))
            .any(|path| number(&path).is_some_and(|forwarding| forwarding != 0));
        Self {
            syncookies: number("ipv4/tcp_syncookies"),
            timestamps: number("ipv4/tcp_timestamps").unwrap_or(0),
            sack: number("ipv4/tcp_sack").unwrap_or(0),
            window_scaling: number("ipv4/tcp_window_scaling").unwrap_or(0),
            buffer: buffers.get(1).copied().unwrap_or(usual),
            // Namespaces other than the first may not have it; the kernel then uses what the first one has.
            buffer_max: of_all.max(number("core/rmem_max").unwrap_or(0)),
            forwards,
        }
    }

    /// What answers to SYNs may offer with them.
    pub fn offer(&self) -> SynOffer {
        SynOffer {
            stamps: u32::from(self.timestamps == 2),
            sack: u32::from(self.sack != 0),
            scale: if self.window_scaling == 0 { NO_SCALE } else { self.scale() },
            // Half of the buffer is for what the kernel itself keeps beside the bytes.
            window: (self.buffer / 2).min(u32::from(u16::MAX)),
            forwards: u32::from(self.forwards),
        }
    }

    /// By how many bits the kernel will shift windows (`tcp_select_initial_window` of `net/ipv4/tcp_output.c`), of sockets
    /// whose program has not asked for a buffer of its own.
    fn scale(&self) -> u32 {
        self.buffer_max.checked_ilog2().unwrap_or(0).saturating_sub(15).min(SCALE_MAX)
    }

    /// Why no cookie of foobar's is good for anything, if so.
    pub fn problem(&self) -> Option<String> {
        let found = match self.syncookies {
            Some(2) => return None,
            Some(found) => format!("it is {found}"),
            None => "this kernel does not have it".to_owned(),
        };
        Some(format!(
            "net.ipv4.tcp_syncookies has to be 2, and {found}: SYNs go to the kernel as without syn_cookies; set it by \
             `sysctl -w net.ipv4.tcp_syncookies=2`, or start foobar with --set-sysctls"
        ))
    }

    /// What connections that begin with a cookie lack, in words.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.timestamps == 2 {
            if self.window_scaling == 0 {
                notes.push("net.ipv4.tcp_window_scaling is 0: windows are of 64 KiB at most".to_owned());
            }
            if self.sack == 0 {
                notes.push("net.ipv4.tcp_sack is 0: no selective acknowledgments".to_owned());
            }
        } else {
            notes.push(format!(
                "net.ipv4.tcp_timestamps is {}, not 2: connections that begin with a cookie have neither window scaling nor \
                 selective acknowledgments (with 2, timestamps tell clients how long this machine has been running)",
                self.timestamps
            ));
        }
        notes
    }

    /// What they are, in words.
    pub fn words(&self) -> String {
        let syncookies = self.syncookies.map_or("absent".to_owned(), |value| value.to_string());
        let SynOffer { scale, window, .. } = self.offer();
        let scale = if scale == NO_SCALE { "none".to_owned() } else { scale.to_string() };
        format!(
            "tcp_syncookies {syncookies}, tcp_timestamps {}, tcp_sack {}, tcp_window_scaling {}; window scale {scale} (buffers \
             of up to {} bytes), first window {window}",
            self.timestamps, self.sack, self.window_scaling, self.buffer_max
        )
    }
}

/// Sets what SYN cookies need, as far as it is not so; what was changed, in words.
///
/// # Errors
/// Names the first one that cannot be set.
pub fn set() -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (name, path) in [("tcp_syncookies", "ipv4/tcp_syncookies"), ("tcp_timestamps", "ipv4/tcp_timestamps")]
    {
        let before = first(path).with_context(|| format!("read net.ipv4.{name}"))?;
        if before != "2" {
            fs::write(Path::new(ROOT).join(path), "2")
                .with_context(|| format!("set net.ipv4.{name} to 2"))?;
            changed.push(format!("net.ipv4.{name} was {before} and is 2 now"));
        }
    }
    Ok(changed)
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(ROOT).join(path)).ok()
}

fn first(path: &str) -> Option<String> {
    text(path).map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Sysctls = Sysctls {
        syncookies: Some(2),
        timestamps: 2,
        sack: 1,
        window_scaling: 1,
        buffer: 131_072,
        buffer_max: 32 << 20,
        forwards: false,
    };

    #[test]
    fn what_is_offered_is_what_the_kernel_will_do() {
        let offer = SynOffer { stamps: 1, sack: 1, scale: 10, window: 65_535, forwards: 0 };
        assert_eq!(USUAL.offer(), offer);
        for (buffer_max, scale) in [(0, 0), (65_536, 1), (6_291_456, 7), (u32::MAX, 14)] {
            assert_eq!(Sysctls { buffer_max, ..USUAL }.offer().scale, scale, "{buffer_max}");
        }
        assert_eq!(Sysctls { timestamps: 1, ..USUAL }.offer().stamps, 0);
        assert_eq!(Sysctls { window_scaling: 0, ..USUAL }.offer().scale, NO_SCALE);
        assert_eq!(Sysctls { buffer: 8_192, ..USUAL }.offer().window, 4_096);
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        assert_eq!((USUAL.problem(), USUAL.notes()), (None, Vec::new()));
        let problem = Sysctls { syncookies: Some(1), ..USUAL }.problem().unwrap();
        assert!(problem.contains("it is 1") && problem.contains("--set-sysctls"), "{problem}");
        let notes = Sysctls { timestamps: 1, ..USUAL }.notes();
        assert!(notes[0].contains("tcp_timestamps is 1, not 2"), "{notes:?}");
    }
}
