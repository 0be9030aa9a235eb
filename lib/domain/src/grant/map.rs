//! Others' pages in our address space.
#![expect(
    unsafe_code,
    reason = "changes what is mapped at addresses of this domain"
)]

use super::{GrantError, checked};
use crate::hypercall;
use crate::memory::WindowRange;
use crate::shared::SharedMemory;
use alloc::vec::Vec;
use xen_abi::grant_table::*;
use xen_abi::xen::PAGE_SIZE;
use xen_abi::{DomId, Errno};

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
