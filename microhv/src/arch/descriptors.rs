//! Segments, task state and the interrupt descriptor table.
#![allow(unsafe_code, reason = "descriptor tables")]

use super::stack::Stacks;
use crate::mm::PageBox;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::Entry;
use x86_64::structures::tss::TaskStateSegment;

/// NMI, double fault and machine check, which have stacks of their own, in the order of the interrupt stack table.
const ON_STACKS: [u64; 3] = [2, 8, 18];

/// One CPU's descriptors.
struct Descriptors {
    gdt: GlobalDescriptorTable,
    tss: TaskStateSegment,
}

static IDT: Once<[Entry<()>; 256]> = Once::new();

core::arch::global_asm!(include_str!("vectors.S"), options(att_syntax));

unsafe extern "C" {
    /// 256 stubs, 16 bytes each.
    static interrupt_stubs: [[u8; 16]; 256];
}

/// Has exceptions reported; before [`install`] (while the boot CPU still runs with the loader's descriptors) all but those
/// that need a stack of their own.
pub fn load_idt() {
    let idt = IDT.call_once(|| {
        let base = (&raw const interrupt_stubs).addr() as u64;
        let mut idt = [Entry::missing(); 256];
        for (vector, entry) in (0u64..).zip(&mut idt) {
            // SAFETY: each stub saves all registers, takes the error code off the stack if the vector has one, and
            // returns with IRETQ.
            let options = unsafe { entry.set_handler_addr(VirtAddr::new(base + vector * 16)) };
            if let Some(index) = ON_STACKS.iter().position(|own| *own == vector) {
                // SAFETY: `install` gives each of these a stack, which nothing else uses.
                unsafe { options.set_stack_index(index as u16) };
            }
        }
        idt
    });
    let pointer = DescriptorTablePointer {
        limit: size_of_val(idt) as u16 - 1,
        base: VirtAddr::from_ptr(idt),
    };
    // SAFETY: the table is complete and lives for ever.
    unsafe { lidt(&pointer) };
}

/// Gives this CPU its descriptors; exceptions are reported from here on. `None` if there is no
/// memory.
pub fn install(stacks: &Stacks) -> Option<()> {
    let mut tss = TaskStateSegment::new();
    for (index, top) in stacks.exceptions.into_iter().enumerate() {
        tss.interrupt_stack_table[index] = VirtAddr::new(top);
    }
    let gdt = GlobalDescriptorTable::new();
    let own: &'static mut Descriptors = PageBox::new(Descriptors { gdt, tss })?.leak();
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
    load_idt();
    Some(())
}
