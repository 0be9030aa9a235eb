//! The ring layout that blkif and netif share (`io/ring.h`): a 64-byte header, then a power of two of slots, each big
//! enough for a request and a response. Indexes run freely over `u32`.

/// Offset of `req_prod` in the shared page.
pub const REQ_PROD: usize = 0;
/// Offset of `req_event`: the backend wants a notification when `req_prod` passes it.
pub const REQ_EVENT: usize = 4;
/// Offset of `rsp_prod`.
pub const RSP_PROD: usize = 8;
/// Offset of `rsp_event`: the frontend wants a notification when `rsp_prod` passes it.
pub const RSP_EVENT: usize = 12;
/// Offset of the first slot.
pub const RING: usize = 64;

abi_struct! {
    /// The header, `struct NAME_sring` without its slots.
    pub struct SringHeader {
        req_prod: u32,
        req_event: u32,
        rsp_prod: u32,
        rsp_event: u32,
        pvt: [u8; 4],
        _pad: [u8; 44],
    }
}

/// `__RING_SIZE`: slots of `slot_bytes` in a ring of `ring_bytes` (one or more pages): rounded down to a power of
/// two, zero if not even one fits.
pub const fn ring_size(slot_bytes: usize, ring_bytes: usize) -> u32 {
    if slot_bytes == 0 || ring_bytes < RING + slot_bytes {
        return 0;
    }
    let slots = (ring_bytes - RING) / slot_bytes;
    1 << (usize::BITS - 1 - slots.leading_zeros())
}

/// The decision in `RING_PUSH_*_AND_CHECK_NOTIFY`: moving the producer from `old` to `new` passed `event`.
pub const fn passed(old: u32, new: u32, event: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_macro() {
        assert_eq!(ring_size(112, 4096), 32, "blkif, x86_64");
        assert_eq!(ring_size(108, 4096), 32, "blkif, x86_32");
        assert_eq!(ring_size(12, 4096), 256, "netif tx");
        assert_eq!(ring_size(8, 4096), 256, "netif rx: (4096 - 64) / 8 = 504");
        assert_eq!(ring_size(112, 4096 * 16), 512);
        assert_eq!(ring_size(5000, 4096), 0);
        assert_eq!(ring_size(0, 4096), 0);
    }

    #[test]
    fn a_notification_is_due_when_the_event_index_is_passed() {
        assert!(passed(0, 1, 1));
        assert!(!passed(0, 1, 2));
        assert!(passed(5, 9, 7));
        assert!(!passed(5, 9, 5), "the old value itself was passed before");
        assert!(passed(u32::MAX, 1, 0), "across the wrap");
        assert!(!passed(3, 3, 3), "nothing pushed");
    }
}
