//! The exits of one workload, by reason: SVM in QEMU beside VMX in Bochs, without and with APIC virtualisation.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::bochs;
use crate::guest::Guest;
use crate::machine::bochs::configure;
use crate::machine::qemu::Iommu;
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "Bochs: exits by reason, SVM in QEMU beside VMX",
    debian: true,
    play: side_by_side,
}];

/// Processes that come and go, pages that are written first, reads of the disk one at a time.
const WORK: &str = "i=0; while [ $i -lt 100 ]; do cat /proc/cpuinfo >/dev/null; i=$((i+1)); done; \
                    dd if=/dev/xvda of=/dev/null bs=4k count=1000 iflag=direct 2>/dev/null";
/// What follows from the work alone, and may differ by a tenth. The rest follows from the time that it takes, or from the
/// vendor (docs/cpu.md).
const BY_WORK: [&str; 6] = [
    "exit io-port",
    "exit msr-read",
    "exit msr-write",
    "exit wbinvd",
    "hypercall 32 event_channel_op",
    "events sent",
];

type Counters = BTreeMap<String, u64>;

fn side_by_side(stage: &Stage) -> Result<()> {
    let guests = [Guest {
        vcpus: 1,
        memory: 192,
        more: "",
        ..Guest::new("one", None)
    }];
    let mut archive = stage.archive_with(&guests)?;
    let mut machine = bochs::machine(stage, &archive, &guests)?;
    machine.cpus = 1;
    let mut running = stage.start_bochs(&machine)?;
    let vmx = work(&mut running)?;
    let mut machine = bochs::delivering(stage, &archive, &guests)?;
    machine.cpus = 1;
    let mut running = stage.start_bochs(&machine)?;
    let apicv = work(&mut running)?;
    let module = stage.module_for(&guests)?;
    configure(&mut archive, Some(&module))?;
    let mut machine = stage.machine();
    (machine.iommu, machine.disk, machine.nic, machine.cpus) = (Iommu::None, None, None, 1);
    let mut running = stage.boot(machine, &archive)?;
    let svm = work(&mut running)?;
    println!(
        "\n{:<32} {:>30} {:>30}",
        "", "boot: SVM     VMX   apicv", "work: SVM     VMX   apicv"
    );
    let all = svm.iter().chain(&vmx).chain(&apicv);
    let names: BTreeSet<&String> = all.flat_map(BTreeMap::keys).collect();
    for name in names {
        let of = |counters: &Counters| counters.get(name).copied().unwrap_or(0);
        println!(
            "{name:<32} {:>14}{:>8}{:>8} {:>14}{:>8}{:>8}",
            of(&svm[0]),
            of(&vmx[0]),
            of(&apicv[0]),
            of(&svm[1]),
            of(&vmx[1]),
            of(&apicv[1])
        );
    }
    let sum = |counters: &[Counters; 2], name| -> u64 {
        let parts = counters.iter().filter_map(|part| part.get(name));
        parts.sum()
    };
    // Where the CPU delivers interrupts, nobody waits for the guest to take one.
    let [plain, windows] = [&vmx, &apicv].map(|of| sum(of, "exit interrupt-window"));
    ensure!(
        plain > 100 && windows < 10,
        "{windows} windows with APIC virtualisation and {plain} without"
    );
    for name in BY_WORK {
        let (svm, vmx) = (sum(&svm, name), sum(&vmx, name));
        ensure!(
            // Of twenty, two come and go with the emulator.
            svm > 0 && svm.abs_diff(vmx) <= (svm.max(vmx) / 10).max(3),
            "{name}: {svm} with SVM and {vmx} with VMX"
        );
    }
    Ok(())
}

/// The guest's counters when it is up, and what the work adds to them.
fn work(running: &mut Running) -> Result<[Counters; 2]> {
    running.wait_prompt(HANG)?;
    running.attach_when_up("one")?;
    running.detach()?;
    let boot = counters(running)?;
    running.attach("one")?;
    running.guest(WORK)?;
    running.detach()?;
    let mut work = counters(running)?;
    for (name, count) in &mut work {
        *count -= boot.get(name).copied().unwrap_or(0).min(*count);
    }
    running.power_off()?;
    Ok([boot, work])
}

fn counters(running: &mut Running) -> Result<Counters> {
    let said = running.xl("xl debug-exits one")?;
    let rows = said.lines().skip(1).filter_map(|line| {
        let rest = line.strip_prefix("one")?.trim_start();
        let (_, rest) = rest.split_once(' ')?;
        let (name, count) = rest.trim().rsplit_once(' ')?;
        Some((name.trim().to_owned(), count.parse().ok()?))
    });
    Ok(rows.collect())
}
