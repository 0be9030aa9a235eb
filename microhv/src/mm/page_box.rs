//! Objects of the hypervisor in frames of their own.
#![allow(unsafe_code, reason = "objects in frames")]

use super::{frames, phys};
use crate::types::{Mfn, PAGE_SIZE};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Types of which all-zero bytes are a value.
///
/// # Safety
/// All-zero bytes must be a valid value of the type.
pub unsafe trait Zeroable {}

/// A `T` in as many whole frames as it needs, rounded up to a power of two; freed when dropped.
#[derive(Debug)]
pub struct PageBox<T> {
    place: NonNull<T>,
}

// SAFETY: a PageBox owns its T, as Box does.
unsafe impl<T: Send> Send for PageBox<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for PageBox<T> {}

/// The order of the block that holds `size` bytes.
pub(super) const fn order_for(size: usize) -> u32 {
    size.div_ceil(PAGE_SIZE)
        .next_power_of_two()
        .trailing_zeros()
}

impl<T> PageBox<T> {
    /// The order of the block of frames behind each of these boxes.
    pub const ORDER: u32 = {
        assert!(align_of::<T>() <= PAGE_SIZE);
        order_for(size_of::<T>())
    };

    fn allocate(zeroed: bool) -> Option<NonNull<T>> {
        let mfn = if zeroed {
            frames::alloc_zeroed(Self::ORDER)?
        } else {
            frames::alloc(Self::ORDER)?
        };
        let place = NonNull::new(phys::pointer(mfn)?.cast::<T>())?;
        super::own::objects_changed(1 << Self::ORDER);
        Some(place)
    }

    /// Moves `value` to frames of its own. `None` if there is no memory. A big `T` passes over the
    /// stack: use [`Self::new_zeroed`] for these.
    pub fn new(value: T) -> Option<Self> {
        let place = Self::allocate(false)?;
        // SAFETY: the frames are ours alone, big and aligned enough.
        unsafe { place.write(value) };
        Some(Self { place })
    }

    /// All-zero bytes as a `T`. `None` if there is no memory.
    pub fn new_zeroed() -> Option<Self>
    where
        T: Zeroable,
    {
        let place = Self::allocate(true)?;
        Some(Self { place })
    }

    /// The first frame's number, for structures that hardware reads.
    pub fn mfn(&self) -> Mfn {
        Self::frame_of(self.place)
    }

    /// Keeps the value for ever.
    pub fn leak<'a>(self) -> &'a mut T {
        // SAFETY: nobody else has the pointer, and the frames are never freed.
        unsafe { self.into_raw().as_mut() }
    }

    /// Gives the box away as a pointer.
    pub(super) fn into_raw(self) -> NonNull<T> {
        let place = self.place;
        core::mem::forget(self);
        place
    }

    /// Takes back what [`Self::into_raw`] gave away.
    ///
    /// # Safety
    /// `place` must come from `into_raw`, and be given back once.
    pub(super) unsafe fn from_raw(place: NonNull<T>) -> Self {
        Self { place }
    }

    pub(super) fn frame_of(place: NonNull<T>) -> Mfn {
        phys::frame_of(place.as_ptr().cast())
    }
}

impl<T> Deref for PageBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: initialised by every constructor, ours until dropped.
        unsafe { self.place.as_ref() }
    }
}

impl<T> DerefMut for PageBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and we are borrowed exclusively.
        unsafe { self.place.as_mut() }
    }
}

impl<T> Drop for PageBox<T> {
    fn drop(&mut self) {
        // SAFETY: initialised, and nobody uses it after this.
        unsafe { self.place.drop_in_place() };
        super::own::objects_changed(-(1 << Self::ORDER));
        frames::free(self.mfn(), Self::ORDER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_box_holds_its_value_and_drops_it() {
        let witness = Arc::new(());
        let mut page = PageBox::new((witness.clone(), 5u32)).unwrap();
        page.1 += 1;
        assert_eq!((page.1, Arc::strong_count(&witness)), (6, 2));
        drop(page);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn sizes_are_rounded_to_blocks() {
        assert_eq!(PageBox::<u8>::ORDER, 0);
        assert_eq!(PageBox::<[u8; 4097]>::ORDER, 1);
        assert_eq!(PageBox::<[u8; 12289]>::ORDER, 2);
        struct Words([u64; 2048]);
        // SAFETY: numbers.
        unsafe impl Zeroable for Words {}
        let zeroed = PageBox::<Words>::new_zeroed().unwrap();
        assert!(zeroed.0.iter().all(|word| *word == 0));
        assert_eq!(zeroed.mfn().0 % 4, 0);
    }
}
