//! The runtime of microhv's own domains: PVH entry, memory, event channels, grants, rings, the store, time, logging.
//!
//! One vCPU, one event loop, no interrupts. A domain's binary is
//! ```ignore
//! #![no_std]
//! #![no_main]
//! domain::entry!(main);
//! fn main(boot: &'static domain::Boot) { /* event loop; returning powers the domain off */ }
//! ```
//! with the `build.rs` of its neighbours. See README.md for the API in one page. On the host everything but the bare parts
//! compiles too (hypercalls answer `ENOSYS`), so that logic can be tested.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(
    not(target_os = "none"),
    allow(
        dead_code,
        reason = "the entry code, which uses the rest, is for the bare machine only"
    )
)]

extern crate alloc;

mod bitmap;
pub mod boot;
pub mod console;
pub mod control;
pub mod event;
pub mod grant;
mod hypercall;
mod identity;
mod logger;
pub mod memory;
pub mod pci;
pub mod ring;
pub mod serial;
pub mod shared;
pub mod store;
pub mod stream;
pub mod time;
pub mod xenbus;

#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod paging;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
mod trap;

pub use boot::{Boot, Module};
pub use event::Port;
pub use identity::domid;
pub use memory::PageRange;
pub use shared::SharedMemory;
pub use time::Instant;
pub use xen_abi::{self, DomId, Errno};

/// Names the domain's main function, `fn(&'static domain::Boot)`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // The runtime calls this symbol once, with memory, events and logging ready.
        #[unsafe(no_mangle)]
        fn domain_main(boot: &'static $crate::Boot) {
            let main: fn(&'static $crate::Boot) = $main;
            main(boot)
        }

        /// Makes the linker take the entry code, whatever else is used.
        #[used]
        static PVH_ENTRY: unsafe extern "C" fn() = $crate::pvh_entry;
    };
}

#[cfg(target_os = "none")]
pub use start::pvh_entry;
