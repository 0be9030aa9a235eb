//! A long array whose pages come into being when something on them is used.

use super::PageBox;
use crate::types::PAGE_SIZE;

/// `PAGES` pages of `PER_PAGE` elements. A domain pays for the pages that it has reached.
pub struct Paged<T, const PER_PAGE: usize, const PAGES: usize> {
    pages: [Option<PageBox<[T; PER_PAGE]>>; PAGES],
}

impl<T, const PER_PAGE: usize, const PAGES: usize> Default for Paged<T, PER_PAGE, PAGES> {
    /// No page.
    fn default() -> Self {
        const { assert!(size_of::<[T; PER_PAGE]>() <= PAGE_SIZE) };
        Self {
            pages: [const { None }; PAGES],
        }
    }
}

impl<T, const PER_PAGE: usize, const PAGES: usize> Paged<T, PER_PAGE, PAGES> {
    /// The element, if it lies on a page that exists.
    pub fn get(&self, index: u32) -> Option<&T> {
        let page = self.pages.get(index as usize / PER_PAGE)?.as_ref()?;
        page.get(index as usize % PER_PAGE)
    }

    /// As [`Self::get`], to change it.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let page = self.pages.get_mut(index as usize / PER_PAGE)?.as_mut()?;
        page.get_mut(index as usize % PER_PAGE)
    }

    /// The element, on a page that is made of `element`s of their index if it does not exist. None: it lies beyond the end,
    /// or memory is out.
    pub fn reach(&mut self, index: u32, element: impl Fn(u32) -> T) -> Option<&mut T> {
        let number = index as usize / PER_PAGE;
        let page = self.pages.get_mut(number)?;
        if page.is_none() {
            let first = (number * PER_PAGE) as u32;
            let elements = core::array::from_fn(|offset| element(first + offset as u32));
            *page = Some(PageBox::new(elements)?);
        }
        self.get_mut(index)
    }

    /// All elements on pages that exist.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten().flat_map(|page| page.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_when_they_are_reached() {
        let mut array = Paged::<u32, 100, 3>::default();
        assert!(array.get(150).is_none() && array.get_mut(150).is_none());
        *array.reach(150, |index| index * 2).unwrap() += 1;
        assert_eq!((array.get(150), array.get(199)), (Some(&301), Some(&398)));
        assert_eq!(array.get(99), None);
        assert!(array.reach(300, |_| 0).is_none());
        assert_eq!(array.iter().count(), 100);
    }
}
