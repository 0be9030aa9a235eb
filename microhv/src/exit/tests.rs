//! The handlers against a domain that is only data.

use super::*;
use crate::types::{DomId, Mfn};
use crate::vcpu::backend;
use crate::vcpu::guest_memory::GuestPhysical;
use crate::vcpu::{CpuState, ExitReason, FaultAccess, IoAccess};
use crate::vlapic::{Command, VLapic};
use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicU32;

pub struct Fake {
    apics: [VLapic; 2],
    upcall: Cell<Option<u8>>,
    own_upcall: Cell<Option<u8>>,
    gone: Cell<bool>,
    sent_to: RefCell<Vec<u32>>,
    debug: RefCell<Vec<u8>>,
    serial: RefCell<Vec<(u16, u8)>>,
    page: RefCell<Vec<u8>>,
    config: RefCell<Vec<(u32, u8, u8, u32)>>,
    address: AtomicU32,
}

impl Fake {
    pub fn new() -> Self {
        let fake = Self {
            apics: [VLapic::new(0).unwrap(), VLapic::new(1).unwrap()],
            upcall: Cell::new(None),
            own_upcall: Cell::new(None),
            gone: Cell::new(false),
            sent_to: RefCell::default(),
            debug: RefCell::default(),
            serial: RefCell::default(),
            page: RefCell::new(vec![0; 4096]),
            config: RefCell::default(),
            address: AtomicU32::new(0),
        };
        for apic in &fake.apics {
            apic.write(0x80f, 0x1ff, 0).unwrap();
        }
        fake
    }
}

/// One page of memory at 0x7000.
impl GuestPhysical for Fake {
    fn read(&self, _: u64, _: &mut [u8]) -> bool {
        false
    }
    fn write(&self, gpa: u64, data: &[u8]) -> bool {
        if gpa >> 12 != 7 {
            return false;
        }
        self.page.borrow_mut()[(gpa & 0xfff) as usize..][..data.len()].copy_from_slice(data);
        true
    }
}

impl Machine for Fake {
    fn domain_id(&self) -> DomId {
        DomId(5)
    }
    fn vcpu_id(&self) -> u32 {
        0
    }
    fn count_exit(&self, _: ExitReason) {}
    fn vlapic(&self) -> &VLapic {
        &self.apics[0]
    }
    fn vcpu_count(&self) -> u32 {
        2
    }
    fn send(&self, vcpu_id: u32, command: &Command) {
        if command.give(&self.apics[vcpu_id as usize]) {
            self.sent_to.borrow_mut().push(vcpu_id);
        }
    }
    fn upcall_vector(&self) -> Option<u8> {
        self.upcall.get()
    }
    fn repost_upcall(&self) {
        if let Some(vector) = self.own_upcall.get() {
            self.apics[0].post(vector);
        }
    }
    fn halted_for_good(&self) {
        self.gone.set(true);
    }
    fn take_tlb_flush(&self) -> bool {
        false
    }
    fn memory(&self) -> &dyn GuestPhysical {
        self
    }
    fn timer_changed(&self) {}
    fn hypercall(&self, run: &mut VcpuRun) -> After {
        run.hw.registers_mut().rax = 42;
        After::Yield
    }
    fn second_level_fault(&self, _: &mut VcpuRun, _: u64, _: FaultAccess) -> After {
        After::Crash("fault")
    }
    fn pci_config_read(&self, address: u32, offset: u8, size: u8) -> u32 {
        self.config.borrow_mut().push((address, offset, size, 0));
        0x1af4_1042
    }
    fn pci_config_write(&self, address: u32, offset: u8, size: u8, value: u32) {
        self.config
            .borrow_mut()
            .push((address, offset, size, value));
    }
    fn pci_config_address(&self) -> &AtomicU32 {
        &self.address
    }
    fn serial_read(&self, port: u16) -> Option<u8> {
        (port == 0x2fd).then_some(0x60)
    }
    fn serial_write(&self, port: u16, value: u8) {
        self.serial.borrow_mut().push((port, value));
    }
    fn debug_byte(&self, byte: u8) {
        self.debug.borrow_mut().push(byte);
    }
}

/// A running vCPU with interrupts on.
fn running() -> VcpuRun {
    backend::prepare_for_tests();
    let mut run = VcpuRun::new(Mfn(0)).unwrap();
    run.start(&CpuState::pvh(0x1000, 0));
    run.hw.registers_mut().rflags |= 1 << 9;
    run
}

fn port(run: &mut VcpuRun, machine: &Fake, port: u16, size: u8, input: bool, value: u64) -> u64 {
    run.hw.registers_mut().rax = value;
    let access = IoAccess {
        port,
        size,
        input,
        string: false,
        repeat: false,
        address_size: 8,
    };
    assert_eq!(handle(machine, run, Exit::Io(access)), After::Resume);
    run.hw.registers().rax
}

#[test]
fn an_offline_vcpu_waits_for_init_and_startup() {
    backend::prepare_for_tests();
    let machine = Fake::new();
    let mut run = VcpuRun::new(Mfn(0)).unwrap();
    assert_eq!(prepare(&machine, &mut run), After::Block);
    machine.apics[0].post_init();
    assert_eq!(prepare(&machine, &mut run), After::Block);
    machine.apics[0].post_startup(0x9a);
    assert!(has_work(&machine, &run));
    assert_eq!(prepare(&machine, &mut run), After::Resume);
    assert_eq!(run.hw.state().segments.cs.base, 0x9a000);
    run.hw.registers_mut().rip = 0x55;
    machine.apics[0].post_startup(0x9b);
    assert_eq!(prepare(&machine, &mut run), After::Resume);
    assert_eq!(
        run.hw.state().segments.cs.base,
        0x9a000,
        "a second start-up IPI is lost"
    );
    assert_eq!(run.hw.registers().rip, 0x55);
}

#[test]
fn an_upcall_that_was_pending_before_init_is_not_lost() {
    let (machine, mut run) = (Fake::new(), running());
    machine.own_upcall.set(Some(0xf3));
    machine.apics[0].post_init();
    machine.apics[0].post_startup(0x9a);
    assert_eq!(prepare(&machine, &mut run), After::Resume);
    assert_eq!(machine.apics[0].pending(), None, "the APIC is off");
    machine.apics[0].write(0x80f, 0x1ff, 0).unwrap();
    assert_eq!(machine.apics[0].pending(), Some(0xf3));
}

#[test]
fn hlt_blocks_until_an_interrupt_can_be_taken() {
    let (machine, mut run) = (Fake::new(), running());
    assert_eq!(handle(&machine, &mut run, Exit::Halt), After::Block);
    assert!(!machine.gone.get());
    assert_eq!(
        prepare(&machine, &mut run),
        After::Block,
        "a spurious wake-up"
    );
    machine.apics[0].post(0x30);
    assert!(has_work(&machine, &run));
    assert_eq!(prepare(&machine, &mut run), After::Resume);
    assert!(run.hw.has_event());
    assert!(!run.halted);
}

#[test]
fn hlt_with_interrupts_off_wakes_for_an_nmi_only() {
    let (machine, mut run) = (Fake::new(), running());
    run.hw.registers_mut().rflags = 2;
    assert_eq!(handle(&machine, &mut run, Exit::Halt), After::Block);
    assert!(machine.gone.get(), "the domain must learn of it");
    machine.apics[0].post(0x30);
    machine.upcall.set(Some(0xf3));
    assert!(!has_work(&machine, &run));
    assert_eq!(prepare(&machine, &mut run), After::Block);
    machine.apics[0].post_nmi();
    assert!(has_work(&machine, &run));
    assert_eq!(prepare(&machine, &mut run), After::Resume);
}

#[test]
fn the_upcall_goes_first_and_the_rest_gets_a_window() {
    let (machine, mut run) = (Fake::new(), running());
    machine.upcall.set(Some(0xf3));
    machine.apics[0].post(0x30);
    assert_eq!(prepare(&machine, &mut run), After::Resume);
    assert!(run.hw.has_event());
    assert_eq!(machine.apics[0].pending(), Some(0x30), "not accepted yet");
}

#[test]
fn an_interrupt_command_reaches_the_other_vcpu() {
    let (machine, mut run) = (Fake::new(), running());
    assert_eq!(
        handle(&machine, &mut run, Exit::WriteMsr(0x830, 2 << 32 | 0xfb)),
        After::Resume
    );
    assert_eq!(machine.apics[1].pending(), Some(0xfb));
    assert_eq!(*machine.sent_to.borrow(), [1]);
    handle(&machine, &mut run, Exit::WriteMsr(0x830, 3 << 18 | 0xfc));
    assert_eq!(machine.apics[0].pending(), None, "all but self");
    handle(&machine, &mut run, Exit::WriteMsr(0x83f, 0xfd));
    assert_eq!(machine.apics[0].pending(), Some(0xfd));
}

#[test]
fn the_hypercall_page_is_filled_where_there_is_memory() {
    let (machine, mut run) = (Fake::new(), running());
    handle(&machine, &mut run, Exit::WriteMsr(0x4000_0000, 0x7000));
    assert!(!run.hw.has_event());
    assert_eq!(
        machine.page.borrow()[32 * 12..][..9],
        [0xb8, 12, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3]
    );
    for bad in [0x7001, 0x9000] {
        let mut run = running();
        handle(&machine, &mut run, Exit::WriteMsr(0x4000_0000, bad));
        assert!(run.hw.has_event(), "#GP");
    }
}

#[test]
fn msrs_are_checked() {
    let machine = Fake::new();
    let faults = |exit| {
        let mut run = running();
        handle(&machine, &mut run, exit);
        run.hw.has_event()
    };
    assert!(faults(Exit::ReadMsr(0xc001_0117)), "VM_HSAVE_PA");
    assert!(faults(Exit::WriteMsr(0xc000_0080, 1 << 12)), "EFER.SVME");
    assert!(!faults(Exit::WriteMsr(0xc000_0080, 1 << 11 | 1 << 8 | 1)));
    assert!(faults(Exit::WriteMsr(0x277, 2)), "PAT type 2");
    assert!(!faults(Exit::WriteMsr(0x277, 0x0007_0106_0007_0106)));
    assert!(
        faults(Exit::WriteMsr(0x1b, 0xfee0_0800)),
        "leaving x2APIC mode"
    );
    assert!(!faults(Exit::WriteMsr(0x1b, 0xfee0_0d00)));
    assert!(!faults(Exit::ReadMsr(0x802)));
    assert!(faults(Exit::ReadMsr(0x8ff)));
    let mut run = running();
    handle(&machine, &mut run, Exit::ReadMsr(0xc000_0080));
    assert_eq!(run.hw.registers().edx_eax(), 0, "SVME is not the guest's");
}

#[test]
fn a_serial_port_is_reached_byte_by_byte() {
    let (machine, mut run) = (Fake::new(), running());
    assert_eq!(port(&mut run, &machine, 0x2fd, 1, true, 0x1200), 0x1260);
    assert_eq!(port(&mut run, &machine, 0x2fd, 2, true, 0), 0xffff);
    port(&mut run, &machine, 0x2f8, 1, false, 0x141);
    port(&mut run, &machine, 0x2f8, 2, false, 0x4242);
    assert_eq!(*machine.serial.borrow(), [(0x2f8, 0x41)]);
}

#[test]
fn ports_nobody_owns_read_as_ones() {
    let (machine, mut run) = (Fake::new(), running());
    assert_eq!(
        port(&mut run, &machine, 0x61, 1, true, 0x1234_5600),
        0x1234_56ff
    );
    assert_eq!(port(&mut run, &machine, 0x3f8, 2, true, 0), 0xffff);
    assert_eq!(
        port(&mut run, &machine, 0x70, 4, true, u64::MAX),
        0xffff_ffff
    );
    port(&mut run, &machine, 0xe9, 1, false, 0x141);
    assert_eq!(*machine.debug.borrow(), [0x41]);
}

#[test]
fn configuration_space_goes_to_the_domain() {
    let (machine, mut run) = (Fake::new(), running());
    port(&mut run, &machine, 0xcf8, 4, false, 0x8000_1010);
    assert_eq!(port(&mut run, &machine, 0xcfc, 4, true, 0), 0x1af4_1042);
    port(&mut run, &machine, 0xcfe, 2, false, 0xaaaa_0007);
    assert_eq!(
        *machine.config.borrow(),
        [(0x8000_1010, 0, 4, 0), (0x8000_1010, 2, 2, 7)]
    );
    assert_eq!(
        port(&mut run, &machine, 0xcfe, 4, true, 0),
        0xffff_ffff,
        "leaves the register"
    );
}

#[test]
fn a_hypercall_and_the_unhandled() {
    let (machine, mut run) = (Fake::new(), running());
    assert_eq!(handle(&machine, &mut run, Exit::Hypercall), After::Yield);
    assert_eq!(run.hw.registers().rax, 42);
    assert_eq!(
        handle(&machine, &mut run, Exit::Shutdown),
        After::Crash("triple fault")
    );
    let unknown = Exit::Unexpected {
        code: 0x99,
        info1: 0,
        info2: 0,
    };
    assert!(matches!(
        handle(&machine, &mut run, unknown),
        After::Crash(_)
    ));
}
