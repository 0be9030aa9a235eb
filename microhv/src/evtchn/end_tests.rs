//! Where event channels end: all ports in use, devices and domains that go.

use xen_abi::Errno;
use xen_abi::event_channel::*;
use xen_abi::xen::DOMID_SELF;

use super::tests::upcall;
use super::world::World;
use super::*;
use crate::guest_args::{Progress, TestArgs};
use crate::types::DomId;

#[test]
fn ports_run_out() {
    let mut world = World::new();
    let mut last = 0;
    for _ in 1..MAX_PORTS {
        last = world.alloc(1, 2);
    }
    assert_eq!(last, MAX_PORTS - 1);
    assert_eq!(world.try_alloc(1, 2), Err(Errno::ENOSPC));
    world
        .call(1, EVTCHNOP_CLOSE, EvtchnClose { port: 77 })
        .unwrap();
    assert_eq!(world.alloc(1, 2), 77);
    // The last port of the last word is delivered too.
    let two = world.bind(2, 1, last).unwrap();
    world.take_notified();
    world.send(2, two).unwrap();
    assert_eq!(world.take_notified(), upcall(1, last));
    assert_eq!(world.handle(1), [last]);
}

#[test]
fn a_physical_interrupt_is_bound_by_who_has_it() {
    let mut world = World::new();
    let arg = |pirq| EvtchnBindPirq {
        pirq,
        ..Default::default()
    };
    let port = world.call(0, EVTCHNOP_BIND_PIRQ, arg(3)).unwrap().port;
    assert_eq!(world.status(0, port).status, EVTCHNSTAT_PIRQ);
    for (caller, pirq) in [(0, 4), (1, 3)] {
        let refused = world.call(caller, EVTCHNOP_BIND_PIRQ, arg(pirq));
        assert_eq!(refused.err(), Some(Errno::EINVAL));
    }
    world.call(0, EVTCHNOP_CLOSE, EvtchnClose { port }).unwrap();
    assert_eq!(*world.unbound.borrow(), [0x100]);
}

#[test]
fn devices_raise_their_port_until_it_is_closed() {
    let mut world = World::new();
    let port = world.table(1, |table| table.bind_device(7)).unwrap();
    assert_eq!(world.status(1, port).status, EVTCHNSTAT_PIRQ);
    let raise = |world: &World, device| world.table(1, |table| table.raise_device(port, device));
    assert_eq!(
        raise(&world, 7),
        Notify {
            upcall: Some(0),
            poll: Some(port)
        }
    );
    assert_eq!(raise(&world, 8), Notify::NONE);
    world.call(1, EVTCHNOP_CLOSE, EvtchnClose { port }).unwrap();
    assert_eq!(*world.unbound.borrow(), [7]);
    assert_eq!(raise(&world, 7), Notify::NONE);
}

#[test]
fn reset_closes_everything_and_can_be_interrupted() {
    let mut world = World::new();
    let (one, two) = world.channel();
    for _ in 0..200 {
        world.alloc(2, 1);
    }
    world.caller = 2;
    world.preempt = true;
    let mut rounds = 0;
    while op(
        &world,
        EVTCHNOP_RESET,
        &mut TestArgs::of(&[EvtchnReset { dom: 2 }]),
    ) == Ok(Progress::Preempted(0))
    {
        rounds += 1;
    }
    assert_eq!(rounds, 3);
    assert_eq!(world.table(2, |table| table.next_in_use(0)), None);
    assert_eq!(world.status(1, one).status, EVTCHNSTAT_UNBOUND);
    assert_eq!(world.status(2, two).status, EVTCHNSTAT_CLOSED);
}

#[test]
fn the_dying_get_no_ports() {
    let mut world = World::new();
    let (one, _) = world.channel();
    world.table(2, Table::begin_death);
    assert_eq!(world.try_alloc(2, 2), Err(Errno::EINVAL));
    assert!(close_all(&world, DomId(2)));
    assert_eq!(world.status(1, one).status, EVTCHNSTAT_UNBOUND);
}
