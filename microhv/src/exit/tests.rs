//! The handlers against a domain of two vCPUs that the scheduler leaves alone.

use super::*;
use crate::arch::cpu::ports;
use crate::console::ring::{SIZE, read_from};
use crate::domain::tests::{alone, destroy};
use crate::domain::{Domain, create};
use crate::hypercall::populate;
use crate::mm::PageArc;
use crate::types::{DomId, Gfn, Mfn};
use crate::vcpu::{CpuState, IoAccess, backend};
use config::xen_cmdline::{Level, LogLevel};
use core::sync::atomic::Ordering;
use std::sync::MutexGuard;
use xen_abi::sched::SHUTDOWN_POWEROFF;

/// The domain with its first vCPU and the second's local APIC; one page of memory at 0x7000.
struct Machine {
    domain: PageArc<Domain>,
    vcpu: PageArc<Vcpu>,
    other: PageArc<Vcpu>,
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    fn new() -> Self {
        Self::with_privilege(false)
    }

    fn with_privilege(privileged: bool) -> Self {
        let _alone = alone();
        backend::prepare_for_tests();
        let domain = create(Some(DomId(0x55)), [0; 16], privileged).unwrap();
        domain.max_pages.store(1, Ordering::Relaxed);
        populate(&domain, Gfn(7), 1).unwrap();
        let [vcpu, other] = [0, 1].map(|id| Vcpu::create(&domain, id).unwrap());
        for vcpu in [&vcpu, &other] {
            vcpu.vlapic.write(0x80f, 0x1ff, 0).unwrap();
        }
        Self {
            domain,
            vcpu,
            other,
            _alone,
        }
    }

    /// An event is pending, for a vCPU with no vector of its own.
    fn raise_upcall(&self, global_vector: Option<u8>) {
        self.domain.shared_info.write(0, &[1]);
        self.domain.set_callback_vector(global_vector);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        destroy(&self.domain);
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

fn port(run: &mut VcpuRun, machine: &Machine, port: u16, size: u8, input: bool, value: u64) -> u64 {
    run.hw.registers_mut().rax = value;
    let access = IoAccess {
        port,
        size,
        input,
        string: false,
        repeat: false,
        address_size: 8,
    };
    assert_eq!(handle(&machine.vcpu, run, Exit::Io(access)), After::Resume);
    run.hw.registers().rax
}

#[test]
fn an_offline_vcpu_waits_for_init_and_startup() {
    let machine = Machine::new();
    let mut run = VcpuRun::new(Mfn(0)).unwrap();
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Block);
    machine.vcpu.vlapic.post_init();
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Block);
    machine.vcpu.vlapic.post_startup(0x9a);
    assert!(has_work(&machine.vcpu, &run));
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Resume);
    assert_eq!(run.hw.state().segments.cs.base, 0x9a000);
    run.hw.registers_mut().rip = 0x55;
    machine.vcpu.vlapic.post_startup(0x9b);
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Resume);
    assert_eq!(
        run.hw.state().segments.cs.base,
        0x9a000,
        "a second start-up IPI is lost"
    );
    assert_eq!(run.hw.registers().rip, 0x55);
}

#[test]
fn an_upcall_that_was_pending_before_init_is_not_lost() {
    let (machine, mut run) = (Machine::new(), running());
    machine.raise_upcall(None);
    machine.vcpu.set_upcall_vector(0xf3);
    machine.vcpu.vlapic.post_init();
    machine.vcpu.vlapic.post_startup(0x9a);
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Resume);
    assert_eq!(machine.vcpu.vlapic.pending(), None, "the APIC is off");
    machine.vcpu.vlapic.write(0x80f, 0x1ff, 0).unwrap();
    assert_eq!(machine.vcpu.vlapic.pending(), Some(0xf3));
}

#[test]
fn hlt_blocks_until_an_interrupt_can_be_taken() {
    let (machine, mut run) = (Machine::new(), running());
    assert_eq!(handle(&machine.vcpu, &mut run, Exit::Halt), After::Block);
    assert_eq!(machine.domain.shutdown_reason(), None);
    assert_eq!(
        prepare(&machine.vcpu, &mut run),
        After::Block,
        "a spurious wake-up"
    );
    machine.vcpu.vlapic.post(0x30);
    assert!(has_work(&machine.vcpu, &run));
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Resume);
    assert!(run.hw.has_event());
    assert!(!run.halted);
}

#[test]
fn hlt_with_interrupts_off_wakes_for_an_nmi_only() {
    let (machine, mut run) = (Machine::new(), running());
    run.hw.registers_mut().rflags = 2;
    assert_eq!(handle(&machine.vcpu, &mut run, Exit::Halt), After::Block);
    let gone = machine.domain.shutdown_reason();
    assert_eq!(gone, Some(SHUTDOWN_POWEROFF), "the domain must learn of it");
    machine.vcpu.vlapic.post(0x30);
    machine.raise_upcall(Some(0xf3));
    assert!(!has_work(&machine.vcpu, &run));
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Block);
    machine.vcpu.vlapic.post_nmi();
    assert!(has_work(&machine.vcpu, &run));
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Resume);
}

#[test]
fn the_upcall_goes_first_and_the_rest_gets_a_window() {
    let (machine, mut run) = (Machine::new(), running());
    machine.raise_upcall(Some(0xf3));
    machine.vcpu.vlapic.post(0x30);
    assert_eq!(prepare(&machine.vcpu, &mut run), After::Resume);
    assert!(run.hw.has_event());
    assert_eq!(
        machine.vcpu.vlapic.pending(),
        Some(0x30),
        "not accepted yet"
    );
}

#[test]
fn an_interrupt_command_reaches_the_other_vcpu() {
    let (machine, mut run) = (Machine::new(), running());
    assert_eq!(
        handle(
            &machine.vcpu,
            &mut run,
            Exit::WriteMsr(0x830, 2 << 32 | 0xfb)
        ),
        After::Resume
    );
    assert_eq!(machine.other.vlapic.pending(), Some(0xfb));
    assert_eq!(machine.vcpu.vlapic.pending(), None);
    let kicked = [&machine.vcpu, &machine.other].map(|vcpu| vcpu.sched.is_notified());
    assert_eq!(kicked, [false, true]);
    handle(
        &machine.vcpu,
        &mut run,
        Exit::WriteMsr(0x830, 3 << 18 | 0xfc),
    );
    assert_eq!(machine.vcpu.vlapic.pending(), None, "all but self");
    handle(&machine.vcpu, &mut run, Exit::WriteMsr(0x83f, 0xfd));
    assert_eq!(machine.vcpu.vlapic.pending(), Some(0xfd));
}

#[test]
fn the_hypercall_page_is_filled_where_there_is_memory() {
    let (machine, mut run) = (Machine::new(), running());
    handle(&machine.vcpu, &mut run, Exit::WriteMsr(0x4000_0000, 0x7000));
    assert!(!run.hw.has_event());
    let mut stub = [0; 9];
    let (page, _) = machine.domain.p2m.lock().frame(Gfn(7)).unwrap();
    page.read(32 * 12, &mut stub);
    assert_eq!(stub, [0xb8, 12, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3]);
    for bad in [0x7001, 0x9000] {
        let mut run = running();
        handle(&machine.vcpu, &mut run, Exit::WriteMsr(0x4000_0000, bad));
        assert!(run.hw.has_event(), "#GP");
    }
}

#[test]
fn msrs_are_checked() {
    let machine = Machine::new();
    let faults = |exit| {
        let mut run = running();
        handle(&machine.vcpu, &mut run, exit);
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
    handle(&machine.vcpu, &mut run, Exit::ReadMsr(0xc000_0080));
    assert_eq!(run.hw.registers().edx_eax(), 0, "SVME is not the guest's");
}

#[test]
fn a_serial_port_is_reached_byte_by_byte_by_its_owner_only() {
    crate::serial::tests::offered();
    for privileged in [false, true] {
        let (machine, mut run) = (Machine::with_privilege(privileged), running());
        ports::ANSWER.set(0x60);
        let (wide, byte) = if privileged {
            (0x1260, 0x41)
        } else {
            (0x12ff, 0)
        };
        assert_eq!(port(&mut run, &machine, 0x2fd, 1, true, 0x1200), wide);
        assert_eq!(port(&mut run, &machine, 0x2fd, 2, true, 0), 0xffff);
        ports::WRITTEN.take();
        port(&mut run, &machine, 0x2f8, 1, false, 0x141);
        port(&mut run, &machine, 0x2f8, 2, false, 0x4242);
        let expected = privileged.then_some((0x2e8, byte));
        assert_eq!(ports::WRITTEN.take(), Vec::from_iter(expected));
    }
}

#[test]
fn ports_nobody_owns_read_as_ones() {
    let (machine, mut run) = (Machine::new(), running());
    assert_eq!(
        port(&mut run, &machine, 0x61, 1, true, 0x1234_5600),
        0x1234_56ff
    );
    assert_eq!(port(&mut run, &machine, 0x3f8, 2, true, 0), 0xffff);
    assert_eq!(
        port(&mut run, &machine, 0x70, 4, true, u64::MAX),
        0xffff_ffff
    );
    assert_eq!(port(&mut run, &machine, 0xe9, 1, true, 0), 0xe9);
    // Where there is no room for what it writes, it executes the instruction again.
    for (crowded, rip) in [(true, 0x1000), (false, 0)] {
        crate::console::CROWDED.set(crowded);
        run.hw.registers_mut().rip = 0x1000;
        port(&mut run, &machine, 0xe9, 1, false, 0x141);
        assert_eq!(run.hw.registers().rip, rip);
    }
}

#[test]
fn what_is_written_to_the_debug_port_is_in_the_log() {
    let (machine, mut run) = (Machine::new(), running());
    let all = LogLevel {
        always: Level::Debug,
        rate_limited: Level::Debug,
    };
    crate::console::set_levels(all, all);
    // One byte, however wide the register; another test may have begun a line.
    for byte in b"\nport e9\n" {
        port(&mut run, &machine, 0xe9, 1, false, 0x100 | u64::from(*byte));
    }
    let (mut at, mut log) = (0, std::vec![0; SIZE]);
    let count = read_from(&mut at, &mut log);
    let log = std::string::String::from_utf8_lossy(&log[..count]);
    let line = std::format!("({}) ", machine.domain.id);
    let said = log.lines().filter(|said| said.starts_with(&line));
    assert!(
        said.clone().any(|said| said.ends_with(": port e9")),
        "{log}"
    );
}

#[test]
fn configuration_space_goes_to_the_domain() {
    let (machine, mut run) = (Machine::new(), running());
    let _device = crate::pci::tests::give(machine.domain.id, crate::pci::Sbdf(0x10));
    ports::ANSWER.set(0x1af4_1042);
    port(&mut run, &machine, 0xcf8, 4, false, 0x8000_1000);
    assert_eq!(port(&mut run, &machine, 0xcf8, 4, true, 0), 0x8000_1000);
    assert_eq!(port(&mut run, &machine, 0xcfc, 4, true, 0), 0x1af4_1042);
    port(&mut run, &machine, 0xcf8, 4, false, 0x8000_1004);
    ports::WRITTEN.take();
    port(&mut run, &machine, 0xcfe, 2, false, 0xaaaa_0007);
    let status = [(0xcf8, 0x8000_1004), (0xcfe, 7)];
    assert_eq!(ports::WRITTEN.take(), status);
    assert_eq!(
        port(&mut run, &machine, 0xcfe, 4, true, 0),
        0xffff_ffff,
        "leaves the register"
    );
}

#[test]
fn a_hypercall_and_the_unhandled() {
    let (machine, mut run) = (Machine::new(), running());
    // XENVER_version, from 32-bit code: not there.
    run.hw.registers_mut().rax = 17;
    let after = handle(&machine.vcpu, &mut run, Exit::Hypercall);
    assert_eq!(after, After::Resume);
    assert_eq!(run.hw.registers().rax as i64, -38);
    assert_eq!(
        handle(&machine.vcpu, &mut run, Exit::Shutdown),
        After::Crash("triple fault")
    );
    let unknown = Exit::Unexpected {
        code: 0x99,
        info1: 0,
        info2: 0,
    };
    assert!(matches!(
        handle(&machine.vcpu, &mut run, unknown),
        After::Crash(_)
    ));
}
