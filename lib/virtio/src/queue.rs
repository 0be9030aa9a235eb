//! A virtqueue whose buffers are DMA addresses.
#![expect(unsafe_code, reason = "hands memory to a device")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::{Ordering, fence};

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;

use crate::hal::DomainHal;

/// Contiguous memory for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// DMA address, which is also its address here.
    pub gpa: u64,
    /// Bytes, not zero.
    pub len: u32,
}

/// Why something could not be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// No room until the device returns something.
    Full,
    /// No buffers, more than the queue is long, or one that is empty, at address zero or at the end of the address space.
    Senseless,
}

/// What the device returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The token that [`Queue::add`] gave.
    pub token: u16,
    /// Bytes that it says it wrote: not to be believed without a look at the buffers' sizes.
    pub written: u32,
}

/// The buffers of a request under way: the crate wants to see them again.
#[derive(Default)]
struct Lent {
    buffers: Vec<Buffer>,
    /// How many of them, from the first on, the device reads; it writes the others.
    inputs: usize,
    busy: bool,
}

/// A virtqueue of `SIZE` descriptors.
pub struct Queue<const SIZE: usize> {
    /// Boxed, for it is some kilobytes and a domain's stack is small.
    queue: Box<VirtQueue<DomainHal, SIZE>>,
    number: u16,
    lent: Vec<Lent>,
    /// Something was added since the last [`Self::kick`].
    added: bool,
    /// The device returned what it was not given. Nothing of it can be believed any more.
    broken: bool,
}

impl<const SIZE: usize> Queue<SIZE> {
    /// Sets up queue `number` of a device, with indirect descriptors if `indirect` (and only if negotiated).
    ///
    /// # Errors
    /// The crate's.
    pub fn new(
        device: &mut impl Transport,
        number: u16,
        indirect: bool,
    ) -> Result<Self, virtio_drivers::Error> {
        let queue = Box::new(VirtQueue::new(device, number, indirect, false)?);
        let lent = (0..SIZE).map(|_| Lent::default()).collect();
        Ok(Self {
            queue,
            number,
            lent,
            added: false,
            broken: false,
        })
    }

    /// Queues a request: the device reads `read`, then writes `write`. Gives a token by which [`Self::pop`] names it.
    /// The device looks after the next [`Self::kick`].
    ///
    /// # Errors
    /// See [`QueueError`]; nothing is queued then.
    ///
    /// # Safety
    /// Until `pop` has given the token, or the device is reset, the device may read and write the buffers: no Rust
    /// reference to them exists, and they are not freed for another use.
    pub unsafe fn add(&mut self, read: &[Buffer], write: &[Buffer]) -> Result<u16, QueueError> {
        if self.broken {
            return Err(QueueError::Full);
        }
        let sound = |buffer: &Buffer| {
            buffer.len > 0 && buffer.gpa > 0 && buffer.gpa.checked_add(buffer.len.into()).is_some()
        };
        if read.is_empty() && write.is_empty() || !read.iter().chain(write).all(sound) {
            return Err(QueueError::Senseless);
        }
        if read.len() + write.len() > SIZE {
            return Err(QueueError::Senseless);
        }
        // SAFETY: the buffers stay with the device until `pop`, as our caller promises.
        let token = unsafe {
            match read.len() + write.len() {
                ..=FEW => self.lend::<FEW>(read, write),
                _ => self.lend::<SIZE>(read, write),
            }
        }?;
        if let Some(lent) = self.lent.get_mut(usize::from(token)) {
            lent.buffers.clear();
            lent.buffers.extend(read.iter().chain(write));
            lent.inputs = read.len();
            lent.busy = true;
        }
        self.added = true;
        Ok(token)
    }

    /// Hands buffers, `N` at most, to the device.
    ///
    /// # Safety
    /// As for [`Self::add`].
    unsafe fn lend<const N: usize>(
        &mut self,
        read: &[Buffer],
        write: &[Buffer],
    ) -> Result<u16, QueueError> {
        let (inputs, mut outputs) = slices::<N>(read, write);
        // SAFETY: the slices name the buffers, which stay with the device until `pop`, as our caller promises.
        unsafe { self.queue.add(&inputs, &mut outputs) }.map_err(|_| QueueError::Full)
    }

    /// Takes buffers, `N` at most, back from the device; gives how many bytes it wrote.
    ///
    /// # Safety
    /// They are those that were added for `token`.
    unsafe fn take_back<const N: usize>(
        &mut self,
        token: u16,
        read: &[Buffer],
        write: &[Buffer],
    ) -> Option<u32> {
        let (inputs, outputs) = slices::<N>(read, write);
        // The crate borrows the lists for as long as the slices live, so they must not be dropped. They own nothing.
        let (inputs, mut outputs) = (ManuallyDrop::new(inputs), ManuallyDrop::new(outputs));
        // SAFETY: these are the buffers that were added for this token.
        unsafe { self.queue.pop_used(token, &inputs, &mut outputs) }.ok()
    }

    /// Tells the device of what was added, if it wants to be told.
    pub fn kick(&mut self, device: &mut impl Transport) {
        if !core::mem::take(&mut self.added) {
            return;
        }
        // The device sees the new index before we look whether it sleeps: else both could miss each other.
        fence(Ordering::SeqCst);
        if self.queue.should_notify() {
            device.notify(self.number);
        }
    }

    /// The next request that the device is done with.
    pub fn pop(&mut self) -> Option<Used> {
        let token = self.queue.peek_used()?;
        let Some(lent) = self
            .lent
            .get_mut(usize::from(token))
            .filter(|lent| lent.busy && !self.broken)
        else {
            if !core::mem::replace(&mut self.broken, true) {
                log::error!(
                    "virtqueue {}: the device returned {token}, which it was not given",
                    self.number
                );
            }
            return None;
        };
        lent.busy = false;
        let inputs = lent.inputs;
        let buffers = core::mem::take(&mut lent.buffers);
        let (read, write) = buffers.split_at(inputs.min(buffers.len()));
        // SAFETY: these are the buffers that were added for this token.
        let written = unsafe {
            match buffers.len() {
                ..=FEW => self.take_back::<FEW>(token, read, write),
                _ => self.take_back::<SIZE>(token, read, write),
            }
        };
        if let Some(lent) = self.lent.get_mut(usize::from(token)) {
            // Keeps the allocation.
            lent.buffers = buffers;
        }
        written.map(|written| Used { token, written })
    }

    /// Has the device returned something?
    #[must_use]
    pub fn has_used(&self) -> bool {
        !self.broken && self.queue.can_pop()
    }

    /// Tells the device whether to interrupt when it returns something. After `true`, look once more: what was returned before
    /// it saw this is not announced.
    pub fn set_interrupts(&mut self, wanted: bool) {
        self.queue.set_dev_notify(wanted);
        fence(Ordering::SeqCst);
    }

    /// Has the device returned what it was not given?
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// How many descriptors are free.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.broken {
            0
        } else {
            self.queue.available_desc()
        }
    }
}

/// Lists for this many buffers are small enough to be moved about.
const FEW: usize = 16;

/// Makes slices of buffers, for the crate takes nothing else. They are used for their addresses and lengths only.
fn slices<'a, const N: usize>(
    read: &[Buffer],
    write: &[Buffer],
) -> (Slices<&'a [u8], N>, Slices<&'a mut [u8], N>) {
    let (mut inputs, mut outputs) = (Slices::new(), Slices::new());
    for buffer in read {
        // SAFETY: not null, within the address space. Never read: `DomainHal::share` takes the address.
        let slice =
            unsafe { core::slice::from_raw_parts(buffer.gpa as *const u8, buffer.len as usize) };
        // There is room: our callers have counted.
        let _ = inputs.push(slice);
    }
    for buffer in write {
        // SAFETY: as above, and never written.
        let slice =
            unsafe { core::slice::from_raw_parts_mut(buffer.gpa as *mut u8, buffer.len as usize) };
        let _ = outputs.push(slice);
    }
    (inputs, outputs)
}

type Slices<T, const SIZE: usize> = heapless::Vec<T, SIZE>;

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
