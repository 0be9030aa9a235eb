//! Floating-point, vector and debug registers of guests. microhv itself is soft-float and uses none of them,
//! so they are switched only when another vCPU gets the CPU; XCR0 in the CPU is the guest's.
#![allow(unsafe_code, reason = "instructions")]

mod instructions;

use crate::arch::{self, cpu};
use crate::mm::PageBox;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use instructions as cpu_state;

/// State components that microhv switches, where the CPU has them: x87, SSE, AVX, AVX-512 (three), PKRU. They fit
/// a page; larger ones (AMX) and those that need XSS do not belong here.
const COMPONENTS: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 7 << 5 | 1 << 9;
/// XCR0 after reset.
const XCR0_RESET: u64 = 1;
/// The control words after reset, in the FXSAVE format: FCW at byte 0, MXCSR at byte 24.
const FCW_RESET: u16 = 0x37f;
const MXCSR_RESET: u32 = 0x1f80;

/// What [`init`] found: the components that are there, or 0 without XSAVE.
static SUPPORTED: AtomicU64 = AtomicU64::new(0);

/// XRSTOR and FXRSTOR leave the x87's instruction and operand pointers as they are unless an exception is pending.
static KEEPS_POINTERS: AtomicBool = AtomicBool::new(false);

/// The components of XCR0 that a guest may turn on; 0: the CPU has no XSAVE.
pub fn supported() -> u64 {
    SUPPORTED.load(Ordering::Relaxed)
}

/// Prepares this CPU: every CPU calls it once at boot.
pub fn init() {
    const XSAVE: u32 = 1 << 26;
    let has_xsave = cpu::cpuid(1, 0).ecx & XSAVE != 0;
    cpu_state::enable(has_xsave);
    const XSAVEERPTR: u32 = 1 << 2;
    let keeps = cpu::cpuid(0x8000_0008, 0).ebx & XSAVEERPTR == 0;
    KEEPS_POINTERS.store(keeps, Ordering::Relaxed);
    if has_xsave {
        let leaf = cpu::cpuid(0xd, 0);
        let there = u64::from(leaf.edx) << 32 | u64::from(leaf.eax);
        SUPPORTED.store(there & COMPONENTS, Ordering::Relaxed);
    }
}

/// Sets XCR0 of this CPU, which is the guest's; `value` is a subset of [`supported`] that the CPU accepts.
pub fn set_xcr0(value: u64) {
    cpu_state::set_xcr0(value);
}

/// One page in the XSAVE or FXSAVE format.
#[repr(C, align(64))]
pub(crate) struct Area([u8; 4096]);

// SAFETY: bytes.
unsafe impl crate::mm::Zeroable for Area {}

/// Whose state each CPU's registers hold: the frame of the area it was loaded from. Saving leaves the registers as
/// they are, so a vCPU that comes back to its CPU before any other needs no loading.
static OWNER: [AtomicU64; arch::MAX_CPUS] = [const { AtomicU64::new(0) }; arch::MAX_CPUS];
/// [`State::cpu`] before the first load.
const NOWHERE: usize = usize::MAX;

/// One vCPU's state while it is not on a CPU.
pub struct State {
    area: PageBox<Area>,
    /// The CPU that loaded it last.
    cpu: usize,
    xcr0: u64,
    debug: [u64; 4],
}

impl State {
    /// The state after reset. `None`: out of memory.
    pub fn new() -> Option<Self> {
        let mut area = PageBox::<Area>::new_zeroed()?;
        // XSAVE's header is all zeros, which is every component's initial state, except that MXCSR is always loaded.
        area.0[..2].copy_from_slice(&FCW_RESET.to_le_bytes());
        area.0[24..28].copy_from_slice(&MXCSR_RESET.to_le_bytes());
        Some(Self {
            area,
            cpu: NOWHERE,
            xcr0: XCR0_RESET,
            debug: [0; 4],
        })
    }

    /// Puts the state into the CPU, all of it, so that nothing of the last guest's is left. False: it was there still.
    pub fn load(&mut self) -> bool {
        let cpu = arch::cpu_index();
        let frame = self.area.mfn().0;
        let all = supported();
        if self.cpu == cpu && OWNER[cpu].load(Ordering::Relaxed) == frame {
            if all != self.xcr0 && all != 0 {
                cpu_state::set_xcr0(self.xcr0);
            }
            return false;
        }
        OWNER[cpu].store(frame, Ordering::Relaxed);
        self.cpu = cpu;
        if KEEPS_POINTERS.load(Ordering::Relaxed) {
            cpu_state::forget_pointers(&self.area);
        }
        if all == 0 {
            cpu_state::fxrstor(&self.area);
        } else {
            cpu_state::set_xcr0(all);
            cpu_state::xrstor(&self.area, all);
            if all != self.xcr0 {
                cpu_state::set_xcr0(self.xcr0);
            }
        }
        cpu_state::set_debug(self.debug);
        true
    }

    /// Takes the state from the CPU. XCR0 is read back, because not every CPU model lets us see a guest set it.
    pub fn save(&mut self) {
        let all = supported();
        if all == 0 {
            cpu_state::fxsave(&mut self.area);
        } else {
            self.xcr0 = cpu_state::xcr0() & all;
            if all != self.xcr0 {
                cpu_state::set_xcr0(all);
            }
            cpu_state::xsave(&mut self.area, all);
        }
        self.debug = cpu_state::debug();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_state_is_the_manuals() {
        let state = State::new().unwrap();
        assert_eq!(state.area.0[..2], [0x7f, 0x03]);
        assert_eq!(state.area.0[24..28], [0x80, 0x1f, 0, 0]);
        assert!(
            state.area.0[512..576].iter().all(|&byte| byte == 0),
            "XSTATE_BV"
        );
        assert_eq!(state.area.mfn().address() % 64, 0);
    }

    #[test]
    fn a_state_is_loaded_again_only_if_another_was() {
        // The host has one CPU; other tests run vCPUs too, but none loads one.
        let (mut first, mut second) = (State::new().unwrap(), State::new().unwrap());
        assert!(first.load());
        first.save();
        assert!(!first.load());
        assert!(second.load());
        assert!(first.load());
        first.cpu = 1;
        assert!(first.load(), "it ran elsewhere in between");
    }
}
