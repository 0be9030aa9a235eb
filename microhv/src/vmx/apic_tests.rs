//! The virtual-APIC page: what an entry finds there, and what an exit brings back.

use super::apic::ApicPage;
use super::capability::{Capabilities, tests};
use super::vmcs::Vmcs;
use crate::mm::phys;
use crate::vlapic::VLapic;
use x86::vmx::vmcs::{control, guest};

const SVR: u32 = 0x80f;

struct Cpu {
    vmcs: Vmcs,
    page: ApicPage,
    apic: VLapic,
    capabilities: Capabilities,
}

impl Cpu {
    fn new(msrs: fn(u32) -> u64) -> Self {
        let capabilities = Capabilities::choose(msrs, true).unwrap();
        let apic = VLapic::new(3).unwrap();
        apic.write(SVR, 0x1ff, 0).unwrap();
        Self {
            vmcs: Vmcs::new(capabilities.revision).unwrap(),
            page: ApicPage::new(capabilities.delivers_interrupts()).unwrap(),
            apic,
            capabilities,
        }
    }

    fn load(&mut self) -> u64 {
        self.apic.take_posted();
        self.page.load(&self.vmcs, &self.capabilities, &self.apic);
        self.vmcs.read(guest::INTERRUPT_STATUS)
    }

    fn save(&mut self) {
        self.page.save(&self.vmcs, &self.apic);
    }

    fn word(&self, place: usize) -> u32 {
        phys::read_u32(self.page.mfn(), place)
    }

    /// What the CPU does when the guest takes `vector`, or ends it.
    fn change(&self, place: usize, value: u32, status: u64) {
        phys::write_u32(self.page.mfn(), place, value);
        self.vmcs.write(guest::INTERRUPT_STATUS, status);
    }
}

#[test]
fn what_was_posted_is_the_hardwares_to_deliver() {
    let mut cpu = Cpu::new(tests::icelake);
    assert_eq!(cpu.load(), 0);
    assert_eq!(
        [cpu.word(0x20), cpu.word(0x30)],
        [6, 0x5_0014],
        "id, version"
    );
    cpu.apic.post(0x41);
    cpu.apic.post(0x60);
    assert_eq!(cpu.load(), 0x60);
    assert_eq!([cpu.word(0x220), cpu.word(0x230)], [1 << 1, 1 << 0], "IRR");
    // The guest takes the higher one.
    cpu.change(0x230, 0, 0x6041);
    cpu.change(0x130, 1 << 0, 0x6041);
    cpu.save();
    assert_eq!(cpu.apic.read(0x813, 0), Ok(1), "ISR");
    assert_eq!(cpu.apic.pending(), None, "0x41 waits for the end of 0x60");
    assert_eq!(cpu.load(), 0x6041);
    // It ends it, and takes and ends the other.
    cpu.change(0x130, 0, 0);
    cpu.change(0x220, 0, 0);
    cpu.save();
    assert_eq!(cpu.load(), 0);
    assert_eq!(cpu.word(0x220) | cpu.word(0x130), 0);
}

#[test]
fn an_interrupt_to_itself_behind_microhvs_back_is_found() {
    let mut cpu = Cpu::new(tests::icelake);
    cpu.load();
    cpu.change(0x220, 1 << 5, 0x45);
    cpu.save();
    assert_eq!(cpu.apic.pending(), Some(0x45));
    assert_eq!(cpu.load(), 0x45);
}

#[test]
fn a_disabled_apic_keeps_what_it_has_and_delivers_nothing() {
    let mut cpu = Cpu::new(tests::icelake);
    cpu.apic.post(0x41);
    cpu.apic.write(SVR, 0xff, 0).unwrap();
    assert_eq!(cpu.load(), 0);
    assert_eq!(cpu.word(0x220), 1 << 1);
    // Meanwhile the guest sends itself another.
    cpu.change(0x230, 1 << 0, 0x60);
    cpu.save();
    assert_eq!(cpu.apic.pending(), None);
    cpu.apic.write(SVR, 0x1ff, 0).unwrap();
    assert_eq!(cpu.load(), 0x60);
    assert_eq!(cpu.word(0x220), 1 << 1);
}

#[test]
fn the_descriptor_is_the_apics() {
    let mut cpu = Cpu::new(tests::icelake);
    cpu.load();
    let address = cpu.vmcs.read(control::POSTED_INTERRUPT_DESC_ADDR_FULL);
    let frame = crate::types::Mfn::containing(address);
    let words = || [8, 32].map(|place| phys::read_u32(frame, place));
    cpu.apic.post(0x41);
    assert_eq!(words(), [1 << 1, 1], "the request, and ON");
    cpu.load();
    assert_eq!(words(), [0, 0]);
    let vector = cpu.vmcs.read(control::POSTED_INTERRUPT_NOTIFICATION_VECTOR);
    assert_eq!(vector, 0xf2);
}

#[test]
fn without_delivery_only_the_priority_is_there() {
    let mut cpu = Cpu::new(tests::broadwell);
    cpu.apic.post(0x41);
    cpu.apic.set_tpr(0x9f);
    assert_eq!(cpu.load(), 0);
    assert_eq!([cpu.word(0x80), cpu.word(0x220)], [0x9f, 0]);
    assert_eq!(cpu.page.priority(), 9);
    phys::write_u32(cpu.page.mfn(), 0x80, 0x20);
    cpu.save();
    assert_eq!(cpu.apic.cr8(), 2);
    assert_eq!(cpu.apic.pending(), Some(0x41));
}
