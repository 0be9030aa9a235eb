//! What QEMU's amd-iommu has to be told so that it translates at all, which differs between versions.

use std::ffi::OsStr;
use std::process::Command;

/// A switch of newer versions (11.1 has it, 10.0 has not), off unless set: without it emulated devices reach the
/// machine's memory as if there were no IOMMU, whatever the unit is told.
const DMA_REMAP: &str = "dma-remap";

/// More arguments for a machine of this binary with an amd-iommu. None if it cannot be asked: starting it will say why.
pub fn arguments(qemu: &OsStr) -> Vec<String> {
    let output = Command::new(qemu)
        .args(["-device", "amd-iommu,help"])
        .output();
    output.map_or_else(
        |_| Vec::new(),
        |output| wanted(&String::from_utf8_lossy(&output.stdout)),
    )
}

/// The arguments for a device with these properties.
fn wanted(help: &str) -> Vec<String> {
    let has = |property: &str| {
        help.lines()
            .any(|line| line.trim_start().split('=').next() == Some(property))
    };
    if has(DMA_REMAP) {
        vec!["-global".into(), format!("amd-iommu.{DMA_REMAP}=on")]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translation_is_switched_on_where_there_is_a_switch() {
        let old = "amd-iommu options:\n  device-iotlb=<bool>    -  (default: false)\n  pt=<bool>              -  (default: true)\n";
        assert_eq!(wanted(old), [""; 0]);
        let new = "amd-iommu options:\n  dma-remap=<bool>       - on/off (default: off)\n  dma-translation=<bool> - on/off (default: on)\n";
        assert_eq!(wanted(new), ["-global", "amd-iommu.dma-remap=on"]);
    }
}
