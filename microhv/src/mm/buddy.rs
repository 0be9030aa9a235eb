//! A buddy allocator that needs no memory of its own.
//!
//! The links of a free block lie in the block's first frame, its order in the frame's table entry.
//! Nobody but the allocator holds a free frame, so nobody else can change the links.

/// The largest order: 2^18 frames, 1 GiB.
pub const MAX_ORDER: u32 = 18;
const NONE: u64 = u64::MAX;

/// What the allocator needs to remember about frames.
pub trait Backing {
    /// The order of the free block whose first frame is `frame`; `None` for any other frame.
    fn free_order(&self, frame: u64) -> Option<u32>;
    /// Sets what [`Self::free_order`] answers.
    fn set_free_order(&mut self, frame: u64, order: Option<u32>);
    /// The links of a free block: previous, next.
    fn links(&self, frame: u64) -> (u64, u64);
    /// Sets the links of a free block.
    fn set_links(&mut self, frame: u64, links: (u64, u64));
}

/// The free lists, one for each order.
#[derive(Debug)]
pub struct Buddy {
    heads: [u64; MAX_ORDER as usize + 1],
    free: u64,
}

impl Buddy {
    /// An allocator without frames.
    pub const fn new() -> Self {
        Self {
            heads: [NONE; MAX_ORDER as usize + 1],
            free: 0,
        }
    }

    /// Frames that are free now.
    pub const fn free_frames(&self) -> u64 {
        self.free
    }

    /// Takes a block of `2^order` frames, naturally aligned; the lowest part of the smallest
    /// block that fits.
    pub fn alloc(&mut self, backing: &mut impl Backing, order: u32) -> Option<u64> {
        let mut have = (order..=MAX_ORDER).find(|o| self.heads[*o as usize] != NONE)?;
        let frame = self.heads[have as usize];
        self.unlink(backing, frame, have);
        while have > order {
            have -= 1;
            self.link(backing, frame + (1 << have), have);
        }
        self.free -= 1 << order;
        Some(frame)
    }

    /// Gives a block back and joins it with its free neighbours.
    pub fn free(&mut self, backing: &mut impl Backing, frame: u64, order: u32) {
        debug_assert!(order <= MAX_ORDER && frame.is_multiple_of(1 << order));
        debug_assert!(backing.free_order(frame).is_none(), "double free");
        let (mut frame, mut order) = (frame, order);
        self.free += 1 << order;
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if backing.free_order(buddy) != Some(order) {
                break;
            }
            self.unlink(backing, buddy, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.link(backing, frame, order);
    }

    /// Gives the frames `first..end` to the allocator in the largest aligned blocks.
    pub fn add(&mut self, backing: &mut impl Backing, first: u64, end: u64) {
        let mut frame = first;
        while frame < end {
            let align = frame.trailing_zeros().min(MAX_ORDER);
            let size = (end - frame).ilog2();
            let order = align.min(size);
            self.free(backing, frame, order);
            frame += 1 << order;
        }
    }

    fn link(&mut self, backing: &mut impl Backing, frame: u64, order: u32) {
        let next = self.heads[order as usize];
        backing.set_links(frame, (NONE, next));
        if next != NONE {
            let (_, after) = backing.links(next);
            backing.set_links(next, (frame, after));
        }
        backing.set_free_order(frame, Some(order));
        self.heads[order as usize] = frame;
    }

    fn unlink(&mut self, backing: &mut impl Backing, frame: u64, order: u32) {
        let (previous, next) = backing.links(frame);
        if previous == NONE {
            self.heads[order as usize] = next;
        } else {
            let (before, _) = backing.links(previous);
            backing.set_links(previous, (before, next));
        }
        if next != NONE {
            let (_, after) = backing.links(next);
            backing.set_links(next, (previous, after));
        }
        backing.set_free_order(frame, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Default)]
    struct Memory {
        orders: HashMap<u64, u32>,
        links: HashMap<u64, (u64, u64)>,
    }

    impl Backing for Memory {
        fn free_order(&self, frame: u64) -> Option<u32> {
            self.orders.get(&frame).copied()
        }
        fn set_free_order(&mut self, frame: u64, order: Option<u32>) {
            match order {
                Some(order) => self.orders.insert(frame, order),
                None => self.orders.remove(&frame),
            };
        }
        fn links(&self, frame: u64) -> (u64, u64) {
            self.links[&frame]
        }
        fn set_links(&mut self, frame: u64, links: (u64, u64)) {
            self.links.insert(frame, links);
        }
    }

    #[test]
    fn a_range_is_given_out_whole_and_comes_back_whole() {
        let (mut buddy, mut memory) = (Buddy::new(), Memory::default());
        buddy.add(&mut memory, 3, 1031);
        assert_eq!(buddy.free_frames(), 1028);
        let mut seen = std::collections::BTreeSet::new();
        while let Some(frame) = buddy.alloc(&mut memory, 0) {
            assert!((3..1031).contains(&frame));
            assert!(seen.insert(frame));
        }
        assert_eq!(seen.len(), 1028);
        for frame in seen {
            buddy.free(&mut memory, frame, 0);
        }
        // 512..1024 must be one block again.
        assert_eq!(buddy.alloc(&mut memory, 9), Some(512));
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_nothing_is_lost(
            operations in proptest::collection::vec((0u32..11, any::<prop::sample::Index>(), any::<bool>()), 1..300)
        ) {
            let (mut buddy, mut memory) = (Buddy::new(), Memory::default());
            let (first, end) = (0x123, 0x2345);
            buddy.add(&mut memory, first, end);
            let mut held: Vec<(u64, u32)> = Vec::new();
            for (order, index, give_back) in operations {
                if give_back && !held.is_empty() {
                    let (frame, order) = held.swap_remove(index.index(held.len()));
                    buddy.free(&mut memory, frame, order);
                } else if let Some(frame) = buddy.alloc(&mut memory, order) {
                    let size = 1u64 << order;
                    prop_assert_eq!(frame % size, 0);
                    prop_assert!(frame >= first && frame + size <= end);
                    for (other, other_order) in &held {
                        prop_assert!(frame + size <= *other || other + (1 << other_order) <= frame);
                    }
                    held.push((frame, order));
                }
                let used: u64 = held.iter().map(|(_, order)| 1u64 << order).sum();
                prop_assert_eq!(buddy.free_frames(), end - first - used);
            }
            for (frame, order) in held {
                buddy.free(&mut memory, frame, order);
            }
            // All joined again: as few blocks as a fresh allocator has.
            let (mut fresh, mut other) = (Buddy::new(), Memory::default());
            fresh.add(&mut other, first, end);
            prop_assert_eq!(memory.orders, other.orders);
        }
    }
}
