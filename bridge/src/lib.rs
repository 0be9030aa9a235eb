//! Logic of the bridge domain: a learning layer-2 switch whose ports are netif backends, and its own interface.
//! No hypercall is made here; `main.rs` carries the plans made here out.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod counters;
pub mod deliver;
pub mod engine;
pub mod interface;
pub mod mac;
pub mod settings;
pub mod switch;
pub mod table;
pub mod transmit;
