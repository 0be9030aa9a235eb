//! What it costs to create a guest, beside what its kernel needs by itself.

use std::process::ExitCode;

use anyhow::{Context, Result};
use qemu_tests::machine::qemu::{Iommu, Machine};

use super::{Bench, HANG, line, millions};
use crate::cli;
use crate::output::step;

/// The first line of the guest's `/init`: its kernel has done what it does by itself.
const MARK: &str = "debian: initrd";
/// The guest, as one that needs no more than the bare machine gives: one CPU, no devices to wait for.
const CONFIG: &str = "name = \"bench\"\ntype = \"pvh\"\nkernel = \"/boot/debian/vmlinux\"\nramdisk = \"/boot/debian/initrd\"\n\
                      memory = 256\nvcpus = 1\ncmdline = \"console=hvc0\"\n";

/// Counts `xl create` up to the guest's first userland, and the same kernel on the bare machine.
///
/// # Errors
/// When a machine does not come up.
pub fn create(arguments: &cli::Bench) -> Result<ExitCode> {
    let bench = Bench::new(arguments, true)?;
    step("Counting", "instructions to Domain-0's prompt");
    let ready = bench.count("create-ready", machine(&bench)?, |running| {
        running.wait_prompt(HANG)?;
        running.prints("joins bridge0 as uplink").map(drop)
    })?;
    step("Counting", "instructions of a guest's creation and kernel");
    let guest = bench.count("create-guest", machine(&bench)?, |running| {
        running.wait_prompt(HANG)?;
        running.prints("joins bridge0 as uplink")?;
        running.send("xl create -c /etc/xen/bench.cfg\r")?;
        running.wait_for(MARK, HANG).map(drop)
    })?;
    step("Counting", "instructions of its kernel on the bare machine");
    let bare = bench.count("create-bare", bare(&bench)?, |running| {
        running.wait_for(MARK, HANG).map(drop)
    })?;
    let all = guest.all().saturating_sub(ready.all());
    let goal = bare.all() / 5 * 6 + 100_000_000;
    println!("xl create to the guest's first userland, 1 CPU, TCG plugin: instructions");
    line("all", millions(all));
    line(
        "of these in microhv",
        millions(guest.hypervisor.saturating_sub(ready.hypervisor)),
    );
    line(
        "repetitions of string instructions",
        millions(guest.repeated.saturating_sub(ready.repeated)),
    );
    line("VMRUNs", guest.vmrun.saturating_sub(ready.vmrun));
    line(
        "the kernel on the bare machine, with SeaBIOS",
        millions(bare.all()),
    );
    line("goal: 1.2 times that and 100 M", millions(goal));
    Ok(if all <= goal {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn machine(bench: &Bench) -> Result<Machine> {
    bench.machine(|archive| {
        archive.bytes("etc/xen/bench.cfg", CONFIG);
    })
}

/// The same kernel and initrd where nothing is between them and the machine.
fn bare(bench: &Bench) -> Result<Machine> {
    let folder = crate::paths::image().join("bench");
    std::fs::create_dir_all(&folder)?;
    let file = |name: &str| -> Result<std::path::PathBuf> {
        let path = folder.join(name);
        let content = bench.images.archive.read(&format!("boot/debian/{name}"))?;
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path)
    };
    let mut machine = Machine::new(file("vmlinux")?);
    machine.archive = Some(file("initrd")?);
    machine.memory = 256;
    machine.iommu = Iommu::None;
    machine.extra = vec!["-append".into(), "console=ttyS0".into()];
    Ok(machine)
}
