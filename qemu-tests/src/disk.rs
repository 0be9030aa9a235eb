//! Disk images: raw files with a GPT whose partitions have names.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Bytes in a sector of every image made here.
pub const SECTOR: u64 = 512;
/// Partitions start at multiples of this, in bytes, as every partitioning tool does it.
const ALIGN: u64 = 1 << 20;
/// "Linux filesystem data", 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as GPT stores it.
const LINUX_DATA: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// "EFI system", C12A7328-F81F-11D2-BA4B-00A0C93EC93B: the FAT file system that UEFI boots from.
const EFI_SYSTEM: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// "BIOS boot", 21686148-6449-6E6F-744E-656564454649 (GRUB's manual, section 3.4).
const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";

/// 6876726D-6F68-7675-A5E0-776970656D65: what Domain-0 is to wipe.
const UNWIPED: [u8; 16] = *b"mrvhhouv\xa5\xe0wipeme";

/// A partition to be made.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The name in the GPT, which is what `/dev/gpt/NAME` means to blkback.
    pub name: String,
    /// Size in bytes, a multiple of [`SECTOR`].
    pub size: u64,
    /// A host file whose bytes the partition starts with.
    pub content: Option<PathBuf>,
}

/// Makes `target` a sparse disk image with `partitions` in this order.
///
/// # Errors
/// When a content file is larger than its partition, or files cannot be read or written.
pub fn create(target: &Path, partitions: &[Partition]) -> Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let total: u64 = partitions
        .iter()
        .map(|p| p.size.next_multiple_of(ALIGN))
        .sum::<u64>()
        + 2 * ALIGN;
    let mut disk = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(target)
        .with_context(|| target.display().to_string())?;
    disk.set_len(total)?;
    let mut gpt = gptman::GPT::new_from(&mut disk, SECTOR, guid(0))?;
    let mut start = ALIGN;
    for (index, partition) in (1u32..).zip(partitions) {
        gpt[index] = gptman::GPTPartitionEntry {
            partition_type_guid: match partition.name.as_str() {
                crate::fat::NAME => EFI_SYSTEM,
                crate::bootdisk::BIOS_BOOT => BIOS_BOOT,
                _ => LINUX_DATA,
            },
            unique_partition_guid: guid(index),
            starting_lba: start / SECTOR,
            ending_lba: (start + partition.size) / SECTOR - 1,
            attribute_bits: 0,
            partition_name: partition.name.as_str().into(),
        };
        start += partition.size.next_multiple_of(ALIGN);
    }
    gptman::GPT::write_protective_mbr_into(&mut disk, SECTOR)?;
    gpt.write_into(&mut disk)?;
    for (index, partition) in (1u32..).zip(partitions) {
        let Some(content) = &partition.content else {
            continue;
        };
        let length = fs::metadata(content)
            .with_context(|| content.display().to_string())?
            .len();
        if length > partition.size {
            bail!(
                "{} has {length} bytes, partition {} only {}",
                content.display(),
                partition.name,
                partition.size
            );
        }
        copy_sparse(
            &mut File::open(content)?,
            &mut disk,
            gpt[index].starting_lba * SECTOR,
        )?;
    }
    disk.flush()?;
    Ok(())
}

/// Copies the partition `name` of the image `disk` to the file `target`, for tools that check a file system.
///
/// # Errors
/// When the image has no GPT or no such partition.
pub fn extract(disk: &Path, name: &str, target: &Path) -> Result<()> {
    let (start, length) = find(disk, name)?;
    let mut disk = File::open(disk)?;
    disk.seek(SeekFrom::Start(start))?;
    let mut out = File::create(target)?;
    out.set_len(length)?;
    copy_sparse(&mut disk.take(length), &mut out, 0)
}

/// Where the partition `name` of the image `disk` starts, and its length, in bytes.
///
/// # Errors
/// When the image has no GPT or no such partition.
pub fn find(disk: &Path, name: &str) -> Result<(u64, u64)> {
    let mut disk = File::open(disk).with_context(|| disk.display().to_string())?;
    let gpt = gptman::GPT::find_from(&mut disk)?;
    let found = gpt
        .iter()
        .map(|(_, p)| p)
        .find(|p| p.is_used() && p.partition_name.as_str() == name);
    let Some(found) = found else {
        bail!("the disk has no partition {name}")
    };
    Ok((found.starting_lba * SECTOR, found.size()? * SECTOR))
}

/// Gives partition `name` of the image `disk` the type of a volume that is to be wiped (docs/disk.md).
///
/// # Errors
/// When the image has no GPT or no such partition.
pub fn set_unwiped(disk: &Path, name: &str) -> Result<()> {
    let mut disk = OpenOptions::new().read(true).write(true).open(disk)?;
    let mut gpt = gptman::GPT::find_from(&mut disk)?;
    let found = gpt.iter().find(|(_, p)| p.partition_name.as_str() == name);
    let index = found.context("no such partition")?.0;
    gpt[index].partition_type_guid = UNWIPED;
    gpt.write_into(&mut disk)?;
    Ok(())
}

/// Copies all of `from` to byte `at` of `to`, leaving out blocks that are zero: images stay sparse.
fn copy_sparse(from: &mut impl Read, to: &mut File, at: u64) -> Result<()> {
    let mut block = vec![0; 64 << 10];
    // Comparing slices is quick in unoptimised builds too.
    let zeros = vec![0; block.len()];
    let mut position = at;
    loop {
        let length = from.read(&mut block)?;
        if length == 0 {
            return Ok(());
        }
        if block[..length] != zeros[..length] {
            to.seek(SeekFrom::Start(position))?;
            to.write_all(&block[..length])?;
        }
        position += length as u64;
    }
}

/// A fixed, distinct GUID for the disk (0) and each partition: images come out the same every time.
fn guid(index: u32) -> [u8; 16] {
    let mut guid = *b"microhv-disk\0\0\0\0";
    guid[12..].copy_from_slice(&index.to_be_bytes());
    guid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_found_by_name_with_their_content() {
        let folder = std::env::temp_dir().join(format!("microhv-disk-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let content = folder.join("content");
        fs::write(&content, b"here").unwrap();
        let image = folder.join("disk.img");
        let part = |name: &str, size, content| Partition {
            name: name.into(),
            size,
            content,
        };
        create(
            &image,
            &[
                part("one", 2 << 20, None),
                part("two", 1 << 20, Some(content.clone())),
            ],
        )
        .unwrap();
        extract(&image, "two", &folder.join("two")).unwrap();
        let two = fs::read(folder.join("two")).unwrap();
        assert_eq!(two.len(), 1 << 20);
        assert_eq!(&two[..6], b"here\0\0");
        assert!(extract(&image, "three", &folder.join("three")).is_err());
        fs::write(&content, vec![1; 4096]).unwrap();
        assert!(create(&image, &[part("small", 512, Some(content))]).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
