//! From the loader's entry to running domains.

pub mod archive;
#[cfg(target_os = "none")]
mod bare;
pub mod info;
pub mod plan;
pub mod pvh;

pub use archive::Archive;
