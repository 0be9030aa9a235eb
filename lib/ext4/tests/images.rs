//! File systems that mke2fs makes, read by us and by the crate `ext4-view`; then the same with damage.

mod mke2fs;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use ext4::{Device, Error, Ext4};
use proptest::prelude::*;

/// A disk in memory, with bytes that differ from its image.
struct Ram(Cow<'static, [u8]>, Vec<(usize, u8)>);

impl From<Vec<u8>> for Ram {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into(), Vec::new())
    }
}

impl From<&'static [u8]> for Ram {
    fn from(bytes: &'static [u8]) -> Self {
        Self(bytes.into(), Vec::new())
    }
}

impl Device for Ram {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let start = offset as usize;
        let bytes = self.0.get(start..start + into.len());
        into.copy_from_slice(bytes.ok_or("behind the end")?);
        for &(at, byte) in &self.1 {
            if let Some(place) = at.checked_sub(start).and_then(|at| into.get_mut(at)) {
                *place = byte;
            }
        }
        Ok(())
    }
}

const LONG: &str =
    "a/very/long/way/to/somewhere/that/does/not/fit/into/an/inode/at/all/so/it/has/a/block";

fn tree(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| mke2fs::write(folder, name, bytes);
    write("boot/vmlinuz-6.1", &noise(300_000));
    write("boot/empty", b"");
    write("boot/grub/grub.cfg", b"set default=0\n");
    write(&format!("{LONG}/end"), b"far away");
    for number in 0..600 {
        write(
            &format!("many/file number {number}"),
            number.to_string().as_bytes(),
        );
    }
    let sparse = fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    for block in 0..90_u64 {
        use std::os::unix::fs::FileExt;
        sparse
            .write_all_at(&noise(4096), block * 32 * 1024 + 8192)
            .unwrap();
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
    link("boot/vmlinuz-6.1", "vmlinuz");
    link("/boot", "absolute");
    link(LONG, "long");
    link("../../../boot/grub/../empty", "up");
    link("loop", "loop");
    link("nowhere", "broken");
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

const KINDS: [(&str, &[&str]); 6] = [
    ("ext4", &["-t", "ext4"]),
    ("ext4 of 1 KiB", &["-t", "ext4", "-b", "1024"]),
    ("ext4 of 64 KiB", &["-t", "ext4", "-b", "65536"]),
    (
        "ext4 as it was",
        &[
            "-t",
            "ext4",
            "-O",
            "^metadata_csum,^64bit,^flex_bg",
            "-I",
            "128",
        ],
    ),
    ("ext3", &["-t", "ext3", "-b", "1024"]),
    ("ext2", &["-t", "ext2", "-b", "4096"]),
];

fn image(kind: usize) -> &'static [u8] {
    static IMAGES: [OnceLock<Vec<u8>>; KINDS.len()] = [const { OnceLock::new() }; KINDS.len()];
    IMAGES[kind].get_or_init(|| {
        let arguments = [&["-L", "guest-root"], KINDS[kind].1].concat();
        let size = if kind == 2 { "128M" } else { "24M" };
        mke2fs::image(size, &arguments, tree)
    })
}

/// All files below `path`, with their contents, as ext4-view sees them.
fn theirs(fs: &ext4_view::Ext4, path: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs
        .read_dir(if path.is_empty() { "/" } else { path })
        .unwrap()
    {
        let entry = entry.unwrap();
        let name = entry.file_name().as_str().unwrap().to_string();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{path}/{name}");
        let kind = fs.symlink_metadata(path.as_str()).unwrap().file_type();
        if kind.is_dir() {
            theirs(fs, &path, files);
        } else if kind.is_regular_file() {
            files.insert(path.clone(), fs.read(path.as_str()).unwrap());
        }
    }
}

fn ours(fs: &Ext4<Ram>, path: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for name in fs.list(path, usize::MAX).unwrap() {
        let path = format!("{path}/{name}");
        let link = ["loop", "broken", "vmlinuz", "absolute", "long", "up"].contains(&name.as_str());
        if link && path.rfind('/') == Some(0) {
            continue;
        }
        if fs.find(&path).unwrap().is_folder() {
            ours(fs, &path, files);
        } else {
            files.insert(path.clone(), fs.read(&path, 4 << 20).unwrap());
        }
    }
}

#[test]
fn every_file_is_what_another_implementation_says() {
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        let bytes = image(kind).to_vec();
        let fs = Ext4::open(Ram::from(image(kind))).unwrap();
        assert_eq!(fs.label(), "guest-root");
        assert!(!fs.is_dirty());
        let mut files = BTreeMap::new();
        ours(&fs, "", &mut files);
        let mut expected = BTreeMap::new();
        let other = ext4_view::Ext4::load(Box::new(bytes)).unwrap();
        theirs(&other, "", &mut expected);
        assert!(expected.len() > 600, "{name}");
        assert!(files == expected, "{name}");
        assert_eq!(fs.uuid(), other.uuid().to_string());
    }
}

#[test]
fn links_are_followed_and_paths_are_plain() {
    for kind in 0..KINDS.len() {
        let fs = Ext4::open(Ram::from(image(kind))).unwrap();
        for path in [
            "/vmlinuz",
            "vmlinuz",
            "/absolute/vmlinuz-6.1",
            "//boot/./grub/../../absolute//vmlinuz-6.1",
            "/../../vmlinuz",
        ] {
            assert!(fs.read(path, 1 << 20).unwrap() == noise(300_000), "{path}");
        }
        assert_eq!(fs.read("/long/end", 100).unwrap(), b"far away");
        assert_eq!(fs.read("/up", 100).unwrap(), b"");
        for (path, error) in [
            ("/loop", Error::TooManyLinks),
            ("/loop/x", Error::TooManyLinks),
            ("/broken", Error::NotFound),
            ("/boot/none", Error::NotFound),
            ("/boot/empty/x", Error::NotFolder),
            ("/boot", Error::NotFile),
            ("/vmlinuz", Error::TooLarge),
        ] {
            assert_eq!(fs.read(path, 1000).unwrap_err(), error, "{path}");
        }
        assert_eq!(fs.list("/many", 10).unwrap().len(), 10);
    }
}

#[test]
fn a_file_is_read_in_pieces_of_any_size() {
    for kind in 0..KINDS.len() {
        let fs = Ext4::open(Ram::from(image(kind))).unwrap();
        let whole = fs.read("/sparse", 4 << 20).unwrap();
        for size in [1000, 4096, 1 << 20] {
            let mut file = fs.open_file("/sparse").unwrap();
            assert_eq!(file.size(), 3 << 20);
            let mut bytes = Vec::<u8>::new();
            let mut piece = vec![0; size];
            loop {
                match file.read(&mut piece).unwrap() {
                    0 => break,
                    count => bytes.extend(&piece[..count]),
                }
            }
            assert!(bytes == whole);
        }
    }
}

#[test]
fn what_is_no_file_system_is_refused() {
    assert_eq!(Ext4::open(Ram::from(vec![])).err(), Some(Error::NotExt4));
    assert_eq!(
        Ext4::open(Ram::from(vec![0; 1 << 20])).err(),
        Some(Error::NotExt4)
    );
    let with =
        |at: usize, value: u8| Ext4::open(Ram(image(0).into(), vec![(1024 + at, value)])).err();
    assert_eq!(with(0x18, 31), Some(Error::Corrupt("block size")));
    assert_eq!(with(0x7, 0xff), Some(Error::Corrupt("size")));
    assert_eq!(
        with(0x63, 0x80),
        Some(Error::Unsupported("features of another time"))
    );
    assert_eq!(
        with(0x60, 0xd2),
        Some(Error::Unsupported("meta block groups"))
    );
}

/// A symlink with a length of 2^40, folders of nothing but holes, one folder again and again: what the bounds are for.
#[test]
fn what_would_go_on_for_ever_ends() {
    let mut bytes = image(0).to_vec();
    // Every folder of this disk is as long as it can be.
    let table = 4096 * u32::from_le_bytes(bytes[4096 + 8..4096 + 12].try_into().unwrap()) as usize;
    let size = u16::from_le_bytes(bytes[1024 + 0x58..1024 + 0x5a].try_into().unwrap()) as usize;
    let count = u32::from_le_bytes(bytes[1024 + 0x28..1024 + 0x2c].try_into().unwrap());
    for inode in 0..count as usize {
        let at = table + inode * size;
        bytes[at + 0x6c] = 0xff;
    }
    let fs = Ext4::open(Ram::from(bytes)).unwrap();
    assert_eq!(
        fs.list("/many", usize::MAX),
        Err(Error::Corrupt("directory"))
    );
    assert_eq!(fs.read("/boot/none", 10), Err(Error::Corrupt("directory")));
    assert_eq!(fs.read("/vmlinuz", 10), Err(Error::Corrupt("symlink")));
    assert_eq!(fs.read("/boot/grub/grub.cfg", 10), Err(Error::TooLarge));

    // Blocks of 64 KiB that are empty may be in a folder: one that has no others, 2^40 bytes of them.
    let bytes = image(2);
    let table =
        65536 * u32::from_le_bytes(bytes[65536 + 8..65536 + 12].try_into().unwrap()) as usize;
    let size = u16::from_le_bytes(bytes[1024 + 0x58..1024 + 0x5a].try_into().unwrap()) as usize;
    let root = table + size;
    let fs = Ext4::open(Ram(bytes.into(), vec![(root + 0x6d, 1)])).unwrap();
    assert_eq!(fs.read("/none", 10), Err(Error::Corrupt("directory")));
    // A hundred times the same folder is one that is read a hundred times.
    let fs = Ext4::open(Ram::from(image(2))).unwrap();
    let path = "/boot/..".repeat(100);
    let found = (0..100).find_map(|_| {
        fs.read(&path, 10)
            .err()
            .filter(|error| *error != Error::NotFile)
    });
    assert_eq!(found, Some(Error::Endless));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_damage_makes_it_panic(
        kind in 0..KINDS.len(),
        near in prop::collection::vec((0_usize..1 << 20, any::<u8>()), 0..200),
        head in prop::collection::vec((1024_usize..2048, any::<u8>()), 0..3),
        descriptors in prop::collection::vec((2048_usize..8192, any::<u8>()), 0..30),
    ) {
        // The magic must be right to come this far.
        let magic = [(1024 + 0x38, 0x53), (1024 + 0x39, 0xef)];
        let patches = near.into_iter().chain(head).chain(descriptors).chain(magic).collect();
        if let Ok(fs) = Ext4::open(Ram(image(kind).into(), patches)) {
            for path in ["/", "/boot", "/many", "/absolute", "/long"] {
                let _ = fs.list(path, 1000);
            }
            for path in ["/vmlinuz", "/long/end", "/up", "/loop", "/sparse", "/boot/grub/grub.cfg"] {
                let _ = fs.read(path, 4 << 20);
            }
        }
    }
}
