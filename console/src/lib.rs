//! Domain-0: the operator's console, `xl` and the life of guests.
//!
//! All of it is plain logic over the traits in [`host`], so that it runs under `cargo test`;
//! `main.rs` connects it to the hypervisor.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod app;
pub mod archive;
pub mod bootloader;
pub mod guest;
pub mod host;
pub mod logs;
pub mod partitions;
pub mod pv_console;
pub mod remote;
pub mod terminal;
pub mod volume;
pub mod xl;
