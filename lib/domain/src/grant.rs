//! Grants: giving others access to our pages ([`Grant`]), and using pages that others gave us ([`map_batch`], [`map_range`],
//! [`copy_batch`]).
#![expect(
    unsafe_code,
    reason = "changes what is mapped at addresses of this domain"
)]

use crate::hypercall;
use crate::memory::WindowRange;
use crate::shared::SharedMemory;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;
use spin::Mutex;
use xen_abi::grant_table::*;
use xen_abi::memory::{AddToPhysmap, XENMAPSPACE_GRANT_TABLE, XENMEM_ADD_TO_PHYSMAP};
use xen_abi::xen::PAGE_SIZE;
use xen_abi::{DOMID_SELF, DomId, Errno};

/// A `GNTST_*` status other than okay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GrantError(pub i16);

impl fmt::Debug for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", status_text(self.0), self.0)
    }
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl From<GrantError> for Errno {
    fn from(error: GrantError) -> Errno {
        match error.0 {
            GNTST_BAD_DOMAIN => Errno::ESRCH,
            GNTST_PERMISSION_DENIED => Errno::EPERM,
            GNTST_NO_SPACE | GNTST_NO_DEVICE_SPACE => Errno::ENOSPC,
            GNTST_EAGAIN => Errno::EAGAIN,
            _ => Errno::EINVAL,
        }
    }
}

fn checked(status: i16) -> Result<(), GrantError> {
    if status == GNTST_OKAY {
        Ok(())
    } else {
        Err(GrantError(status))
    }
}

// ---------------------------------------------------------------------------------------------- giving access

/// This domain's grant table: frames mapped so far, and free references.
struct Table {
    frames: Vec<SharedMemory>,
    free: Vec<GrantRef>,
    max_frames: u32,
    /// Ended by us while still in use by the other side.
    dying: Vec<GrantRef>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    frames: Vec::new(),
    free: Vec::new(),
    max_frames: 0,
    dying: Vec::new(),
});

impl Table {
    fn entry_flags(&self, gref: GrantRef) -> Option<&core::sync::atomic::AtomicU16> {
        let offset = gref as usize % GRANT_ENTRIES_PER_FRAME * size_of::<GrantEntryV1>();
        self.frames
            .get(gref as usize / GRANT_ENTRIES_PER_FRAME)?
            .atomic_u16(offset)
            .ok()
    }

    /// Maps one more frame of the table.
    fn grow(&mut self) -> Result<(), Errno> {
        if self.max_frames == 0 {
            let mut size = [GnttabQuerySize {
                dom: DOMID_SELF,
                ..Default::default()
            }];
            // SAFETY: the structure carries no address.
            unsafe { hypercall::grant_table_op(GNTTABOP_QUERY_SIZE, &mut size) }?;
            checked(size[0].status)?;
            self.max_frames = size[0].max_nr_frames;
        }
        let index = self.frames.len();
        if index as u32 >= self.max_frames {
            return Err(Errno::ENOSPC);
        }
        let frame = map_own(XENMAPSPACE_GRANT_TABLE, index as u64)?;
        self.frames.push(frame);
        let first = (index * GRANT_ENTRIES_PER_FRAME) as GrantRef;
        // Highest first, so that low references are used first.
        self.free.extend(
            (first..first + GRANT_ENTRIES_PER_FRAME as GrantRef)
                .rev()
                .filter(|&gref| gref >= GNTTAB_NR_RESERVED_ENTRIES),
        );
        Ok(())
    }

    fn reap(&mut self) {
        let mut index = 0;
        while let Some(&gref) = self.dying.get(index) {
            if self.try_end(gref) {
                self.dying.swap_remove(index);
                self.free.push(gref);
            } else {
                index += 1;
            }
        }
    }

    /// Revokes unless the other side has the page mapped.
    fn try_end(&self, gref: GrantRef) -> bool {
        let Some(flags) = self.entry_flags(gref) else {
            return true;
        };
        let busy = GrantFlags::READING.bits() | GrantFlags::WRITING.bits();
        let mut seen = flags.load(Ordering::SeqCst);
        while seen & busy == 0 {
            match flags.compare_exchange(seen, GTF_INVALID, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }
}

/// Maps a page of the hypervisor's (shared info, grant table) into our window, for ever.
pub(crate) fn map_own(space: u32, index: u64) -> Result<SharedMemory, Errno> {
    let window = WindowRange::new(1).ok_or(Errno::ENOMEM)?;
    let mut op = AddToPhysmap {
        domid: DOMID_SELF,
        space,
        idx: index,
        gpfn: window.gfn(),
        ..Default::default()
    };
    // SAFETY: the frame is in our window, where nothing is mapped.
    unsafe { hypercall::memory_op(XENMEM_ADD_TO_PHYSMAP, &mut op) }?;
    // SAFETY: mapped just now, and never unmapped since the window range is forgotten.
    let view = unsafe { window.view() };
    core::mem::forget(window);
    Ok(view)
}

/// Access to one of our pages that another domain has. Dropping revokes it; if the other side still has it mapped, the
/// reference is kept aside and revoked later. The page itself must outlive the grant: end it, and free the page only
/// when [`Grant::end`] succeeds, else leak the page.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant(GrantRef);

impl Grant {
    /// Gives `dom` access to our frame `gfn`. `ENOSPC`: the grant table is full.
    pub fn access(dom: DomId, gfn: u64, readonly: bool) -> Result<Grant, Errno> {
        let frame = u32::try_from(gfn).map_err(|_| Errno::EINVAL)?;
        let mut table = TABLE.lock();
        if table.free.is_empty() {
            table.reap();
        }
        if table.free.is_empty() {
            table.grow()?;
        }
        let gref = table.free.pop().ok_or(Errno::ENOSPC)?;
        let offset = gref as usize % GRANT_ENTRIES_PER_FRAME * size_of::<GrantEntryV1>();
        if let Some(memory) = table.frames.get(gref as usize / GRANT_ENTRIES_PER_FRAME) {
            memory.write(
                offset,
                &GrantEntryV1 {
                    flags: GrantFlags::empty(),
                    domid: dom,
                    frame,
                },
            )?;
        }
        let flags = if readonly {
            GrantFlags::PERMIT_ACCESS | GrantFlags::READONLY
        } else {
            GrantFlags::PERMIT_ACCESS
        };
        // Release: frame and domain are in place before the entry becomes valid.
        table
            .entry_flags(gref)
            .ok_or(Errno::EINVAL)?
            .store(flags.bits(), Ordering::Release);
        Ok(Grant(gref))
    }

    /// The number to tell the other side.
    pub fn reference(&self) -> GrantRef {
        self.0
    }

    /// Revokes. Gives the grant back if the other side still has the page mapped.
    pub fn end(self) -> Result<(), Grant> {
        let mut table = TABLE.lock();
        if table.try_end(self.0) {
            table.free.push(self.0);
            core::mem::forget(self);
            Ok(())
        } else {
            drop(table);
            Err(self)
        }
    }

    /// Gives the number and forgets to revoke.
    pub fn into_reference(self) -> GrantRef {
        let gref = self.0;
        core::mem::forget(self);
        gref
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut table = TABLE.lock();
        if table.try_end(self.0) {
            table.free.push(self.0);
        } else {
            table.dying.push(self.0);
        }
    }
}

// ---------------------------------------------------------------------------------------------- mapping

/// What to map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// The domain that granted.
    pub dom: DomId,
    /// Its reference.
    pub gref: GrantRef,
    /// Map for reading only. Writing through the view then is a fault that ends this domain: never do it.
    pub readonly: bool,
}

/// One foreign page in our address space; also entered in the IOMMU at the same address if we have devices. Dropping unmaps
/// it; better collect many for [`unmap_batch`].
#[derive(Debug)]
pub struct MappedPage {
    window: WindowRange,
    handle: GrantHandle,
    memory: SharedMemory,
}

impl MappedPage {
    /// Where it is: address, guest physical address and DMA address in one.
    pub fn gpa(&self) -> u64 {
        self.window.gpa()
    }

    /// The contents.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }
}

impl AsRef<SharedMemory> for MappedPage {
    fn as_ref(&self) -> &SharedMemory {
        &self.memory
    }
}

impl Drop for MappedPage {
    fn drop(&mut self) {
        unmap(&mut [unmap_operation(&self.window, 0, self.handle)]);
    }
}

/// Hypercalls take this many operations at a time from a buffer on the stack.
const CHUNK: usize = 32;

/// Maps many pages, each at an address of its own, with one hypercall for every 32. Appends a result for each request
/// to `out`, in order. An error of the whole hypercall is given to each of its requests as general error.
pub fn map_batch(requests: &[MapRequest], out: &mut Vec<Result<MappedPage, GrantError>>) {
    for chunk in requests.chunks(CHUNK) {
        let mut operations = [GnttabMapGrantRef::default(); CHUNK];
        let mut windows: [Option<WindowRange>; CHUNK] = [const { None }; CHUNK];
        let mut count = 0;
        for request in chunk {
            let Some(window) = WindowRange::new(1) else {
                break;
            };
            operations[count] = map_operation(&window, 0, request);
            windows[count] = Some(window);
            count += 1;
        }
        map(&mut operations[..count]);
        for (operation, window) in operations.iter().zip(&mut windows).take(count) {
            out.push(match (checked(operation.status), window.take()) {
                (Ok(()), Some(window)) => {
                    // SAFETY: mapped just now; unmapped only when the `MappedPage` that owns the view is dropped.
                    let memory = unsafe { window.view() };
                    Ok(MappedPage {
                        window,
                        handle: operation.handle,
                        memory,
                    })
                }
                (Err(error), _) => Err(error),
                (Ok(()), None) => Err(GrantError(GNTST_GENERAL_ERROR)),
            });
        }
        for _ in count..chunk.len() {
            out.push(Err(GrantError(GNTST_NO_SPACE)));
        }
    }
}

/// Maps one page.
pub fn map_page(request: MapRequest) -> Result<MappedPage, GrantError> {
    let mut out = Vec::with_capacity(1);
    map_batch(&[request], &mut out);
    out.pop().unwrap_or(Err(GrantError(GNTST_GENERAL_ERROR)))
}

/// Unmaps many pages with one hypercall for every 32.
pub fn unmap_batch(pages: impl IntoIterator<Item = MappedPage>) {
    let mut operations = [GnttabUnmapGrantRef::default(); CHUNK];
    let mut windows: [Option<WindowRange>; CHUNK] = [const { None }; CHUNK];
    let mut count = 0;
    for page in pages {
        let page = core::mem::ManuallyDrop::new(page);
        // SAFETY: `page` is never used or dropped again; its window moves out once.
        let window = unsafe { core::ptr::read(&page.window) };
        operations[count] = unmap_operation(&window, 0, page.handle);
        windows[count] = Some(window);
        count += 1;
        if count == CHUNK {
            unmap(&mut operations[..count]);
            windows.fill_with(|| None);
            count = 0;
        }
    }
    unmap(&mut operations[..count]);
}

/// Foreign pages at contiguous addresses, such as a ring of several pages. Dropping unmaps them.
#[derive(Debug)]
pub struct MappedRange {
    window: WindowRange,
    handles: Vec<GrantHandle>,
    memory: SharedMemory,
}

impl MappedRange {
    /// Where it starts.
    pub fn gpa(&self) -> u64 {
        self.window.gpa()
    }

    /// The contents.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }
}

impl AsRef<SharedMemory> for MappedRange {
    fn as_ref(&self) -> &SharedMemory {
        &self.memory
    }
}

impl Drop for MappedRange {
    fn drop(&mut self) {
        unmap_range(&self.window, &self.handles);
    }
}

/// Maps `dom`'s pages at contiguous addresses, all or none.
pub fn map_range(dom: DomId, grefs: &[GrantRef], readonly: bool) -> Result<MappedRange, Errno> {
    let window = WindowRange::new(grefs.len()).ok_or(Errno::ENOMEM)?;
    let mut handles = Vec::with_capacity(grefs.len());
    let mut failed = None;
    for (chunk_index, chunk) in grefs.chunks(CHUNK).enumerate() {
        let mut operations = [GnttabMapGrantRef::default(); CHUNK];
        for (index, &gref) in chunk.iter().enumerate() {
            operations[index] = map_operation(
                &window,
                chunk_index * CHUNK + index,
                &MapRequest {
                    dom,
                    gref,
                    readonly,
                },
            );
        }
        map(&mut operations[..chunk.len()]);
        for (index, operation) in operations[..chunk.len()].iter().enumerate() {
            match checked(operation.status) {
                Ok(()) if failed.is_none() => handles.push(operation.handle),
                Ok(()) => unmap(&mut [unmap_operation(
                    &window,
                    chunk_index * CHUNK + index,
                    operation.handle,
                )]),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if failed.is_some() {
            break;
        }
    }
    if let Some(error) = failed {
        unmap_range(&window, &handles);
        return Err(error.into());
    }
    // SAFETY: all of it is mapped, until the `MappedRange` is dropped.
    let memory = unsafe { window.view() };
    Ok(MappedRange {
        window,
        handles,
        memory,
    })
}

fn unmap_range(window: &WindowRange, handles: &[GrantHandle]) {
    for (chunk_index, chunk) in handles.chunks(CHUNK).enumerate() {
        let mut operations = [GnttabUnmapGrantRef::default(); CHUNK];
        for (index, &handle) in chunk.iter().enumerate() {
            operations[index] = unmap_operation(window, chunk_index * CHUNK + index, handle);
        }
        unmap(&mut operations[..chunk.len()]);
    }
}

fn map_operation(window: &WindowRange, page: usize, request: &MapRequest) -> GnttabMapGrantRef {
    let mut flags = GntmapFlags::HOST_MAP;
    flags.set(GntmapFlags::READONLY, request.readonly);
    GnttabMapGrantRef {
        host_addr: window.gpa() + (page * PAGE_SIZE) as u64,
        flags,
        r#ref: request.gref,
        dom: request.dom,
        // Not looked at by this operation if the hypercall itself fails.
        status: GNTST_GENERAL_ERROR,
        ..Default::default()
    }
}

fn unmap_operation(window: &WindowRange, page: usize, handle: GrantHandle) -> GnttabUnmapGrantRef {
    GnttabUnmapGrantRef {
        host_addr: window.gpa() + (page * PAGE_SIZE) as u64,
        handle,
        ..Default::default()
    }
}

fn map(operations: &mut [GnttabMapGrantRef]) {
    if operations.is_empty() {
        return;
    }
    // SAFETY: the addresses are in window ranges that the callers own and have nothing mapped at.
    if let Err(errno) = unsafe { hypercall::grant_table_op(GNTTABOP_MAP_GRANT_REF, operations) } {
        log::error!("GNTTABOP_map_grant_ref: {errno}");
    }
}

fn unmap(operations: &mut [GnttabUnmapGrantRef]) {
    if operations.is_empty() {
        return;
    }
    // SAFETY: the views of what is unmapped are gone: their owners are being dropped.
    let result = unsafe { hypercall::grant_table_op(GNTTABOP_UNMAP_GRANT_REF, operations) };
    if let Err(errno) = result {
        log::error!("GNTTABOP_unmap_grant_ref: {errno}");
    }
    for operation in operations
        .iter()
        .filter(|operation| operation.status != GNTST_OKAY)
    {
        log::error!(
            "unmapping grant handle {}: {}",
            operation.handle,
            GrantError(operation.status)
        );
    }
}

// ---------------------------------------------------------------------------------------------- copying

/// Copies between granted pages and our own, one hypercall for all. Each element has its own `status`
/// afterwards; look at it with [`copy_status`].
///
/// Ends that name a frame of ours by number (`DOMID_SELF`) may only name frames of [`crate::memory::PageRange`] or mapped pages;
/// build those with [`own_page`].
pub fn copy_batch(operations: &mut [GnttabCopy]) -> Result<(), Errno> {
    if operations.is_empty() {
        return Ok(());
    }
    // SAFETY: frames of our own are written by the hypervisor as by any other sharer; they are only reached through
    // `SharedMemory`, as `own_page` says.
    unsafe { hypercall::grant_table_op(GNTTABOP_COPY, operations) }.map(drop)
}

/// An end of a copy in our own shared memory, at `offset` bytes into `memory` (which starts on a page).
pub fn own_page(memory: &SharedMemory, offset: usize) -> GnttabCopyPtr {
    let gpa = memory.address() + offset as u64;
    GnttabCopyPtr::gmfn(
        DOMID_SELF,
        gpa / PAGE_SIZE as u64,
        (gpa % PAGE_SIZE as u64) as u16,
    )
}

/// The outcome of one copy.
pub fn copy_status(operation: &GnttabCopy) -> Result<(), GrantError> {
    checked(operation.status)
}
