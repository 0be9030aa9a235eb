//! Segments, task state and the interrupt descriptor table.
#![allow(unsafe_code, reason = "descriptor tables")]

use super::stack::Stacks;
use crate::mm::PageBox;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::InterruptDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

/// Index in the interrupt stack table of NMI, double fault and machine check.
const IST: [u16; 3] = [0, 1, 2];

/// One CPU's descriptors.
struct Descriptors {
    gdt: GlobalDescriptorTable,
    tss: TaskStateSegment,
}

static IDT: Once<InterruptDescriptorTable> = Once::new();

core::arch::global_asm!(include_str!("vectors.S"), options(att_syntax));

unsafe extern "C" {
    /// 256 stubs, 16 bytes each.
    static interrupt_stubs: [[u8; 16]; 256];
}

fn idt() -> &'static InterruptDescriptorTable {
    IDT.call_once(|| {
        let mut idt = InterruptDescriptorTable::new();
        let stub = |vector: u8| {
            let base = (&raw const interrupt_stubs).addr() as u64;
            VirtAddr::new(base + u64::from(vector) * 16)
        };
        // SAFETY: each stub saves all registers, takes the error code off the stack if the vector
        // has one, and returns with IRETQ.
        unsafe {
            idt.divide_error.set_handler_addr(stub(0));
            idt.debug.set_handler_addr(stub(1));
            idt.non_maskable_interrupt
                .set_handler_addr(stub(2))
                .set_stack_index(IST[0]);
            idt.breakpoint.set_handler_addr(stub(3));
            idt.overflow.set_handler_addr(stub(4));
            idt.bound_range_exceeded.set_handler_addr(stub(5));
            idt.invalid_opcode.set_handler_addr(stub(6));
            idt.device_not_available.set_handler_addr(stub(7));
            idt.double_fault
                .set_handler_addr(stub(8))
                .set_stack_index(IST[1]);
            idt.invalid_tss.set_handler_addr(stub(10));
            idt.segment_not_present.set_handler_addr(stub(11));
            idt.stack_segment_fault.set_handler_addr(stub(12));
            idt.general_protection_fault.set_handler_addr(stub(13));
            idt.page_fault.set_handler_addr(stub(14));
            idt.x87_floating_point.set_handler_addr(stub(16));
            idt.alignment_check.set_handler_addr(stub(17));
            idt.machine_check
                .set_handler_addr(stub(18))
                .set_stack_index(IST[2]);
            idt.simd_floating_point.set_handler_addr(stub(19));
            idt.virtualization.set_handler_addr(stub(20));
            idt.cp_protection_exception.set_handler_addr(stub(21));
            idt.security_exception.set_handler_addr(stub(30));
            for vector in 32..=255 {
                idt[vector].set_handler_addr(stub(vector));
            }
        }
        idt
    })
}

/// Has exceptions reported while the boot CPU still runs with the loader's descriptors: all but
/// those that need a stack of their own.
pub fn load_idt() {
    idt().load();
}

/// Gives this CPU its descriptors; exceptions are reported from here on. False if there is no
/// memory.
#[must_use]
pub fn install(stacks: &Stacks) -> bool {
    let mut tss = TaskStateSegment::new();
    for (index, top) in IST.into_iter().zip(stacks.exceptions) {
        tss.interrupt_stack_table[usize::from(index)] = VirtAddr::new(top);
    }
    let Some(page) = PageBox::new(Descriptors {
        gdt: GlobalDescriptorTable::new(),
        tss,
    }) else {
        return false;
    };
    let own: &'static mut Descriptors = page.leak();
    let code = own.gdt.append(Descriptor::kernel_code_segment());
    let data = own.gdt.append(Descriptor::kernel_data_segment());
    let task = own.gdt.append(Descriptor::tss_segment(&own.tss));
    own.gdt.load();
    // SAFETY: the selectors are those of the table just loaded, and the task state segment lives
    // for ever.
    unsafe {
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(data);
        ES::set_reg(data);
        load_tss(task);
    }
    idt().load();
    true
}
