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
    let fault = said.lines().find(|line| is_fault(line));
    // QEMU's amd-iommu before 11.1 stops the request and writes no event (docs/qemu-versions.md).
    if fault.is_none() && said.contains("AMD-Vi: unit") {
        return Ok(());
    }
    let fault = fault.with_context(|| format!("no line about a fault of 00:02.0 in:\n{said}"))?;
    let named = |address: u64| fault.contains(&format!(" {address:#x} "));
    // QEMU 11.1's amd-iommu leaves the address out of its events (docs/qemu-versions.md).
    let left_out = said.contains("AMD-Vi: unit") && named(0);
    if !named(target) && !named(page) && !left_out {
        bail!("the fault is not about {target:#x}: {fault}");
    }
    Ok(())
}

/// Whether the line is about a fault of the attacker's device.
fn is_fault(line: &str) -> bool {
    line.contains("fault") && line.contains("00:02.0")
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

/// The device goes off the bus and stays off, its domain is told, the log stays short, on the disk too, and the others go on.
pub(super) fn quarantined(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.edit("boot/loader.conf", |text| {
        // A disk of its own; the target is memory of the machine that is not this domain's.
        text.replace("blkback bridge\"", "blkback bridge faulty\"")
            + "faulty_kernel=\"/boot/faulty\"\nfaulty_memory=\"16M\"\nfaulty_pptdevs=\"0/4/0\"\n\
               faulty_cmdline=\"do=dma insist=0x1 target=0x40000000\"\n"
    })?;
    let disk = stage.folder().join("second.img");
    std::fs::File::create(&disk)?.set_len(1 << 20)?;
    let mut machine = stage.machine();
    let drive = format!("if=none,id=disk1,format=raw,file={}", disk.display());
    let device = "virtio-blk-pci,addr=4,drive=disk1,iommu_platform=on,disable-legacy=on";
    for word in ["-drive", &drive, "-device", device] {
        machine.extra.push(word.into());
    }
    let no_event_is_expected = machine.iommu == Iommu::AmdVi;
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    running.prints("faulty: it is over")?;
    let said = running.transcript();
    let lines = said.matches("fault: 00:04.0 write to ").count();
    // The amd-iommu of QEMU before 11.1 stops requests and writes no event (docs/qemu-versions.md).
    if no_event_is_expected && lines == 0 {
        check::contains(&said, &["a thousand faults, and nothing happens"])?;
        return running.power_off();
    }
    check::contains(&said, &["faulty: told, and off the bus"])?;
    if lines > FAULT_LINES {
        bail!("{lines} lines about faults:\n{said}");
    }
    // The log on the disk, which `cat` has fetched first.
    let log = running.xl("cat /var/log/xen/hypervisor.log")?;
    let fault = log
        .lines()
        .find(|line| line.contains("fault: 00:04.0 write to 0x") && line.ends_with("(d5)"));
    fault.with_context(|| format!("no fault of d5's device on the disk:\n{log}"))?;
    let verdicts = log
        .matches("PCI: 00:04.0 keeps faulting: quarantined")
        .count();
    if verdicts != 1 {
        bail!("{verdicts} lines about the quarantine:\n{log}");
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
    let iommu = machine.iommu;
    let mut running = stage.boot(machine, &archive(stage, victim, target, page)?)?;
    // The prompt first: waiting for other words would pass over it.
    running.wait_prompt(HANG)?;
    running.prints("faulty: done")?;
    if target != 0 {
        running.prints("the device reads into this domain's memory")?;
        // The CPU that hears of the fault may come later; AMD's may not hear of it ([`isolated`]).
        if iommu_platform && iommu == Iommu::Vtd {
            running.prints_line("a fault", is_fault)?;
        }
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
