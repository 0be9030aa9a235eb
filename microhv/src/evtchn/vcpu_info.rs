//! Where a vCPU's `vcpu_info` lies, and bits in pages shared with a guest.

use core::sync::atomic::Ordering;

use crate::mm::FrameRef;
use crate::types::PAGE_SIZE;

/// Bytes of `struct vcpu_info`.
pub const VCPU_INFO_SIZE: usize = 64;
/// `vcpu_info.evtchn_upcall_pending`.
const UPCALL_PENDING: usize = 0;
/// `vcpu_info.evtchn_upcall_mask`.
const UPCALL_MASK: usize = 1;
/// `vcpu_info.evtchn_pending_sel`: a bit for each word of `evtchn_pending`, which has [`WORD_BITS`].
const SELECTOR: usize = 8;
const WORD_BITS: u32 = 64;
/// `vcpu_info.time`.
const TIME: usize = 32;

/// One vCPU's `vcpu_info`, wherever the guest wants it.
#[derive(Clone)]
pub struct VcpuInfoRef {
    frame: FrameRef,
    offset: usize,
}

impl VcpuInfoRef {
    /// A `vcpu_info` at `offset` bytes in `frame`; none if it does not fit there or is not aligned to eight bytes.
    pub fn new(frame: FrameRef, offset: usize) -> Option<Self> {
        (offset <= PAGE_SIZE - VCPU_INFO_SIZE && offset.is_multiple_of(8))
            .then_some(Self { frame, offset })
    }

    /// `evtchn_upcall_pending`: some event has come that the vCPU has not begun to handle.
    pub fn upcall_pending(&self) -> bool {
        self.frame
            .atomic_u8(self.offset + UPCALL_PENDING)
            .load(Ordering::SeqCst)
            != 0
    }

    /// Clears `evtchn_upcall_mask`, as a blocking vCPU asks for.
    pub fn unmask_upcall(&self) {
        self.frame
            .atomic_u8(self.offset + UPCALL_MASK)
            .store(0, Ordering::SeqCst);
    }

    /// Sets `evtchn_upcall_pending`; true if it was clear.
    pub fn mark_pending(&self) -> bool {
        self.frame
            .atomic_u8(self.offset + UPCALL_PENDING)
            .swap(1, Ordering::SeqCst)
            == 0
    }

    /// Tells the vCPU to look at the word of `port`; true if its upcall flag was clear.
    pub(super) fn select(&self, port: u32) -> bool {
        set_bit(&self.frame, self.offset + SELECTOR, port / WORD_BITS) && self.mark_pending()
    }

    /// The frame and the byte offset of `vcpu_info.time`.
    pub fn time(&self) -> (&FrameRef, usize) {
        (&self.frame, self.offset + TIME)
    }

    /// Takes over the contents of `old`, with everything selected and the upcall pending, so that a guest that moves
    /// its `vcpu_info` looks at every port once.
    pub(super) fn succeed(&self, old: &Self) -> bool {
        let mut bytes = [0; VCPU_INFO_SIZE];
        old.frame.read(old.offset, &mut bytes);
        bytes[UPCALL_PENDING] = 0;
        bytes[SELECTOR..SELECTOR + 8].fill(0xff);
        self.frame.write(self.offset, &bytes);
        self.mark_pending()
    }
}

/// The 32-bit word and mask of bit `bit` of the bitmap at `base`.
const fn place(base: usize, bit: u32) -> (usize, u32) {
    (base + (bit / 32 * 4) as usize, 1 << (bit % 32))
}

/// Sets a bit; true if it was clear.
pub fn set_bit(frame: &FrameRef, base: usize, bit: u32) -> bool {
    let (word, mask) = place(base, bit);
    frame.atomic_u32(word).fetch_or(mask, Ordering::SeqCst) & mask == 0
}

/// Clears a bit; true if it was set.
pub fn clear_bit(frame: &FrameRef, base: usize, bit: u32) -> bool {
    let (word, mask) = place(base, bit);
    frame.atomic_u32(word).fetch_and(!mask, Ordering::SeqCst) & mask != 0
}

/// Is the bit set?
pub fn test_bit(frame: &FrameRef, base: usize, bit: u32) -> bool {
    let (word, mask) = place(base, bit);
    frame.atomic_u32(word).load(Ordering::SeqCst) & mask != 0
}
