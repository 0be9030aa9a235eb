//! Physical memory: the allocator, the frame table, and the window to frames.
//!
//! There is no heap. Objects of the hypervisor live in frames of their own ([`PageBox`],
//! [`PageArc`]); frames handed to domains are counted in the [`frame_table`].

mod buddy;
pub mod frame_table;
pub mod frames;
pub mod init;
pub mod mmio;
pub mod own;
pub mod page_arc;
pub mod page_box;
mod paged;
pub mod phys;
pub mod ranges;
pub mod segments;

pub use frame_table::FrameRef;
pub use mmio::Mmio;
pub use own::own_memory;
pub use page_arc::PageArc;
pub use page_box::{PageBox, Zeroable};
pub use paged::Paged;

/// Where all of the machine's RAM is mapped, read-write and never executable.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Where device registers are mapped on demand, uncached, at this base plus their physical address.
pub const MMIO_WINDOW: u64 = 0xffff_c000_0000_0000;
/// Bytes of physical address space that either window can show (one half of the upper half).
pub const WINDOW_SIZE: u64 = 0x2000_0000_0000;
