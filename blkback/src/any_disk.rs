//! The kinds of disks there are, as one.

use alloc::boxed::Box;

use virtio::PciDevice;

use crate::disk::{Command, Completion, Disk, Full, Limits};
use crate::memory_disk::MemoryDisk;
use crate::virtio_disk::VirtioDisk;

/// A disk of either kind.
pub enum AnyDisk {
    /// A virtio device.
    Virtio(Box<VirtioDisk<PciDevice>>),
    /// Memory.
    Memory(MemoryDisk),
}

impl AnyDisk {
    /// May it interrupt when a command completes? Memory never does, and nobody waits for it.
    pub fn set_interrupts(&mut self, on: bool) {
        if let Self::Virtio(disk) = self {
            disk.set_interrupts(on);
        }
    }

    /// Are there completions to be taken?
    pub fn has_completed(&mut self) -> bool {
        match self {
            Self::Virtio(disk) => disk.has_completed(),
            Self::Memory(disk) => disk.has_completed(),
        }
    }

    /// Has the device done what it must not?
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Virtio(disk) if disk.is_broken())
    }
}

impl Disk for AnyDisk {
    fn limits(&self) -> Limits {
        match self {
            Self::Virtio(disk) => disk.limits(),
            Self::Memory(disk) => disk.limits(),
        }
    }

    fn submit(&mut self, command: Command<'_>, tag: u32) -> Result<(), Full> {
        match self {
            Self::Virtio(disk) => disk.submit(command, tag),
            Self::Memory(disk) => disk.submit(command, tag),
        }
    }

    fn kick(&mut self) {
        match self {
            Self::Virtio(disk) => disk.kick(),
            Self::Memory(disk) => disk.kick(),
        }
    }

    fn completed(&mut self) -> Option<Completion> {
        match self {
            Self::Virtio(disk) => disk.completed(),
            Self::Memory(disk) => disk.completed(),
        }
    }
}
