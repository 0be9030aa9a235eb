//! The hypervisor's own options, with Xen's syntax and meaning.
//!
//! Source of every option: Xen's docs/misc/xen-command-line.pandoc.

mod com;
mod console;
mod dom0;
mod iommu;
mod loglvl;
mod parse;
mod spec_ctrl;

pub use com::{Baud, Com, Parity};
pub use console::{ConsoleList, SerialFilter};
pub use dom0::{Dom0, Dom0MaxVcpus, Dom0Mem, MemoryAmount};
pub use iommu::Iommu;
pub use loglvl::{Level, LogLevel};
pub use spec_ctrl::SpecCtrl;

/// The options, each with Xen's default where the command line does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XenCmdline<'a> {
    /// `dom0_mem`: Domain-0's memory; `None` leaves it to the hypervisor.
    pub dom0_mem: Option<Dom0Mem>,
    /// `dom0_max_vcpus`: Domain-0's vCPUs; `None` means as many as the host has CPUs.
    pub dom0_max_vcpus: Option<Dom0MaxVcpus>,
    /// `dom0`: how Domain-0 is built.
    pub dom0: Dom0,
    /// `console`: where the log goes.
    pub console: ConsoleList,
    /// `com1`: the first serial port.
    pub com1: Com,
    /// `com2`: the second serial port.
    pub com2: Com,
    /// `loglvl`: which of the hypervisor's own messages are printed.
    pub loglvl: LogLevel,
    /// `guest_loglvl`: which of the domains' messages are printed.
    pub guest_loglvl: LogLevel,
    /// `iommu`.
    pub iommu: Iommu,
    /// `apicv`: the CPU delivers guests' interrupts by itself where it can.
    pub apicv: bool,
    /// `spec-ctrl`: what is done about speculation.
    pub spec_ctrl: SpecCtrl,
    /// `sync_console`: every character is out before the next instruction.
    pub sync_console: bool,
    /// `noreboot`: stop after a panic rather than start again.
    pub noreboot: bool,
    /// The text it came from.
    pub text: &'a str,
}

impl Default for XenCmdline<'_> {
    fn default() -> Self {
        XenCmdline {
            dom0_mem: None,
            dom0_max_vcpus: None,
            dom0: Dom0::default(),
            console: ConsoleList::default(),
            com1: Com::COM1,
            com2: Com::COM2,
            loglvl: LogLevel::LOGLVL_DEFAULT,
            guest_loglvl: LogLevel::GUEST_LOGLVL_DEFAULT,
            iommu: Iommu::default(),
            apicv: true,
            spec_ctrl: SpecCtrl::default(),
            sync_console: false,
            noreboot: false,
            text: "",
        }
    }
}

impl XenCmdline<'_> {
    /// The thresholds in force for the hypervisor's messages and for the domains'. With `sync_console` no line is left out
    /// because there are many; with `verbose` (`boot_verbose`, until the domains run) the hypervisor says everything.
    #[must_use]
    pub fn levels(&self, verbose: bool) -> (LogLevel, LogLevel) {
        let all = LogLevel {
            always: Level::Debug,
            rate_limited: Level::Debug,
        };
        let own = if verbose { all } else { self.loglvl };
        let unlimited = |level: LogLevel| LogLevel {
            always: if self.sync_console {
                level.rate_limited
            } else {
                level.always
            },
            ..level
        };
        (unlimited(own), unlimited(self.guest_loglvl))
    }
}

/// Reads a boolean's value; `None` if it is none.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "on" | "true" | "enable" | "1" => Some(true),
        "no" | "off" | "false" | "disable" | "0" => Some(false),
        _ => None,
    }
}

/// Whether `part` is the boolean `name`: `name`, `no-name` or `name=<boolean>`.
///
/// `None`: it is another option. `Some(None)`: it is this one, with a value that is no boolean.
fn named_boolean(part: &str, name: &str) -> Option<Option<bool>> {
    if part == name {
        return Some(Some(true));
    }
    if part.strip_prefix("no-") == Some(name) {
        return Some(Some(false));
    }
    part.strip_prefix(name)?.strip_prefix('=').map(boolean)
}

/// Why a boolean is not accepted.
const BOOLEAN_EXPECTED: &str = "expected yes or no (on, off, true, false, enable, disable, 1, 0)";

#[cfg(test)]
mod tests;
