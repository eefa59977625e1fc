//! Takes out of an object what the kernel has no use for: DWARF, which is most of its size, relocations of BTF, which
//! has its offsets in place (loaders pass over them), and the folder names of the registry that crates came from, which
//! differ where a mirror is used. BTF stays.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// The object without its `.debug_*` sections, their relocations and their symbols, without relocations of BTF and
/// without names of registries.
pub(crate) fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = [".debug_", ".rel.debug_", ".rel.BTF"].iter().any(|start| name.starts_with(start));
        if let (".BTF", SectionData::Data(btf)) = (name.as_str(), &mut section.data) {
            forget_registries(btf.to_mut()).context("read the strings of BTF")?;
        }
    }
    // LLVM keeps section names among the symbol names, which the builder knows only apart.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = b".shstrtab".as_slice().into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// Shortens each path of a crate, `REGISTRY-HASH/NAME-VERSION/src/…`, to what follows the registry. Strings keep
/// their places, since BTF refers to them by offset (`Documentation/bpf/btf.rst` of Linux, section 2).
fn forget_registries(btf: &mut [u8]) -> Option<()> {
    let field = |at: usize| Some(u32::from_le_bytes(*btf.get(at..)?.first_chunk()?) as usize);
    // struct btf_header: hdr_len at 4, str_off at 16, str_len at 20.
    let start = field(4)?.checked_add(field(16)?)?;
    let end = start.checked_add(field(20)?)?;
    for string in btf.get_mut(start..end)?.split_mut(|byte| *byte == 0) {
        let registry = string.iter().position(|byte| *byte == b'/').and_then(|slash| string.get(..slash));
        if !registry.is_some_and(is_registry) {
            continue;
        }
        let cut = registry.map_or(0, |registry| registry.len() + 1);
        string.copy_within(cut.., 0);
        let kept = string.len() - cut;
        string.get_mut(kept..)?.fill(0);
    }
    Some(())
}

/// Whether a folder is named as cargo names those of registries: a host, `-`, and 16 hexadecimal digits.
fn is_registry(folder: &[u8]) -> bool {
    let Some((host, hash)) = folder.split_at_checked(folder.len().saturating_sub(16)) else { return false };
    host.ends_with(b"-") && hash.len() == 16 && hash.iter().all(u8::is_ascii_hexdigit)
}
