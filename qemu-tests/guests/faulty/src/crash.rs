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

/// Uses up the stack: the guard page below it stops this before other memory is overwritten.
pub fn stack_overflow() -> ! {
    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        let room = core::hint::black_box([depth; 64]);
        if depth == u64::MAX {
            return 0;
        }
        deeper(depth + 1) + room[7]
    }
    panic!("there is no end to {}", deeper(0));
}

/// Writes where code is.
pub fn write_text() -> ! {
    let code = write_text as fn() -> ! as usize as *mut u8;
    // SAFETY: the page is mapped read-only: the processor refuses, which is what this is here for.
    unsafe { code.write_volatile(0xcc) };
    panic!("code could be overwritten");
}

/// Asks for more memory than there is.
pub fn use_up_memory() -> ! {
    extern crate alloc;
    let mut blocks = alloc::vec::Vec::new();
    loop {
        blocks.push(alloc::vec![0_u8; 1 << 20]);
    }
}
