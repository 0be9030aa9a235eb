//! All domains, found by number in constant time.

use core::sync::atomic::{AtomicU16, Ordering};

use spin::RwLock;
use xen_abi::Errno;

use super::Domain;
use crate::mm::PageArc;
use crate::types::DomId;

/// How many domains can exist at once; a power of two.
pub const MAX_DOMAINS: usize = 128;
/// Numbers from here on mean something else in Xen's ABI (`DOMID_FIRST_RESERVED`).
const FIRST_RESERVED: u16 = 0x7ff0;

/// Slot `id % MAX_DOMAINS` holds domain `id`: no two live domains share a remainder.
static DOMAINS: RwLock<[Option<PageArc<Domain>>; MAX_DOMAINS]> =
    RwLock::new([const { None }; MAX_DOMAINS]);

/// The domain with number `id`.
pub fn find(id: DomId) -> Option<PageArc<Domain>> {
    let domains = DOMAINS.read();
    let slot = domains[usize::from(id.0) % MAX_DOMAINS].as_ref()?;
    (slot.id == id).then(|| slot.clone())
}

/// The first live domain with a number of `from` or above.
pub fn next_from(from: u16) -> Option<PageArc<Domain>> {
    let domains = DOMAINS.read();
    let later = domains.iter().flatten().filter(|it| it.id.0 >= from);
    later.min_by_key(|domain| domain.id).cloned()
}

/// The domains from number `first` on, in order.
pub fn all_from(first: u16) -> impl Iterator<Item = PageArc<Domain>> {
    let mut from = Some(first);
    core::iter::from_fn(move || {
        let domain = next_from(from?)?;
        from = domain.id.0.checked_add(1);
        Some(domain)
    })
}

/// Creates an empty, paused domain; `wanted` names its number, else the next free one is taken.
///
/// # Errors
/// `ENOMEM` for no memory or no slot for one more, `EEXIST`, `EINVAL` for a number that none can have; nothing is left
/// behind.
pub fn create(
    wanted: Option<DomId>,
    handle: [u8; 16],
    privileged: bool,
) -> Result<PageArc<Domain>, Errno> {
    let mut domains = DOMAINS.write();
    let id = match wanted {
        Some(id) if id.0 >= FIRST_RESERVED => return Err(Errno::EINVAL),
        Some(id) => match &domains[usize::from(id.0) % MAX_DOMAINS] {
            Some(other) if other.id == id => return Err(Errno::EEXIST),
            Some(_) => return Err(Errno::ENOMEM),
            None => id,
        },
        None => next_free(&domains).ok_or(Errno::ENOMEM)?,
    };
    let domain = Domain::new(id, handle, privileged).and_then(PageArc::try_new);
    let domain = domain.ok_or(Errno::ENOMEM)?;
    domains[usize::from(id.0) % MAX_DOMAINS] = Some(domain.clone());
    Ok(domain)
}

/// The number to try first; only changed under the list's write lock.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Numbers up to `last` are the boot-time domains', whether these could be built or not.
pub fn reserve_up_to(last: u16) {
    NEXT.fetch_max(last.saturating_add(1), Ordering::Relaxed);
}

/// The number after the last one given out whose slot is free, so that numbers come back late.
fn next_free(domains: &[Option<PageArc<Domain>>; MAX_DOMAINS]) -> Option<DomId> {
    let start = NEXT.load(Ordering::Relaxed);
    for step in 0..=MAX_DOMAINS as u16 {
        let mut id = (start + step) % FIRST_RESERVED;
        if id == 0 && start != 0 {
            id = 1; // Domain-0's number never comes back.
        }
        if domains[usize::from(id) % MAX_DOMAINS].is_none() {
            NEXT.store(id + 1, Ordering::Relaxed);
            return Some(DomId(id));
        }
    }
    None
}

/// Takes `id` out of the list; the domain's memory goes when the last reference does.
pub fn remove(id: DomId) {
    let mut domains = DOMAINS.write();
    let slot = &mut domains[usize::from(id.0) % MAX_DOMAINS];
    if slot.as_ref().is_some_and(|domain| domain.id == id) {
        let gone = slot.take();
        drop(domains);
        drop(gone);
    }
}
