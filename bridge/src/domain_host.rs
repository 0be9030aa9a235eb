//! What the switch needs of its domain: copies by hypercall, memory to copy into, the time.

use alloc::vec::Vec;
use bridge::engine::{Host, SCRATCH_PAGES};
use core::time::Duration;
use domain::{Instant, PageRange, grant};
use xen_abi::grant_table::{GNTST_GENERAL_ERROR, GnttabCopy};

/// The domain, as the engine sees it.
pub struct DomainHost {
    scratch: PageRange,
    /// Frames for bridge0's own interface, since last asked.
    pub local: Vec<Vec<u8>>,
}

impl DomainHost {
    /// None: out of memory.
    pub fn new() -> Option<Self> {
        Some(Self {
            scratch: PageRange::new(SCRATCH_PAGES)?,
            local: Vec::new(),
        })
    }
}

/// Time since the domain's clock began.
pub fn now() -> Duration {
    Duration::from_nanos(Instant::now().as_nanos())
}

impl Host for DomainHost {
    fn copy(&mut self, operations: &mut [GnttabCopy]) {
        if let Err(errno) = grant::copy_batch(operations) {
            log::error!("GNTTABOP_copy: {errno}");
            for operation in operations {
                operation.status = GNTST_GENERAL_ERROR;
            }
        }
    }

    fn scratch_frame(&self, page: usize) -> u64 {
        self.scratch.gfn(page)
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        if self.scratch.memory().read_bytes(offset, out).is_err() {
            out.fill(0);
        }
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        // The engine knows the size of the scratch memory.
        let _ = self.scratch.memory().write_bytes(offset, data);
    }

    fn now(&self) -> Duration {
        now()
    }

    fn local_frame(&mut self, frame: &[u8]) {
        self.local.push(frame.to_vec());
    }
}
