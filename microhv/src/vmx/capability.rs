//! What this CPU's VMX can do, and which controls microhv runs guests with (Intel SDM, volume 3D, appendix A).

use x86::msr;
use x86::vmx::vmcs::control::{
    EntryControls, ExitControls, PinbasedControls, PrimaryControls, SecondaryControls,
};

/// IA32_VMX_BASIC: the registers of "true" controls exist, so that what older CPUs force (exits on CR3) is optional.
const TRUE_CONTROLS: u64 = 1 << 55;
/// IA32_VMX_BASIC: INS and OUTS exits say the width of the address.
const INS_OUTS_INFORMATION: u64 = 1 << 54;

/// IA32_VMX_EPT_VPID_CAP.
mod ept {
    pub const WALK_4: u64 = 1 << 6;
    pub const WRITE_BACK: u64 = 1 << 14;
    pub const PAGES_2M: u64 = 1 << 16;
    pub const PAGES_1G: u64 = 1 << 17;
    pub const INVEPT: u64 = 1 << 20;
    pub const INVEPT_SINGLE: u64 = 1 << 25;
    pub const INVEPT_ALL: u64 = 1 << 26;
}

/// What the control fields of every vCPU start with, and the facts behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What a control structure's first word must be.
    pub revision: u32,
    pub pin: u32,
    pub primary: u32,
    pub secondary: u32,
    pub exit: u32,
    pub entry: u32,
    /// Bits of CR0 and CR4 that are one in VMX operation (in a guest, less PE and PG: unrestricted guest).
    pub cr0_one: u64,
    pub cr4_one: u64,
    /// A table of 1 GiB pages.
    pub gigabyte_pages: bool,
    /// INVEPT of one table.
    pub invept_single: bool,
    /// The preemption timer counts when this bit of the time-stamp counter changes; `None` if there is no such timer.
    pub timer_shift: Option<u32>,
}

/// Bits that must be one (low half of `register`) and those that may be (high half), against what is asked for.
fn controls(register: u64, needed: u32, wished: u32) -> Option<u32> {
    let (one, may) = (register as u32, (register >> 32) as u32);
    (may & needed == needed).then_some((needed | wished) & may | one)
}

impl Capabilities {
    /// Reads the capability registers through `rdmsr` and chooses the controls. The error is a sentence for the console.
    pub fn choose(rdmsr: impl Fn(u32) -> u64) -> Result<Self, &'static str> {
        let basic = rdmsr(msr::IA32_VMX_BASIC);
        if basic & TRUE_CONTROLS == 0 || basic & INS_OUTS_INFORMATION == 0 {
            return Err(
                "this CPU's VMX is of the first generation: exits on CR3 cannot be turned off",
            );
        }
        let secondary_exists = rdmsr(msr::IA32_VMX_TRUE_PROCBASED_CTLS) >> 63 != 0;
        if !secondary_exists {
            return Err("this CPU's VMX has no second-level page tables (EPT)");
        }
        let secondary = rdmsr(msr::IA32_VMX_PROCBASED_CTLS2);
        if secondary >> 32 & u64::from(SecondaryControls::ENABLE_EPT.bits()) == 0 {
            return Err("this CPU's VMX has no second-level page tables (EPT)");
        }
        let secondary = controls(
            secondary,
            (SecondaryControls::ENABLE_EPT
                | SecondaryControls::UNRESTRICTED_GUEST
                | SecondaryControls::WBINVD_EXITING)
                .bits(),
            (SecondaryControls::ENABLE_RDTSCP
                | SecondaryControls::ENABLE_VPID
                | SecondaryControls::ENABLE_INVPCID)
                .bits(),
        )
        .ok_or("this CPU's VMX cannot run guests in real mode (unrestricted guest)")?;
        let tables = rdmsr(msr::IA32_VMX_EPT_VPID_CAP);
        let needed = ept::WALK_4 | ept::WRITE_BACK | ept::PAGES_2M | ept::INVEPT | ept::INVEPT_ALL;
        if tables & needed != needed {
            return Err("this CPU's EPT lacks four levels, write-back, 2 MiB pages or INVEPT");
        }
        const MISSING: &str = "this CPU's VMX lacks a control that microhv needs (interrupt and NMI exits, virtual NMIs, \
                               TPR shadow, MSR and I/O bitmaps, PAT and EFER switching)";
        let pin = controls(
            rdmsr(msr::IA32_VMX_TRUE_PINBASED_CTLS),
            (PinbasedControls::EXTERNAL_INTERRUPT_EXITING
                | PinbasedControls::NMI_EXITING
                | PinbasedControls::VIRTUAL_NMIS)
                .bits(),
            PinbasedControls::VMX_PREEMPTION_TIMER.bits(),
        )
        .ok_or(MISSING)?;
        let has_timer = pin & PinbasedControls::VMX_PREEMPTION_TIMER.bits() != 0;
        Ok(Self {
            revision: basic as u32 & 0x7fff_ffff,
            pin,
            primary: controls(
                rdmsr(msr::IA32_VMX_TRUE_PROCBASED_CTLS),
                (PrimaryControls::INTERRUPT_WINDOW_EXITING
                    | PrimaryControls::NMI_WINDOW_EXITING
                    | PrimaryControls::USE_TSC_OFFSETTING
                    | PrimaryControls::HLT_EXITING
                    | PrimaryControls::MWAIT_EXITING
                    | PrimaryControls::MONITOR_EXITING
                    | PrimaryControls::RDPMC_EXITING
                    | PrimaryControls::USE_TPR_SHADOW
                    | PrimaryControls::USE_IO_BITMAPS
                    | PrimaryControls::USE_MSR_BITMAPS
                    | PrimaryControls::SECONDARY_CONTROLS)
                    .bits(),
                0,
            )
            .ok_or(MISSING)?
                & !(PrimaryControls::INTERRUPT_WINDOW_EXITING
                    | PrimaryControls::NMI_WINDOW_EXITING)
                    .bits(),
            secondary,
            exit: controls(
                rdmsr(msr::IA32_VMX_TRUE_EXIT_CTLS),
                (ExitControls::SAVE_DEBUG_CONTROLS
                    | ExitControls::HOST_ADDRESS_SPACE_SIZE
                    | ExitControls::SAVE_IA32_PAT
                    | ExitControls::LOAD_IA32_PAT
                    | ExitControls::SAVE_IA32_EFER
                    | ExitControls::LOAD_IA32_EFER)
                    .bits(),
                0,
            )
            .ok_or(MISSING)?,
            entry: controls(
                rdmsr(msr::IA32_VMX_TRUE_ENTRY_CTLS),
                (EntryControls::LOAD_DEBUG_CONTROLS
                    | EntryControls::LOAD_IA32_PAT
                    | EntryControls::LOAD_IA32_EFER)
                    .bits(),
                0,
            )
            .ok_or(MISSING)?,
            cr0_one: rdmsr(msr::IA32_VMX_CR0_FIXED0),
            cr4_one: rdmsr(msr::IA32_VMX_CR4_FIXED0),
            gigabyte_pages: tables & ept::PAGES_1G != 0,
            invept_single: tables & ept::INVEPT_SINGLE != 0,
            timer_shift: has_timer.then(|| rdmsr(msr::IA32_VMX_MISC) as u32 & 0x1f),
        })
    }

    /// Guests' translations are tagged, so that an exit need not flush them.
    pub fn has_vpid(&self) -> bool {
        self.secondary & SecondaryControls::ENABLE_VPID.bits() != 0
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A Broadwell, as Bochs 3.0 tells it.
    pub fn broadwell(register: u32) -> u64 {
        match register {
            msr::IA32_VMX_BASIC => 0x00da_0400_0000_002b,
            msr::IA32_VMX_TRUE_PINBASED_CTLS => 0x0000_007f_0000_0016,
            msr::IA32_VMX_TRUE_PROCBASED_CTLS => 0xfff9_fffe_0400_6172,
            msr::IA32_VMX_PROCBASED_CTLS2 => 0x0007_7cff_0000_0000,
            msr::IA32_VMX_TRUE_EXIT_CTLS => 0x007f_ffff_0003_6dfb,
            msr::IA32_VMX_TRUE_ENTRY_CTLS => 0x0000_ffff_0000_11fb,
            msr::IA32_VMX_EPT_VPID_CAP => 0x0000_0f01_0633_4141,
            msr::IA32_VMX_MISC => 0x7004_c1e5,
            msr::IA32_VMX_CR0_FIXED0 => 0x8000_0021,
            msr::IA32_VMX_CR4_FIXED0 => 0x2000,
            _ => 0,
        }
    }

    #[test]
    fn controls_are_the_manuals() {
        let chosen = Capabilities::choose(broadwell).unwrap();
        assert_eq!(chosen.revision, 0x2b);
        assert_eq!(chosen.pin, 0x16 | 1 << 0 | 1 << 3 | 1 << 5 | 1 << 6);
        assert_eq!(chosen.timer_shift, Some(5));
        let primary =
            1 << 3 | 1 << 7 | 1 << 10 | 1 << 11 | 1 << 21 | 1 << 25 | 1 << 28 | 1 << 29 | 1 << 31;
        assert_eq!(chosen.primary, 0x0400_6172 | primary);
        assert_eq!(
            chosen.secondary,
            1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 12
        );
        assert_eq!(
            chosen.exit,
            0x3_6dfb | 1 << 2 | 1 << 9 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21
        );
        assert_eq!(chosen.entry, 0x11fb | 1 << 2 | 1 << 14 | 1 << 15);
        assert!(chosen.gigabyte_pages && chosen.invept_single && chosen.has_vpid());
    }

    #[test]
    fn what_is_missing_is_named() {
        let without = |register: u32, bits: u64| {
            Capabilities::choose(move |asked| {
                broadwell(asked) & if asked == register { !bits } else { !0 }
            })
        };
        let error = |register, bits| without(register, bits).unwrap_err();
        assert!(error(msr::IA32_VMX_BASIC, 1 << 55).contains("first generation"));
        assert!(error(msr::IA32_VMX_PROCBASED_CTLS2, 1 << 33).contains("(EPT)"));
        assert!(error(msr::IA32_VMX_PROCBASED_CTLS2, 1 << 39).contains("unrestricted guest"));
        assert!(error(msr::IA32_VMX_EPT_VPID_CAP, 1 << 20).contains("INVEPT"));
        assert!(error(msr::IA32_VMX_TRUE_PROCBASED_CTLS, 1 << 53).contains("TPR shadow"));
        assert!(
            !without(msr::IA32_VMX_PROCBASED_CTLS2, 1 << 37)
                .unwrap()
                .has_vpid(),
            "VPID is not needed"
        );
    }
}
