//! Which QEMU: this host's, a binary of one's own, or that of another suite of Debian, which is fetched.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::output::step;
use crate::suite::{self, LIBRARIES};
use crate::{host, paths};

/// Suites whose QEMU is tested: 10.0 and 11.1 (2026-11).
const SUITES: [&str; 2] = ["trixie", "sid"];
/// QEMU, and the BIOS that it need not come with.
const PACKAGES: [&str; 2] = ["qemu-system-x86", "seabios"];
/// Starts QEMU with the libraries and the firmware that lie beside it.
const STARTER: &str = r#"#!/bin/sh
root=$(CDPATH= cd -- "$(dirname -- "$(readlink -f -- "$0")")/root" && pwd)
libraries=$root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR="$libraries/qemu"
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$root/usr/bin/qemu-system-x86_64" \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
"#;

/// The binary that `--qemu` asks for, made available: this host's own is installed, that of a suite fetched.
///
/// # Errors
/// When it cannot be had.
pub fn get(wanted: &OsStr) -> Result<OsString> {
    if wanted == host::QEMU.program {
        host::ensure(&[host::QEMU])?;
    }
    match SUITES.into_iter().find(|suite| wanted == *suite) {
        Some(suite) => fetched(suite),
        None => Ok(wanted.to_owned()),
    }
}

/// The QEMU of `suite`, fetched if need be; to get a newer one, remove its folder.
fn fetched(suite: &str) -> Result<OsString> {
    let target = paths::cache().join(format!("qemu-{suite}"));
    let program = target.join(host::QEMU.program);
    // Written last.
    if target.join("VERSION").exists() {
        return Ok(program.into());
    }
    let work = paths::cache().join(format!("qemu-{suite}.partial"));
    for place in [&work, &target] {
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
    }
    let version = suite::unpack(suite, &PACKAGES, &work.join("apt"), &work.join("root"))
        .with_context(|| format!("cannot fetch QEMU of Debian {suite}"))?;
    let loader = work
        .join("root")
        .join(LIBRARIES)
        .join("ld-linux-x86-64.so.2");
    ensure!(loader.exists(), "{} is missing", loader.display());
    let starter = work.join(host::QEMU.program);
    fs::write(&starter, STARTER)?;
    fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))?;
    host::quiet(Command::new(&starter).arg("--version")).context("it does not start")?;
    fs::remove_dir_all(work.join("apt"))?;
    fs::write(work.join("VERSION"), &version)?;
    fs::rename(&work, &target)?;
    step("Made", &format!("{} (QEMU {version})", program.display()));
    Ok(program.into())
}
