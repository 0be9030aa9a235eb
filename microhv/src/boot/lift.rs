//! Memory below 1 MiB is kept free of modules.

use super::info::{BootError, BootInfo};
use crate::mm::ranges::Range;

/// Where modules may lie, from here up: below it the page on which other CPUs start must find room, and a module in
/// frame 0 could not be given to a domain. GRUB on UEFI fills memory from 0 on.
const LOW: u64 = 1 << 20;

/// Moves modules that lie below 1 MiB above it, with `copy(from, to)`, to where neither the hypervisor at `image` nor
/// anything else is; `limit` is the end of what `copy` can reach.
///
/// # Errors
/// There is no room.
pub fn modules(
    info: &mut BootInfo<'_>,
    image: Range,
    limit: u64,
    mut copy: impl FnMut(Range, u64),
) -> Result<(), BootError> {
    let is_low = |range: &Range| range.start < LOW && !range.is_empty();
    if !info.modules.iter().any(|module| is_low(&module.range)) {
        return Ok(());
    }
    let mut free = info.ram.clone();
    let mut room = free.remove(image.touched_pages());
    for range in info.reserved.list() {
        room &= free.remove(*range);
    }
    for module in &mut info.modules {
        let from = module.range;
        if !is_low(&from) {
            continue;
        }
        let pages = from.touched_pages();
        let page = free.take(pages.len(), 0x1000, LOW, limit);
        let to = page.ok_or(BootError::NO_MEMORY)? + (from.start - pages.start);
        copy(from, to);
        module.range = Range::new(to, from.len());
        room &= info.reserved.remove(pages) && info.reserved.insert(module.range.touched_pages());
    }
    if room {
        Ok(())
    } else {
        Err(BootError::MEMORY_MAP_TOO_LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::super::info::{MemoryType, Module};
    use super::*;

    #[test]
    fn low_modules_move_and_others_stay() {
        let mut info = BootInfo::default();
        let ram = [(0, 0xa_0000), (0x10_0000, 0x100_0000)];
        let ram = ram.map(|(start, size)| (Range::new(start, size), MemoryType::RAM));
        info.set_memory(ram.into_iter()).unwrap();
        let module = |start, size| Module {
            range: Range::new(start, size),
            path: "x",
        };
        for module in [
            module(0, 0x1801),
            module(0x10_0000, 0x1000),
            module(0x3000, 0x10),
            module(0, 0),
        ] {
            info.add_module(module).unwrap();
        }
        let image = Range::new(0x10_2000, 0x1000);
        let mut moves = Vec::new();
        modules(&mut info, image, 1 << 32, |from, to| moves.push((from, to))).unwrap();
        assert_eq!(
            moves,
            [
                (Range::new(0, 0x1801), 0x10_3000),
                (Range::new(0x3000, 0x10), 0x10_1000),
            ]
        );
        let ranges: Vec<_> = info.modules.iter().map(|module| module.range).collect();
        assert_eq!(
            ranges,
            [
                Range::new(0x10_3000, 0x1801),
                Range::new(0x10_0000, 0x1000),
                Range::new(0x10_1000, 0x10),
                Range::new(0, 0),
            ]
        );
        assert_eq!(
            info.reserved.list(),
            [Range::new(0x10_0000, 0x2000), Range::new(0x10_3000, 0x2000),]
        );
        let mut info = BootInfo::default();
        let ram = (Range::new(0, 0xa_0000), MemoryType::RAM);
        info.set_memory([ram].into_iter()).unwrap();
        info.add_module(module(0, 1)).unwrap();
        let error = modules(&mut info, image, 1 << 32, |_, _| {});
        assert_eq!(error, Err(BootError::NO_MEMORY));
    }
}
