//! What QEMU's IOMMUs have to be told, which differs between versions.

use std::ffi::OsStr;
use std::process::Command;

/// A switch of newer versions (11.1 has it, 10.0 has not), off unless set: without it emulated devices reach the
/// machine's memory as if there were no IOMMU, whatever the unit is told.
const DMA_REMAP: &str = "dma-remap";
/// A switch of older versions (7.2 and 10.0 have it, 11.1 has not): 7.2 offers EIM outside KVM only with it.
const BUGGY_EIM: &str = "x-buggy-eim";

/// Arguments with which an amd-iommu of this binary translates. None if it cannot be asked: starting it will say why.
pub fn amd(qemu: &OsStr) -> Vec<String> {
    amd_wanted(&help(qemu, "amd-iommu"))
}

/// Arguments with which an intel-iommu of this binary offers to remap interrupts to CPUs in x2APIC mode (EIM).
pub fn intel_eim(qemu: &OsStr) -> Vec<String> {
    eim_wanted(&help(qemu, "intel-iommu"))
}

/// The device's properties, a line each.
fn help(qemu: &OsStr, device: &str) -> String {
    let mut command = Command::new(qemu);
    let output = command
        .args(["-device", &format!("{device},help")])
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn has(help: &str, property: &str) -> bool {
    help.lines()
        .any(|line| line.trim_start().split('=').next() == Some(property))
}

fn amd_wanted(help: &str) -> Vec<String> {
    if has(help, DMA_REMAP) {
        vec!["-global".into(), format!("amd-iommu.{DMA_REMAP}=on")]
    } else {
        Vec::new()
    }
}

fn eim_wanted(help: &str) -> Vec<String> {
    let mut wanted = vec!["-global".into(), "intel-iommu.eim=on".into()];
    if has(help, BUGGY_EIM) {
        wanted.extend(["-global".into(), format!("intel-iommu.{BUGGY_EIM}=on")]);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translation_is_switched_on_where_there_is_a_switch() {
        let old = "amd-iommu options:\n  device-iotlb=<bool>    -  (default: false)\n  pt=<bool>              -  (default: true)\n";
        assert_eq!(amd_wanted(old), [""; 0]);
        let new = "amd-iommu options:\n  dma-remap=<bool>       - on/off (default: off)\n  dma-translation=<bool> - on/off (default: on)\n";
        assert_eq!(amd_wanted(new), ["-global", "amd-iommu.dma-remap=on"]);
    }

    #[test]
    fn eim_is_offered_by_every_version() {
        let new = "intel-iommu options:\n  eim=<OnOffAuto>        - on/off/auto (default: auto)\n";
        assert_eq!(eim_wanted(new), ["-global", "intel-iommu.eim=on"]);
        let old = "  eim=<OnOffAuto>        - on/off/auto\n  x-buggy-eim=<bool>     - on/off (default: off)\n";
        assert_eq!(
            eim_wanted(old)[2..],
            ["-global", "intel-iommu.x-buggy-eim=on"]
        );
    }
}
