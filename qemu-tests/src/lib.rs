//! Machines to boot microhv on, and the scenarios that are played on them.
//!
//! [`machine`] is also what `cargo xtask run` uses, so that the machine a person sees is the one that is tested.
#![forbid(unsafe_code)]

pub mod archive;
pub mod bootdisk;
pub mod check;
pub mod disk;
pub mod fat;
pub mod guest;
pub mod images;
pub mod machine;
pub mod memory;
pub mod net;
pub mod runner;
pub mod scenario;
pub mod scenarios;
pub mod small_root;
