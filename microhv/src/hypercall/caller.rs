//! The vCPU that made a hypercall: its argument registers and its memory.

use xen_abi::Errno;
use xen_abi::zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::domain::Vcpu;
use crate::guest_args::GuestArgs;
use crate::mm::FrameRef;
use crate::types::{Gfn, PAGE_SIZE};
use crate::vcpu::VcpuRun;
use crate::vcpu::guest_memory::Translation;

/// The caller of a hypercall.
pub struct Caller<'a> {
    /// The calling vCPU.
    pub vcpu: &'a Vcpu,
    run: &'a mut VcpuRun,
    translation: Translation,
}

/// The caller's memory from one address on.
pub struct Memory<'a> {
    vcpu: &'a Vcpu,
    translation: Translation,
    base: u64,
    /// The pages last read and last written: lists of structures are many accesses to few pages, and each walk of the
    /// guest's tables is five walks of the domain's. Only pages of the domain's own: another domain's could be taken
    /// back meanwhile.
    last: [Option<Page>; 2],
}

/// A page of the caller's, held while the hypercall works with it: as a CPU's TLB would.
struct Page {
    linear: u64,
    frame: FrameRef,
}

impl<'a> Caller<'a> {
    pub(super) fn new(vcpu: &'a Vcpu, run: &'a mut VcpuRun) -> Self {
        let translation = Translation::of(&*run.hw);
        Self {
            vcpu,
            run,
            translation,
        }
    }

    /// The hypercall's number (eax).
    pub fn number(&self) -> u32 {
        self.run.hw.registers().rax as u32
    }

    /// Argument `index` of five: rdi, rsi, rdx, r10, r8.
    pub fn argument(&self, index: usize) -> u64 {
        let registers = self.run.hw.registers();
        match index {
            0 => registers.rdi,
            1 => registers.rsi,
            2 => registers.rdx,
            3 => registers.r10,
            _ => registers.r8,
        }
    }

    /// Hypercalls come from a kernel, in 64-bit mode.
    ///
    /// # Errors
    /// `EPERM` from ring 1 to 3 (as Xen), `ENOSYS` from 32-bit code: its structures have another layout.
    pub(super) fn check_mode(&self) -> Result<(), Errno> {
        if self.run.hw.cpl() != 0 {
            return Err(Errno::EPERM);
        }
        if !self.run.hw.is_64bit() {
            return Err(Errno::ENOSYS);
        }
        Ok(())
    }

    /// Only Domain-0 may go on.
    pub(super) fn check_privilege(&self) -> Result<(), Errno> {
        let privileged = self.vcpu.domain.privileged;
        privileged.then_some(()).ok_or(Errno::EPERM)
    }

    pub(super) fn set_result(&mut self, value: u64) {
        self.run.hw.registers_mut().rax = value;
    }

    pub(super) fn repeat(&mut self, arguments: [u64; 3]) {
        let registers = self.run.hw.registers_mut();
        [registers.rdi, registers.rsi, registers.rdx] = arguments;
        self.run.hw.repeat_instruction();
    }

    /// How the caller's addresses translate.
    pub fn translation(&self) -> Translation {
        self.translation
    }

    /// The caller's memory at linear address `base`.
    pub fn memory(&self, base: u64) -> Memory<'a> {
        Memory {
            vcpu: self.vcpu,
            translation: self.translation,
            base,
            last: [None, None],
        }
    }

    /// Copies a structure in from linear address `at`.
    ///
    /// # Errors
    /// `EFAULT` if it is not all readable.
    pub fn read<T: FromBytes + IntoBytes>(&self, at: u64) -> Result<T, Errno> {
        self.memory(at).get(0)
    }

    /// Copies a structure out to linear address `at`.
    ///
    /// # Errors
    /// `EFAULT` if it is not all writable.
    pub fn write<T: IntoBytes + Immutable>(&self, at: u64, value: &T) -> Result<(), Errno> {
        self.memory(at).put(0, value)
    }

    /// As [`Self::write`], and that is all that the hypercall does.
    pub(super) fn answer<T: IntoBytes + Immutable>(&self, at: u64, value: &T) -> super::Result {
        self.write(at, value)?;
        Ok(super::DONE)
    }
}

impl Memory<'_> {
    /// The frame that holds `len` bytes at linear address `at`, all of them, and where in it they begin.
    fn page(&mut self, at: u64, len: usize, write: bool) -> Option<(&FrameRef, usize)> {
        let (linear, offset) = (at / PAGE_SIZE as u64, at as usize % PAGE_SIZE);
        if offset + len > PAGE_SIZE {
            return None;
        }
        let place = &mut self.last[usize::from(write)];
        if place.as_ref().is_none_or(|page| page.linear != linear) {
            let memory = &*self.vcpu.domain;
            let gpa = self.translation.translate(memory, at, write)?;
            let (frame, writable) = self.vcpu.domain.p2m.lock().frame(Gfn::containing(gpa))?;
            if write && !writable || frame.owner() != self.vcpu.domain.id {
                return None;
            }
            *place = Some(Page { linear, frame });
        }
        place.as_ref().map(|page| (&page.frame, offset))
    }
}

impl GuestArgs for Memory<'_> {
    fn read(&mut self, offset: usize, buf: &mut [u8]) -> Result<(), Errno> {
        let at = self.base.checked_add(offset as u64).ok_or(Errno::EFAULT)?;
        if let Some((frame, offset)) = self.page(at, buf.len(), false) {
            frame.read(offset, buf);
            return Ok(());
        }
        // Over a page's end, or not to be read at all.
        let read = self.translation.read(&*self.vcpu.domain, at, buf);
        read.ok_or(Errno::EFAULT)
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        let at = self.base.checked_add(offset as u64).ok_or(Errno::EFAULT)?;
        if let Some((frame, offset)) = self.page(at, data.len(), true) {
            frame.write(offset, data);
            return Ok(());
        }
        let written = self.translation.write(&*self.vcpu.domain, at, data);
        written.ok_or(Errno::EFAULT)
    }
}
