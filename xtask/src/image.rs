//! Makes what the machine boots from: the hypervisor's image, the boot archive and the disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use qemu_tests::archive::Archive;
use qemu_tests::bootdisk::{self, Content, Loader};
use qemu_tests::disk::{self, Partition};
use qemu_tests::fat;
use qemu_tests::images::Images;
use qemu_tests::small_root;

use crate::output::step;
use crate::{bochs, build, debian, elf, firmware, paths};

/// The loader.conf that a machine boots with unless another is put over it.
const LOADER_CONF: &str = include_str!("../assets/loader.conf");
/// Size of the disk's partition on a machine without a guest, in bytes.
const SCRATCH_SIZE: u64 = 64 << 20;

/// Makes the images from what [`build::all`] has built; without a guest the disk is empty.
///
/// # Errors
/// When a built file is missing or an image cannot be written.
pub fn all(with_guest: bool) -> Result<Images> {
    let folder = paths::image();
    fs::create_dir_all(&folder)?;
    let microhv = folder.join("microhv");
    let symbols = folder.join("microhv.sym");
    let built = read(&build::binary("microhv"))?;
    fs::write(&microhv, elf::strip(&built)?)?;
    fs::write(&symbols, elf::symbols(&built)?)?;
    let (memory, file) = (
        elf::memory_size(&built)? >> 10,
        fs::metadata(&microhv)?.len() >> 10,
    );
    step(
        "Made",
        &format!("microhv: {memory} KiB in memory, {file} KiB as a file"),
    );
    let mut archive = Archive::new();
    archive
        .bytes("boot/loader.conf", LOADER_CONF)
        .file("boot/microhv.sym", symbols);
    for domain in build::DOMAINS {
        let stripped = folder.join(domain);
        fs::write(&stripped, elf::strip(&read(&build::binary(domain))?)?)?;
        archive.file(&format!("boot/{domain}"), stripped);
    }
    // Only `cargo xtask test` builds it.
    let faulty = build::binary(build::FAULTY);
    if faulty.exists() {
        fs::write(folder.join(build::FAULTY), elf::strip(&read(&faulty)?)?)?;
    }
    let disk = folder.join(if with_guest {
        "debian.img"
    } else {
        "scratch.img"
    });
    // Domain-0's files, on every disk.
    let files = fat::partition(&folder.join("microhv.fat"))?;
    let mut root = None;
    let mut bzimage = None;
    if with_guest {
        let guest = debian::guest()?;
        archive
            .file("boot/debian/vmlinux", &guest.vmlinux)
            .file("boot/debian/initrd", &guest.initrd)
            .bytes("etc/xen/auto/debian.cfg", debian::CONFIG);
        if newer(&guest.root, &disk) || disk::find(&disk, fat::NAME).is_err() {
            let size = fs::metadata(&guest.root)?.len();
            let content = Some(guest.root.clone());
            disk::create(
                &disk,
                &[
                    Partition {
                        name: debian::VOLUME.into(),
                        size,
                        content,
                    },
                    files,
                ],
            )?;
        }
        root = Some(guest.root);
        bzimage = Some(guest.bzimage);
    } else if disk::find(&disk, fat::NAME).is_err() {
        let scratch = Partition {
            name: "scratch".into(),
            size: SCRATCH_SIZE,
            content: None,
        };
        disk::create(&disk, &[scratch, files])?;
    }
    Ok(Images {
        microhv,
        faulty: folder.join(build::FAULTY),
        archive,
        disk,
        root,
        bzimage,
        bochs: bochs::get,
        mended_bochs: bochs::mended::get,
        firmware: firmware::get,
    })
}

/// Whether `target` has to be made (again) from `source`. The guest's own writes to its disk make it newer.
fn newer(source: &Path, target: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    time(source) > time(target)
}

/// Writes the boot archive of `images` to `target/image/boot.tar`.
///
/// # Errors
/// When one of its files cannot be read or the archive cannot be written.
pub fn write_archive(archive: &Archive) -> Result<PathBuf> {
    let target = paths::image().join("boot.tar");
    archive.write(&target)?;
    step(
        "Made",
        &format!(
            "{} ({} KiB)",
            target.display(),
            fs::metadata(&target)?.len() >> 10
        ),
    );
    Ok(target)
}

/// Makes `target` a disk that boots by itself, with the files of `images` and the guest's volume.
///
/// # Errors
/// When the boot loader cannot be fetched, or the disk not be written.
pub fn boot_disk(images: &Images, target: &Path) -> Result<()> {
    let loader = (images.firmware)()?.loader;
    let volumes: Vec<_> = images
        .root
        .iter()
        .map(|root| (debian::VOLUME, root.as_path()))
        .collect();
    bootdisk::create(target, content(images, &loader), &volumes)?;
    step("Made", &target.display().to_string());
    Ok(())
}

fn content<'a>(images: &'a Images, loader: &'a Loader) -> Content<'a> {
    Content {
        loader,
        microhv: &images.microhv,
        archive: &images.archive,
    }
}

/// The disk that `cargo xtask run` boots by itself: the guest finds its volume as it left it, all else is new.
///
/// # Errors
/// As [`boot_disk`].
pub fn kept_boot_disk(images: &Images) -> Result<PathBuf> {
    let target = images.disk.with_extension("boot.img");
    match &images.root {
        Some(root) if !newer(root, &target) => {
            let volume = target.with_extension("volume");
            disk::extract(&target, debian::VOLUME, &volume)?;
            let loader = (images.firmware)()?.loader;
            let volumes = [(debian::VOLUME, volume.as_path())];
            bootdisk::create(&target, content(images, &loader), &volumes)?;
            fs::remove_file(volume)?;
        }
        _ => boot_disk(images, &target)?,
    }
    Ok(target)
}

/// The disk of the guest that Bochs's boot loader reads into memory.
///
/// # Errors
/// When it cannot be made.
pub fn module(images: &Images) -> Result<PathBuf> {
    let (folder, target) = (paths::image(), paths::image().join("module.img"));
    let whole = images.root.as_ref().context("the Debian guest")?;
    let root = folder.join("small.ext4");
    small_root::make(&whole.with_file_name("root"), &folder, &root)?;
    let volume = Partition {
        name: debian::VOLUME.into(),
        size: small_root::SIZE,
        content: Some(root),
    };
    disk::create(&target, &[volume])?;
    Ok(target)
}

/// The disk that Bochs boots; new each time, since nothing that domains write goes to it.
///
/// # Errors
/// When the boot loader cannot be fetched, or the disk not be written.
pub fn bochs_disk(images: &Images) -> Result<PathBuf> {
    let target = paths::image().join("bochs.img");
    let loader = (images.firmware)()?.loader;
    bootdisk::create(&target, content(images, &loader), &[])?;
    step("Made", &target.display().to_string());
    Ok(target)
}

/// Puts `HOST_FILE=/PATH` into the archive.
///
/// # Errors
/// When the argument has no `=` or the file does not exist.
pub fn add(archive: &mut Archive, argument: &str) -> Result<()> {
    let Some((host, path)) = argument.split_once('=') else {
        bail!("--add {argument}: want HOST_FILE=/PATH");
    };
    if !Path::new(host).is_file() {
        bail!("--add {argument}: there is no file {host}");
    }
    archive.file(path, host);
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wrong_with_the_default_configuration() {
        let text = LOADER_CONF.to_owned() + "console_cmdline=\"prompt_status\"\n";
        let mut remarks = Vec::new();
        let conf = config::LoaderConf::new(text.as_bytes());
        conf.diagnostics(|remark| remarks.push(remark.to_string()));
        assert_eq!(remarks, [""; 0]);
        let domains: Vec<_> = conf
            .domains()
            .map(|domain| domain.unwrap().name.text.to_owned())
            .collect();
        assert_eq!(domains, build::DOMAINS[1..]);
    }
}
