# PVH entry: 32-bit protected mode, flat segments, no paging, interrupts off, EBX = guest physical address of hvm_start_info.
# (Xen docs/misc/pvh.pandoc). Turns on long mode with the static tables below and calls Rust.

    .section .note.Xen, "a", @note
    .balign 4
    .long 4                         # name bytes
    .long 8                         # value bytes (8 as in Linux: QEMU reads as many)
    .long 18                        # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_entry

    .section .text.entry, "ax", @progbits
    .code32
    .global pvh_entry
pvh_entry:
    cld
    movl %ebx, %edi                 # first argument of domain_start
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                 # PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx          # EFER: LME, NXE
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010000, %eax           # PG, WP
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $8, $entry64

    .code64
entry64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl $boot_stack_top, %esp
    xorl %ebp, %ebp
    call domain_start
    ud2

# Exceptions: each stub leaves vector and error code on the stack and goes on to Rust with a pointer to the frame.
    .global exception_stubs
    .balign 16
exception_stubs:
    .irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    .balign 16
    .if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17) || (\vector == 21) || (\vector == 29) || (\vector == 30)
    nop                             # the processor pushed an error code
    .else
    pushq $0
    .endif
    pushq $\vector
    jmp exception_common
    .endr

exception_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    andq $-16, %rsp
    call exception_entry
    ud2

# Filled by the hypervisor: one hypercall stub in every 32 bytes. Until then, or without Xen, every call answers ENOSYS.
    .balign 4096
    .global hypercall_page
hypercall_page:
    .rept 128
    movq $-38, %rax
    ret
    .balign 32
    .endr

    .section .data.boot_tables, "aw", @progbits
    .balign 4096
    .global boot_pml4
boot_pml4:
    .quad boot_pdpt + 3
    .zero 4088
boot_pdpt:
    .quad boot_pd + 3
    .zero 4088
boot_pd:                            # the first GiB, 2 MiB pages: present, writable, large
    .set address, 0
    .rept 512
    .quad address + 0x83
    .set address, address + 0x200000
    .endr

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        # 8: 64-bit code
boot_gdt_pointer:
    .word 15
    .long boot_gdt

    .section .bss.stack, "aw", @nobits
    .balign 4096
    .global boot_stack_guard
boot_stack_guard:
    .skip 4096                      # unmapped later
    .skip 0x40000                   # 256 KiB: drivers build queues of several 10 KiB here before they move them to the heap
    .global boot_stack_top
boot_stack_top:
