//! Writes a domain's initial memory.
//!
//! Behind the kernel come, page aligned: start info with its module list, memory map and command
//! lines in one run of pages, then each module. Linux reads the former through a mapping of the
//! first GiB only, so they come before a possibly large initrd.

use core::fmt;

use heapless::Vec;

use crate::acpi;
use crate::image::Image;
use crate::layout::{Layout, PAGE_SIZE};
use crate::start_info::{
    MAX_MODULES, MEMMAP_ENTRY_SIZE, MODLIST_ENTRY_SIZE, START_INFO_SIZE, StartInfo, memmap_entry,
    modlist_entry,
};

/// The new domain's memory, written to by its builder.
///
/// The ranges of [`Layout::populate`] are backed and **zero** before the first call.
pub trait GuestMemory {
    /// Why a write did not work.
    type Error;

    /// Copies `bytes` to guest-physical address `gpa`. The range lies in populated memory; it
    /// may be long and cross pages.
    ///
    /// # Errors
    /// When the memory cannot be reached.
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// Where a module's bytes are.
#[derive(Clone, Copy, Debug)]
pub enum ModuleSource<'a> {
    /// To be copied into the domain's RAM.
    Data(&'a [u8]),
    /// To be written to its place ([`Plan::module`]) by the builder itself.
    Later {
        /// Length in bytes.
        size: u64,
    },
    /// The builder maps it there itself; [`Layout::reserve`] keeps it out of the RAM.
    Present {
        /// First byte in the domain's address space.
        gpa: u64,
        /// Length in bytes.
        size: u64,
    },
}

/// A file handed to the kernel; Linux takes the first one as its initrd.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// Its bytes.
    pub source: ModuleSource<'a>,
    /// Its command line; none when empty.
    pub cmdline: &'a str,
}

/// What the kernel is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parameters<'a> {
    /// Command line, without a terminating zero.
    pub cmdline: &'a str,
    /// At most [`MAX_MODULES`].
    pub modules: &'a [Module<'a>],
}

/// What the builder needs to know to start the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Guest-physical address of the first instruction.
    pub entry: u32,
    /// Guest-physical address of `hvm_start_info`, for EBX.
    pub start_info: u32,
    /// Frame of the xenstore ring.
    pub store_gfn: u64,
    /// Frame of the console ring.
    pub console_gfn: u64,
    /// First byte of RAM behind everything that was written: free for the domain.
    pub used_end: u64,
}

/// Why a domain could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError<E> {
    /// Kernel, tables and modules do not fit into the RAM below 4 GiB.
    DoesNotFit {
        /// Bytes of RAM that they need.
        needed: u64,
        /// Bytes of RAM there are.
        available: u64,
    },
    /// More than [`MAX_MODULES`].
    TooManyModules,
    /// The memory could not be written.
    Memory(E),
}

impl<E: fmt::Display> fmt::Display for BuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoesNotFit { needed, available } => write!(
                f,
                "kernel and modules need {} KiB of memory, the domain has {} KiB",
                needed.div_ceil(1024),
                available / 1024
            ),
            Self::TooManyModules => write!(f, "more than {MAX_MODULES} modules"),
            Self::Memory(error) => write!(f, "cannot write the domain's memory: {error}"),
        }
    }
}

/// Where everything goes. What is not there when the plan is made (a kernel that is unpacked on its way, a module of which
/// only the size is known) is written by whoever has it.
#[derive(Debug)]
pub struct Plan {
    start_info: u32,
    modlist: u64,
    memmap: u64,
    cmdline: u64,
    module_cmdlines: [u64; MAX_MODULES],
    places: Vec<(u64, u64), MAX_MODULES>,
    used_end: u64,
}

impl Plan {
    /// Finds a place for everything behind an image that ends at `image_end`.
    ///
    /// # Errors
    /// When it does not fit into `layout`.
    pub fn new<E>(
        layout: &Layout,
        image_end: u64,
        parameters: &Parameters<'_>,
    ) -> Result<Self, BuildError<E>> {
        if parameters.modules.len() > MAX_MODULES {
            return Err(BuildError::TooManyModules);
        }
        let mut space = Cursor {
            next: image_end,
            end: layout.low_ram().end(),
        };
        space.align();
        let start_info = space.take(START_INFO_SIZE)?;
        let modlist = space.take(MODLIST_ENTRY_SIZE * parameters.modules.len() as u64)?;
        let memmap = space.take(MEMMAP_ENTRY_SIZE * layout.memory_map().len() as u64)?;
        let cmdline = space.take(parameters.cmdline.len() as u64 + 1)?;
        let mut module_cmdlines = [0; MAX_MODULES];
        for (place, module) in module_cmdlines.iter_mut().zip(parameters.modules) {
            if !module.cmdline.is_empty() {
                *place = space.take(module.cmdline.len() as u64 + 1)?;
            }
        }
        let mut places: Vec<(u64, u64), MAX_MODULES> = Vec::new();
        for module in parameters.modules {
            let mut room = |size| {
                space.align();
                space.take(size).map(|place| (place, size))
            };
            let place = match module.source {
                ModuleSource::Data(bytes) => room(bytes.len() as u64)?,
                ModuleSource::Later { size } => room(size)?,
                ModuleSource::Present { gpa, size } => (gpa, size),
            };
            places.push(place).map_err(|_| BuildError::TooManyModules)?;
        }
        space.align();
        let used_end = space.next;
        let (Ok(start_info), Some(_)) =
            (u32::try_from(start_info), space.end.checked_sub(used_end))
        else {
            return Err(space.does_not_fit());
        };
        Ok(Self {
            start_info,
            modlist,
            memmap,
            cmdline,
            module_cmdlines,
            places,
            used_end,
        })
    }

    /// Guest-physical address and size of a module.
    #[must_use]
    pub fn module(&self, index: usize) -> Option<(u64, u64)> {
        self.places.get(index).copied()
    }

    /// Writes start info, modules whose bytes are there, and ACPI tables, for a kernel that starts at `entry`. `parameters` are
    /// those of [`Self::new`].
    ///
    /// # Errors
    /// When `memory` refuses a write.
    pub fn write<M: GuestMemory>(
        &self,
        memory: &mut M,
        layout: &Layout,
        entry: u32,
        parameters: &Parameters<'_>,
    ) -> Result<Start, BuildError<M::Error>> {
        let map = layout.memory_map();
        let places = &self.places;
        let mut write = |gpa, bytes: &[u8]| memory.write(gpa, bytes).map_err(BuildError::Memory);
        for ((index, &(gpa, size)), module) in places.iter().enumerate().zip(parameters.modules) {
            let text = self.module_cmdlines.get(index).copied().unwrap_or(0);
            if text != 0 {
                write(text, module.cmdline.as_bytes())?;
            }
            write(
                self.modlist + MODLIST_ENTRY_SIZE * index as u64,
                &modlist_entry(gpa, size, text),
            )?;
            if let ModuleSource::Data(bytes) = module.source {
                write(gpa, bytes)?;
            }
        }
        for (index, entry) in map.iter().enumerate() {
            write(
                self.memmap + MEMMAP_ENTRY_SIZE * index as u64,
                &memmap_entry(entry),
            )?;
        }
        write(self.cmdline, parameters.cmdline.as_bytes())?;
        let info = StartInfo {
            nr_modules: places.len() as u32,
            modlist_paddr: if places.is_empty() { 0 } else { self.modlist },
            cmdline_paddr: self.cmdline,
            rsdp_paddr: layout.rsdp(),
            memmap_paddr: self.memmap,
            memmap_entries: map.len() as u32,
        };
        write(self.start_info.into(), &info.bytes())?;
        acpi::write_tables(memory, layout.rsdp(), layout.vcpus()).map_err(BuildError::Memory)?;

        Ok(Start {
            entry,
            start_info: self.start_info,
            store_gfn: layout.store_gfn(),
            console_gfn: layout.console_gfn(),
            used_end: self.used_end,
        })
    }
}

/// Writes kernel, start info, modules and ACPI tables.
///
/// # Errors
/// When they do not fit into `layout` or `memory` refuses a write. Nothing else can go wrong: the
/// image has been checked when it was parsed.
pub fn build<M: GuestMemory>(
    memory: &mut M,
    layout: &Layout,
    image: &Image<'_>,
    parameters: &Parameters<'_>,
) -> Result<Start, BuildError<M::Error>> {
    // Places first, so that a domain that is too small is refused before anything is written.
    let plan = Plan::new(layout, image.end(), parameters)?;
    for segment in image.segments() {
        let written = memory.write(segment.address, segment.bytes);
        written.map_err(BuildError::Memory)?;
    }
    plan.write(memory, layout, image.entry(), parameters)
}

/// Hands out low RAM upwards.
struct Cursor {
    next: u64,
    end: u64,
}

impl Cursor {
    fn align(&mut self) {
        self.next = self
            .next
            .checked_next_multiple_of(PAGE_SIZE)
            .unwrap_or(u64::MAX);
    }

    /// `size` bytes, 8-byte aligned. The next place only grows, so the check at the end of the
    /// placing names the whole need and not the first piece that did not fit.
    fn take<E>(&mut self, size: u64) -> Result<u64, BuildError<E>> {
        let place = self.next.checked_next_multiple_of(8);
        let end = place.and_then(|place| place.checked_add(size));
        match (place, end) {
            (Some(place), Some(end)) => {
                self.next = end;
                Ok(place)
            }
            _ => {
                self.next = u64::MAX;
                Err(self.does_not_fit())
            }
        }
    }

    fn does_not_fit<E>(&self) -> BuildError<E> {
        BuildError::DoesNotFit {
            needed: self.next,
            available: self.end,
        }
    }
}
