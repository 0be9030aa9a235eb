//! Kernels that pass by piece by piece.

mod common;

use std::convert::Infallible;

use common::{Memory, elf};
use proptest::prelude::*;
use pvh::{
    GuestMemory, Image, ImageError, ImageStream, Layout, Module, ModuleSource, Parameters, Plan,
    build,
};

const MIB: u64 = 1 << 20;

fn kernel() -> Vec<u8> {
    let code: Vec<u8> = (0..9000_u32).map(|n| (n * 7) as u8).collect();
    elf(
        true,
        62,
        Some(&0x20_0010_u32.to_le_bytes()),
        &[(0x20_0000, &code, 0x3000), (0x20_3000, b"data", 0x1_2345)],
    )
}

/// The entry point, or why there is none, of a file that passes in pieces of these lengths.
fn pass(file: &[u8], lengths: &[usize], guest: &mut Memory) -> Result<u32, ImageError> {
    let mut stream = ImageStream::parse(file)?;
    let mut rest = file;
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let length = (*lengths.next().unwrap()).clamp(1, rest.len());
        let (now, later) = rest.split_at(length);
        let Ok(()) = stream.feed::<Infallible>(now, |gpa, bytes| guest.write(gpa, bytes));
        rest = later;
    }
    stream.entry()
}

#[test]
fn a_domain_is_the_same_as_one_built_at_once() {
    let layout = Layout::new(64 * MIB, 2).unwrap();
    let file = kernel();
    let initrd = vec![0xa5_u8; 5000];
    let module = |source| Module {
        source,
        cmdline: "",
    };
    let at_once = [module(ModuleSource::Data(&initrd))];
    let parameters = Parameters {
        cmdline: "root=/dev/xvda",
        modules: &at_once,
    };
    let mut one = Memory::of(&layout);
    let image = Image::parse(&file).unwrap();
    let start = build(&mut one, &layout, &image, &parameters).unwrap();

    let later = [module(ModuleSource::Later { size: 5000 })];
    let parameters = Parameters {
        cmdline: "root=/dev/xvda",
        modules: &later,
    };
    let mut two = Memory::of(&layout);
    let stream = ImageStream::parse(&file).unwrap();
    let plan = Plan::new::<Infallible>(&layout, stream.end(), &parameters).unwrap();
    let entry = pass(&file, &[1000], &mut two).unwrap();
    let (place, size) = plan.module(0).unwrap();
    assert_eq!(size, 5000);
    let Ok(()) = two.write(place, &initrd);
    assert_eq!(plan.write(&mut two, &layout, entry, &parameters), Ok(start));
    assert!(one.0 == two.0);
}

#[test]
fn each_fault_has_its_name() {
    let layout = Layout::new(64 * MIB, 2).unwrap();
    let mut memory = Memory::of(&layout);
    let mut error = |file: &[u8]| pass(file, &[4096], &mut memory).unwrap_err();
    let entry = 0x20_0000_u32.to_le_bytes();
    let part = [(0x20_0000, &b"code"[..], 0x1000)];
    assert_eq!(error(b"MZ"), ImageError::NotElf);
    assert_eq!(error(b"\x7fELF"), ImageError::BadElf);
    assert_eq!(
        error(&elf(true, 183, Some(&entry), &part)),
        ImageError::WrongMachine(183)
    );
    assert_eq!(
        error(&elf(true, 62, None, &part)),
        ImageError::NoPhys32Entry
    );
    assert_eq!(
        error(&elf(true, 62, Some(&entry), &[])),
        ImageError::NoSegments
    );
    assert_eq!(
        error(&elf(true, 62, Some(&[0, 0, 0x40, 0]), &part)),
        ImageError::EntryOutside { entry: 0x40_0000 }
    );
    let mut cut = kernel();
    cut.truncate(6000);
    assert_eq!(error(&cut), ImageError::BadSegment { address: 0x20_0000 });
}

#[test]
fn the_rest_of_a_file_is_not_needed() {
    let mut file = kernel();
    let length = file.len();
    file.resize(length + 10_000, 0xee);
    let mut stream = ImageStream::parse(&file).unwrap();
    assert!(!stream.is_complete());
    let Ok(()) = stream.feed::<Infallible>(&file[..length], |_, _| Ok(()));
    assert!(stream.is_complete());
    assert_eq!(stream.entry(), Ok(0x20_0010));
}

proptest! {
    #[test]
    fn pieces_of_any_length_come_to_the_same(lengths in prop::collection::vec(1_usize..5000, 1..20)) {
        let layout = Layout::new(64 * MIB, 2).unwrap();
        let mut memory = Memory::of(&layout);
        prop_assert_eq!(pass(&kernel(), &lengths, &mut memory), Ok(0x20_0010));
        prop_assert_eq!(memory.read(0x20_0000 + 5000, 1), [(5000_u32 * 7) as u8]);
        prop_assert_eq!(memory.read(0x20_3000, 5), b"data\0");
    }

    #[test]
    fn no_damaged_header_makes_it_panic(
        changes in prop::collection::vec((0_usize..300, any::<u8>()), 1..8),
        length in 1_usize..5000,
    ) {
        let mut file = kernel();
        for (place, byte) in changes {
            file[place] = byte;
        }
        if let Ok(mut stream) = ImageStream::parse(&file) {
            for piece in file.chunks(length) {
                let _ = stream.feed(piece, |gpa, bytes| {
                    prop_assert!(gpa.checked_add(bytes.len() as u64).is_some());
                    Ok(())
                });
            }
            let _ = stream.entry();
        }
    }
}
