//! ELF notes of guest images (`elfnote.h`). The note's name is `Xen`.

/// The owner's name, with its terminating zero, as the note carries it.
pub const XEN_ELFNOTE_NAME: &[u8; 4] = b"Xen\0";

abi_numbers! { u32;
    XEN_ELFNOTE_INFO = 0;
    XEN_ELFNOTE_ENTRY = 1;
    XEN_ELFNOTE_HYPERCALL_PAGE = 2;
    XEN_ELFNOTE_VIRT_BASE = 3;
    XEN_ELFNOTE_PADDR_OFFSET = 4;
    XEN_ELFNOTE_XEN_VERSION = 5;
    XEN_ELFNOTE_GUEST_OS = 6;
    XEN_ELFNOTE_GUEST_VERSION = 7;
    XEN_ELFNOTE_LOADER = 8;
    XEN_ELFNOTE_PAE_MODE = 9;
    XEN_ELFNOTE_FEATURES = 10;
    XEN_ELFNOTE_BSD_SYMTAB = 11;
    XEN_ELFNOTE_HV_START_LOW = 12;
    XEN_ELFNOTE_L1_MFN_VALID = 13;
    XEN_ELFNOTE_SUSPEND_CANCEL = 14;
    XEN_ELFNOTE_INIT_P2M = 15;
    XEN_ELFNOTE_MOD_START_PFN = 16;
    XEN_ELFNOTE_SUPPORTED_FEATURES = 17;
    /// Physical address of the 32-bit PVH entry point.
    XEN_ELFNOTE_PHYS32_ENTRY = 18;
    /// The image may be moved: alignment, minimum, maximum (32-bit words).
    XEN_ELFNOTE_PHYS32_RELOC = 19;
}
