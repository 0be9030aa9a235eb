//! What the machine boots its disk with: GRUB, and OVMF for machines with UEFI. Both come out of Debian's packages,
//! which need not be installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use qemu_tests::bootdisk::Loader;
use qemu_tests::images::Firmware;

use crate::output::step;
use crate::{apt, host, paths};

/// The packages with GRUB's tools and modules, and a library that Debian does not install everywhere.
const PACKAGES: [&str; 4] = [
    "grub-common",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
    "libdevmapper1.02.1",
];
/// What GRUB needs to do what its grub.cfg says, and what a person needs to look around when that fails.
const MODULES: [&str; 15] = [
    "part_gpt",
    "fat",
    "normal",
    "configfile",
    "multiboot2",
    "regexp",
    "eval",
    "test",
    "true",
    "serial",
    "terminal",
    "echo",
    "ls",
    "cat",
    "reboot",
];
/// Where Debian's ovmf package has its files.
const OVMF: &str = "usr/share/OVMF";
/// OVMF's code and variables.
const OVMF_FILES: [&str; 2] = ["OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"];

/// Makes GRUB's images and finds OVMF, downloading what is not there.
///
/// # Errors
/// When packages cannot be fetched, or GRUB's image cannot be made.
pub fn get() -> Result<Firmware> {
    let [code, vars] = ovmf()?;
    Ok(Firmware {
        loader: grub()?,
        code,
        vars,
    })
}

fn grub() -> Result<Loader> {
    let prefixes = PACKAGES.map(|name| format!("{name}_"));
    let files = apt::get(prefixes.each_ref().map(String::as_str), || {
        Ok(PACKAGES.map(str::to_owned).into())
    })?;
    let folder = paths::image().join("grub");
    let loader = Loader {
        boot: folder.join("boot.img"),
        core: folder.join("core.img"),
        efi: folder.join("bootx64.efi"),
    };
    let stamp = folder.join("stamp");
    let want = format!("{files:?} {MODULES:?} 1");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == want) {
        return Ok(loader);
    }
    step("Making", "GRUB's images for BIOS and UEFI");
    fs::create_dir_all(&folder)?;
    let mut unpacked = Vec::new();
    for file in &files {
        unpacked.push(apt::unpack(file)?);
    }
    let [common, pc, efi, library] = &unpacked[..] else {
        anyhow::bail!("a package is missing");
    };
    let pc = pc.join("usr/lib/grub/i386-pc");
    fs::copy(pc.join("boot.img"), &loader.boot).context("GRUB's boot sector")?;
    let image = |format: &str, modules: &Path, prefix: &str, more: &[&str], target: &Path| {
        let mut command = Command::new(common.join("usr/bin/grub-mkimage"));
        command
            .env("LD_LIBRARY_PATH", libraries(library))
            .args(["-O", format, "-p", prefix, "-d"])
            .arg(modules)
            .arg("-o")
            .arg(target)
            .args(MODULES)
            .args(more);
        host::quiet(&mut command)
    };
    // On BIOS the drive is known, but not the partition; on UEFI both are.
    let prefix = "(,gpt2)/boot/grub";
    image("i386-pc", &pc, prefix, &["biosdisk"], &loader.core)?;
    let efi = efi.join("usr/lib/grub/x86_64-efi");
    image("x86_64-efi", &efi, "/boot/grub", &[], &loader.efi)?;
    fs::write(&stamp, want)?;
    Ok(loader)
}

/// Where the package's shared libraries are; Debian 13 moved everything below /usr.
fn libraries(package: &Path) -> std::ffi::OsString {
    let places = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
    std::env::join_paths(places.map(|place| package.join(place))).unwrap_or_default()
}

fn ovmf() -> Result<[PathBuf; 2]> {
    let installed = OVMF_FILES.map(|file| Path::new("/").join(OVMF).join(file));
    if installed.iter().all(|file| file.exists()) {
        return Ok(installed);
    }
    let [file] = apt::get(["ovmf_"], || Ok(vec!["ovmf".to_owned()]))?;
    let folder = apt::unpack(&file)?.join(OVMF);
    Ok(OVMF_FILES.map(|file| folder.join(file)))
}
