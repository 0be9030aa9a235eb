//! How bytes get to the store and back: the shared ring page, or a test's double.

use crate::event::{self, Port};
use crate::shared::SharedMemory;
use crate::stream::StreamLayout;
use crate::time::Instant;
use core::time::Duration;
use xen_abi::Errno;
use xen_abi::event_channel::EvtchnPort;

/// A two-way stream of bytes.
pub trait Transport {
    /// Sends some of `bytes` without blocking, returns how many.
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno>;
    /// Receives into `out` without blocking, returns how many.
    fn receive(&mut self, out: &mut [u8]) -> Result<usize, Errno>;
    /// Blocks until the other end has done something. `ETIMEDOUT`: it has not in the time that [`Self::set_patience`] gave it.
    fn wait(&mut self) -> Result<(), Errno>;
    /// Ends the patience of [`Self::wait`], which is endless otherwise.
    fn set_patience(&mut self, _patience: Duration) {}
    /// Makes the event channel pending again if there is `work` for [`super::Store::next_event`], or bytes wait unread.
    fn rearm(&mut self, work: bool);
    /// The event channel.
    fn port(&self) -> EvtchnPort;
}

/// The ring page that the domain was built with.
pub(super) struct RingTransport {
    page: SharedMemory,
    port: Port,
    patience: Option<Duration>,
}

impl RingTransport {
    #[cfg(target_os = "none")]
    #[expect(unsafe_code, reason = "the ring page is found by number")]
    pub(super) fn connect() -> Result<Self, Errno> {
        use crate::control::get_param;
        use core::ptr::NonNull;
        use xen_abi::DOMID_SELF;
        use xen_abi::hvm::params::{HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN};
        use xen_abi::xen::PAGE_SIZE;
        let gfn = get_param(DOMID_SELF, HVM_PARAM_STORE_PFN)?;
        let port = get_param(DOMID_SELF, HVM_PARAM_STORE_EVTCHN)?;
        let port = EvtchnPort::try_from(port)
            .ok()
            .filter(|&port| port != 0)
            .ok_or(Errno::ENODEV)?;
        let base = NonNull::new((gfn * PAGE_SIZE as u64) as *mut u8)
            .filter(|_| gfn < 1 << 20)
            .ok_or(Errno::ENODEV)?;
        // SAFETY: a page of ours outside the allocator's RAM, below 4 GiB and so identity-mapped, there for this use.
        let page = unsafe { SharedMemory::new(base, PAGE_SIZE) };
        Ok(RingTransport {
            page,
            port: Port::from_number(port),
            patience: None,
        })
    }

    #[cfg(not(target_os = "none"))]
    pub(super) fn connect() -> Result<Self, Errno> {
        Err(Errno::ENODEV)
    }
}

impl Transport for RingTransport {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let count = StreamLayout::STORE_REQ.write(&self.page, bytes)?;
        if count > 0 {
            self.port.notify()?;
        }
        Ok(count)
    }

    fn receive(&mut self, out: &mut [u8]) -> Result<usize, Errno> {
        let layout = StreamLayout::STORE_RSP;
        let count = layout.read(&self.page, out)?;
        // The server waits for room only if it found the ring full as it was before this read.
        if count > 0 && layout.readable(&self.page)? + count >= layout.size as usize {
            self.port.notify()?;
        }
        Ok(count)
    }

    fn wait(&mut self) -> Result<(), Errno> {
        let deadline = self.patience.map(|patience| Instant::now() + patience);
        if event::wait_for(&self.port, deadline) {
            Ok(())
        } else {
            Err(Errno::ETIMEDOUT)
        }
    }

    fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    fn rearm(&mut self, work: bool) {
        if work
            || StreamLayout::STORE_RSP
                .readable(&self.page)
                .is_ok_and(|bytes| bytes > 0)
        {
            event::mark_pending(self.port.number());
        }
    }

    fn port(&self) -> EvtchnPort {
        self.port.number()
    }
}
