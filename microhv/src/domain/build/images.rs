//! Disks made of files of the boot archive (`<prefix>_type="md_image"` in loader.conf). The file's own memory becomes blkback's: there is
//! no copy, and nobody else has it.

use config::LoaderConf;
use pvh::{Layout, MAX_MODULES, Module, ModuleSource};
use xen_abi::Errno;

use super::memory::place;
use crate::boot::Archive;
use crate::boot::archive::relative;
use crate::boot::plan::{LOADER_CONF, SYMBOLS};
use crate::domain::Domain;
use crate::mm::frame_table::{self, FrameRef};
use crate::mm::ranges::Range;
use crate::mm::{frames, phys};
use crate::types::{Gfn, Mfn, PAGE_SIZE};

/// The domain that gets them.
pub const OWNER: &str = "blkback";
/// How many there can be.
const MAX_IMAGES: usize = 4;

/// A file that is to be a disk.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    path: &'static str,
    range: Range,
    bytes: &'static [u8],
}

/// All of them, `md0` first.
pub type Images = heapless::Vec<Image, MAX_IMAGES>;

/// The files that loader.conf wants to be disks. What is wrong with one is logged, and it is left out.
pub fn find(conf: &LoaderConf<'static>, archive: &Archive) -> Images {
    let mut images = Images::new();
    // Malformed settings have been named with the rest of loader.conf.
    for path in conf.md_images().flatten() {
        let found = archive
            .find(path.text)
            .ok_or("the boot archive has no such file");
        let added = found.and_then(|(range, bytes)| {
            // These are read again later.
            if [LOADER_CONF, SYMBOLS]
                .map(relative)
                .contains(&relative(path.text))
            {
                return Err("microhv needs this file itself");
            }
            let shares =
                |other: &Image| range.start < other.range.end && other.range.start < range.end;
            if range.is_empty() || images.iter().any(shares) {
                return Err("it is empty or a disk already");
            }
            let image = Image {
                path: path.text,
                range,
                bytes,
            };
            images.push(image).map_err(|_| "there are too many of them")
        });
        if let Err(why) = added {
            log::error!(
                "loader.conf:{}:{}: {}: {why}",
                path.line,
                path.column,
                path.text
            );
        }
    }
    images
}

/// Is the page at physical address `page` wholly a disk's? Then it is blkback's; what a disk shares with its neighbours in an archive
/// is not.
pub fn holds(images: &[Image], page: u64) -> bool {
    images.iter().any(|image| image.holds(page))
}

impl Image {
    fn holds(&self, page: u64) -> bool {
        let whole = self.range.whole_pages();
        (whole.start..whole.end).contains(&page)
    }

    /// The frame for the page at physical address `page`: the file's own, or a copy of the file's part of it.
    fn frame(&self, page: u64) -> Option<Mfn> {
        if self.holds(page) {
            return Some(Mfn::containing(page));
        }
        let mfn = frames::alloc_zeroed(0)?;
        let start = page.max(self.range.start);
        let end = (page + PAGE_SIZE as u64).min(self.range.end);
        let offset = |at: u64| (at - self.range.start) as usize;
        let part = self.bytes.get(offset(start)..offset(end)).unwrap_or(&[]);
        phys::write(mfn, (start - page) as usize, part);
        Some(mfn)
    }
}

/// Makes the disks' memory `domain`'s own, behind its RAM, as modules with their paths.
///
/// # Errors
/// `ENOMEM`, or `EINVAL` if there is no room in the address space.
pub fn give(
    domain: &Domain,
    layout: &mut Layout,
    images: &[Image],
) -> Result<heapless::Vec<Module<'static>, MAX_MODULES>, Errno> {
    let mut modules = heapless::Vec::new();
    let size = images
        .iter()
        .map(|image| image.range.touched_pages().len())
        .sum();
    if size == 0 {
        return Ok(modules);
    }
    let mut gpa = place(layout, size)?;
    for (number, image) in images.iter().enumerate() {
        let pages = image.range.touched_pages();
        let source = ModuleSource::Present {
            gpa: gpa + (image.range.start - pages.start),
            size: image.range.len(),
        };
        let cmdline = image.path;
        modules
            .push(Module { source, cmdline })
            .map_err(|_| Errno::E2BIG)?;
        for page in (pages.start..pages.end).step_by(PAGE_SIZE) {
            let mfn = image.frame(page).ok_or(Errno::ENOMEM)?;
            frame_table::assign(mfn, 0, domain.id);
            if domain
                .p2m
                .lock()
                .add_ram(Gfn::containing(gpa), mfn, 0)
                .is_err()
            {
                drop(FrameRef::from_raw(mfn));
                return Err(Errno::ENOMEM);
            }
            gpa += PAGE_SIZE as u64;
        }
        log::info!(
            "md{number}: {}, {} KiB of memory, {}'s; what is written to it is lost when the machine ends",
            image.path,
            image.range.len() >> 10,
            domain.id,
        );
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::archive::tests::archive;
    use crate::domain::tests::{alone, destroy, domain};

    fn found(conf: &'static str) -> Vec<&'static str> {
        let archive = archive(&[
            ("/boot/loader.conf", b"conf"),
            ("/boot/microhv.sym", b"symbols"),
            ("/boot/a", b"a"),
            ("/boot/b", b"b"),
            ("/boot/empty", b""),
        ]);
        let images = find(&LoaderConf::new(conf.as_bytes()), &archive.unwrap());
        images.iter().map(|image| image.path).collect()
    }

    #[test]
    fn what_cannot_be_a_disk_is_left_out() {
        let conf = |names: &[&str]| -> &'static str {
            let names = names.iter().enumerate();
            let lines = names.map(|(index, name)| {
                format!(
                    "i{index}_load=\"YES\"\ni{index}_type=\"md_image\"\ni{index}_name=\"{name}\"\n"
                )
            });
            lines.collect::<String>().leak()
        };
        assert_eq!(found(conf(&["/boot/b", "boot/a"])), ["/boot/b", "boot/a"]);
        assert_eq!(found(conf(&["/boot/none", "/boot/a"])), ["/boot/a"]);
        let twice = ["/boot/a", "./boot/a", "/boot/b"];
        assert_eq!(found(conf(&twice)), ["/boot/a", "/boot/b"]);
        // What microhv reads later stays its own, however it is written.
        let own = [
            "/boot/loader.conf",
            "./boot/microhv.sym",
            "//boot/loader.conf",
        ];
        assert_eq!(found(conf(&own)), [""; 0]);
    }

    #[test]
    fn whole_pages_are_given_and_the_rest_is_copied() {
        let _alone = alone();
        let domain = domain(100);
        let first = frames::alloc(2).unwrap();
        let at = first.address();
        // From the second sector of the first page to the first sector of the last.
        let bytes: Vec<u8> = (0..3 * 4096_u32)
            .map(|byte| (byte / 512) as u8 + 1)
            .collect();
        for page in 0..4 {
            phys::write(Mfn(first.0 + page), 0, &[0xee; 4096]);
        }
        let image = Image {
            path: "/boot/disk.img",
            range: Range::new(at + 512, 3 * 4096),
            bytes: bytes.leak(),
        };
        let pages = (0..4).map(|page| holds(&[image], at + page * 4096));
        assert_eq!(pages.collect::<Vec<_>>(), [false, true, true, false]);
        let mut layout = Layout::new(16 << 20, 1).unwrap();
        let modules = give(&domain, &mut layout, &[image]).unwrap();
        let ModuleSource::Present { gpa, size } = modules[0].source else {
            panic!("a copy");
        };
        assert_eq!((gpa, size), ((16 << 20) + 512, 3 * 4096));
        let map = layout.memory_map();
        let reserved = |entry: &pvh::MemoryMapEntry| entry.range.start == 16 << 20;
        assert!(map.iter().any(reserved));
        assert_eq!(domain.p2m.lock().ram_pages(), 4);
        let page = |number: u64| {
            let frame = domain
                .p2m
                .lock()
                .own_frame(Gfn((gpa >> 12) + number))
                .unwrap();
            let mut bytes = [0; 4096];
            frame.read(0, &mut bytes);
            (frame.mfn(), bytes)
        };
        // In place, whatever is there.
        for number in [1, 2] {
            assert_eq!(page(number), (Mfn(first.0 + number), [0xee; 4096]));
        }
        // Copies, with nothing of the neighbours'.
        let (mfn, head) = page(0);
        assert_ne!(mfn, first);
        assert_eq!((&head[..512], head[512], head[4095]), (&[0; 512][..], 1, 7));
        let (mfn, tail) = page(3);
        assert_ne!(mfn, Mfn(first.0 + 3));
        assert_eq!((tail[0], tail[511], &tail[512..]), (24, 24, &[0; 3584][..]));
        destroy(&domain);
        for mfn in [first, Mfn(first.0 + 3)] {
            frames::free(mfn, 0);
        }
    }
}
