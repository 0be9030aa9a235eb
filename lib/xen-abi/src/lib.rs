//! Xen's public types and numbers, by hand from the public headers.
#![cfg_attr(not(test), no_std)]
