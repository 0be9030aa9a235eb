//! One port's state, and the pages that hold them.

use xen_abi::Errno;
use xen_abi::event_channel::EVTCHN_FIFO_PRIORITY_DEFAULT;

use super::MAX_PORTS;
use crate::mm::PageBox;
use crate::types::DomId;

/// What a port is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not in use.
    Free,
    /// Never used: port 0, so that 0 can mean "none".
    Reserved,
    /// Waits until `remote` binds to it.
    Unbound {
        /// The only domain that may.
        remote: DomId,
    },
    /// Connected, or (while the other side does not name us too) about to be.
    Interdomain {
        /// The domain at the other end.
        remote: DomId,
        /// Its port.
        port: u32,
    },
    /// Raised by the hypervisor.
    Virq(u32),
    /// Raised by another vCPU of the same domain.
    Ipi,
    /// Raised by a device: the number is the one that the device's owner in the hypervisor gave.
    Device(u32),
}

/// One port.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    pub state: State,
    /// The vCPU that is told.
    pub vcpu: u8,
    /// FIFO queue for the next event.
    pub priority: u8,
    /// FIFO queue on which it was linked last: vCPU and priority.
    pub last_vcpu: u8,
    pub last_priority: u8,
    /// Pending from before its FIFO event word existed.
    pub pending: bool,
}

impl Channel {
    const FREE: Self = Self {
        state: State::Free,
        vcpu: 0,
        priority: EVTCHN_FIFO_PRIORITY_DEFAULT as u8,
        last_vcpu: 0,
        last_priority: 0,
        pending: false,
    };
}

/// Channels in one page.
const PER_PAGE: usize = 256;
const PAGES: usize = MAX_PORTS as usize / PER_PAGE;
const _: () = assert!(size_of::<[Channel; PER_PAGE]>() <= crate::types::PAGE_SIZE);

/// All ports of a domain; pages come when the first port on them is used.
pub struct Channels {
    pages: [Option<PageBox<[Channel; PER_PAGE]>>; PAGES],
}

impl Channels {
    /// No port but the reserved one.
    pub fn new() -> Option<Self> {
        let mut first = PageBox::new([Channel::FREE; PER_PAGE])?;
        first[0].state = State::Reserved;
        let mut pages = [const { None }; PAGES];
        pages[0] = Some(first);
        Some(Self { pages })
    }

    /// The port, if it lies on a page that exists (Xen: `port_is_valid`).
    pub fn get(&self, port: u32) -> Option<&Channel> {
        let page = self.pages.get(port as usize / PER_PAGE)?.as_ref()?;
        page.get(port as usize % PER_PAGE)
    }

    /// As [`Self::get`], to change it.
    pub fn get_mut(&mut self, port: u32) -> Option<&mut Channel> {
        let page = self.pages.get_mut(port as usize / PER_PAGE)?.as_mut()?;
        page.get_mut(port as usize % PER_PAGE)
    }

    /// Makes sure that `port` lies on a page that exists.
    pub fn reach(&mut self, port: u32) -> Result<(), Errno> {
        let page = self
            .pages
            .get_mut(port as usize / PER_PAGE)
            .ok_or(Errno::ENOSPC)?;
        if page.is_none() {
            *page = Some(PageBox::new([Channel::FREE; PER_PAGE]).ok_or(Errno::ENOMEM)?);
        }
        Ok(())
    }

    /// Frees the port; its FIFO queue is remembered, for it may still be linked there.
    pub fn free(&mut self, port: u32) {
        if let Some(channel) = self.get_mut(port) {
            channel.state = State::Free;
            channel.vcpu = 0;
            channel.pending = false;
        }
    }
}
