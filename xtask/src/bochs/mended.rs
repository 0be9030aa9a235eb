//! Bochs 3.0 with three of its faults mended (docs/bochs.md), for guests that meet them: built out of Debian's source.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::copy;
use crate::host::{self, Tool};
use crate::output::step;
use crate::{paths, suite};

/// Bochs 3.0 as its authors made it, below Debian's mirror, and its checksum.
const SOURCE: &str = "pool/main/b/bochs/bochs_3.0%2bdfsg.orig.tar.xz";
const CHECKSUM: &str = "SHA256:78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b";
/// Downloads a file as apt does, and checks it.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// What building it needs.
const TOOLS: [Tool; 2] = [
    Tool {
        program: "g++",
        package: "g++",
        purpose: "builds Bochs for a test",
    },
    Tool {
        program: "make",
        package: "make",
        purpose: "builds Bochs for a test",
    },
];

/// The CPU as in Debian's build; no display, and nothing that prints from a signal's handler, which would lock up.
const OPTIONS: [&str; 16] = [
    "--enable-cpu-level=6",
    "--enable-x86-64",
    "--enable-smp",
    "--enable-vmx=2",
    "--enable-avx",
    "--enable-evex",
    "--enable-pci",
    "--enable-long-phy-address",
    "--enable-all-optimizations",
    "--enable-repeat-speedups",
    "--disable-show-ips",
    "--disable-docbook",
    "--disable-plugins",
    "--with-nogui",
    "CFLAGS=-O2",
    "CXXFLAGS=-O2",
];

/// A fault: a line of a file that is there once, and what it should be.
struct Mend {
    file: &'static str,
    line: &'static str,
    mended: &'static str,
}

const MENDS: [Mend; 3] = [
    // A virtual interrupt came while IF was clear if a physical one arrived then: it was asked whether one is pending only.
    Mend {
        file: "cpu/event.cc",
        line: "    if (is_pending(BX_EVENT_PENDING_VMX_VIRTUAL_INTR)) {\n",
        mended: "    if (is_unmasked_event_pending(BX_EVENT_PENDING_VMX_VIRTUAL_INTR)) {\n",
    },
    // A notification with nothing posted became interrupt 0xff: -1 is what an empty set gives.
    Mend {
        file: "cpu/vapic.cc",
        line: "  vector = BX_CPU_THIS_PTR lapic->highest_priority_int(virr);\n",
        mended: "  int highest = BX_CPU_THIS_PTR lapic->highest_priority_int(virr);\n  vector = highest < 0 ? 0 : highest;\n",
    },
    // With several CPUs, an exception that an exit followed at once was lost: its handler's RIP was not committed. (Not in
    // main.cc behind the longjmp: there the compiler takes `processor` for 0.)
    Mend {
        file: "cpu/cpu.cc",
        line: "void BX_CPU_C::cpu_run_trace(void)\n{\n",
        mended: "void BX_CPU_C::cpu_run_trace(void)\n{\n  BX_CPU_THIS_PTR prev_rip = RIP;\n  BX_CPU_THIS_PTR speculative_rsp = false;\n",
    },
];

/// The folder with it, built if need be.
///
/// # Errors
/// One sentence about what this host lacks, or what the tools complain about.
pub fn get() -> Result<PathBuf> {
    let target = paths::cache().join("bochs-mended");
    // Written last.
    if fs::read_to_string(target.join("RECIPE")).is_ok_and(|text| text == recipe()) {
        return Ok(target);
    }
    let packaged = super::get()?;
    host::ensure(&TOOLS)?;
    let work = paths::cache().join("bochs-mended.partial");
    for place in [&work, &target] {
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
    }
    fs::create_dir_all(&work)?;
    unpack(&work.join("bochs.orig.tar.xz"), &work)?;
    let source = work.join("bochs-3.0");
    for mend in &MENDS {
        mend.apply(&source)?;
    }
    let jobs = thread::available_parallelism().map_or(1, NonZero::get);
    step(
        "Building",
        &format!("Bochs with its faults mended, {jobs} at a time, once"),
    );
    let build = |program: &mut Command| host::quiet(program.current_dir(&source));
    build(Command::new("./configure").args(OPTIONS))?;
    build(Command::new("make").arg(format!("-j{jobs}")).arg("bochs"))?;
    let made = work.join("bochs");
    for place in ["lib", "share"] {
        fs::create_dir_all(made.join(place))?;
    }
    copy(&source.join("bochs"), &made.join("lib/bochs-bin"))?;
    for entry in fs::read_dir(packaged.join("share"))? {
        let entry = entry?;
        copy(&entry.path(), &made.join("share").join(entry.file_name()))?;
    }
    fs::write(made.join("RECIPE"), recipe())?;
    fs::rename(&made, &target)?;
    fs::remove_dir_all(&work)?;
    step("Made", &target.display().to_string());
    Ok(target)
}

/// Downloads the source as `archive`, and unpacks it into `folder`, where it is in a folder of its own.
fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let place = format!("{}/{SOURCE}", suite::mirror());
    step("Downloading", &format!("{place}, once"));
    let mut apt = Command::new(HELPER);
    let apt = apt.args(["download-file", &place]).arg(archive);
    host::quiet(apt.arg(CHECKSUM)).context("cannot fetch the source of Bochs 3.0")?;
    let packed = fs::File::open(archive)?;
    let unpacked = liblzma::read::XzDecoder::new(packed);
    tar::Archive::new(unpacked).unpack(folder)?;
    Ok(())
}

/// What it was made of: a changed one is made again.
fn recipe() -> String {
    let lines = MENDS
        .iter()
        .map(|mend| format!("{}: {}", mend.file, mend.mended));
    format!("{OPTIONS:?}\n{}", lines.collect::<String>())
}

impl Mend {
    fn apply(&self, source: &Path) -> Result<()> {
        let file = source.join(self.file);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let found = text.matches(self.line).count();
        ensure!(
            found == 1,
            "{} has the line to be mended {found} times; it is known for Bochs 3.0 only",
            self.file
        );
        fs::write(&file, text.replace(self.line, self.mended))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mend_changes_the_one_line_that_it_knows() {
        let folder = std::env::temp_dir().join(format!("microhv-mend-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("a.cc");
        let mend = Mend {
            file: "a.cc",
            line: "  old();\n",
            mended: "  new();\n  more();\n",
        };
        fs::write(&file, "{\n  old();\n}\n").unwrap();
        mend.apply(&folder).unwrap();
        let mended = fs::read_to_string(&file).unwrap();
        assert_eq!(mended, "{\n  new();\n  more();\n}\n");
        for (text, found) in [(mended.as_str(), 0), ("  old();\n  old();\n", 2)] {
            fs::write(&file, text).unwrap();
            let error = mend.apply(&folder).unwrap_err().to_string();
            let says = format!("a.cc has the line to be mended {found} times");
            assert!(error.starts_with(&says), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
