//! `iommu=...`.

use super::{boolean, named_boolean};
use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// What the operator wants of the IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iommu {
    /// Use it if there is one (`iommu=off` does not).
    pub enabled: bool,
    /// Say more about it (`verbose`; `debug` means this too).
    pub verbose: bool,
    /// Print diagnostics, such as every fault.
    pub debug: bool,
    /// Stop if there is none that works (`required`, `force`).
    pub required: bool,
    /// Insist on interrupt remapping for assigned devices. `no-intremap` accepts that an assigned device can send any
    /// interrupt.
    pub intremap: bool,
    /// Use queued invalidation where there is a choice.
    pub qinval: bool,
    /// Use large pages in its tables.
    pub superpages: bool,
    /// Force devices' accesses to look into the CPUs' caches, where possible.
    pub snoop: bool,
}

impl Default for Iommu {
    fn default() -> Self {
        Iommu {
            enabled: true,
            verbose: false,
            debug: false,
            required: false,
            intremap: true,
            qinval: true,
            superpages: true,
            snoop: true,
        }
    }
}

/// Xen's other sub-options: they choose between implementations that microhv does not have.
const WITHOUT_EFFECT: [&str; 9] = [
    "quarantine",
    "sharept",
    "intpost",
    "crash-disable",
    "igfx",
    "amd-iommu-perdev-intremap",
    "dom0-passthrough",
    "dom0-strict",
    "pass-through",
];

impl Iommu {
    pub(super) fn parse<'a>(
        before: Iommu,
        value: Span<'a>,
        report: &mut dyn FnMut(Diagnostic<'a>),
    ) -> Result<Iommu, Diagnostic<'a>> {
        let mut iommu = before;
        for part in value.split(',') {
            if let Some(enabled) = boolean(part.text) {
                iommu.enabled = enabled;
            } else if !iommu.set(part.text) {
                let name = part.text.strip_prefix("no-").unwrap_or(part.text);
                let name = name.split('=').next().unwrap_or(name);
                if !WITHOUT_EFFECT.contains(&name) {
                    return Err(Diagnostic::error(
                        "iommu",
                        part,
                        "expected on, off, verbose, debug, force, required, intremap, qinval, superpages or snoop (each may have no- before it)",
                    ));
                }
                report(Diagnostic::warning(
                    "iommu",
                    part,
                    "ignored, because it has no effect in microhv",
                ));
            }
        }
        Ok(iommu)
    }

    /// Whether `part` is one of the booleans; sets it.
    fn set(&mut self, part: &str) -> bool {
        if let Some(Some(debug)) = named_boolean(part, "debug") {
            self.debug = debug;
            // Xen: "iommu_debug = val; if ( iommu_debug ) iommu_verbose = true".
            self.verbose |= debug;
            return true;
        }
        let flags = [
            ("verbose", &mut self.verbose),
            ("force", &mut self.required),
            ("intremap", &mut self.intremap),
            ("qinval", &mut self.qinval),
            ("superpages", &mut self.superpages),
            ("snoop", &mut self.snoop),
        ];
        for (name, flag) in flags {
            if let Some(Some(value)) = named_boolean(part, name) {
                *flag = value;
                return true;
            }
        }
        match named_boolean(part, "required") {
            Some(Some(value)) => {
                self.required = value;
                true
            }
            _ => false,
        }
    }
}
