//! Exceptions: none is expected, so each ends the domain with a log line that says where.
#![expect(unsafe_code, reason = "descriptor tables")]

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::Cr2;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::InterruptDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

/// What the stubs in `entry.s` push, from the lowest address.
#[repr(C)]
#[derive(Debug)]
struct Frame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Exceptions run on their own stack: the cause may be that the normal one is used up.
#[repr(C, align(16))]
struct ExceptionStack([u8; 8192]);
static mut EXCEPTION_STACK: ExceptionStack = ExceptionStack([0; 8192]);

static TSS: Once<TaskStateSegment> = Once::new();
static GDT: Once<GlobalDescriptorTable> = Once::new();
static IDT: Once<InterruptDescriptorTable> = Once::new();

unsafe extern "C" {
    static exception_stubs: [[u8; 16]; 32];
}

/// Loads GDT, TSS and IDT.
pub(crate) fn init() {
    let tss = TSS.call_once(|| {
        let mut tss = TaskStateSegment::new();
        let stack = &raw const EXCEPTION_STACK;
        tss.interrupt_stack_table[0] =
            VirtAddr::from_ptr(stack) + size_of::<ExceptionStack>() as u64;
        tss
    });
    let mut code = x86_64::registers::segmentation::SegmentSelector::NULL;
    let mut task = code;
    let gdt = GDT.call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        code = gdt.append(Descriptor::kernel_code_segment());
        task = gdt.append(Descriptor::tss_segment(tss));
        gdt
    });
    gdt.load();
    // SAFETY: the selectors are those of the table just loaded: 64-bit code and a TSS that lives for ever.
    unsafe {
        CS::set_reg(code);
        load_tss(task);
    }
    IDT.call_once(idt).load();
}

fn idt() -> InterruptDescriptorTable {
    let mut idt = InterruptDescriptorTable::new();
    let stub = |vector: usize| {
        // SAFETY: an address inside the stubs, each 16 bytes long.
        VirtAddr::new(unsafe { &raw const exception_stubs[vector] } as u64)
    };
    macro_rules! set {
        ($( $field:ident = $vector:expr; )*) => { $(
            // SAFETY: the stub takes the exception with this vector's frame and never returns.
            unsafe { idt.$field.set_handler_addr(stub($vector)).set_stack_index(0) };
        )* };
    }
    set! {
        divide_error = 0;
        debug = 1;
        non_maskable_interrupt = 2;
        breakpoint = 3;
        overflow = 4;
        bound_range_exceeded = 5;
        invalid_opcode = 6;
        device_not_available = 7;
        double_fault = 8;
        invalid_tss = 10;
        segment_not_present = 11;
        stack_segment_fault = 12;
        general_protection_fault = 13;
        page_fault = 14;
        x87_floating_point = 16;
        alignment_check = 17;
        machine_check = 18;
        simd_floating_point = 19;
    }
    idt
}

const NAMES: [&str; 20] = [
    "divide error",
    "debug exception",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack-segment fault",
    "general protection fault",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
];

/// Where the stubs go: log the registers, end the domain.
#[unsafe(no_mangle)]
extern "C" fn exception_entry(frame: &Frame) -> ! {
    let name = NAMES
        .get(frame.vector as usize)
        .copied()
        .unwrap_or("unknown exception");
    let guard = crate::start::stack_guard();
    let cr2 = Cr2::read_raw();
    let overflow = frame.vector == 14 && (guard..guard + 4096).contains(&cr2);
    crate::console::write_line(format_args!(
        "ERROR panicked at {:#x}: {name} (error code {:#x}, cr2 {cr2:#x}){}",
        frame.rip,
        frame.error_code,
        if overflow { ": stack overflow" } else { "" },
    ));
    crate::console::write_line(format_args!(
        "ERROR rax {:x} rbx {:x} rcx {:x} rdx {:x} rsi {:x} rdi {:x} rbp {:x} rsp {:x}",
        frame.rax, frame.rbx, frame.rcx, frame.rdx, frame.rsi, frame.rdi, frame.rbp, frame.rsp,
    ));
    crate::console::write_line(format_args!(
        "ERROR r8 {:x} r9 {:x} r10 {:x} r11 {:x} r12 {:x} r13 {:x} r14 {:x} r15 {:x} rflags {:x} cs {:x} ss {:x}",
        frame.r8,
        frame.r9,
        frame.r10,
        frame.r11,
        frame.r12,
        frame.r13,
        frame.r14,
        frame.r15,
        frame.rflags,
        frame.cs,
        frame.ss,
    ));
    crate::event::shutdown(xen_abi::sched::SHUTDOWN_CRASH)
}
