//! A driver domain cannot have its device write into memory of others.
//!
//! The domain `faulty` gets the disk controller and has it read a sector to a machine address in Domain-0's memory
//! (Domain-0's boot archive holds a file of noise, the victim). QEMU, from outside, tells where the victim is and
//! whether it has changed.

use anyhow::{Context, Result, bail};

use crate::archive::Archive;
use crate::check;
use crate::machine::qemu::Iommu;
use crate::memory::Memory;
use crate::net::noise;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "DMA isolation: a device reaches no other domain's memory",
        debian: false,
        play: isolated,
    },
    Scenario {
        name: "DMA isolation: without the IOMMU the same attack succeeds",
        debian: false,
        play: bypassed,
    },
    Scenario {
        name: "DMA isolation: a device that faults without end is quarantined",
        debian: false,
        play: quarantined,
    },
];

/// Lines about faults that a storm of them may bring: ten a second, and the machine is slow.
const FAULT_LINES: usize = 60;

/// MiB of the machine: all of it is looked through.
const MEMORY: u32 = 1024;
/// Bytes of the victim, and where in it the device is to write: well inside, at a page's start or not.
const VICTIM: usize = 64 << 10;
const INTO: u64 = 32 << 10;
/// What the page with the attacker's rings starts with.
const MAGIC: &[u8] = b"microhv DMA page";
/// What the sector that is read starts with: the GPT's header.
const SECTOR: &[u8] = b"EFI PART";
/// Bytes in that sector.
const SECTOR_SIZE: usize = 512;

/// What an attack led to.
struct Attack {
    /// The victim has the sector in it.
    reached: bool,
    /// Anything in the victim has changed.
    changed: bool,
    /// The console's text.
    said: String,
    /// The machine address that was attacked.
    target: u64,
}

pub(super) fn isolated(stage: &Stage) -> Result<()> {
    let Attack {
        changed,
        said,
        target,
        ..
    } = attack(stage, true)?;
    if changed {
        bail!("the device changed Domain-0's memory at {target:#x}:\n{said}");
    }
    let page = target & !0xfff;
    let fault = said
        .lines()
        .find(|line| line.contains("fault") && line.contains("00:02.0"));
    // QEMU 7.2's amd-iommu stops the request and logs no event (docs/devices.md).
    if fault.is_none() && said.contains("AMD-Vi: unit") {
        return Ok(());
    }
    let fault = fault.with_context(|| format!("no line about a fault of 00:02.0 in:\n{said}"))?;
    if !fault.contains(&format!("{target:#x}")) && !fault.contains(&format!("{page:#x}")) {
        bail!("the fault is not about {target:#x}: {fault}");
    }
    Ok(())
}

/// Shows that [`isolated`] can fail: virtio devices that bypass the IOMMU do reach the victim.
fn bypassed(stage: &Stage) -> Result<()> {
    let Attack {
        reached,
        said,
        target,
        ..
    } = attack(stage, false)?;
    if !reached {
        bail!("the attack did not reach {target:#x}; the isolation test proves nothing:\n{said}");
    }
    Ok(())
}

/// The device goes off the bus and stays off, its domain is told, the log stays short and the others go on.
fn quarantined(stage: &Stage) -> Result<()> {
    // QEMU 7.2's amd-iommu logs no fault that could be counted (docs/devices.md).
    stage.with_iommu(Iommu::Vtd);
    // Memory of the machine that is not this domain's.
    let mut archive = archive(stage, &[], 0x4000_0000, 0)?;
    archive.edit("boot/loader.conf", |text| {
        text.replace("do=dma ", "do=dma insist=0x1 ")
    })?;
    let mut running = stage.boot(stage.machine(), &archive)?;
    running.wait_prompt(HANG)?;
    running.prints("faulty: done")?;
    let said = running.transcript();
    check::contains(
        &said,
        &[
            "PCI: 00:02.0 keeps faulting: quarantined",
            "faulty: told, and off the bus",
        ],
    )?;
    let lines = said.matches("DMAR fault: 00:02.0").count();
    if !(1..FAULT_LINES).contains(&lines) {
        bail!("{lines} lines about faults:\n{said}");
    }
    running.xl("xl list")?;
    running.power_off()
}

/// Boots once to learn where everything is, which does not depend on what the attacker is told later, then attacks.
fn attack(stage: &Stage, iommu_platform: bool) -> Result<Attack> {
    let victim = noise(42, VICTIM);
    let (target, page, _, _) = boot(stage, iommu_platform, &victim, 0, 0)?;
    let told = if iommu_platform { 0 } else { page };
    let (again, same, memory, said) = boot(stage, iommu_platform, &victim, target, told)?;
    if !iommu_platform && same != page {
        bail!("the attacker's page was at {page:#x} and is at {same:#x}");
    }
    if again != target {
        bail!("the victim was at {target:#x} and is at {again:#x}");
    }
    let now = memory.read(target - INTO, VICTIM)?;
    let reached = memory.read(target, SECTOR_SIZE)?.starts_with(SECTOR);
    Ok(Attack {
        reached,
        changed: now != victim,
        said,
        target,
    })
}

/// Boots with an attacker that is told `target` and `page`. Returns where the target and the attacker's page are, the
/// memory afterwards, and what the console said.
fn boot(
    stage: &Stage,
    iommu_platform: bool,
    victim: &[u8],
    target: u64,
    page: u64,
) -> Result<(u64, u64, Memory, String)> {
    let mut machine = stage.machine();
    machine.memory = MEMORY;
    machine.iommu_platform = iommu_platform;
    let mut running = stage.boot(machine, &archive(stage, victim, target, page)?)?;
    // The prompt first: waiting for other words would pass over it.
    running.wait_prompt(HANG)?;
    running.prints("faulty: done")?;
    if target != 0 {
        running.prints("the device reads into this domain's memory")?;
    }
    let mut memory = Memory::copy(stage, &mut running, u64::from(MEMORY) << 20)?;
    // The start of the victim is not attacked.
    let victims = memory.find(&victim[..4096], 512)?;
    let [start] = victims[..] else {
        bail!("the victim is at {victims:x?}")
    };
    let pages = memory.find(MAGIC, 4096)?;
    let [found] = pages[..] else {
        bail!("the attacker's page is at {pages:x?}")
    };
    Ok((start + INTO, found, memory, running.transcript()))
}

fn archive(stage: &Stage, victim: &[u8], target: u64, page: u64) -> Result<Archive> {
    let mut archive = stage.archive()?;
    archive
        .file("boot/faulty", &stage.images().faulty)
        .bytes("victim", victim);
    archive.edit("boot/loader.conf", |text| {
        // Numbers of one length: the archive's layout must not depend on them.
        text.replace("\"/boot/blkback\"", "\"/boot/faulty\"")
            + &format!("blkback_cmdline=\"do=dma target={target:#018x} page={page:#018x}\"\n")
    })?;
    Ok(archive)
}
