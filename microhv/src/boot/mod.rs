//! From the loader's entry to running domains.

pub mod archive;
#[cfg(target_os = "none")]
mod bare;
mod bytes;
pub mod info;
pub mod lift;
pub mod multiboot2;
pub mod plan;
pub mod pvh;

pub use archive::Archive;

use config::LoaderConf;
use config::xen_cmdline::XenCmdline;
use spin::Once;

/// What the operator wants, and the images that it takes: for whoever builds domains.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The boot archive.
    pub archive: Archive,
    /// loader.conf.
    pub conf: LoaderConf<'static>,
    /// `xen_cmdline` of loader.conf.
    pub options: XenCmdline<'static>,
}

static ORDERS: Once<Orders> = Once::new();

/// What the operator wants; `None` before the archive has been read.
pub fn orders() -> Option<&'static Orders> {
    ORDERS.get()
}
