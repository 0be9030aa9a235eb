//! What must hold with AMD-Vi as with VT-d, for every run of the suite; `--iommu amdvi` plays all of it so.

use anyhow::{Result, bail};

use super::{boot, debian, isolation};
use crate::check;
use crate::machine::qemu::Iommu;
use crate::scenario::{Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "AMD-Vi: boot with 2 CPUs",
        debian: false,
        play: |stage| boot::boot(stage.with_iommu(Iommu::AmdVi), 2),
    },
    Scenario {
        name: "AMD-Vi: interrupts are remapped, unless no-intremap is written",
        debian: false,
        play: remapping,
    },
    Scenario {
        name: "AMD-Vi: DMA isolation: a device reaches no other domain's memory",
        debian: false,
        play: |stage| isolation::isolated(stage.with_iommu(Iommu::AmdVi)),
    },
    Scenario {
        name: "AMD-Vi: a device that faults without end is quarantined",
        debian: false,
        play: |stage| isolation::quarantined(stage.with_iommu(Iommu::AmdVi)),
    },
    Scenario {
        name: "AMD-Vi: Debian to userland with the default image",
        debian: true,
        play: |stage| debian::userland(stage.with_iommu(Iommu::AmdVi)),
    },
];

/// The disk works both ways; without remapping only because the operator accepts it.
fn remapping(stage: &Stage) -> Result<()> {
    stage.with_iommu(Iommu::AmdVi);
    for (option, state) in [("", "on"), (" iommu=no-intremap", "off")] {
        let mut archive = stage.archive()?;
        archive.edit("boot/loader.conf", |text| {
            text.replace("loglvl=all\"", &format!("loglvl=all{option}\""))
        })?;
        let mut running = stage.boot_to_prompt(&archive)?;
        let said = running.transcript();
        check::contains(&said, &["AMD-Vi: unit 00:01.0 at 0xfed80000"])?;
        if !said.contains(&format!("interrupt remapping {state}")) {
            bail!("interrupt remapping is not {state}:\n{said}");
        }
        check::contains(&said, &[": partition 1:"])?;
        running.power_off()?;
    }
    Ok(())
}
