//! CR0 and CR4: bits that VMX wants in its own way are the hypervisor's; the guest sees what it wrote.

use super::capability::Capabilities;
use super::vmcs::Vmcs;
use crate::vcpu::Registers;
use crate::vcpu::state::{CR0_PE, CR0_PG};
use x86::vmx::vmcs::{control, guest};

/// CR4.MCE: stays set, because a machine check is the host's.
const MCE: u64 = 1 << 6;
/// VME PVI TSD DE PSE PAE, PGE PCE OSFXSR OSXMMEXCPT UMIP, FSGSBASE PCIDE OSXSAVE, SMEP SMAP PKE: the guest's own.
const CR4_GUEST: u64 = 0x3f | 0xf << 7 | 1 << 11 | 7 << 16 | 7 << 20;
/// Everything else in CR4. Whatever a later CPU has there, guests do not.
pub const CR4_MASK: u64 = !CR4_GUEST;

/// CR0.CD and NW: neither entry nor exit changes them (SDM 27.3.2.1, 28.5.1), so a guest that set them would take the
/// cache from the whole CPU. They stay clear.
const CACHING: u64 = 3 << 29;

/// The bits of CR0 that are the hypervisor's: those that VMX wants set (NE, with unrestricted guests), and [`CACHING`].
pub fn cr0_mask(capabilities: &Capabilities) -> u64 {
    cr0_one(capabilities) | CACHING
}

fn cr0_one(capabilities: &Capabilities) -> u64 {
    capabilities.cr0_one & !(CR0_PE | CR0_PG)
}

/// Gives the guest these values.
pub fn write(vmcs: &Vmcs, capabilities: &Capabilities, cr0: u64, cr4: u64) {
    vmcs.write(guest::CR0, cr0 & !CACHING | cr0_one(capabilities));
    vmcs.write(control::CR0_READ_SHADOW, cr0);
    vmcs.write(guest::CR4, cr4 & CR4_GUEST | capabilities.cr4_one | MCE);
    vmcs.write(control::CR4_READ_SHADOW, cr4);
}

/// CR0 as the guest reads it.
pub fn cr0(vmcs: &Vmcs, capabilities: &Capabilities) -> u64 {
    let mask = cr0_mask(capabilities);
    vmcs.read(guest::CR0) & !mask | vmcs.read(control::CR0_READ_SHADOW) & mask
}

/// CR4 as the guest reads it.
pub fn cr4(vmcs: &Vmcs) -> u64 {
    vmcs.read(guest::CR4) & CR4_GUEST | vmcs.read(control::CR4_READ_SHADOW) & CR4_MASK
}

/// An access that tries to change one of our bits (SDM table 28-3). If the guest may see it changed, its shadow is, and
/// the guest executes the instruction again, which then only the CPU has to get right. False: #GP(0).
pub fn retry(vmcs: &Vmcs, qualification: u64, registers: &Registers) -> bool {
    let new = registers.by_number((qualification >> 8 & 0xf) as u8);
    // Bits 0-3: the register; 4-5: MOV to it. CLTS, LMSW and reads name no bit of ours.
    match qualification & 0x3f {
        0 => vmcs.write(control::CR0_READ_SHADOW, new),
        4 => {
            let shadow = vmcs.read(control::CR4_READ_SHADOW);
            if (shadow ^ new) & CR4_MASK & !MCE != 0 {
                return false;
            }
            vmcs.write(control::CR4_READ_SHADOW, new);
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::capability::{Capabilities, tests::broadwell};
    use super::*;

    fn started() -> (Vmcs, Capabilities) {
        let capabilities = Capabilities::choose(broadwell, true).unwrap();
        let vmcs = Vmcs::new(capabilities.revision).unwrap();
        write(&vmcs, &capabilities, 0x11, 0);
        (vmcs, capabilities)
    }

    #[test]
    fn the_guest_reads_what_it_wrote() {
        let (vmcs, capabilities) = started();
        assert_eq!(vmcs.read(guest::CR0), 0x31, "NE");
        assert_eq!(vmcs.read(guest::CR4), 0x2040, "VMXE and MCE");
        assert_eq!((cr0(&vmcs, &capabilities), cr4(&vmcs)), (0x11, 0));
        assert_eq!(cr0_mask(&capabilities), 0x6000_0020);
    }

    #[test]
    fn a_guest_that_turns_its_cache_off_does_not_turn_off_the_cpus() {
        let (vmcs, capabilities) = started();
        write(&vmcs, &capabilities, 0x6000_0010, 0);
        assert_eq!(vmcs.read(guest::CR0), 0x30);
        assert_eq!(cr0(&vmcs, &capabilities), 0x6000_0010);
        let registers = Registers {
            rax: 0x11,
            ..Registers::default()
        };
        assert!(retry(&vmcs, 0, &registers), "mov cr0, rax");
        assert_eq!(cr0(&vmcs, &capabilities), 0x10, "the CPU writes PE itself");
    }

    #[test]
    fn ne_and_mce_may_change_and_vmxe_may_not() {
        let (vmcs, capabilities) = started();
        let registers = Registers {
            rcx: 0x8005_0033,
            rdx: 1 << 6 | 1 << 5,
            rbx: 1 << 13,
            ..Registers::default()
        };
        assert!(retry(&vmcs, 1 << 8, &registers), "mov cr0, rcx");
        assert_eq!(cr0(&vmcs, &capabilities) & 0x20, 0x20);
        assert_eq!(
            vmcs.read(guest::CR0),
            0x31,
            "the CPU writes the rest itself"
        );
        assert!(retry(&vmcs, 4 | 2 << 8, &registers), "mov cr4, rdx");
        assert_eq!(cr4(&vmcs) & 1 << 6, 1 << 6);
        assert!(!retry(&vmcs, 4 | 3 << 8, &registers), "mov cr4, rbx");
        assert_eq!(cr4(&vmcs) & 1 << 13, 0);
        assert!(!retry(&vmcs, 8, &registers), "CR8 does not exit");
    }
}
