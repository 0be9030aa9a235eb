//! Pages that frontends granted, mapped here; and those that stay mapped from one request to the next.
//!
//! A frontend that offers `feature-persistent` uses the same references again and again, and never revokes them while it
//! is connected. Mapping them once saves two hypercalls and a flush for each request. The cache is bounded; what was
//! not used for the longest time goes first.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use domain::SharedMemory;
use xen_abi::DomId;
use xen_abi::grant_table::GrantRef;

/// Maps and unmaps granted pages.
pub trait Grants {
    /// A mapped page; its memory's address is its DMA address.
    type Page: AsRef<SharedMemory>;

    /// Maps pages of `dom`; appends one result for each reference.
    fn map(
        &mut self,
        dom: DomId,
        references: &[GrantRef],
        readonly: bool,
        out: &mut Vec<Option<Self::Page>>,
    );

    /// Unmaps pages, in as few hypercalls as possible.
    fn unmap(&mut self, pages: Vec<Self::Page>);
}

/// Pages that one connection keeps mapped (Linux's backend: `max_persistent_grants`).
pub const MAX_PERSISTENT: usize = 1056;

struct Entry<P> {
    page: P,
    /// Requests that use it now.
    users: u32,
    /// When it was used last.
    used: u64,
}

/// A connection's persistently granted pages.
pub struct Cache<P> {
    entries: BTreeMap<GrantRef, Entry<P>>,
    limit: usize,
    clock: u64,
}

/// A page in use by a request.
pub enum PageUse<P> {
    /// It stays in the cache, under this reference.
    Cached(GrantRef),
    /// It goes with the request.
    Own(P),
}

impl<P: AsRef<SharedMemory>> Cache<P> {
    /// An empty cache for `limit` pages; zero for a frontend without persistent grants.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            limit,
            clock: 0,
        }
    }

    /// Pages that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is none kept?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Maps the pages of a request, in the order of `references`: `used` gets each page, `addresses` where it is.
    /// False: not all could be mapped; `used` then holds those that were, to be given back by [`Self::release`].
    pub fn acquire<G: Grants<Page = P>>(
        &mut self,
        grants: &mut G,
        dom: DomId,
        references: &[GrantRef],
        readonly: bool,
        used: &mut Vec<PageUse<P>>,
        addresses: &mut Vec<u64>,
    ) -> bool {
        self.clock += 1;
        let mut slots: Vec<Option<(PageUse<P>, u64)>> = references
            .iter()
            .map(|reference| self.take(*reference))
            .collect();
        let missing = |slots: &[Option<_>]| -> Vec<(usize, GrantRef)> {
            let each = slots.iter().zip(references).enumerate();
            each.filter(|(_, (slot, _))| slot.is_none())
                .map(|(index, (_, reference))| (index, *reference))
                .collect()
        };
        let wanted = missing(&slots);
        if !wanted.is_empty() {
            // A page that is kept must serve reads and writes alike.
            let keep = self.make_room(grants, wanted.len());
            for (index, page) in map(grants, dom, &wanted, readonly && !keep) {
                let address = page.as_ref().address();
                let page = if keep {
                    self.insert(references[index], page)
                } else {
                    PageUse::Own(page)
                };
                slots[index] = Some((page, address));
            }
            // What was granted for reading only cannot be kept, but it can serve.
            if keep && readonly {
                for (index, page) in map(grants, dom, &missing(&slots), true) {
                    let address = page.as_ref().address();
                    slots[index] = Some((PageUse::Own(page), address));
                }
            }
        }
        let complete = slots.iter().all(Option::is_some);
        for (page, address) in slots.into_iter().flatten() {
            used.push(page);
            addresses.push(address);
        }
        complete
    }

    /// A page that is kept, which is in use once more now.
    fn take(&mut self, reference: GrantRef) -> Option<(PageUse<P>, u64)> {
        let entry = self.entries.get_mut(&reference)?;
        entry.users += 1;
        entry.used = self.clock;
        Some((PageUse::Cached(reference), entry.page.as_ref().address()))
    }

    fn insert(&mut self, reference: GrantRef, page: P) -> PageUse<P> {
        // The same reference twice in one request: the second mapping goes with the request.
        if self.entries.contains_key(&reference) {
            return PageUse::Own(page);
        }
        self.entries.insert(
            reference,
            Entry {
                page,
                users: 1,
                used: self.clock,
            },
        );
        PageUse::Cached(reference)
    }

    /// Makes room for `count` more pages; false if there is none.
    fn make_room<G: Grants<Page = P>>(&mut self, grants: &mut G, count: usize) -> bool {
        if self.entries.len() + count <= self.limit {
            return true;
        }
        if count > self.limit {
            return false;
        }
        let mut idle: Vec<(u64, GrantRef)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.users == 0)
            .map(|(key, entry)| (entry.used, *key))
            .collect();
        // More than is needed now, so that a frontend with ever new references does not make us search each time.
        let surplus = self.entries.len() + count - self.limit;
        if idle.len() < surplus {
            return false;
        }
        let victims = (surplus + self.limit / 16).min(idle.len());
        idle.sort_unstable();
        let gone = idle[..victims]
            .iter()
            .filter_map(|(_, key)| self.entries.remove(key))
            .map(|entry| entry.page);
        grants.unmap(gone.collect());
        true
    }

    /// The memory of a page in use.
    pub fn memory<'a>(&'a self, page: &'a PageUse<P>) -> Option<&'a SharedMemory> {
        match page {
            PageUse::Cached(reference) => {
                self.entries.get(reference).map(|entry| entry.page.as_ref())
            }
            PageUse::Own(page) => Some(page.as_ref()),
        }
    }

    /// Ends the use of a request's pages; those that go are added to `gone`, to be unmapped.
    pub fn release(&mut self, used: Vec<PageUse<P>>, gone: &mut Vec<P>) {
        for page in used {
            match page {
                PageUse::Own(page) => gone.push(page),
                PageUse::Cached(reference) => {
                    if let Some(entry) = self.entries.get_mut(&reference) {
                        entry.users = entry.users.saturating_sub(1);
                    }
                }
            }
        }
    }

    /// Unmaps all. No request uses any.
    pub fn clear<G: Grants<Page = P>>(&mut self, grants: &mut G) {
        let entries = core::mem::take(&mut self.entries);
        grants.unmap(entries.into_values().map(|entry| entry.page).collect());
    }
}

/// Maps pages; gives those that could be, with their index.
fn map<G: Grants>(
    grants: &mut G,
    dom: DomId,
    wanted: &[(usize, GrantRef)],
    readonly: bool,
) -> impl Iterator<Item = (usize, G::Page)> {
    let references: Vec<GrantRef> = wanted.iter().map(|(_, reference)| *reference).collect();
    let mut pages = Vec::with_capacity(references.len());
    if !references.is_empty() {
        grants.map(dom, &references, readonly, &mut pages);
    }
    let indexes: Vec<usize> = wanted.iter().map(|(index, _)| *index).collect();
    indexes
        .into_iter()
        .zip(pages)
        .filter_map(|(index, page)| Some((index, page?)))
}
