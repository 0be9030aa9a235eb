//! Bochs with VMX, which only Debian 13's package has: downloaded once and run in place, on Debian 12 too, since its C library
//! comes along. Nothing is installed, and root is not needed.

pub mod mended;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::output::step;
use crate::paths;
use crate::suite::{self, LIBRARIES};

/// The suite whose Bochs is tested; sid's 3.1 computes wrongly and crashes Linux.
const SUITE: &str = "trixie";
/// The start of the version that it has to be.
const VERSION: &str = "3.0";
/// Bochs, the display with the fewest libraries, and the machine's firmware.
const PACKAGES: [&str; 4] = ["bochs", "bochs-term", "bochsbios", "vgabios"];

/// The folder that Bochs is in, or will be.
pub fn folder() -> PathBuf {
    paths::cache().join("bochs")
}

/// Whether it is there.
pub fn is_there() -> bool {
    // Written last.
    folder().join("VERSION").exists()
}

/// The folder with Bochs, downloaded if need be.
///
/// # Errors
/// One sentence about what this host lacks, or apt's complaint.
pub fn get() -> Result<PathBuf> {
    let target = folder();
    if is_there() {
        return Ok(target);
    }
    let work = paths::cache().join("bochs.partial");
    for place in [&work, &target] {
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
    }
    let root = work.join("root");
    let version = suite::unpack(SUITE, &PACKAGES, &work.join("apt"), &root)
        .context("cannot fetch Bochs 3.0 of Debian 13, the only one with VMX")?;
    ensure!(
        version.starts_with(VERSION),
        "Debian 13 has Bochs {version:?}, and microhv is tested with {VERSION}"
    );
    let made = work.join("bochs");
    assemble(&root, &made)?;
    try_it(&made)?;
    fs::write(made.join("VERSION"), &version)?;
    fs::rename(&made, &target)?;
    fs::remove_dir_all(&work)?;
    step("Made", &format!("{} (Bochs {version})", target.display()));
    Ok(target)
}

/// Takes what is needed out of the unpacked packages: `lib` (the program, its plugins, all libraries and their loader)
/// and `share` (the BIOSes).
fn assemble(root: &Path, target: &Path) -> Result<()> {
    let library = target.join("lib");
    let (plugins, shared) = (library.join("plugins"), library.join("so"));
    for place in [&plugins, &shared, &target.join("share")] {
        fs::create_dir_all(place)?;
    }
    let from = root.join(LIBRARIES);
    let loader = from.join("ld-linux-x86-64.so.2");
    copy(&loader, &library.join("ld.so"))?;
    let program = library.join("bochs-bin");
    copy(&root.join("usr/bin/bochs-bin"), &program)?;
    let mut users = vec![program];
    for entry in fs::read_dir(from.join("bochs/plugins")).context("Bochs's plugins")? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // The host's sound would be looked for at every start.
        let sound = ["alsa", "oss", "pulse"]
            .iter()
            .any(|word| name.contains(word));
        if !sound && name.ends_with(".so") {
            let plugin = plugins.join(&name);
            copy(&path, &plugin)?;
            users.push(plugin);
        }
    }
    for user in users {
        // It names a plugin's symbols that only the program has, and fails; the list is whole all the same.
        let output = Command::new(&loader)
            .arg("--library-path")
            .arg(&from)
            .arg("--list")
            .arg(&user)
            .output()
            .with_context(|| loader.display().to_string())?;
        for path in libraries(&String::from_utf8_lossy(&output.stdout)) {
            let to = shared.join(path.file_name().unwrap_or_default());
            if !to.exists() {
                copy(&path, &to)?;
            }
        }
    }
    let bios = root.join("usr/share/bochs");
    for file in ["BIOS-bochs-latest", "VGABIOS-lgpl-latest"] {
        copy(&bios.join(file), &target.join("share").join(file))?;
    }
    Ok(())
}

/// The files in what `ld.so --list` prints.
fn libraries(list: &str) -> impl Iterator<Item = PathBuf> {
    list.lines().filter_map(|line| {
        let (_, path) = line.split_once(" => ")?;
        let path = path.split(" (").next()?.trim();
        path.starts_with('/').then(|| path.into())
    })
}

/// Copies what `from` is or points to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| from.display().to_string())
}

/// Bochs must start here and know a CPU with VMX.
fn try_it(folder: &Path) -> Result<()> {
    let library = folder.join("lib");
    let output = Command::new(library.join("ld.so"))
        .arg("--library-path")
        .arg(library.join("so"))
        .arg(library.join("bochs-bin"))
        .args(["--help", "cpu"])
        .env("LTDL_LIBRARY_PATH", library.join("plugins"))
        .env("BXSHARE", folder.join("share"))
        .output()
        .context("Bochs does not start")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        said.contains("broadwell_ult"),
        "Bochs does not start: {}",
        said.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_files_of_the_list() {
        let list = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /root/usr/lib/libc.so.6 (0x00007f)\n\
                    \tlibx.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x00)\n";
        let found: Vec<_> = libraries(list).collect();
        assert_eq!(found, [PathBuf::from("/root/usr/lib/libc.so.6")]);
    }
}
