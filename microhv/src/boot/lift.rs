//! Modules move to where they can stay: RAM that is the hypervisor's to give away, above 1 MiB.

use super::info::{BootError, BootInfo};
use crate::mm::ranges::Range;

/// Where modules may lie, from here up: below it the page on which other CPUs start must find room, and a module in
/// frame 0 could not be given to a domain. GRUB on UEFI fills memory from 0 on.
const LOW: u64 = 1 << 20;

/// Moves modules that do not lie wholly in RAM above 1 MiB there, with `copy(from, to)`, to where neither the hypervisor
/// at `image` nor anything else is; `limit` is the end of what `copy` can reach. QEMU puts its archive where it thinks that
/// RAM ends, and SeaBIOS may have kept the last of it for itself.
///
/// # Errors
/// There is no room, or a module lies beyond `limit`; the log names it.
pub fn modules(
    info: &mut BootInfo<'_>,
    image: Range,
    limit: u64,
    mut copy: impl FnMut(Range, u64),
) -> Result<(), BootError> {
    let mut free = info.ram.clone();
    let mut room = free.remove(image.touched_pages());
    for range in info.reserved.list() {
        room &= free.remove(*range);
    }
    for module in &mut info.modules {
        let (from, pages) = (module.range, module.range.touched_pages());
        let (start, end, path) = (from.start, from.end, module.path);
        let why = |error| {
            log::error!("module {start:#x} to {end:#x} {path:?}: {error}");
            error
        };
        if from.end > limit {
            return Err(why(BootError::OUT_OF_REACH));
        }
        if from.is_empty() || from.start >= LOW && info.ram.covers(pages) {
            continue;
        }
        let page = free.take(pages.len(), 0x1000, LOW, limit);
        let page = page.ok_or_else(|| why(BootError::NO_ROOM))?;
        let to = page + (from.start - pages.start);
        log::info!("module {start:#x} to {end:#x} {path:?} moves to {to:#x}");
        copy(from, to);
        module.range = Range::new(to, from.len());
        room &= info.reserved.remove(pages) && info.reserved.insert(module.range.touched_pages());
    }
    room.then_some(()).ok_or(BootError::MEMORY_MAP_TOO_LONG)
}

#[cfg(test)]
mod tests {
    use super::super::info::{MemoryType, Module};
    use super::*;

    #[test]
    fn a_module_beside_ram_moves_and_one_out_of_reach_is_named() {
        let moved = |start, size, limit| {
            let mut info = BootInfo::default();
            // As SeaBIOS leaves it when disks have taken more than QEMU expects.
            let map = [
                (Range::new(0x10_0000, 0xe0_0000), MemoryType::RAM),
                (Range::new(0xf0_0000, 0x10_0000), MemoryType(2)),
            ];
            info.set_memory(map.into_iter()).unwrap();
            let range = Range::new(start, size);
            info.add_module(Module { range, path: "" }).unwrap();
            let mut moves = Vec::new();
            let image = Range::new(0x10_0000, 0x1000);
            modules(&mut info, image, limit, |from, to| moves.push((from, to)))?;
            assert!(info.reserved.covers(info.modules[0].range));
            Ok((moves, info.modules[0].range))
        };
        let (from, to) = (Range::new(0xee_1000, 0x2_0200), 0x10_1000);
        assert_eq!(
            moved(from.start, from.len(), 1 << 32),
            Ok((vec![(from, to)], Range::new(to, from.len())))
        );
        let stays = Range::new(0xee_1000, 0x1_f000);
        assert_eq!(
            moved(stays.start, stays.len(), 1 << 32),
            Ok((vec![], stays))
        );
        // In RAM it must be within reach as well.
        assert_eq!(
            moved(0xee_1000, 0x1000, 0xee_1fff),
            Err(BootError::OUT_OF_REACH)
        );
        assert_eq!(
            moved(1 << 32, 0x1000, 1 << 32),
            Err(BootError::OUT_OF_REACH)
        );
        assert_eq!(
            moved(0xf0_0000, 0xdf_f001, 1 << 32),
            Err(BootError::NO_ROOM)
        );
    }

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
        assert_eq!(error, Err(BootError::NO_ROOM));
    }
}
