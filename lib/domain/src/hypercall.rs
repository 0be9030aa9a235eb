//! The hypercall instruction itself and thin wrappers that other modules make safe.
//!
//! A call goes through the page that the hypervisor filled at boot ([`crate::boot`]), so the runtime need not know
//! which instruction the processor wants. On the host (tests) every hypercall answers `ENOSYS`.
#![expect(
    unsafe_code,
    reason = "hypercalls let the hypervisor read and write memory by address"
)]

use xen_abi::Errno;
use xen_abi::hypercall::*;

#[cfg(target_os = "none")]
unsafe extern "C" {
    /// In the image's text, see `entry.s`.
    pub(crate) static hypercall_page: [u8; 4096];
}

/// Issues hypercall `NR`.
///
/// # Safety
/// Addresses among the arguments are valid for what the hypercall does with them.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) unsafe fn call<const NR: u32>(a1: u64, a2: u64, a3: u64) -> Result<u64, Errno> {
    let ret: i64;
    // SAFETY: the stub is a hypercall instruction and a return; the hypervisor changes RAX only, and may change the argument
    // registers; memory is not declared unchanged. What the operation does is the caller's promise.
    unsafe {
        core::arch::asm!(
            "call {page} + {offset}",
            page = sym hypercall_page,
            offset = const NR as usize * HYPERCALL_PAGE_STUB_BYTES,
            lateout("rax") ret,
            inlateout("rdi") a1 => _, inlateout("rsi") a2 => _, inlateout("rdx") a3 => _,
            lateout("rcx") _, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    Errno::from_ret(ret)
}

/// Issues hypercall `NR`: there is no hypervisor under the host's tests.
///
/// # Safety
/// None is needed here; the signature is that of the real one.
#[cfg(not(target_os = "none"))]
pub(crate) unsafe fn call<const NR: u32>(_: u64, _: u64, _: u64) -> Result<u64, Errno> {
    let _ = NR;
    Err(Errno::ENOSYS)
}

fn address<T: ?Sized>(argument: &mut T) -> u64 {
    core::ptr::from_mut(argument).cast::<u8>() as u64
}

macro_rules! two_argument_calls {
    ($( $(#[$meta:meta])* $name:ident = $number:expr; )*) => { $(
        $(#[$meta])*
        ///
        /// # Safety
        /// `argument` is the structure that `cmd` takes, and addresses in it are valid for what `cmd` does.
        pub(crate) unsafe fn $name<T>(cmd: u32, argument: &mut T) -> Result<u64, Errno> {
            // SAFETY: the caller's promise; the structure is borrowed for the call.
            unsafe { call::<{ $number }>(u64::from(cmd), address(argument), 0) }
        }
    )* };
}

two_argument_calls! {
    /// `HYPERVISOR_memory_op`.
    memory_op = HYPERVISOR_MEMORY_OP;
    /// `HYPERVISOR_event_channel_op`.
    event_channel_op = HYPERVISOR_EVENT_CHANNEL_OP;
    /// `HYPERVISOR_sched_op`.
    sched_op = HYPERVISOR_SCHED_OP;
    /// `HYPERVISOR_hvm_op`.
    hvm_op = HYPERVISOR_HVM_OP;
    /// `HYPERVISOR_microhv_op`.
    microhv_op = HYPERVISOR_MICROHV_OP;
    /// `HYPERVISOR_xen_version`.
    xen_version = HYPERVISOR_XEN_VERSION;
}

/// `HYPERVISOR_grant_table_op` on all of `operations`.
///
/// # Safety
/// The elements are what `cmd` takes, and addresses in them are valid for what it does.
pub(crate) unsafe fn grant_table_op<T>(cmd: u32, operations: &mut [T]) -> Result<u64, Errno> {
    let count = operations.len() as u64;
    // SAFETY: the caller's promise; the slice is borrowed for the call.
    unsafe { call::<HYPERVISOR_GRANT_TABLE_OP>(u64::from(cmd), address(operations), count) }
}

/// `HYPERVISOR_vcpu_op` for vCPU 0.
///
/// # Safety
/// As for the others.
pub(crate) unsafe fn vcpu_op<T>(cmd: u32, argument: &mut T) -> Result<u64, Errno> {
    // SAFETY: the caller's promise.
    unsafe { call::<HYPERVISOR_VCPU_OP>(u64::from(cmd), 0, address(argument)) }
}

/// `CONSOLEIO_write`: safe, the hypervisor only reads the bytes.
pub fn console_write(bytes: &[u8]) -> Result<u64, Errno> {
    let start = bytes.as_ptr() as u64;
    // SAFETY: reads `bytes.len()` bytes of a borrowed slice.
    unsafe {
        call::<HYPERVISOR_CONSOLE_IO>(
            u64::from(xen_abi::xen::CONSOLEIO_WRITE),
            bytes.len() as u64,
            start,
        )
    }
}

/// `CONSOLEIO_read`: fills the front of `buffer`, returns the number of bytes.
pub fn console_read(buffer: &mut [u8]) -> Result<usize, Errno> {
    let (length, start) = (buffer.len() as u64, buffer.as_mut_ptr() as u64);
    // SAFETY: writes at most `length` bytes of a slice that is borrowed mutably.
    let read = unsafe {
        call::<HYPERVISOR_CONSOLE_IO>(u64::from(xen_abi::xen::CONSOLEIO_READ), length, start)
    }?;
    Ok((read as usize).min(buffer.len()))
}

/// `HYPERVISOR_domctl`.
///
/// # Safety
/// Addresses in the request are valid for what it does.
pub(crate) unsafe fn domctl(request: &mut xen_abi::domctl::Domctl) -> Result<u64, Errno> {
    // SAFETY: the caller's promise.
    unsafe { call::<HYPERVISOR_DOMCTL>(address(request), 0, 0) }
}

/// `HYPERVISOR_sysctl`.
///
/// # Safety
/// Addresses in the request are valid for what it does.
pub(crate) unsafe fn sysctl(request: &mut xen_abi::sysctl::Sysctl) -> Result<u64, Errno> {
    // SAFETY: the caller's promise.
    unsafe { call::<HYPERVISOR_SYSCTL>(address(request), 0, 0) }
}
