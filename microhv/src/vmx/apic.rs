//! The virtual-APIC page: the guest's task priority and, where the CPU delivers interrupts from it by itself (virtual-interrupt
//! delivery, SDM 30.1 and 30.2), copies of IRR and ISR while the guest runs.
#![allow(unsafe_code, reason = "a page that the CPU writes")]

use super::capability::Capabilities;
use super::vmcs::Vmcs;
use crate::arch::irq;
use crate::mm::{PageBox, Zeroable};
use crate::types::Mfn;
use crate::vlapic::{VLapic, VectorSet};
use core::sync::atomic::{AtomicU32, Ordering};
use x86::vmx::vmcs::{control, guest};

/// Registers' places, bytes; they are those of the APIC's memory, 16 bytes apart.
const ID: usize = 0x20;
const VERSION: usize = 0x30;
const TPR: usize = 0x80;
const LDR: usize = 0xd0;
const ISR: usize = 0x100;
const IRR: usize = 0x200;
const NEXT: usize = 0x10;
/// The first register's MSR.
const MSRS: u32 = 0x800;

/// The page, in 32-bit words.
#[repr(C, align(4096))]
struct Page([AtomicU32; 1024]);

// SAFETY: integers.
unsafe impl Zeroable for Page {}

/// One vCPU's page.
pub struct ApicPage {
    page: PageBox<Page>,
    /// The CPU delivers from it.
    delivers: bool,
    /// The interrupt status (RVI, and SVI in the upper byte) as it is in the control structure.
    status: u16,
    /// The copies may hold something.
    copied: bool,
    /// What never changes of the vCPU's APIC is in the page and in the structure.
    introduced: bool,
}

impl ApicPage {
    /// An empty one. `None`: out of memory.
    pub fn new(delivers: bool) -> Option<Self> {
        Some(Self {
            page: PageBox::new_zeroed()?,
            delivers,
            status: 0,
            copied: false,
            introduced: false,
        })
    }

    /// Its frame.
    pub fn mfn(&self) -> Mfn {
        self.page.mfn()
    }

    /// Writes what never changes: the registers that say who it is, and the fields.
    fn introduce(&mut self, vmcs: &Vmcs, capabilities: &Capabilities, apic: &VLapic) {
        self.introduced = true;
        for place in [ID, VERSION, LDR] {
            let value = apic.read(MSRS + (place / NEXT) as u32, 0).unwrap_or(0);
            store(self.word(place), value as u32);
        }
        // Every interrupt is edge-triggered: no end of interrupt is of interest.
        for field in [
            control::EOI_EXIT0_FULL,
            control::EOI_EXIT1_FULL,
            control::EOI_EXIT2_FULL,
            control::EOI_EXIT3_FULL,
            guest::INTERRUPT_STATUS,
        ] {
            vmcs.write(field, 0);
        }
        if capabilities.posts_interrupts() {
            vmcs.write(
                control::POSTED_INTERRUPT_NOTIFICATION_VECTOR,
                irq::POSTED.into(),
            );
            // The vCPU's domain keeps it for longer than the structure lives.
            let address = apic.posted().address();
            vmcs.write(control::POSTED_INTERRUPT_DESC_ADDR_FULL, address);
        }
    }

    fn word(&self, place: usize) -> &AtomicU32 {
        &self.page.0[place / 4 % 1024]
    }

    /// The task priority class.
    pub fn priority(&self) -> u8 {
        (self.word(TPR).load(Ordering::Relaxed) >> 4 & 0xf) as u8
    }

    /// What is to be in the page and the control structure before an entry.
    pub fn load(&mut self, vmcs: &Vmcs, capabilities: &Capabilities, apic: &VLapic) {
        self.word(TPR).store(apic.tpr(), Ordering::Relaxed);
        if !self.delivers {
            return;
        }
        if !self.introduced {
            self.introduce(vmcs, capabilities, apic);
        }
        let [requested, served] = apic.requested_and_served();
        let (rvi, svi) = (requested.highest(), served.highest());
        if self.copied || rvi.is_some() || svi.is_some() {
            self.copy(IRR, requested, |word, register| store(word, load(register)));
            self.copy(ISR, served, |word, register| store(word, load(register)));
            self.copied = true;
        }
        let rvi = rvi.filter(|_| apic.is_enabled()).unwrap_or(0);
        let status = u16::from_le_bytes([rvi, svi.unwrap_or(0)]);
        if self.status != status {
            self.status = status;
            vmcs.write(guest::INTERRUPT_STATUS, status.into());
        }
    }

    /// Takes back what the CPU made of it.
    pub fn save(&mut self, vmcs: &Vmcs, apic: &VLapic) {
        apic.set_tpr(load(self.word(TPR)));
        if !self.delivers {
            return;
        }
        self.status = vmcs.read(guest::INTERRUPT_STATUS) as u16;
        if self.copied || self.status != 0 {
            let [requested, served] = apic.requested_and_served();
            self.copy(IRR, requested, |word, register| store(register, load(word)));
            self.copy(ISR, served, |word, register| store(register, load(word)));
            self.copied = requested.highest().is_some() || served.highest().is_some();
        }
    }

    fn copy(&self, place: usize, set: &VectorSet, each: impl Fn(&AtomicU32, &AtomicU32)) {
        for (index, register) in set.words().iter().enumerate() {
            each(self.word(place + index * NEXT), register);
        }
    }
}

fn load(word: &AtomicU32) -> u32 {
    word.load(Ordering::Relaxed)
}

fn store(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Relaxed);
}
