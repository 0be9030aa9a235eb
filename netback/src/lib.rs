//! Logic of the netback domain: packets between bridge0's rings and a virtio network device. No hypercall and no
//! register is touched here.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod assemble;
pub mod header;
pub mod outgoing;
pub mod pieces;
