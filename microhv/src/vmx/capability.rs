//! What this CPU's VMX can do, and which controls microhv runs guests with (Intel SDM, volume 3D, appendix A).

use x86::msr;
use x86::vmx::vmcs::control::{
    EntryControls, ExitControls, PinbasedControls, PrimaryControls, SecondaryControls,
};

/// IA32_VMX_BASIC: the registers of "true" controls exist, so that what older CPUs force (exits on CR3) is optional.
const TRUE_CONTROLS: u64 = 1 << 55;
/// IA32_VMX_BASIC: INS and OUTS exits say the width of the address.
const INS_OUTS_INFORMATION: u64 = 1 << 54;

/// What the CPU needs to deliver interrupts by itself from the page of an APIC in x2APIC mode.
const DELIVERY: u32 = SecondaryControls::VIRTUALIZE_X2APIC
    .union(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY)
    .bits();
const REGISTERS: u32 = SecondaryControls::VIRTUALIZE_APIC_REGISTER.bits();

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
    /// Reads the capability registers through `rdmsr` and chooses the controls, APIC virtualisation among them if `apicv`.
    /// The error is a sentence for the console.
    pub fn choose(rdmsr: impl Fn(u32) -> u64, apicv: bool) -> Result<Self, &'static str> {
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
        let apic = if apicv && (secondary >> 32) as u32 & DELIVERY == DELIVERY {
            DELIVERY | REGISTERS
        } else {
            0
        };
        let secondary = controls(
            secondary,
            (SecondaryControls::ENABLE_EPT
                | SecondaryControls::UNRESTRICTED_GUEST
                | SecondaryControls::WBINVD_EXITING)
                .bits(),
            (SecondaryControls::ENABLE_RDTSCP
                | SecondaryControls::ENABLE_VPID
                | SecondaryControls::ENABLE_INVPCID)
                .bits()
                | apic,
        )
        .ok_or("this CPU's VMX cannot run guests in real mode (unrestricted guest)")?;
        let tables = rdmsr(msr::IA32_VMX_EPT_VPID_CAP);
        let needed = ept::WALK_4 | ept::WRITE_BACK | ept::PAGES_2M | ept::INVEPT | ept::INVEPT_ALL;
        if tables & needed != needed {
            return Err("this CPU's EPT lacks four levels, write-back, 2 MiB pages or INVEPT");
        }
        const MISSING: &str = "this CPU's VMX lacks a control that microhv needs (interrupt and NMI exits, virtual NMIs, \
                               TPR shadow, MSR and I/O bitmaps, PAT and EFER switching)";
        let exits = rdmsr(msr::IA32_VMX_TRUE_EXIT_CTLS);
        let pins = rdmsr(msr::IA32_VMX_TRUE_PINBASED_CTLS);
        // Posted interrupts come with delivery, and with exits that acknowledge the interrupt they are for.
        let acknowledge = ExitControls::ACK_INTERRUPT_ON_EXIT.bits();
        let post = PinbasedControls::POSTED_INTERRUPTS.bits();
        let posts =
            apic != 0 && (exits >> 32) as u32 & acknowledge != 0 && (pins >> 32) as u32 & post != 0;
        let if_posts = |bits| if posts { bits } else { 0 };
        let pin = controls(
            pins,
            (PinbasedControls::EXTERNAL_INTERRUPT_EXITING
                | PinbasedControls::NMI_EXITING
                | PinbasedControls::VIRTUAL_NMIS)
                .bits(),
            PinbasedControls::VMX_PREEMPTION_TIMER.bits() | if_posts(post),
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
                exits,
                (ExitControls::SAVE_DEBUG_CONTROLS
                    | ExitControls::HOST_ADDRESS_SPACE_SIZE
                    | ExitControls::SAVE_IA32_PAT
                    | ExitControls::LOAD_IA32_PAT
                    | ExitControls::SAVE_IA32_EFER
                    | ExitControls::LOAD_IA32_EFER)
                    .bits(),
                if_posts(acknowledge),
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

    /// The CPU delivers interrupts from the virtual-APIC page by itself.
    pub fn delivers_interrupts(&self) -> bool {
        self.secondary & DELIVERY == DELIVERY
    }

    /// It reads the guest's APIC registers from that page.
    pub fn reads_registers(&self) -> bool {
        self.delivers_interrupts() && self.secondary & REGISTERS != 0
    }

    /// It takes over by itself what others post to a running guest.
    pub fn posts_interrupts(&self) -> bool {
        self.pin & PinbasedControls::POSTED_INTERRUPTS.bits() != 0
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

    /// The same with what the one after Skylake has more.
    pub fn icelake(register: u32) -> u64 {
        let more = match register {
            msr::IA32_VMX_TRUE_PINBASED_CTLS => 1 << (32 + 7),
            msr::IA32_VMX_PROCBASED_CTLS2 => 3 << (32 + 8),
            _ => 0,
        };
        broadwell(register) | more
    }

    #[test]
    fn apic_virtualisation_is_all_of_it_or_nothing() {
        let chosen = Capabilities::choose(icelake, true).unwrap();
        let before = Capabilities::choose(broadwell, true).unwrap();
        assert_eq!(
            chosen.secondary,
            before.secondary | 1 << 4 | 1 << 8 | 1 << 9
        );
        assert_eq!(chosen.pin, before.pin | 1 << 7);
        assert_eq!(chosen.exit, before.exit | 1 << 15);
        assert!(chosen.reads_registers() && chosen.posts_interrupts());
        assert_eq!(Capabilities::choose(icelake, false), Ok(before), "apicv=0");
        let without = |register: u32, bit: u32| {
            let has = move |asked| icelake(asked) & !(u64::from(asked == register) << (32 + bit));
            Capabilities::choose(has, true).unwrap()
        };
        assert_eq!(without(msr::IA32_VMX_PROCBASED_CTLS2, 4), before);
        assert_eq!(without(msr::IA32_VMX_PROCBASED_CTLS2, 9), before);
        let slow_reads = without(msr::IA32_VMX_PROCBASED_CTLS2, 8);
        assert!(slow_reads.posts_interrupts() && !slow_reads.reads_registers());
        let plain_exits = without(msr::IA32_VMX_TRUE_EXIT_CTLS, 15);
        assert!(plain_exits.delivers_interrupts() && !plain_exits.posts_interrupts());
        assert_eq!(plain_exits.pin, before.pin);
    }

    #[test]
    fn controls_are_the_manuals() {
        let chosen = Capabilities::choose(broadwell, true).unwrap();
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
            Capabilities::choose(
                move |asked| broadwell(asked) & if asked == register { !bits } else { !0 },
                true,
            )
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
