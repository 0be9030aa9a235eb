//! What guests can do with event channels, and what they find in their pages.

use core::sync::atomic::Ordering::SeqCst;

use xen_abi::Errno;
use xen_abi::event_channel::*;
use xen_abi::xen::{DOMID_SELF, VIRQ_CONSOLE, VIRQ_TIMER};

use super::world::{World, frame};
use super::*;
use crate::guest_args::TestArgs;

pub(super) fn upcall(domain: u16, port: u32) -> Vec<(u16, Notify)> {
    vec![(
        domain,
        Notify {
            upcall: Some(0),
            poll: Some(port),
        },
    )]
}

#[test]
fn two_domains_connect_and_signal() {
    let mut world = World::new();
    let one = world.alloc(1, 2);
    assert_eq!(world.status(1, one).status, EVTCHNSTAT_UNBOUND);
    assert_eq!(world.status(1, one).remote_dom(), 2);
    // Sending to nobody is dropped.
    world.send(1, one).unwrap();
    let two = world.bind(2, 1, one).unwrap();
    // Binding raises the new port: something may have been sent before.
    assert_eq!(world.take_notified(), upcall(2, two));
    assert_eq!(world.handle(2), [two]);
    let status = world.status(1, one);
    assert_eq!(
        (status.status, status.remote_dom(), status.remote_port()),
        (EVTCHNSTAT_INTERDOMAIN, 2, two)
    );
    world.send(2, two).unwrap();
    assert_eq!(world.take_notified(), upcall(1, one));
    // Not handled yet: no second upcall, nothing new for pollers.
    world.send(2, two).unwrap();
    assert_eq!(world.take_notified(), []);
    assert_eq!(world.handle(1), [one]);
    world.send(2, two).unwrap();
    assert_eq!(world.take_notified(), upcall(1, one));
}

#[test]
fn a_port_is_only_for_the_domain_that_it_waits_for() {
    let mut world = World::new();
    let port = world.alloc(1, 0);
    assert_eq!(world.bind(2, 1, port), Err(Errno::EINVAL));
    assert_eq!(world.bind(2, 1, 4095), Err(Errno::EINVAL));
    assert_eq!(world.bind(2, 1, u32::MAX), Err(Errno::EINVAL));
    assert_eq!(world.bind(2, 9, 1), Err(Errno::ESRCH));
    // The refused attempts leave no ports behind.
    assert_eq!(world.table(2, |table| table.next_in_use(0)), None);
    world.bind(0, 1, port).unwrap();
    assert_eq!(world.bind(0, 1, port), Err(Errno::EINVAL));
}

#[test]
fn loopback_connects_a_domain_to_itself() {
    let mut world = World::new();
    let one = world.alloc(1, DOMID_SELF);
    let other = world.bind(1, DOMID_SELF, one).unwrap();
    assert_eq!(world.handle(1), [other]);
    world.take_notified();
    world.send(1, other).unwrap();
    assert_eq!(world.take_notified(), upcall(1, one));
    world
        .call(1, EVTCHNOP_CLOSE, EvtchnClose { port: one })
        .unwrap();
    assert_eq!(world.status(1, other).status, EVTCHNSTAT_UNBOUND);
}

#[test]
fn closing_leaves_the_other_side_waiting() {
    let mut world = World::new();
    let (one, two) = world.channel();
    world.send(1, one).unwrap();
    world
        .call(2, EVTCHNOP_CLOSE, EvtchnClose { port: two })
        .unwrap();
    assert!(
        !world.table(2, |table| table.is_pending(two)),
        "a free port keeps no event"
    );
    let status = world.status(1, one);
    assert_eq!(
        (status.status, status.remote_dom()),
        (EVTCHNSTAT_UNBOUND, 2)
    );
    assert_eq!(
        world.call(2, EVTCHNOP_CLOSE, EvtchnClose { port: two }),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.call(2, EVTCHNOP_CLOSE, EvtchnClose { port: 0 }),
        Err(Errno::EINVAL)
    );
    let again = world.bind(2, 1, one).unwrap();
    assert_eq!(world.status(2, again).remote_port(), one);
}

#[test]
fn a_step_with_a_stale_peer_does_nothing() {
    let mut world = World::new();
    let (one, two) = world.channel();
    // Domain 1 has closed and reused the port; domain 2 has not heard of it.
    let _ = world.table(1, |table| table.close(one).unwrap());
    assert_eq!(world.alloc(1, 0), one);
    world.send(2, two).unwrap();
    assert_eq!(world.take_notified(), []);
    world
        .call(2, EVTCHNOP_CLOSE, EvtchnClose { port: two })
        .unwrap();
    let status = world.status(1, one);
    assert_eq!(
        (status.status, status.remote_dom()),
        (EVTCHNSTAT_UNBOUND, 0)
    );
}

#[test]
fn masked_ports_wait_for_the_unmask() {
    let mut world = World::new();
    let (one, two) = world.channel();
    let mask = world.shared[&2].atomic_u64(2560 + two as usize / 64 * 8);
    mask.fetch_or(1 << (two % 64), SeqCst);
    world.send(1, one).unwrap();
    assert_eq!(
        world.take_notified(),
        [(
            2,
            Notify {
                upcall: None,
                poll: Some(two)
            }
        )]
    );
    world
        .call(2, EVTCHNOP_UNMASK, EvtchnUnmask { port: two })
        .unwrap();
    assert_eq!(
        world.take_notified(),
        [(
            2,
            Notify {
                upcall: Some(0),
                poll: None
            }
        )]
    );
    assert_eq!(world.handle(2), [two]);
    world
        .call(2, EVTCHNOP_UNMASK, EvtchnUnmask { port: two })
        .unwrap();
    assert_eq!(world.take_notified(), []);
    assert_eq!(
        world.call(2, EVTCHNOP_UNMASK, EvtchnUnmask { port: 5000 }),
        Err(Errno::EINVAL)
    );
}

#[test]
fn virqs_are_per_vcpu_or_global() {
    let mut world = World::new();
    let arg = |virq, vcpu| EvtchnBindVirq {
        virq,
        vcpu,
        port: 0,
    };
    let timer = world
        .call(1, EVTCHNOP_BIND_VIRQ, arg(VIRQ_TIMER, 1))
        .unwrap()
        .port;
    assert_eq!(
        world.call(1, EVTCHNOP_BIND_VIRQ, arg(VIRQ_TIMER, 1)),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        world.call(1, EVTCHNOP_BIND_VIRQ, arg(VIRQ_TIMER, 2)),
        Err(Errno::ENOENT)
    );
    assert_eq!(
        world.call(1, EVTCHNOP_BIND_VIRQ, arg(24, 0)),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.call(1, EVTCHNOP_BIND_VIRQ, arg(VIRQ_CONSOLE, 0)),
        Err(Errno::EBUSY)
    );
    assert_eq!(
        world.call(0, EVTCHNOP_BIND_VIRQ, arg(VIRQ_CONSOLE, 1)),
        Err(Errno::EINVAL)
    );
    let console = world
        .call(0, EVTCHNOP_BIND_VIRQ, arg(VIRQ_CONSOLE, 0))
        .unwrap()
        .port;
    let notify = world.table(1, |table| table.raise_virq(VIRQ_TIMER, 1));
    assert_eq!(
        notify,
        Notify {
            upcall: Some(1),
            poll: Some(timer)
        }
    );
    assert_eq!(
        world.table(1, |table| table.raise_virq(VIRQ_TIMER, 0)),
        Notify::NONE
    );
    let notify = world.table(0, |table| table.raise_virq(VIRQ_CONSOLE, 1));
    assert_eq!(
        notify,
        Notify {
            upcall: Some(0),
            poll: Some(console)
        }
    );
    // A closed one is not raised, and can be bound anew.
    world
        .call(1, EVTCHNOP_CLOSE, EvtchnClose { port: timer })
        .unwrap();
    assert_eq!(
        world.table(1, |table| table.raise_virq(VIRQ_TIMER, 1)),
        Notify::NONE
    );
    world
        .call(1, EVTCHNOP_BIND_VIRQ, arg(VIRQ_TIMER, 1))
        .unwrap();
    // Nobody sends on a VIRQ.
    assert_eq!(world.send(0, console), Err(Errno::EINVAL));
}

#[test]
fn ports_move_between_vcpus_unless_they_are_fixed() {
    let mut world = World::new();
    let (one, two) = world.channel();
    let arg = |port, vcpu| EvtchnBindVcpu { port, vcpu };
    world.call(2, EVTCHNOP_BIND_VCPU, arg(two, 1)).unwrap();
    world.send(1, one).unwrap();
    assert_eq!(
        world.take_notified(),
        [(
            2,
            Notify {
                upcall: Some(1),
                poll: Some(two)
            }
        )]
    );
    assert_eq!(world.shared[&2].atomic_u8(64).load(SeqCst), 1);
    let ipi = world
        .call(2, EVTCHNOP_BIND_IPI, EvtchnBindIpi { vcpu: 1, port: 0 })
        .unwrap()
        .port;
    assert_eq!(
        world.call(2, EVTCHNOP_BIND_VCPU, arg(ipi, 0)),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.call(2, EVTCHNOP_BIND_VCPU, arg(two, 2)),
        Err(Errno::ENOENT)
    );
    assert_eq!(
        world.call(2, EVTCHNOP_BIND_VCPU, arg(999, 0)),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.call(2, EVTCHNOP_BIND_IPI, EvtchnBindIpi { vcpu: 2, port: 0 }),
        Err(Errno::ENOENT)
    );
    world.send(2, ipi).unwrap();
    assert!(world.table(2, |table| table.is_pending(ipi)));
}

#[test]
fn only_the_privileged_act_for_others() {
    let mut world = World::new();
    let arg = EvtchnAllocUnbound {
        dom: 2,
        remote_dom: 1,
        port: 0,
    };
    assert_eq!(
        world.call(1, EVTCHNOP_ALLOC_UNBOUND, arg),
        Err(Errno::EPERM)
    );
    assert_eq!(
        world.call(
            1,
            EVTCHNOP_ALLOC_UNBOUND,
            EvtchnAllocUnbound { dom: 9, ..arg }
        ),
        Err(Errno::ESRCH)
    );
    let port = world.call(0, EVTCHNOP_ALLOC_UNBOUND, arg).unwrap().port;
    let status = EvtchnStatus {
        dom: 2,
        port,
        ..Default::default()
    };
    assert_eq!(world.call(1, EVTCHNOP_STATUS, status), Err(Errno::EPERM));
    assert_eq!(
        world.call(0, EVTCHNOP_STATUS, status).unwrap().status,
        EVTCHNSTAT_UNBOUND
    );
    world.bind(1, 2, port).unwrap();
    assert_eq!(
        world.call(1, EVTCHNOP_RESET, EvtchnReset { dom: 2 }),
        Err(Errno::EPERM)
    );
}

#[test]
fn bad_arguments_get_an_error() {
    let mut world = World::new();
    assert_eq!(
        world.call(1, 14, EvtchnSend { port: 1 }),
        Err(Errno::ENOSYS)
    );
    assert_eq!(
        op(&world, EVTCHNOP_SEND, &mut TestArgs(vec![0; 3])),
        Err(Errno::EFAULT)
    );
    assert_eq!(
        world.call(1, EVTCHNOP_BIND_PIRQ, EvtchnBindPirq::default()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.call(
            1,
            EVTCHNOP_SET_PRIORITY,
            EvtchnSetPriority {
                port: 1,
                priority: 3
            }
        ),
        Err(Errno::ENOSYS)
    );
    assert_eq!(
        world.call(1, EVTCHNOP_EXPAND_ARRAY, EvtchnExpandArray { array_gfn: 0 }),
        Err(Errno::EOPNOTSUPP)
    );
}

#[test]
fn a_moved_vcpu_info_gets_the_events() {
    let mut world = World::new();
    let (one, two) = world.channel();
    let page = frame(2);
    let register = |world: &World, vcpu, offset| {
        world.table(2, |table| {
            table.register_vcpu_info(vcpu, page.clone(), offset)
        })
    };
    world.shared[&2].write(32, b"time");
    assert_eq!(register(&world, 0, 4096 - 56), Err(Errno::EINVAL));
    assert_eq!(register(&world, 0, 132), Err(Errno::EINVAL));
    assert_eq!(register(&world, 2, 0), Err(Errno::ENOENT));
    assert_eq!(
        register(&world, 0, 128),
        Ok(Notify {
            upcall: Some(0),
            poll: None
        })
    );
    assert_eq!(register(&world, 0, 256), Err(Errno::EINVAL));
    let mut time = [0; 4];
    page.read(128 + 32, &mut time);
    assert_eq!(&time, b"time");
    assert_eq!(
        page.atomic_u64(128 + 8).load(SeqCst),
        u64::MAX,
        "everything is to be looked at"
    );
    page.atomic_u8(128).store(0, SeqCst);
    page.atomic_u64(128 + 8).store(0, SeqCst);
    world.send(1, one).unwrap();
    assert_eq!(page.atomic_u8(128).load(SeqCst), 1);
    assert_eq!(page.atomic_u64(128 + 8).load(SeqCst), 1 << (two / 64));
}
