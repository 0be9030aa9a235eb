//! Events on their way into the guest, corner by corner: what entries are given and what exits give back.

use super::decode::reason;
use super::turn::DR7_GD;
use super::vcpu::{NMI_BLOCKED, SHADOW};
use super::{Vcpu, enable};
use crate::types::Mfn;
use crate::vcpu::{CpuState, Event, Exit, VirtualCpu, Window};
use crate::vlapic::VLapic;
use x86::vmx::vmcs::control::{self, PrimaryControls};
use x86::vmx::vmcs::{guest, ro};

const IF: u64 = 1 << 9;

fn vcpu() -> Vcpu {
    enable::prepare_for_tests();
    let mut vcpu = Vcpu::new(Mfn(5)).unwrap();
    vcpu.set_state(&CpuState::pvh(0x10_0000, 0));
    vcpu
}

/// What the next entry would deliver; like the CPU, it forgets it.
fn injected(vcpu: &mut Vcpu) -> Option<u64> {
    vcpu.offer_events();
    let info = vcpu.vmcs.read(control::VMENTRY_INTERRUPTION_INFO_FIELD);
    vcpu.vmcs.write(control::VMENTRY_INTERRUPTION_INFO_FIELD, 0);
    (info >> 31 != 0).then_some(info)
}

fn waits_for_window(vcpu: &Vcpu) -> bool {
    let primary = vcpu.vmcs.read(control::PRIMARY_PROCBASED_EXEC_CONTROLS) as u32;
    primary & PrimaryControls::INTERRUPT_WINDOW_EXITING.bits() != 0
}

/// An exit with these fields.
fn exit(vcpu: &mut Vcpu, fields: &[(u32, u64)]) -> Exit {
    let from_registers = [
        (guest::RIP, vcpu.registers().rip),
        (guest::RFLAGS, vcpu.registers().rflags),
        (ro::IDT_VECTORING_INFO, 0),
        (ro::VMEXIT_INTERRUPTION_INFO, 0),
        (ro::EXIT_QUALIFICATION, 0),
    ];
    for (field, value) in from_registers.iter().chain(fields) {
        vcpu.vmcs.write(*field, *value);
    }
    vcpu.take_exit()
}

#[test]
fn an_interrupt_waits_for_if_and_for_the_shadow() {
    let mut vcpu = vcpu();
    vcpu.inject(Event::Interrupt(0xf3));
    assert_eq!(injected(&mut vcpu), None);
    assert!(waits_for_window(&vcpu));
    vcpu.registers_mut().rflags |= IF;
    vcpu.interruptibility = 1;
    assert_eq!(injected(&mut vcpu), None, "the instruction behind STI");
    vcpu.interruptibility = 0;
    assert_eq!(injected(&mut vcpu), Some(0x8000_00f3));
    assert!(!waits_for_window(&vcpu) && !vcpu.has_event());
}

#[test]
fn an_exception_comes_before_an_interrupt_which_is_not_lost() {
    let mut vcpu = vcpu();
    vcpu.registers_mut().rflags |= IF;
    vcpu.inject(Event::Interrupt(0x40));
    vcpu.inject(Event::GENERAL_PROTECTION);
    assert_eq!(injected(&mut vcpu), Some(0x8000_0b0d));
    assert!(waits_for_window(&vcpu) && vcpu.has_event());
    assert_eq!(injected(&mut vcpu), Some(0x8000_0040));
}

#[test]
fn exceptions_have_no_error_code_in_real_mode() {
    let mut vcpu = vcpu();
    vcpu.set_state(&CpuState::startup(0x9a));
    vcpu.inject(Event::GENERAL_PROTECTION);
    assert_eq!(injected(&mut vcpu), Some(0x8000_030d));
}

#[test]
fn what_an_exit_interrupts_is_delivered_again() {
    let again = |info: u64, code: u64| {
        let mut vcpu = vcpu();
        vcpu.registers_mut().rflags |= IF;
        let fields = [
            (ro::EXIT_REASON, reason::EPT_VIOLATION.into()),
            (ro::IDT_VECTORING_INFO, info),
            (ro::IDT_VECTORING_ERR_CODE, code),
        ];
        exit(&mut vcpu, &fields);
        let info = injected(&mut vcpu);
        (info, vcpu.vmcs.read(control::VMENTRY_EXCEPTION_ERR_CODE))
    };
    assert_eq!(again(0x8000_0040, 0).0, Some(0x8000_0040), "an interrupt");
    assert_eq!(
        again(0x8000_0b0e, 6),
        (Some(0x8000_0b0e), 6),
        "a page fault"
    );
    assert_eq!(again(0x8000_0202, 0).0, Some(0x8000_0202), "an NMI");
    assert_eq!(again(0x8000_0480, 0).0, None, "INT 0x80 is executed again");
}

#[test]
fn an_nmi_that_is_delivered_again_is_not_blocked_by_itself() {
    let mut vcpu = vcpu();
    let blocked = u64::from(NMI_BLOCKED);
    let fields = [
        (ro::EXIT_REASON, reason::EPT_VIOLATION.into()),
        (ro::IDT_VECTORING_INFO, 0x8000_0202),
        (guest::INTERRUPTIBILITY_STATE, blocked),
    ];
    exit(&mut vcpu, &fields);
    assert_eq!(injected(&mut vcpu), Some(0x8000_0202));
    assert_eq!(vcpu.vmcs.read(guest::INTERRUPTIBILITY_STATE) & blocked, 0);
}

#[test]
fn an_iret_that_faulted_has_not_let_nmis_in() {
    for (reason, field, value) in [
        (reason::EPT_VIOLATION, ro::EXIT_QUALIFICATION, 1 << 12 | 2),
        (
            reason::EXCEPTION_OR_NMI,
            ro::VMEXIT_INTERRUPTION_INFO,
            1 << 12 | 0x8000_0b11,
        ),
    ] {
        let mut vcpu = vcpu();
        assert!(vcpu.can_nmi());
        exit(
            &mut vcpu,
            &[(ro::EXIT_REASON, reason.into()), (field, value)],
        );
        assert!(!vcpu.can_nmi());
        assert_ne!(
            vcpu.vmcs.read(guest::INTERRUPTIBILITY_STATE) & u64::from(NMI_BLOCKED),
            0
        );
    }
}

#[test]
fn an_nmi_window_is_asked_for_once() {
    let mut vcpu = vcpu();
    vcpu.request_nmi_window();
    vcpu.offer_events();
    let nmi_window = || u64::from(PrimaryControls::NMI_WINDOW_EXITING.bits());
    let asked =
        |vcpu: &Vcpu| vcpu.vmcs.read(control::PRIMARY_PROCBASED_EXEC_CONTROLS) & nmi_window() != 0;
    assert!(asked(&vcpu));
    let said = exit(&mut vcpu, &[(ro::EXIT_REASON, reason::NMI_WINDOW.into())]);
    assert_eq!(said, Exit::InterruptWindow);
    vcpu.offer_events();
    assert!(!asked(&vcpu));
}

#[test]
fn the_threshold_follows_the_priority_that_holds_an_interrupt_back() {
    let (mut vcpu, apic) = (vcpu(), VLapic::new(0).unwrap());
    apic.set_cr8(9);
    vcpu.load_apic(&apic);
    vcpu.request_interrupt_window(Window::Priority);
    // It was lowered behind the request: a threshold above it would be refused.
    apic.set_cr8(4);
    vcpu.load_apic(&apic);
    vcpu.offer_threshold();
    assert_eq!(vcpu.vmcs.read(control::TPR_THRESHOLD), 4);
    vcpu.request_interrupt_window(Window::None);
    vcpu.offer_threshold();
    assert_eq!(vcpu.vmcs.read(control::TPR_THRESHOLD), 0);
}

#[test]
fn the_timer_bounds_a_guest_with_interrupts_off() {
    let mut vcpu = vcpu();
    vcpu.offer_timer();
    assert!(vcpu.vmcs.read(guest::VMX_PREEMPTION_TIMER_VALUE) < u64::from(u32::MAX));
    vcpu.registers_mut().rflags |= IF;
    vcpu.offer_timer();
    assert_eq!(
        vcpu.vmcs.read(guest::VMX_PREEMPTION_TIMER_VALUE),
        u64::from(u32::MAX)
    );
}

#[test]
fn skipping_an_instruction_ends_the_shadow_and_wraps_at_4_gib() {
    let mut vcpu = vcpu();
    vcpu.registers_mut().rip = 0xffff_ffff;
    let fields = [
        (ro::EXIT_REASON, reason::CPUID.into()),
        (ro::VMEXIT_INSTRUCTION_LEN, 2),
        (guest::INTERRUPTIBILITY_STATE, 1),
    ];
    assert_eq!(exit(&mut vcpu, &fields), Exit::Cpuid);
    vcpu.skip_instruction();
    assert_eq!(vcpu.registers().rip, 1);
    assert_eq!(vcpu.interruptibility & SHADOW, 0);
    vcpu.repeat_instruction();
    assert_eq!(vcpu.registers().rip, 0xffff_ffff);
}

#[test]
fn a_debug_exception_has_its_effects_on_dr7() {
    let mut vcpu = vcpu();
    vcpu.vmcs.write(guest::DR7, 0x400 | DR7_GD);
    let fields = [
        (ro::EXIT_REASON, 0),
        (ro::VMEXIT_INTERRUPTION_INFO, 0x8000_0301),
    ];
    assert_eq!(exit(&mut vcpu, &fields), Exit::Exception(1, 0));
    assert_eq!(vcpu.vmcs.read(guest::DR7), 0x400);
}
