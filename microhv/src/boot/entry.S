# The way from what a loader leaves (32-bit protected mode, flat segments, no paging) to Rust in the upper half.
# AT&T syntax. Linked for the upper half as in linker.ld, so symbol - KERNEL_VMA is a physical address.

.set KERNEL_VMA, 0xffffffff80000000
.set PAGE_TABLE_FLAGS, 0x3          # present, writable
.set PAGE_LARGE_FLAGS, 0x83         # and 2 MiB
.set MSR_EFER, 0xc0000080

.section .note.Xen, "a", @note
.align 4
    .long 4, 8, 18                  # XEN_ELFNOTE_PHYS32_ENTRY, 8 bytes
    .asciz "Xen"
    .long boot_entry_pvh - KERNEL_VMA, 0

# Multiboot2 specification 2.0, section 3.1. No EFI tags: on UEFI too the loader ends boot services and enters in
# 32-bit mode. No framebuffer tag: GRUB 2.06 breaks in Bochs when it sets one up.
.set MULTIBOOT2_HEADER_MAGIC, 0xe85250d6
.set MULTIBOOT2_HEADER_LENGTH, multiboot2_header_end - multiboot2_header
.section .multiboot2, "a", @progbits
.align 8
multiboot2_header:
    .long MULTIBOOT2_HEADER_MAGIC, 0, MULTIBOOT2_HEADER_LENGTH
    .long -(MULTIBOOT2_HEADER_MAGIC + MULTIBOOT2_HEADER_LENGTH)
    .word 3, 0                      # entry address
    .long 12, boot_entry_multiboot2 - KERNEL_VMA
    .align 8
    .word 6, 0                      # modules begin at pages
    .long 8
    .word 0, 0                      # end
    .long 8
multiboot2_header_end:

.section .boot.text, "ax", @progbits
.code32
.global boot_entry_pvh
boot_entry_pvh:                     # ebx: hvm_start_info (Xen docs/misc/pvh.pandoc)
    xorl %esi, %esi
    jmp boot_entry

boot_entry_multiboot2:              # ebx: boot information, eax: a magic number (specification, section 3.3)
    movl %eax, %esi

boot_entry:                         # ebx: the loader's structure, esi: its protocol; see boot::Protocol
    cld
    cli
    movl $(boot_stack_end - KERNEL_VMA), %esp
    movl %ebx, %ebp
    # A CPU without long mode cannot even say so in Rust.
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb no_long_mode
    movl $0x80000001, %eax
    cpuid
    testl $(1 << 29), %edx
    jz no_long_mode
    # Page directories for the first 4 GiB; they start as zeros.
    movl $(boot_pd - KERNEL_VMA), %edi
    movl $PAGE_LARGE_FLAGS, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 1b
    movl %ebp, %edi                 # arguments of boot_start: the structure; the protocol is in esi
    movl $(boot_cpu_64 - KERNEL_VMA), %ebp
    jmp enter_long_mode

# Every CPU's way to 64 bits: continues at the physical address in ebp, edi and esi unchanged.
.global boot_long_mode
boot_long_mode:
enter_long_mode:
    movl %cr4, %eax
    orl $0x20, %eax                 # PAE
    movl %eax, %cr4
    movl $(boot_pml4 - KERNEL_VMA), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $0x900, %eax                # LME, NXE
    wrmsr
    movl %cr0, %eax
    andl $~0x6000000c, %eax         # not CD, NW, EM, TS
    orl $0x80010023, %eax           # PG, WP, NE, MP, PE
    movl %eax, %cr0
    lgdtl boot_gdt_pointer - KERNEL_VMA
    ljmpl $0x08, $(1f - KERNEL_VMA)
.code64
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl %ebp, %ebp
    jmpq *%rbp

boot_cpu_64:
    movabsq $1f, %rax               # leave the identity map
    jmpq *%rax
1:  movq $boot_stack_end, %rsp
    xorl %ebp, %ebp                 # end of the chain of frames
    callq boot_start
    ud2

boot_ap_64:
    movabsq $1f, %rax
    jmpq *%rax
1:  movq boot_ap_root(%rip), %rax   # the final page tables show the stack
    movq %rax, %cr3
    xorl %ebp, %ebp                 # end of the chain of frames, and no stack for whoever comes late
    xorl %eax, %eax
    xchgq %rax, boot_ap_stack(%rip)
    testq %rax, %rax
    jz 2f
    movq %rax, %rsp
    callq boot_ap_start
2:  hlt                             # interrupts are off
    jmp 2b

.code32
no_long_mode:
    movl $(no_long_mode_text - KERNEL_VMA), %esi
1:  movb (%esi), %al
    testb %al, %al
    jz 2f
    movw $0x3f8, %dx
    outb %al, %dx
    incl %esi
    jmp 1b
2:  hlt
    jmp 2b

# What an application processor runs first, copied to a page below 1 MiB. Real mode, cs = page >> 4, ip = 0.
.code16
.global boot_ap_trampoline
boot_ap_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl boot_ap_gdt_pointer - boot_ap_trampoline
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, $(boot_ap_32 - KERNEL_VMA)
.align 4
boot_ap_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt - KERNEL_VMA
.global boot_ap_trampoline_end
boot_ap_trampoline_end:

.code32
boot_ap_32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $(boot_ap_64 - KERNEL_VMA), %ebp
    jmp enter_long_mode
.code64

.section .rodata.boot, "a", @progbits
no_long_mode_text:
    .asciz "microhv: this CPU has no 64-bit mode.\r\n"

.section .data.boot, "aw", @progbits
.align 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        # 0x08: 64-bit code
    .quad 0x00cf93000000ffff        # 0x10: data
    .quad 0x00cf9b000000ffff        # 0x18: 32-bit code
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt - KERNEL_VMA
    .long 0
.align 8
.global boot_ap_stack
boot_ap_stack:
    .quad 0
.global boot_ap_root
boot_ap_root:
    .quad 0
# The first page tables: 4 GiB of physical memory at 0 and in the direct map, 1 GiB of it in the upper half.
.align 4096
.global boot_pml4
boot_pml4:
    .quad boot_pdpt_low - KERNEL_VMA + PAGE_TABLE_FLAGS
    .fill 255, 8, 0
    .quad boot_pdpt_low - KERNEL_VMA + PAGE_TABLE_FLAGS
    .fill 254, 8, 0
    .quad boot_pdpt_high - KERNEL_VMA + PAGE_TABLE_FLAGS
boot_pdpt_low:
    .quad boot_pd - KERNEL_VMA + PAGE_TABLE_FLAGS
    .quad boot_pd + 4096 - KERNEL_VMA + PAGE_TABLE_FLAGS
    .quad boot_pd + 8192 - KERNEL_VMA + PAGE_TABLE_FLAGS
    .quad boot_pd + 12288 - KERNEL_VMA + PAGE_TABLE_FLAGS
    .fill 508, 8, 0
boot_pdpt_high:
    .fill 510, 8, 0
    .quad boot_pd - KERNEL_VMA + PAGE_TABLE_FLAGS
    .quad 0

.section .bss.boot, "aw", @nobits
.align 4096
boot_pd:
    .skip 4 * 4096
boot_stack:
    .skip 65536                     # what the loader told, by value, is 8 KiB a time
boot_stack_end:
.text
