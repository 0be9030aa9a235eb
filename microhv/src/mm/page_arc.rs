//! Shared objects of the hypervisor in frames of their own.
#![allow(unsafe_code, reason = "objects in frames")]

use super::page_box::PageBox;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

#[derive(Debug)]
struct Shared<T> {
    holders: AtomicUsize,
    value: T,
}

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
    pub fn try_new(value: T) -> Option<Self> {
        let holders = AtomicUsize::new(1);
        PageBox::new(Shared { holders, value }).map(|page| Self(page.into_raw()))
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
        assert!(core::ptr::eq(&*first, &*second));
        drop(first);
        assert_eq!(Arc::strong_count(&witness), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
