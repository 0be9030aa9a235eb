//! What only VT-d has.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::check;
use crate::machine::iommu_options;
use crate::machine::qemu::Iommu;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "VT-d: interrupts reach CPUs in x2APIC mode where the unit knows that (EIM)",
    debian: false,
    play: extended_interrupts,
}];

/// What bridge0 says when frames of the NIC have come in.
const LEASE: &str = "bridge0: lease";

/// With EIM the destination has another place in the entries. QEMU's trace says where messages went.
fn extended_interrupts(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.edit("boot/loader.conf", |text| {
        text.replace("loglvl=all\"", "loglvl=all iommu=debug\"")
    })?;
    let mut machine = stage.with_iommu(Iommu::Vtd).machine();
    // So many that not all interrupts are the first one's, by chance.
    machine.cpus = 4;
    let trace = stage.folder().join("trace");
    let eim = iommu_options::intel_eim(&machine.qemu);
    machine.extra = eim.into_iter().map(Into::into).collect();
    let tracing = ["-trace", "vtd_ir_remap_msi", "-D"].map(Into::into);
    machine.extra.extend(tracing);
    machine.extra.push(trace.clone().into());
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    if !running.transcript().contains(LEASE) {
        running.wait_for(LEASE, HANG)?;
    }
    let said = running.transcript();
    // QEMU 7.2 has the unit, but no such CPU outside KVM: the entries are the old ones there.
    let mode = format!("to x2APICs {}", said.contains("CPUs (x2APIC)"));
    check::contains(&said, &[&mode, ": partition 1:"])?;
    running.power_off()?;
    let mut cpus = [0; 4];
    for line in fs::read_to_string(&trace)?.lines() {
        let Some((_, sent)) = line.split_once("-> (addr 0x") else {
            continue;
        };
        let address = sent.split(',').next().unwrap_or_default();
        let address = u64::from_str_radix(address, 16).with_context(|| line.to_owned())?;
        // Bits 63:40 are bits 31:8 of the destination, 19:12 the others.
        let destination = address >> 32 & !0xff | address >> 12 & 0xff;
        *cpus
            .get_mut(destination as usize)
            .with_context(|| format!("to CPU {destination:#x}, which is not there: {line}"))? += 1;
    }
    // To the first one they go if the destination is not understood, too.
    ensure!(
        cpus[1..].iter().sum::<u32>() > 0,
        "interrupts of CPUs 0 to 3: {cpus:?}"
    );
    Ok(())
}
