//! Hypercalls as a guest makes them: from 64-bit code, with arguments behind its own page tables.

use core::sync::atomic::Ordering;
use xen_abi::Errno;
use xen_abi::grant_table::*;
use xen_abi::hypercall::*;
use xen_abi::memory::*;
use xen_abi::vcpu::*;
use xen_abi::xen::{CONSOLEIO_READ, CONSOLEIO_WRITE, DOMID_SELF};
use xen_abi::zerocopy::{FromBytes, Immutable, IntoBytes};

use super::dispatch;
use crate::domain::tests::{alone, destroy};
use crate::domain::{Domain, Vcpu, create};
use crate::hypercall::populate;
use crate::mm::PageArc;
use crate::types::Gfn;
use crate::vcpu::CpuState;
use crate::vcpu::backend;
use crate::vcpu::state::{CR0_PG, EFER_LMA, EFER_LME};

/// A domain with one vCPU in 64-bit mode that sees its memory where it is: pages 0 to 15, of these 1 and 2 its tables.
struct Guest {
    domain: PageArc<Domain>,
    vcpu: PageArc<Vcpu>,
}

/// Where arguments are.
const ARGUMENT: u64 = 0x4000;

fn state() -> CpuState {
    let mut flat = CpuState::pvh(0, 0);
    flat.segments.cs.attributes = 0xa9b;
    CpuState {
        cr0: flat.cr0 | CR0_PG,
        cr3: 0x1000,
        cr4: 1 << 5,
        efer: EFER_LME | EFER_LMA,
        ..flat
    }
}

impl Guest {
    /// Its vCPU runs as if a start-up IPI had started it.
    fn new() -> Self {
        Self::with_privilege(false)
    }

    fn with_privilege(privileged: bool) -> Self {
        backend::prepare_for_tests();
        let domain = create(None, [0; 16], privileged).unwrap();
        domain.max_pages.store(64, Ordering::Relaxed);
        for gfn in 0..16 {
            populate(&domain, Gfn(gfn), 1).unwrap();
        }
        let vcpu = Vcpu::create(&domain, 0).unwrap();
        vcpu.run_state().start(&state());
        let this = Self { domain, vcpu };
        this.write(0x1000, &0x2003u64);
        this.write(0x2000, &0x83u64);
        this
    }

    fn write<T: IntoBytes + Immutable>(&self, gpa: u64, value: &T) {
        let (frame, _) = self.domain.p2m.lock().frame(Gfn(gpa >> 12)).unwrap();
        frame.write(gpa as usize & 0xfff, value.as_bytes());
    }

    fn read<T: FromBytes + IntoBytes>(&self, gpa: u64) -> T {
        let mut value = T::new_zeroed();
        let (frame, _) = self.domain.p2m.lock().frame(Gfn(gpa >> 12)).unwrap();
        frame.read(gpa as usize & 0xfff, value.as_mut_bytes());
        value
    }

    fn call(&self, number: u32, arguments: [u64; 3]) -> i64 {
        let mut run = self.vcpu.run_state();
        let registers = run.hw.registers_mut();
        registers.rax = number.into();
        [registers.rdi, registers.rsi, registers.rdx] = arguments;
        dispatch(&self.vcpu, &mut run);
        run.hw.registers().rax as i64
    }

    fn with<T: IntoBytes + Immutable>(&self, number: u32, command: u32, argument: &T) -> i64 {
        self.write(ARGUMENT, argument);
        self.call(number, [command.into(), ARGUMENT, 0])
    }

    /// Maps grant 8 of `giver`, of its page 5, at frame 0x20.
    fn map_grant(&self, giver: &Self) -> GnttabMapGrantRef {
        let mut table = giver.domain.grant.lock();
        table.seed(8, self.domain.id, Gfn(5)).unwrap();
        drop(table);
        let map = GnttabMapGrantRef {
            host_addr: 0x2_0000,
            flags: GntmapFlags::HOST_MAP,
            r#ref: 8,
            dom: giver.domain.id.0,
            ..Default::default()
        };
        self.write(ARGUMENT, &map);
        let command = GNTTABOP_MAP_GRANT_REF.into();
        assert_eq!(
            self.call(HYPERVISOR_GRANT_TABLE_OP, [command, ARGUMENT, 1]),
            0
        );
        let done: GnttabMapGrantRef = self.read(ARGUMENT);
        assert_eq!(done.status, GNTST_OKAY);
        done
    }
}

#[test]
fn the_first_entries_of_pae_tables_are_read_and_checked() {
    let guest = Guest::new();
    // Its lowest bits are none of the address.
    let pae = CpuState {
        cr3: 0x5ff8,
        efer: 0,
        ..state()
    };
    let complete = |mut state: CpuState| {
        super::hvm_context::complete(&*guest.domain, &mut state).map(|()| state.pdptes)
    };
    guest.write(0x5fe0, &[0x6001u64, 0, 0x1e6, 0x7019]);
    assert_eq!(complete(pae), Ok([0x6001, 0, 0x1e6, 0x7019]));
    // Long mode, and what is no PAE, have none.
    assert_eq!(complete(state()), Ok([0; 4]));
    assert_eq!(complete(CpuState { cr4: 0, ..pae }), Ok([0; 4]));
    for reserved in [1u64 << 1, 1 << 2, 1 << 5, 1 << 8, 1 << 52, 1 << 63] {
        guest.write(0x5ff8, &(0x7001 | reserved));
        assert_eq!(complete(pae), Err(Errno::EINVAL), "{reserved:#x}");
    }
    let nowhere = CpuState {
        cr3: 0x10_0000,
        ..pae
    };
    assert_eq!(complete(nowhere), Err(Errno::EINVAL));
}

fn refused(errno: Errno) -> i64 {
    errno.to_ret()
}

#[test]
fn a_running_vcpu_is_not_given_a_first_state_not_even_by_itself() {
    let _alone = alone();
    let guest = Guest::new();
    guest.write(ARGUMENT, &u64::from(VCPU_HVM_MODE_64B));
    let context = VcpuHvmX86_64 {
        cr0: CR0_PG | 1,
        ..Default::default()
    };
    guest.write(ARGUMENT + 8, &context);
    let initialise = || guest.call(HYPERVISOR_VCPU_OP, [VCPUOP_INITIALISE.into(), 0, ARGUMENT]);
    // It holds its own state while it calls.
    assert_eq!(initialise(), refused(Errno::EEXIST));
    let other = Vcpu::create(&guest.domain, 1).unwrap();
    let runs = other.run_state();
    assert!(!other.initialise(&state()));
    drop(runs);
    assert!(other.initialise(&state()) && other.is_initialised());
    destroy(&guest.domain);
}

#[test]
fn only_a_vcpu_with_a_state_is_started() {
    let _alone = alone();
    let guest = Guest::new();
    let up = |id| guest.call(HYPERVISOR_VCPU_OP, [VCPUOP_UP.into(), id, 0]);
    assert_eq!(up(1), refused(Errno::ENOENT));
    assert_eq!(up(1 << 32), refused(Errno::ENOENT));
    let other = Vcpu::create(&guest.domain, 1).unwrap();
    assert_eq!(up(1), refused(Errno::EINVAL));
    assert!(other.run_state().offline);
    assert!(other.initialise(&state()));
    assert_eq!((up(1), other.run_state().offline), (0, false));
    // Again: whatever it waits for, it runs on.
    other.run_state().halted = true;
    assert_eq!((up(1), other.run_state().halted), (0, false));
    destroy(&guest.domain);
}

#[test]
fn a_long_write_to_the_console_is_issued_again_for_the_rest() {
    let _alone = alone();
    for (privileged, bytes) in [(false, 2), (true, 4)] {
        console_pieces(&Guest::with_privilege(privileged), bytes);
    }
}

/// A piece has no part of a line, unless it has nothing else; of `a` and `b`, a line each, it has so many bytes.
fn console_pieces(guest: &Guest, bytes: u64) {
    use crate::arch::timer;
    const COUNT: u64 = 1000;
    let mut run = guest.vcpu.run_state();
    let registers = run.hw.registers_mut();
    [registers.rdi, registers.rsi, registers.rdx] = [CONSOLEIO_WRITE.into(), COUNT, ARGUMENT];
    let caller = super::Caller::new(&guest.vcpu, &mut run);
    // Other tests set the clock as well.
    let pieces = || {
        (0..100).find_map(|_| {
            timer::host_set_now(0);
            super::budget::begin();
            timer::host_set_now(1 << 60);
            match super::console_io::call(&caller) {
                Ok(super::Outcome::Again(rest)) => Some(rest),
                _ => None,
            }
        })
    };
    let after = |piece| [CONSOLEIO_WRITE.into(), COUNT - piece, ARGUMENT + piece];
    assert_eq!(pieces(), Some(after(256)), "one piece in any case");
    guest.write(ARGUMENT, b"a\nb\n");
    assert_eq!(pieces(), Some(after(bytes)), "whole lines");
    drop(run);
    destroy(&guest.domain);
}

#[test]
fn what_was_typed_waits_until_it_can_be_handed_over() {
    let _alone = alone();
    let guest = Guest::with_privilege(true);
    let read = |at| guest.call(HYPERVISOR_CONSOLE_IO, [CONSOLEIO_READ.into(), 3, at]);
    crate::console::unread_input(b"typed");
    assert_eq!(read(0x2_0000), refused(Errno::EFAULT));
    assert_eq!((read(ARGUMENT), guest.read(ARGUMENT)), (3, *b"typ"));
    assert_eq!((read(ARGUMENT), guest.read(ARGUMENT)), (2, *b"edp"));
    assert_eq!(read(ARGUMENT), 0);
    // Nothing but the newest gives way.
    crate::console::unread_input(&[b'x'; 1024]);
    crate::console::unread_input(b"ab");
    assert_eq!((read(ARGUMENT), guest.read(ARGUMENT)), (3, *b"abx"));
    while read(ARGUMENT) > 0 {}
    destroy(&guest.domain);
}

#[test]
fn a_granted_page_stays_where_its_mapping_is_recorded() {
    let _alone = alone();
    let (giver, taker) = (Guest::new(), Guest::new());
    let mapped = taker.map_grant(&giver);
    let there = || taker.domain.p2m.lock().lookup(Gfn(0x20)).map(|m| m.mfn);
    let page = giver.domain.p2m.lock().lookup(Gfn(5)).map(|m| m.mfn);
    assert_eq!(there(), page);
    taker.write(0x5000, &0x20u64);
    let decrease = MemoryReservation {
        extent_start: 0x5000,
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    let command = XENMEM_DECREASE_RESERVATION;
    let done = taker.with(HYPERVISOR_MEMORY_OP, command, &decrease);
    assert_eq!(done, refused(Errno::ENOENT));
    let remove = RemoveFromPhysmap {
        domid: DOMID_SELF,
        gpfn: 0x20,
        ..Default::default()
    };
    let command = XENMEM_REMOVE_FROM_PHYSMAP;
    let done = taker.with(HYPERVISOR_MEMORY_OP, command, &remove);
    assert_eq!(done, refused(Errno::ENOENT));
    let mut add = AddToPhysmap {
        domid: DOMID_SELF,
        space: XENMAPSPACE_SHARED_INFO,
        gpfn: 0x20,
        ..Default::default()
    };
    let command = XENMEM_ADD_TO_PHYSMAP;
    let done = taker.with(HYPERVISOR_MEMORY_OP, command, &add);
    assert_eq!(done, refused(Errno::EINVAL));
    assert_eq!(there(), page);
    let unmap = GnttabUnmapGrantRef {
        host_addr: 0x2_0000,
        handle: mapped.handle,
        ..Default::default()
    };
    taker.write(ARGUMENT, &unmap);
    let command = GNTTABOP_UNMAP_GRANT_REF.into();
    taker.call(HYPERVISOR_GRANT_TABLE_OP, [command, ARGUMENT, 1]);
    let done: GnttabUnmapGrantRef = taker.read(ARGUMENT);
    assert_eq!((done.status, there()), (GNTST_OKAY, None));
    // Its own memory it may give back, and put other pages there.
    add.gpfn = 7;
    let command = XENMEM_ADD_TO_PHYSMAP;
    assert_eq!(taker.with(HYPERVISOR_MEMORY_OP, command, &add), 0);
    taker.write(0x5000, &6u64);
    let command = XENMEM_DECREASE_RESERVATION;
    assert_eq!(taker.with(HYPERVISOR_MEMORY_OP, command, &decrease), 1);
    assert!(taker.domain.p2m.lock().lookup(Gfn(6)).is_none());
    destroy(&taker.domain);
    destroy(&giver.domain);
}

#[test]
fn arguments_in_another_domains_page_are_translated_each_time() {
    use crate::guest_args::GuestArgs;
    let _alone = alone();
    let (giver, taker) = (Guest::new(), Guest::new());
    taker.map_grant(&giver);
    let mut run = taker.vcpu.run_state();
    let caller = super::Caller::new(&taker.vcpu, &mut run);
    let (mut own, mut granted) = (caller.memory(0x5000), caller.memory(0x2_0000));
    for memory in [&mut own, &mut granted] {
        memory.put(0, &1u64).unwrap();
        assert_eq!(memory.get::<u64>(0), Ok(1));
    }
    // Another vCPU takes both away in the middle of a list. Its own page is still its own; the giver's is not.
    let gone = [5, 0x20].map(|gfn| taker.domain.p2m.lock().remove(Gfn(gfn)).unwrap());
    assert_eq!(own.get::<u64>(0), Ok(1));
    assert_eq!(granted.put(0, &2u64), Err(Errno::EFAULT));
    assert_eq!(granted.get::<u64>(0), Err(Errno::EFAULT));
    assert_eq!(giver.read::<u64>(0x5000), 1);
    drop((gone, own, granted));
    drop(run);
    destroy(&taker.domain);
    destroy(&giver.domain);
}
