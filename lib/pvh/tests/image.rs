//! Kernels good and bad.

mod common;

use common::elf;
use proptest::prelude::*;
use pvh::{Image, ImageError};

const X86_64: u16 = 62;
const I386: u16 = 3;

fn error(file: &[u8]) -> ImageError {
    Image::parse(file)
        .err()
        .expect("this image must be refused")
}

#[test]
fn both_classes_and_both_note_sizes() {
    let entry = 0x10_0004_u32;
    for (class64, machine) in [(true, X86_64), (false, I386)] {
        for note in [
            entry.to_le_bytes().to_vec(),
            u64::from(entry).to_le_bytes().to_vec(),
        ] {
            let file = elf(
                class64,
                machine,
                Some(&note),
                &[(0x10_0000, b"code", 0x3000)],
            );
            let image = Image::parse(&file).unwrap();
            assert_eq!(image.entry(), entry);
            assert_eq!(image.end(), 0x10_3000);
            let segments: Vec<_> = image.segments().collect();
            assert_eq!(segments.len(), 1);
            assert_eq!(segments[0].bytes, b"code");
        }
    }
}

#[test]
fn each_fault_has_its_name() {
    let entry = 0x10_0000_u32.to_le_bytes();
    let part = [(0x10_0000, &b"code"[..], 0x1000)];
    assert_eq!(error(b""), ImageError::NotElf);
    let mut bz = vec![0; 0x300];
    bz[0x202..0x206].copy_from_slice(b"HdrS");
    assert_eq!(error(&bz), ImageError::BzImage);
    assert_eq!(
        error(&elf(true, 183, Some(&entry), &part)),
        ImageError::WrongMachine(183)
    );
    assert_eq!(
        error(&elf(true, X86_64, None, &part)),
        ImageError::NoPhys32Entry
    );
    assert_eq!(
        error(&elf(true, X86_64, Some(&[1, 2]), &part)),
        ImageError::BadPhys32Entry
    );
    let high = (1_u64 << 32).to_le_bytes();
    assert_eq!(
        error(&elf(true, X86_64, Some(&high), &part)),
        ImageError::BadPhys32Entry
    );
    assert_eq!(
        error(&elf(true, X86_64, Some(&entry), &[])),
        ImageError::NoSegments
    );
    assert_eq!(
        error(&elf(true, X86_64, Some(&entry), &[(0x20_0000, b"x", 1)])),
        ImageError::EntryOutside { entry: 0x10_0000 }
    );
    let address = u64::MAX - 3;
    for (address, memsz) in [(address, 16), (0x10_0000, 2)] {
        assert_eq!(
            error(&elf(
                true,
                X86_64,
                Some(&entry),
                &[(address, b"code", memsz)]
            )),
            ImageError::BadSegment { address }
        );
    }
    let mut cut = elf(true, X86_64, Some(&entry), &part);
    cut.truncate(64 + 30);
    assert!(matches!(
        error(&cut),
        ImageError::BadElf | ImageError::NoPhys32Entry
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut tail in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        file.append(&mut tail);
        let _ = Image::parse(&file);
    }

    #[test]
    fn no_damaged_header_makes_it_panic(
        at in proptest::collection::vec((0_usize..250, any::<u8>()), 1..8),
    ) {
        let entry = 0x10_0000_u32.to_le_bytes();
        let mut file = elf(true, X86_64, Some(&entry), &[(0x10_0000, b"code", 0x1000)]);
        for (offset, byte) in at {
            if let Some(place) = file.get_mut(offset) {
                *place = byte;
            }
        }
        if let Ok(image) = Image::parse(&file) {
            for segment in image.segments() {
                prop_assert!(segment.bytes.len() as u64 <= segment.size);
                prop_assert!(segment.end() <= image.end());
            }
        }
    }
}
