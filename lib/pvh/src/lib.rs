//! PVH domain images: ELF, start info, guest memory layout and ACPI tables.
#![cfg_attr(not(test), no_std)]
