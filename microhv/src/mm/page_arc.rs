//! Shared objects of the hypervisor in frames of their own.
#![allow(unsafe_code, reason = "objects in frames")]

use super::page_box::{PageBox, Zeroable};
use crate::types::Mfn;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

#[derive(Debug)]
struct Shared<T> {
    holders: AtomicUsize,
    value: T,
}

// SAFETY: a zero count is a valid number, and the value vouches for itself.
unsafe impl<T: Zeroable> Zeroable for Shared<T> {}

/// A counted hold on a shared `T`; the last one to be dropped frees it. Like `Arc`, without weak
/// holds.
#[derive(Debug)]
pub struct PageArc<T>(NonNull<Shared<T>>);

// SAFETY: as for Arc: any holder may be the one that drops T, and all share it.
unsafe impl<T: Send + Sync> Send for PageArc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for PageArc<T> {}

impl<T> PageArc<T> {
    /// Moves `value` to frames of its own. `None` if there is no memory.
    #[must_use]
    pub fn try_new(value: T) -> Option<Self> {
        let holders = AtomicUsize::new(1);
        PageBox::new(Shared { holders, value }).map(|page| Self(page.into_raw()))
    }

    /// All-zero bytes as a shared `T`. `None` if there is no memory.
    #[must_use]
    pub fn try_new_zeroed() -> Option<Self>
    where
        T: Zeroable,
    {
        let page = PageBox::<Shared<T>>::new_zeroed()?;
        page.holders.store(1, Ordering::Relaxed);
        Some(Self(page.into_raw()))
    }

    /// Whether both hold the same object.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// How many hold the object now; others may change it at any time.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.shared().holders.load(Ordering::Relaxed)
    }

    /// The number of the first of the object's frames.
    #[must_use]
    pub fn mfn(&self) -> Mfn {
        PageBox::frame_of(self.0)
    }

    fn shared(&self) -> &Shared<T> {
        // SAFETY: the object lives while we hold it.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Deref for PageArc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.shared().value
    }
}

impl<T> Clone for PageArc<T> {
    fn clone(&self) -> Self {
        let before = self.shared().holders.fetch_add(1, Ordering::Relaxed);
        assert!(before < usize::MAX / 2, "too many holders");
        Self(self.0)
    }
}

impl<T> Drop for PageArc<T> {
    fn drop(&mut self) {
        // Release: our use comes before the drop of the value; Acquire: so does everybody's.
        if self.shared().holders.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: we were the last holder; the pointer came from `PageBox::into_raw`.
            drop(unsafe { PageBox::from_raw(self.0) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_last_holder_drops_the_value() {
        let witness = Arc::new(());
        let first = PageArc::try_new(witness.clone()).unwrap();
        let second = first.clone();
        assert!(first.ptr_eq(&second) && first.holders() == 2);
        drop(first);
        assert_eq!(Arc::strong_count(&witness), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn a_zeroed_one_is_held_once() {
        let page = PageArc::<[u64; 1000]>::try_new_zeroed().unwrap();
        assert_eq!((page.holders(), page[999]), (1, 0));
    }
}
