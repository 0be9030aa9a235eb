//! The disk that a machine boots from by itself: GRUB for BIOS and UEFI, the files of the boot archive on a FAT32 file
//! system, and the guests' volumes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::archive::Archive;
use crate::disk::{self, Partition, SECTOR};
use crate::fat::{self, Files};

/// The partition with GRUB's image for BIOS.
pub const BIOS_BOOT: &str = "bios-boot";
/// Its size in bytes.
const BIOS_BOOT_SIZE: u64 = 1 << 20;
/// What GRUB does; nobody edits it.
const GRUB_CFG: &str = include_str!("../assets/grub.cfg");

/// In GRUB's boot sector: the sector at which its image starts, the drive (0xff: the one that BIOS says), and a jump that
/// is left out for drives that are no floppy, because some BIOSes say a wrong one (GRUB: include/grub/i386/pc/boot.h).
const KERNEL_SECTOR: usize = 0x5c;
const DRIVE_CHECK: usize = 0x66;
/// Where the boot sector's code ends and the disk's signature and partition table begin.
const CODE_END: usize = 0x1b8;
/// In the image's first sector: the sector at which the rest of it starts (GRUB: grub-core/boot/i386/pc/diskboot.S).
const FIRST_BLOCK: usize = SECTOR as usize - 12;

/// GRUB's files, as `cargo xtask` makes them.
#[derive(Clone, Debug)]
pub struct Loader {
    /// The boot sector for BIOS.
    pub boot: PathBuf,
    /// The image that it loads.
    pub core: PathBuf,
    /// The program for UEFI.
    pub efi: PathBuf,
}

/// What the file system holds.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// GRUB.
    pub loader: &'a Loader,
    /// The hypervisor's image, for /boot/microhv.
    pub microhv: &'a Path,
    /// The other files.
    pub archive: &'a Archive,
}

/// A volume on the disk: its name and the file with its content, which has its size too.
pub type Volume<'a> = (&'a str, &'a Path);

/// Makes the disk image `target`.
///
/// # Errors
/// When files cannot be read or written, or do not fit.
pub fn create(target: &Path, content: Content<'_>, volumes: &[Volume<'_>]) -> Result<()> {
    let empty = target.with_extension("fat");
    fat::format(&empty, &[])?;
    let result = fill(target, &empty, content, volumes);
    fs::remove_file(empty)?;
    result
}

fn fill(target: &Path, empty: &Path, content: Content<'_>, volumes: &[Volume<'_>]) -> Result<()> {
    // The order is fixed: GRUB's image for BIOS has the file system's number in it.
    let mut partitions = vec![
        Partition {
            name: BIOS_BOOT.into(),
            size: BIOS_BOOT_SIZE,
            content: None,
        },
        fat::partition(empty)?,
    ];
    for &(name, content) in volumes {
        let data = fs::metadata(content).with_context(|| content.display().to_string())?;
        partitions.push(Partition {
            name: name.into(),
            size: data.len().next_multiple_of(SECTOR),
            content: Some(content.to_owned()),
        });
    }
    disk::create(target, &partitions)?;
    install_bios(target, content.loader)?;
    let files = Files::open(target)?;
    files.write("EFI/BOOT/BOOTX64.EFI", &read(&content.loader.efi)?)?;
    files.write("boot/grub/grub.cfg", GRUB_CFG.as_bytes())?;
    files.write("boot/microhv", &read(content.microhv)?)?;
    for path in content.archive.paths() {
        files.write(path, &content.archive.read(path)?)?;
    }
    files.close()
}

/// Puts GRUB where BIOS looks for it, as grub-install does.
fn install_bios(target: &Path, loader: &Loader) -> Result<()> {
    let (start, length) = disk::find(target, BIOS_BOOT)?;
    let mut disk = OpenOptions::new().read(true).write(true).open(target)?;
    let first = start / SECTOR;
    let (boot, mut core) = (read(&loader.boot)?, read(&loader.core)?);
    ensure!(
        boot.len() == SECTOR as usize && core.len() > SECTOR as usize,
        "{} and {} are no boot sector and image",
        loader.boot.display(),
        loader.core.display()
    );
    if core.len() as u64 > length {
        bail!("GRUB's image does not fit into {BIOS_BOOT_SIZE} bytes");
    }
    core[FIRST_BLOCK..FIRST_BLOCK + 8].copy_from_slice(&(first + 1).to_le_bytes());
    write_at(&mut disk, start, &core)?;
    let mut sector = vec![0; SECTOR as usize];
    disk.seek(SeekFrom::Start(0))?;
    disk.read_exact(&mut sector)?;
    sector[..CODE_END].copy_from_slice(&boot[..CODE_END]);
    sector[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&first.to_le_bytes());
    sector[DRIVE_CHECK..DRIVE_CHECK + 2].fill(0x90);
    write_at(&mut disk, 0, &sector)
}

fn write_at(disk: &mut File, at: u64, bytes: &[u8]) -> Result<()> {
    disk.seek(SeekFrom::Start(at))?;
    Ok(disk.write_all(bytes)?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_holds_loader_files_and_volumes() {
        let folder = std::env::temp_dir().join(format!("microhv-bootdisk-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let loader = Loader {
            boot: put("boot.img", &[0xb0; 512]),
            core: put("core.img", &[0xc0; 2000]),
            efi: put("bootx64.efi", b"efi"),
        };
        let mut archive = Archive::new();
        archive
            .bytes("boot/loader.conf", "a=\"1\"\n")
            .bytes("etc/xen/auto/a-long-name.cfg", "x");
        let volume = put("root", b"volume");
        let disk = folder.join("disk.img");
        let microhv = put("microhv", b"elf");
        let content = Content {
            loader: &loader,
            microhv: &microhv,
            archive: &archive,
        };
        create(&disk, content, &[("debian-root", &volume)]).unwrap();

        let bytes = fs::read(&disk).unwrap();
        assert_eq!(bytes[0x5c..0x64], 2048u64.to_le_bytes());
        assert_eq!(bytes[0x66..0x68], [0x90, 0x90]);
        assert_eq!(bytes[510..512], [0x55, 0xaa]);
        assert_eq!(bytes[0x1be + 4], 0xee, "the protective MBR is still there");
        assert_eq!(
            bytes[(1 << 20) + 500..(1 << 20) + 508],
            2049u64.to_le_bytes()
        );
        drop(bytes);

        let files = Files::open(&disk).unwrap();
        files
            .edit("/boot/loader.conf", |text| text + "b=\"2\"\n")
            .unwrap();
        files.write("boot/new/more", &[7; 10_000]).unwrap();
        files.remove("etc/xen/auto/a-long-name.cfg").unwrap();
        files.close().unwrap();
        let files = Files::open(&disk).unwrap();
        assert_eq!(
            files.read("boot/loader.conf").unwrap(),
            b"a=\"1\"\nb=\"2\"\n"
        );
        assert_eq!(files.read("boot/new/more").unwrap(), [7; 10_000]);
        assert_eq!(files.read("boot/microhv").unwrap(), b"elf");
        assert!(files.read("etc/xen/auto/a-long-name.cfg").is_err());
        files.close().unwrap();
        if Path::new("/usr/sbin/fsck.vfat").exists() {
            assert_eq!(fat::fsck(&disk, &folder.join("part")).unwrap(), [""; 0]);
        }
        disk::extract(&disk, "debian-root", &folder.join("again")).unwrap();
        assert_eq!(fs::read(folder.join("again")).unwrap()[..7], *b"volume\0");
        fs::remove_dir_all(&folder).unwrap();
    }
}
