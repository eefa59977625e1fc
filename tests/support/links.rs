//! BPF links, as the kernel lists them.

use anyhow::{Result, bail};
use aya::programs::loaded_links;

/// Id of the only link whose program has this id.
pub fn of_program(program: u64) -> Result<u32> {
    // Links of other tests may vanish while they are listed.
    let found: Vec<u32> = loaded_links()
        .filter_map(Result::ok)
        .filter(|link| u64::from(link.program_id()) == program)
        .map(|link| link.id())
        .collect();
    match found.as_slice() {
        [link] => Ok(*link),
        other => bail!("program {program} is attached by the links {other:?}, where one was expected"),
    }
}
