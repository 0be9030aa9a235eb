//! Ways to end badly.

/// Panics, as a driver domain with a bug would.
pub fn panic() -> ! {
    panic!("on purpose");
}

/// Takes an exception without an IDT: the processor gives up.
pub fn triple_fault() -> ! {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let nothing = Pointer { limit: 0, base: 0 };
    // SAFETY: the instructions read `nothing` and end this virtual machine, which is what they are here for.
    unsafe {
        core::arch::asm!("lidt [{}]", "ud2", in(reg) &raw const nothing, options(noreturn));
    }
}
