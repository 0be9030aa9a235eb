//! Contiguous allocation of pages in a bitmap: for RAM, and for the window of guest physical addresses.

/// A bitmap over `pages` pages; a set bit is a used page. Next fit, so that the cost of a search stays small while
/// memory is mostly free.
pub struct Bitmap {
    words: &'static mut [u64],
    pages: usize,
    free: usize,
    hint: usize,
}

impl Bitmap {
    /// Words needed for `pages` pages.
    pub const fn words_for(pages: usize) -> usize {
        pages.div_ceil(64)
    }

    /// All pages used. `words` must hold `pages` bits.
    pub fn new(words: &'static mut [u64], pages: usize) -> Self {
        let pages = pages.min(words.len() * 64);
        words.fill(u64::MAX);
        Bitmap {
            words,
            pages,
            free: 0,
            hint: 0,
        }
    }

    /// Free pages.
    pub fn free_pages(&self) -> usize {
        self.free
    }

    /// Pages in all.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Marks `count` pages from `page` on as free (`true`) or used. Out of range: clipped.
    pub fn set_free(&mut self, page: usize, count: usize, free: bool) {
        let end = page.saturating_add(count).min(self.pages);
        let mut at = page.min(end);
        while at < end {
            // The part of this word that is inside.
            let bits = (end - at).min(64 - at % 64);
            let mask = (u64::MAX >> (64 - bits)) << (at % 64);
            let word = &mut self.words[at / 64];
            if free {
                self.free += (*word & mask).count_ones() as usize;
                *word &= !mask;
            } else {
                self.free -= (!*word & mask).count_ones() as usize;
                *word |= mask;
            }
            at += bits;
        }
    }

    /// Takes `count` contiguous pages whose first is a multiple of `align` pages, returns the first.
    pub fn alloc(&mut self, count: usize, align: usize) -> Option<usize> {
        if count == 0 || count > self.free {
            return None;
        }
        let start = self.hint;
        let page = self.search(start, self.pages, count, align).or_else(|| {
            // Runs that straddle the hint are found too.
            self.search(0, self.pages.min(start.saturating_add(count)), count, align)
        })?;
        self.set_free(page, count, false);
        self.hint = page + count;
        Some(page)
    }

    fn search(&self, from: usize, to: usize, count: usize, align: usize) -> Option<usize> {
        let mut candidate = from.next_multiple_of(align.max(1));
        'next: while candidate.checked_add(count)? <= to {
            let mut page = candidate;
            while page < candidate + count {
                let word = self.words[page / 64] >> (page % 64);
                if word == 0 {
                    page = (page / 64 + 1) * 64;
                    continue;
                }
                let used = page + word.trailing_zeros() as usize;
                if used < candidate + count {
                    // Skip the used run as far as this word shows it.
                    let run = (self.words[used / 64] >> (used % 64)).trailing_ones() as usize;
                    candidate = (used + run.max(1)).next_multiple_of(align.max(1));
                    continue 'next;
                }
                break;
            }
            return Some(candidate);
        }
        None
    }

    /// Gives `count` pages back.
    pub fn release(&mut self, page: usize, count: usize) {
        self.set_free(page, count, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bitmap(pages: usize) -> Bitmap {
        let mut bitmap = Bitmap::new(std::vec![0; Bitmap::words_for(pages)].leak(), pages);
        bitmap.set_free(0, pages, true);
        bitmap
    }

    #[test]
    fn aligned_runs_are_found_after_the_hint_wraps() {
        let mut b = bitmap(200);
        assert_eq!(b.alloc(150, 1), Some(0));
        assert_eq!(b.alloc(16, 16), Some(160));
        b.release(0, 100);
        assert_eq!(b.alloc(64, 64), Some(0), "wraps to the front");
        assert_eq!(b.alloc(64, 1), None);
        assert_eq!(b.free_pages(), 200 - 50 - 16 - 64);
    }

    #[test]
    fn a_run_across_the_hint_is_found() {
        let mut b = bitmap(100);
        assert_eq!(b.alloc(50, 1), Some(0));
        b.release(0, 50);
        assert_eq!(b.alloc(100, 1), Some(0));
    }

    proptest! {
        #[test]
        fn allocations_never_overlap(steps in proptest::collection::vec((1_usize..40, 0_usize..4, any::<bool>()), 1..200)) {
            let mut b = bitmap(300);
            let mut held: std::vec::Vec<(usize, usize)> = std::vec![];
            for (count, shift, release) in steps {
                if release && !held.is_empty() {
                    let (page, count) = held.swap_remove(count % held.len());
                    b.release(page, count);
                } else if let Some(page) = b.alloc(count, 1 << shift) {
                    prop_assert_eq!(page % (1 << shift), 0);
                    prop_assert!(page + count <= 300);
                    for &(other, n) in &held {
                        prop_assert!(page + count <= other || other + n <= page);
                    }
                    held.push((page, count));
                } else {
                    // Refused: then no run of that size and alignment is free.
                    let free = |p: usize| !held.iter().any(|&(o, n)| (o..o + n).contains(&p));
                    let possible = (0..=300 - count).step_by(1 << shift).any(|s| (s..s + count).all(free));
                    prop_assert!(!possible);
                }
                let used: usize = held.iter().map(|h| h.1).sum();
                prop_assert_eq!(b.free_pages(), 300 - used);
            }
        }
    }
}
