//! What this domain was started with: command line, modules, memory map.

use alloc::vec::Vec;
use xen_abi::hvm::start_info::HvmMemmapTableEntry;

/// Given to the domain's `main`. All of it stays mapped and unchanged for the domain's life.
#[derive(Debug)]
pub struct Boot {
    /// The command line, empty if there is none.
    pub cmdline: &'static str,
    /// Modules in the order given: Domain-0's are the boot archive, read-only, as the boot loader read it.
    pub modules: Vec<Module>,
    /// Guest physical memory map.
    pub memory_map: Vec<HvmMemmapTableEntry>,
    /// Address of the ACPI RSDP, 0 if absent.
    pub rsdp: u64,
}

/// A PVH module.
#[derive(Clone, Copy)]
pub struct Module {
    /// Its contents, read-only.
    pub data: &'static [u8],
    /// Its command line.
    pub cmdline: &'static str,
    /// Guest physical address of the contents.
    pub gpa: u64,
}

impl core::fmt::Debug for Module {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Module({:#x}, {} bytes, {:?})",
            self.gpa,
            self.data.len(),
            self.cmdline
        )
    }
}

impl Boot {
    /// The value of `name=value` on the command line.
    pub fn argument(&self, name: &str) -> Option<&'static str> {
        argument_in(self.cmdline, name)
    }
}

/// The value of the first `name=value` word.
pub(crate) fn argument_in<'a>(cmdline: &'a str, name: &str) -> Option<&'a str> {
    cmdline
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_whole_words() {
        assert_eq!(argument_in("xa=1 a=2 a=3", "a"), Some("2"));
        assert_eq!(argument_in("ab=1", "a"), None);
        assert_eq!(argument_in("a", "a"), None);
        assert_eq!(argument_in("a=", "a"), Some(""));
    }
}
