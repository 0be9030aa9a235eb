//! The FIFO scheme: an event word for each port, linked into 16 queues for each vCPU, all of it in the guest's pages.
//!
//! We only append: `LINK` of the tail's word, or the queue's head if the tail has been consumed. The guest only
//! consumes. What a hostile guest writes there can cost it its own events; it cannot make us loop (retries are
//! bounded), follow a link (we never do) or reach memory outside the pages it gave (ports are ours, from `tails`).
//! Source: Xen's `public/event_channel.h` and `docs/misc` FIFO design (draft H).

use core::sync::atomic::{AtomicU32, Ordering};

use xen_abi::Errno;
use xen_abi::event_channel::{
    EVTCHN_FIFO_BUSY, EVTCHN_FIFO_LINK_MASK, EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED,
    EVTCHN_FIFO_MAX_QUEUES, EVTCHN_FIFO_PENDING, EvtchnFifoControlBlock,
};

use super::channel::Channel;
use super::vcpu_info::VcpuInfoRef;
use super::{MAX_PORTS, MAX_VCPUS, Notify};
use crate::mm::FrameRef;
use crate::types::PAGE_SIZE;

const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
const BUSY: u32 = 1 << EVTCHN_FIFO_BUSY;

const QUEUES: usize = EVTCHN_FIFO_MAX_QUEUES as usize;
/// Event words in a page.
pub const WORDS_PER_PAGE: u32 = (PAGE_SIZE / size_of::<u32>()) as u32;
const ARRAY_PAGES: usize = (MAX_PORTS / WORDS_PER_PAGE) as usize;
/// Byte offset of `head` in the control block, after `ready` and `_rsvd`.
const HEAD: usize = 8;
/// Changes the guest can make to a linked word that we hold busy: set or clear MASKED, clear PENDING, clear LINKED.
const LINK_RETRIES: usize = 4;

/// One vCPU's queues.
struct Queues {
    control: Option<ControlBlock>,
    /// The port that each queue's last entry is for; 0 for a queue that was never used or has lost its tail.
    tails: [u32; QUEUES],
}

/// A vCPU's `struct evtchn_fifo_control_block`.
struct ControlBlock {
    frame: FrameRef,
    offset: usize,
}

/// All of a domain's FIFO state.
pub struct Fifo {
    array: heapless::Vec<FrameRef, ARRAY_PAGES>,
    vcpus: [Queues; MAX_VCPUS],
}

impl Fifo {
    /// No event words, no control blocks.
    pub const fn new() -> Self {
        Self {
            array: heapless::Vec::new(),
            vcpus: [const {
                Queues {
                    control: None,
                    tails: [0; QUEUES],
                }
            }; MAX_VCPUS],
        }
    }

    /// Checks where a control block is to lie.
    pub fn check_offset(offset: u32) -> Result<usize, Errno> {
        let offset = offset as usize;
        if offset > PAGE_SIZE - size_of::<EvtchnFifoControlBlock>() || !offset.is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        Ok(offset)
    }

    /// Registers a vCPU's control block, once.
    pub fn set_control(&mut self, vcpu: u32, frame: FrameRef, offset: usize) -> Result<(), Errno> {
        let queues = self.vcpus.get_mut(vcpu as usize).ok_or(Errno::ENOENT)?;
        if queues.control.is_some() {
            return Err(Errno::EINVAL);
        }
        queues.control = Some(ControlBlock { frame, offset });
        Ok(())
    }

    /// Adds a page of event words; gives the first port whose word it holds.
    pub fn add_words(&mut self, frame: Option<FrameRef>) -> Result<u32, Errno> {
        let first = self.array.len() as u32 * WORDS_PER_PAGE;
        if self.array.is_full() {
            return Err(Errno::ENOSPC);
        }
        let _ = self.array.push(frame.ok_or(Errno::EINVAL)?);
        Ok(first)
    }

    fn word(&self, port: u32) -> Option<&AtomicU32> {
        let frame = self.array.get((port / WORDS_PER_PAGE) as usize)?;
        Some(frame.atomic_u32((port % WORDS_PER_PAGE) as usize * size_of::<u32>()))
    }

    /// Raises `port`; `info` is the `vcpu_info` of the channel's vCPU.
    pub fn set_pending(&mut self, port: u32, channel: &mut Channel, info: &VcpuInfoRef) -> Notify {
        let Some(word) = self.word(port) else {
            channel.pending = true;
            return Notify::NONE;
        };
        let (vcpu, priority) = (
            usize::from(channel.vcpu),
            usize::from(channel.priority) % QUEUES,
        );
        if self
            .vcpus
            .get(vcpu)
            .is_none_or(|queues| queues.control.is_none())
        {
            // The guest must not use a vCPU for events before it has a control block.
            return Notify::NONE;
        }
        let newly = word.fetch_or(PENDING, Ordering::SeqCst) & PENDING == 0;
        let mut notify = Notify::new(None, newly.then_some(port));
        if word.load(Ordering::SeqCst) & MASKED != 0
            || word.fetch_or(LINKED, Ordering::SeqCst) & LINKED != 0
        {
            return notify;
        }
        // A port that was a queue's tail and is linked anew has left that queue, which is empty now.
        let last = self.vcpus.get_mut(usize::from(channel.last_vcpu));
        if let Some(tail) =
            last.and_then(|last| last.tails.get_mut(usize::from(channel.last_priority)))
            && *tail == port
        {
            *tail = 0;
        }
        let tail = self.vcpus[vcpu].tails[priority];
        let linked = tail != 0 && self.link(tail, port);
        channel.last_vcpu = channel.vcpu;
        channel.last_priority = priority as u8;
        let queues = &mut self.vcpus[vcpu];
        queues.tails[priority] = port;
        if !linked
            && let Some(control) = &queues.control
            && control.push(priority, port)
            && info.mark_pending()
        {
            notify.upcall = Some(vcpu as u32);
        }
        notify
    }

    /// Makes the word of `tail` point to `port`, if it is still linked. False means that the guest has consumed it, so
    /// that the queue is empty.
    fn link(&self, tail: u32, port: u32) -> bool {
        let Some(word) = self.word(tail) else {
            return false;
        };
        let attempt = || {
            let old = word.load(Ordering::SeqCst);
            if old & LINKED == 0 {
                return Some(false);
            }
            let new = old & !(BUSY | EVTCHN_FIFO_LINK_MASK) | port;
            word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
                .ok()
                .map(|_| true)
        };
        if let Some(linked) = attempt() {
            return linked;
        }
        // Contended. BUSY forbids the guest to unmask, so that it can interfere a bounded number of times only.
        word.fetch_or(BUSY, Ordering::SeqCst);
        for _ in 0..LINK_RETRIES {
            match attempt() {
                Some(true) => return true, // The exchange has cleared BUSY.
                Some(false) => break,
                None => {}
            }
        }
        // Still linked now: the guest breaks the rules, and loses this event. Its queue must not be touched.
        word.fetch_and(!BUSY, Ordering::SeqCst) & LINKED != 0
    }

    /// Clears the mask and queues what waited for that.
    pub fn unmask(&mut self, port: u32, channel: &mut Channel, info: &VcpuInfoRef) -> Notify {
        let Some(word) = self.word(port) else {
            return Notify::NONE;
        };
        if word.fetch_and(!MASKED, Ordering::SeqCst) & PENDING == 0 {
            return Notify::NONE;
        }
        self.set_pending(port, channel, info)
    }

    /// The event is no longer pending; the guest unlinks it itself.
    pub fn clear_pending(&self, port: u32) {
        if let Some(word) = self.word(port) {
            word.fetch_and(!PENDING, Ordering::SeqCst);
        }
    }

    pub fn is_pending(&self, port: u32) -> bool {
        self.has(port, PENDING)
    }

    /// Is the port still on some queue? Then it must not be given out for another use.
    pub fn is_linked(&self, port: u32) -> bool {
        self.has(port, LINKED)
    }

    fn has(&self, port: u32, bits: u32) -> bool {
        self.word(port)
            .is_some_and(|word| word.load(Ordering::SeqCst) & bits != 0)
    }
}

impl ControlBlock {
    /// Makes `port` the head of an empty queue and the queue ready; true if it was not ready before.
    fn push(&self, priority: usize, port: u32) -> bool {
        let head = self
            .frame
            .atomic_u32(self.offset + HEAD + priority * size_of::<u32>());
        head.store(port, Ordering::SeqCst);
        let ready = 1 << priority;
        self.frame
            .atomic_u32(self.offset)
            .fetch_or(ready, Ordering::SeqCst)
            & ready
            == 0
    }
}
