//! What is needed of ELF files: a smaller copy to boot, and the symbols for backtraces.

use std::fmt::Write;
use std::ops::Range;

use anyhow::{Context, Result};
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

/// Offsets in an ELF64 header of e_shoff, and of e_shentsize to e_shstrndx (ELF-64 specification, figure 2).
const E_SHOFF: std::ops::Range<usize> = 40..48;
const E_SHENTSIZE_TO_E_SHSTRNDX: std::ops::Range<usize> = 58..64;

/// The part of an executable that loading it needs: header, program headers and segments, without sections,
/// symbols and debug information.
///
/// # Errors
/// When `file` is no 64-bit ELF executable.
pub fn strip(file: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(file).context("not an ELF file")?;
    let endian = header.endian()?;
    let headers = header.program_headers(endian, file)?;
    let table = header.e_phoff(endian) + std::mem::size_of_val(headers) as u64;
    let end = headers
        .iter()
        .filter(|segment| segment.p_filesz(endian) != 0)
        .map(|segment| segment.p_offset(endian) + segment.p_filesz(endian))
        .fold(table, u64::max);
    let kept = file
        .get(..usize::try_from(end)?)
        .context("truncated ELF file")?;
    let mut kept = kept.to_vec();
    kept[E_SHOFF].fill(0);
    kept[E_SHENTSIZE_TO_E_SHSTRNDX].fill(0);
    Ok(kept)
}

/// Bytes that the executable occupies in memory, from its first segment's start to its last one's end.
///
/// # Errors
/// When `file` is no 64-bit ELF executable.
pub fn memory_size(file: &[u8]) -> Result<u64> {
    let header = FileHeader64::<Endianness>::parse(file).context("not an ELF file")?;
    let endian = header.endian()?;
    let loads = header
        .program_headers(endian, file)?
        .iter()
        .filter(|s| s.p_type(endian) == PT_LOAD);
    let (start, end) = loads.fold((u64::MAX, 0), |(start, end), segment| {
        let address = segment.p_paddr(endian);
        (
            start.min(address),
            end.max(address + segment.p_memsz(endian)),
        )
    });
    Ok(end.saturating_sub(start))
}

/// The virtual addresses that the executable occupies.
///
/// # Errors
/// When `file` is no 64-bit ELF executable.
pub fn window(file: &[u8]) -> Result<Range<u64>> {
    let header = FileHeader64::<Endianness>::parse(file).context("not an ELF file")?;
    let endian = header.endian()?;
    let loads = header
        .program_headers(endian, file)?
        .iter()
        .filter(|s| s.p_type(endian) == PT_LOAD);
    let ends = loads.map(|segment| {
        let start = segment.p_vaddr(endian);
        start..start.saturating_add(segment.p_memsz(endian))
    });
    ends.reduce(|all, one| all.start.min(one.start)..all.end.max(one.end))
        .context("nothing to load")
}

/// The functions of an executable as lines `%016x name`, sorted by address.
///
/// # Errors
/// When `file` is no object file.
pub fn symbols(file: &[u8]) -> Result<String> {
    let object = object::File::parse(file).context("not an ELF file")?;
    let mut list: Vec<(u64, String)> = object
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?)))
        .filter(|(_, name)| !name.is_empty())
        .map(|(address, name)| (address, format!("{:#}", rustc_demangle::demangle(name))))
        .collect();
    list.sort();
    list.dedup_by_key(|(address, _)| *address);
    let mut text = String::new();
    for (address, name) in list {
        writeln!(text, "{address:016x} {name}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ourselves() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn stripping_keeps_every_segment_and_drops_sections() {
        let whole = ourselves();
        let small = strip(&whole).unwrap();
        assert!(small.len() < whole.len());
        let object = object::File::parse(small.as_slice()).unwrap();
        assert_eq!(object.sections().count(), 0);
        assert_eq!(memory_size(&small).unwrap(), memory_size(&whole).unwrap());
        assert!(strip(b"no ELF").is_err());
    }

    #[test]
    fn symbols_are_sorted_and_demangled() {
        let text = symbols(&ourselves()).unwrap();
        assert!(
            text.lines()
                .any(|line| line.ends_with(" xtask::elf::symbols")),
            "{text}"
        );
        assert!(text.lines().is_sorted());
        assert!(
            text.lines()
                .all(|line| u64::from_str_radix(&line[..16], 16).is_ok())
        );
    }
}
