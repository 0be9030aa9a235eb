//! What an operator writes: `loader.conf` and the hypervisor's command line in it.
//!
//! No heap, no panics, no `unsafe`: the hypervisor reads its configuration with this crate before it has
//! any memory to give away. Everything borrows from the file's text. `xl.cfg` is in the crate `xl-config`
//! (folder `xl/`), because it needs a heap and a binary without one cannot link a crate that names `alloc`.
//!
//! Nothing here stops at the first mistake: each one is a [`Diagnostic`] with file, line and column, the option
//! that carries it keeps its default, and the caller decides whether it can go on.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod cpu_list;
pub mod diagnostic;
pub mod loader_conf;
pub mod number;
pub mod size;
pub mod span;
pub mod xen_cmdline;

pub use diagnostic::{Diagnostic, Severity};
pub use loader_conf::LoaderConf;
pub use span::Span;
pub use xen_cmdline::XenCmdline;
