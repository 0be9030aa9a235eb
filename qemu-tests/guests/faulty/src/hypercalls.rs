//! Hypercalls with wrong arguments, each with the errno that Xen 4.17 gives a domain without privileges.

use xen_abi::Errno;
use xen_abi::domctl::XEN_DOMCTL_INTERFACE_VERSION;
use xen_abi::hypercall::*;
use xen_abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION;

unsafe extern "C" {
    /// The page of stubs that the hypervisor filled; lib/domain reserves it.
    static hypercall_page: [u8; 4096];
}

/// An address in no page table.
const NOWHERE: u64 = 0x7000_dead_0000;
/// An address that no page table can have.
const NON_CANONICAL: u64 = 0x8000_0000_0000_0000;
/// A domain that does not exist.
const NOBODY: u64 = 999;
/// Sixteen words for arguments in memory.
type Words = [u64; 16];

/// One wrong call: what it is, hypercall number, its arguments with [`MEMORY`] for the address of `words`.
struct Wrong {
    what: &'static str,
    number: u32,
    arguments: [u64; 3],
    words: Words,
    errno: Errno,
}

/// Stands for the address of [`Wrong::words`].
const MEMORY: u64 = u64::MAX - 1;

const fn wrong(
    what: &'static str,
    number: u32,
    arguments: [u64; 3],
    words: &[u64],
    errno: Errno,
) -> Wrong {
    let mut all = [0; 16];
    let mut index = 0;
    while index < words.len() {
        all[index] = words[index];
        index += 1;
    }
    Wrong {
        what,
        number,
        arguments,
        words: all,
        errno,
    }
}

const WRONG: &[Wrong] = &[
    wrong("hypercall 63", 63, [0; 3], &[], Errno::ENOSYS),
    wrong("hypercall 127", 127, [0; 3], &[], Errno::ENOSYS),
    wrong(
        "memory_op 200",
        HYPERVISOR_MEMORY_OP,
        [200, MEMORY, 0],
        &[],
        Errno::ENOSYS,
    ),
    wrong(
        "XENMEM_add_to_physmap at an unmapped address",
        HYPERVISOR_MEMORY_OP,
        [7, NOWHERE, 0],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "XENMEM_add_to_physmap at no address",
        HYPERVISOR_MEMORY_OP,
        [7, NON_CANONICAL, 0],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "XENMEM_add_to_physmap for nobody",
        HYPERVISOR_MEMORY_OP,
        [7, MEMORY, 0],
        &[NOBODY, 0, 0],
        Errno::ESRCH,
    ),
    wrong(
        "XENMEM_add_to_physmap for Domain-0",
        HYPERVISOR_MEMORY_OP,
        [7, MEMORY, 0],
        &[0, 0, 0],
        Errno::EPERM,
    ),
    wrong(
        "XENMEM_remove_from_physmap for nobody",
        HYPERVISOR_MEMORY_OP,
        [15, MEMORY, 0],
        &[NOBODY, 0],
        Errno::ESRCH,
    ),
    wrong(
        "xen_version 99",
        HYPERVISOR_XEN_VERSION,
        [99, MEMORY, 0],
        &[],
        Errno::ENOSYS,
    ),
    wrong(
        "XENVER_extraversion at an unmapped address",
        HYPERVISOR_XEN_VERSION,
        [1, NOWHERE, 0],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "console_io 9",
        HYPERVISOR_CONSOLE_IO,
        [9, 1, MEMORY],
        &[],
        Errno::ENOSYS,
    ),
    wrong(
        "CONSOLEIO_write at an unmapped address",
        HYPERVISOR_CONSOLE_IO,
        [0, 16, NOWHERE],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "grant_table_op 77",
        HYPERVISOR_GRANT_TABLE_OP,
        [77, MEMORY, 1],
        &[],
        Errno::ENOSYS,
    ),
    wrong(
        "GNTTABOP_map_grant_ref at an unmapped address",
        HYPERVISOR_GRANT_TABLE_OP,
        [0, NOWHERE, 1],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "GNTTABOP_copy with 2^32 - 1 operations",
        HYPERVISOR_GRANT_TABLE_OP,
        [5, MEMORY, 0xffff_ffff],
        &[],
        Errno::EINVAL,
    ),
    wrong(
        "vcpu_op for vCPU 500",
        HYPERVISOR_VCPU_OP,
        [3, 500, MEMORY],
        &[],
        Errno::ENOENT,
    ),
    wrong(
        "vcpu_op 99",
        HYPERVISOR_VCPU_OP,
        [99, 0, MEMORY],
        &[],
        Errno::ENOSYS,
    ),
    wrong(
        "VCPUOP_set_singleshot_timer at an unmapped address",
        HYPERVISOR_VCPU_OP,
        [8, 0, NOWHERE],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "sched_op 99",
        HYPERVISOR_SCHED_OP,
        [99, MEMORY, 0],
        &[],
        Errno::ENOSYS,
    ),
    wrong(
        "SCHEDOP_poll of 1000 ports",
        HYPERVISOR_SCHED_OP,
        [3, MEMORY, 0],
        &[MEMORY, 1000, 0],
        Errno::EINVAL,
    ),
    wrong(
        "SCHEDOP_shutdown at an unmapped address",
        HYPERVISOR_SCHED_OP,
        [2, NOWHERE, 0],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "event_channel_op 99",
        HYPERVISOR_EVENT_CHANNEL_OP,
        [99, MEMORY, 0],
        &[],
        Errno::ENOSYS,
    ),
    wrong(
        "EVTCHNOP_send to port 100000",
        HYPERVISOR_EVENT_CHANNEL_OP,
        [4, MEMORY, 0],
        &[100_000],
        Errno::EINVAL,
    ),
    wrong(
        "EVTCHNOP_send at an unmapped address",
        HYPERVISOR_EVENT_CHANNEL_OP,
        [4, NOWHERE, 0],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "EVTCHNOP_close of port 100000",
        HYPERVISOR_EVENT_CHANNEL_OP,
        [3, MEMORY, 0],
        &[100_000],
        Errno::EINVAL,
    ),
    wrong(
        "EVTCHNOP_bind_interdomain with nobody",
        HYPERVISOR_EVENT_CHANNEL_OP,
        [0, MEMORY, 0],
        &[NOBODY | 1 << 32],
        Errno::ESRCH,
    ),
    wrong(
        "EVTCHNOP_bind_virq 99",
        HYPERVISOR_EVENT_CHANNEL_OP,
        [1, MEMORY, 0],
        &[99],
        Errno::EINVAL,
    ),
    wrong(
        "EVTCHNOP_bind_virq on vCPU 500",
        HYPERVISOR_EVENT_CHANNEL_OP,
        [1, MEMORY, 0],
        &[500 << 32],
        Errno::ENOENT,
    ),
    wrong(
        "EVTCHNOP_alloc_unbound for Domain-0",
        HYPERVISOR_EVENT_CHANNEL_OP,
        [6, MEMORY, 0],
        &[0],
        Errno::EPERM,
    ),
    wrong(
        "hvm_op 99",
        HYPERVISOR_HVM_OP,
        [99, MEMORY, 0],
        &[],
        Errno::ENOSYS,
    ),
    wrong(
        "HVMOP_get_param 1000",
        HYPERVISOR_HVM_OP,
        [1, MEMORY, 0],
        &[0x7ff0 | 1000 << 32, 0],
        Errno::EINVAL,
    ),
    wrong(
        "HVMOP_get_param of nobody",
        HYPERVISOR_HVM_OP,
        [1, MEMORY, 0],
        &[NOBODY | 1 << 32, 0],
        Errno::ESRCH,
    ),
    wrong(
        "HVMOP_get_param of Domain-0",
        HYPERVISOR_HVM_OP,
        [1, MEMORY, 0],
        &[1 << 32, 0],
        Errno::EPERM,
    ),
    wrong(
        "HVMOP_set_param at an unmapped address",
        HYPERVISOR_HVM_OP,
        [0, NOWHERE, 0],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "domctl at an unmapped address",
        HYPERVISOR_DOMCTL,
        [NOWHERE, 0, 0],
        &[],
        Errno::EFAULT,
    ),
    wrong(
        "a domctl of another interface",
        HYPERVISOR_DOMCTL,
        [MEMORY, 0, 0],
        &[2 | 1 << 32, 0],
        Errno::EACCES,
    ),
    wrong(
        "a sysctl of another interface",
        HYPERVISOR_SYSCTL,
        [MEMORY, 0, 0],
        &[1 | 1 << 32, 0],
        Errno::EACCES,
    ),
    wrong(
        "XEN_DOMCTL_destroydomain of Domain-0",
        HYPERVISOR_DOMCTL,
        [MEMORY, 0, 0],
        &[2 | (XEN_DOMCTL_INTERFACE_VERSION as u64) << 32, 0],
        Errno::EPERM,
    ),
    wrong(
        "XEN_SYSCTL_readconsole",
        HYPERVISOR_SYSCTL,
        [MEMORY, 0, 0],
        &[1 | (XEN_SYSCTL_INTERFACE_VERSION as u64) << 32, 0],
        Errno::EPERM,
    ),
];

/// Makes every call and logs each answer that is not Xen's, then a sum.
pub fn check_all() {
    let mut right = 0;
    for Wrong {
        what,
        number,
        arguments,
        words,
        errno,
    } in WRONG
    {
        let mut memory = *words;
        let address = memory.as_mut_ptr() as u64;
        let [first, second, third] =
            arguments.map(|word| if word == MEMORY { address } else { word });
        for word in &mut memory {
            if *word == MEMORY {
                *word = address;
            }
        }
        let answer = call(*number, first, second, third);
        if Errno::from_ret(answer) == Err(*errno) {
            right += 1;
        } else {
            log::error!("faulty: {what}: {answer}, want {errno:?}");
        }
    }
    log::info!(
        "faulty: {right} of {} wrong hypercalls answered as Xen does",
        WRONG.len()
    );
}

/// Issues any hypercall with any arguments.
pub fn call(number: u32, first: u64, second: u64, third: u64) -> i64 {
    let result: i64;
    // SAFETY: the stub is a hypercall instruction and a return. The arguments are meant to be refused; where one is an
    // address, it is of no memory or of `check_all`'s array, which the hypervisor may overwrite.
    unsafe {
        core::arch::asm!(
            "call {stub}",
            stub = in(reg) (&raw const hypercall_page).cast::<u8>().wrapping_add(number as usize % 128 * 32),
            lateout("rax") result,
            inlateout("rdi") first => _, inlateout("rsi") second => _, inlateout("rdx") third => _,
            lateout("rcx") _, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    result
}
