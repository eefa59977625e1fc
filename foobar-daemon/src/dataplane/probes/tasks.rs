//! Where the kernel keeps the process id of a task, from what it tells of its own types (BTF).

use std::fs;

use anyhow::{Context as _, Result, bail};

/// The kernel's types (`CONFIG_DEBUG_INFO_BTF`, Linux 5.4).
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// Kinds of types (`include/uapi/linux/btf.h`).
const STRUCT: u32 = 4;

/// Bytes from the beginning of a `task_struct` to its `tgid`.
///
/// # Errors
/// When the kernel does not tell.
pub(super) fn process_id_offset() -> Result<u64> {
    let bytes = fs::read(TYPES).with_context(|| format!("read {TYPES}"))?;
    member_offset(&bytes, "task_struct", "tgid")
        .with_context(|| format!("look for task_struct.tgid in {TYPES}"))
}

fn member_offset(bytes: &[u8], structure: &str, member: &str) -> Result<u64> {
    let [header, types_at, types_length, strings_at] =
        [4, 8, 12, 16].map(|at| word(bytes, at).map(|word| word as usize));
    let (header, strings_at) = (header?, strings_at?);
    let (types_at, strings_at) = (header + types_at?, header + strings_at);
    let end = types_at + types_length?;
    let is_named = |name: u32, wanted: &str| {
        let text = bytes.get(strings_at + name as usize..).unwrap_or_default();
        text.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    };
    let mut at = types_at;
    while at < end {
        let (name, info) = (word(bytes, at)?, word(bytes, at + 4)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let has_bit_fields = info >> 31 == 1;
        at += 12;
        if kind == STRUCT && is_named(name, structure) {
            for number in 0..count {
                let at = at + number * 12;
                if is_named(word(bytes, at)?, member) {
                    let bits = word(bytes, at + 8)?;
                    return Ok(u64::from(if has_bit_fields { bits & 0xff_ffff } else { bits }) / 8);
                }
            }
            bail!("{structure} has no {member}");
        }
        // How much follows a type of each kind.
        at += match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            STRUCT | 5 | 15 | 19 => count * 12,
            6 | 13 => count * 8,
            2 | 7..=12 | 16 | 18 => 0,
            _ => bail!("a kind of type that is not known: {kind}"),
        };
    }
    bail!("there is no {structure}")
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes).context("the types end too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_tells() {
        let bytes = fs::read(TYPES).unwrap();
        let offset = member_offset(&bytes, "task_struct", "tgid").unwrap();
        assert_eq!(offset, member_offset(&bytes, "task_struct", "pid").unwrap() + 4);
        assert!(member_offset(&bytes, "task_struct", "no such member").is_err());
        assert!(member_offset(&bytes[..1000], "task_struct", "tgid").is_err());
    }
}
