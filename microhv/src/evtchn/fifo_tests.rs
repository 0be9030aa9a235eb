//! FIFO queues as a correct guest drains them, and as a hostile one spoils them.

use core::sync::atomic::Ordering::SeqCst;
use xen_abi::Errno;
use xen_abi::event_channel::*;

use super::world::World;
use super::*;
use crate::mm::FrameRef;

const PENDING: u32 = 1 << 31;
pub(super) const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;

/// Domain 2 with FIFO channels: control blocks of both vCPUs at offset 64 of gfn 100 and 101, one page of words.
pub(super) struct Guest {
    pub world: World,
    pub control: [FrameRef; 2],
    words: FrameRef,
}

pub(super) fn fifo_guest() -> Guest {
    let mut world = World::new();
    let control = [world.page(100, 2), world.page(101, 2)];
    let words = world.page(200, 2);
    for vcpu in 0..2 {
        let arg = EvtchnInitControl {
            control_gfn: 100 + u64::from(vcpu),
            offset: 64,
            vcpu,
            ..Default::default()
        };
        assert_eq!(
            world.call(2, EVTCHNOP_INIT_CONTROL, arg).unwrap().link_bits,
            17
        );
    }
    world
        .call(
            2,
            EVTCHNOP_EXPAND_ARRAY,
            EvtchnExpandArray { array_gfn: 200 },
        )
        .unwrap();
    Guest {
        world,
        control,
        words,
    }
}

impl Guest {
    pub fn word(&self, port: u32) -> &core::sync::atomic::AtomicU32 {
        self.words.atomic_u32(port as usize * 4)
    }

    /// What Linux's handler does on `vcpu`: drain the ready queues by priority; the ports in the order handled.
    pub fn drain(&self, vcpu: usize) -> Vec<u32> {
        self.world.shared[&2].atomic_u8(64 * vcpu).store(0, SeqCst);
        let control = &self.control[vcpu];
        let ready = control.atomic_u32(64).swap(0, SeqCst);
        let mut ports = vec![];
        for priority in (0..16).filter(|priority| ready & 1 << priority != 0) {
            let mut port = control.atomic_u32(64 + 8 + priority * 4).load(SeqCst);
            while port != 0 {
                let old = self
                    .word(port)
                    .fetch_update(SeqCst, SeqCst, |word| Some(word & !(LINKED | 0x1_ffff)));
                let old = old.unwrap();
                assert_ne!(old & LINKED, 0);
                if old & PENDING != 0 && old & MASKED == 0 {
                    self.word(port).fetch_and(!PENDING, SeqCst);
                    ports.push(port);
                }
                port = old & 0x1_ffff;
            }
        }
        ports
    }
}

#[test]
fn events_queue_in_order_and_by_priority() {
    let mut guest = fifo_guest();
    let channels: Vec<_> = (0..4).map(|_| guest.world.channel()).collect();
    guest.drain(0);
    let arg = EvtchnSetPriority {
        port: channels[3].1,
        priority: 0,
    };
    guest.world.call(2, EVTCHNOP_SET_PRIORITY, arg).unwrap();
    let bad = EvtchnSetPriority {
        port: channels[3].1,
        priority: 16,
    };
    assert_eq!(
        guest.world.call(2, EVTCHNOP_SET_PRIORITY, bad),
        Err(Errno::EINVAL)
    );
    for index in [2, 0, 1, 3, 0] {
        guest.world.send(1, channels[index].0).unwrap();
    }
    let upcalls: Vec<_> = guest
        .world
        .take_notified()
        .iter()
        .map(|(_, notify)| notify.upcall)
        .collect();
    // One for the first; the flag stays up until the guest clears it, so the urgent one needs no other.
    assert_eq!(upcalls, [Some(0), None, None, None]);
    let order: Vec<_> = [3, 2, 0, 1]
        .iter()
        .map(|&index: &usize| channels[index].1)
        .collect();
    assert_eq!(guest.drain(0), order);
    assert_eq!(guest.drain(0), []);
}

#[test]
fn masked_events_wait_for_the_unmask_and_moved_ones_change_queues() {
    let mut guest = fifo_guest();
    let (one, two) = guest.world.channel();
    guest.drain(0);
    guest.word(two).fetch_or(MASKED, SeqCst);
    guest.world.send(1, one).unwrap();
    assert_eq!(
        guest.world.take_notified(),
        [(
            2,
            Notify {
                upcall: None,
                poll: Some(two)
            }
        )]
    );
    assert_eq!(guest.drain(0), []);
    guest
        .world
        .call(2, EVTCHNOP_BIND_VCPU, EvtchnBindVcpu { port: two, vcpu: 1 })
        .unwrap();
    guest
        .world
        .call(2, EVTCHNOP_UNMASK, EvtchnUnmask { port: two })
        .unwrap();
    assert_eq!(
        guest.world.take_notified(),
        [(
            2,
            Notify {
                upcall: Some(1),
                poll: None
            }
        )]
    );
    assert_eq!(guest.drain(0), []);
    assert_eq!(guest.drain(1), [two]);
    // Port 2 left vCPU 0's queue for vCPU 1's; its old place as a tail there must not be linked to.
    let (other, other_two) = guest.world.channel();
    assert_eq!(guest.drain(0), [other_two]);
    guest.world.send(1, one).unwrap();
    guest.world.send(1, other).unwrap();
    assert_eq!(guest.drain(0), [other_two]);
    assert_eq!(guest.drain(1), [two]);
}

#[test]
fn events_from_before_the_words_exist_are_raised_when_they_do() {
    let mut world = World::new();
    let (one, two) = world.channel();
    let (early, early_two) = world.channel();
    world.send(1, early).unwrap();
    let control = world.page(100, 2);
    let words = world.page(200, 2);
    let arg = EvtchnInitControl {
        control_gfn: 100,
        ..Default::default()
    };
    assert_eq!(
        world.call(
            2,
            EVTCHNOP_INIT_CONTROL,
            EvtchnInitControl {
                control_gfn: 7,
                ..arg
            }
        ),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.call(
            2,
            EVTCHNOP_INIT_CONTROL,
            EvtchnInitControl { offset: 4, ..arg }
        ),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.call(
            2,
            EVTCHNOP_INIT_CONTROL,
            EvtchnInitControl {
                offset: 4032,
                ..arg
            }
        ),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        world.call(
            2,
            EVTCHNOP_INIT_CONTROL,
            EvtchnInitControl { vcpu: 2, ..arg }
        ),
        Err(Errno::ENOENT)
    );
    world.call(2, EVTCHNOP_INIT_CONTROL, arg).unwrap();
    assert_eq!(
        world.call(2, EVTCHNOP_INIT_CONTROL, arg),
        Err(Errno::EINVAL)
    );
    world.send(1, one).unwrap();
    world.shared[&2].atomic_u8(0).store(0, SeqCst);
    world.take_notified();
    world
        .call(
            2,
            EVTCHNOP_EXPAND_ARRAY,
            EvtchnExpandArray { array_gfn: 200 },
        )
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
    assert_eq!(
        control.atomic_u32(8 + 7 * 4).load(SeqCst),
        two.min(early_two)
    );
    for port in [two, early_two] {
        assert_ne!(
            words.atomic_u32(port as usize * 4).load(SeqCst) & PENDING,
            0
        );
    }
    for _ in 1..4 {
        world
            .call(
                2,
                EVTCHNOP_EXPAND_ARRAY,
                EvtchnExpandArray { array_gfn: 200 },
            )
            .unwrap();
    }
    let again = world.call(
        2,
        EVTCHNOP_EXPAND_ARRAY,
        EvtchnExpandArray { array_gfn: 200 },
    );
    assert_eq!(again, Err(Errno::ENOSPC));
    // Reset gives the pages back and returns to the 2-level scheme.
    world
        .call(2, EVTCHNOP_RESET, EvtchnReset { dom: 2 })
        .unwrap();
    world.pages.borrow_mut().clear();
    assert_eq!((words.holders(), control.holders()), (1, 1));
    assert_eq!(
        world.call(
            2,
            EVTCHNOP_EXPAND_ARRAY,
            EvtchnExpandArray { array_gfn: 200 }
        ),
        Err(Errno::EOPNOTSUPP)
    );
}

#[test]
fn a_linked_port_is_not_given_out_again() {
    let mut guest = fifo_guest();
    let (one, two) = guest.world.channel();
    guest.drain(0);
    guest.world.send(1, one).unwrap();
    guest
        .world
        .call(2, EVTCHNOP_CLOSE, EvtchnClose { port: two })
        .unwrap();
    let arg = EvtchnAllocUnbound {
        dom: 2,
        remote_dom: 1,
        port: 0,
    };
    assert_ne!(
        guest
            .world
            .call(2, EVTCHNOP_ALLOC_UNBOUND, arg)
            .unwrap()
            .port,
        two
    );
    assert_eq!(guest.drain(0), []);
    assert_eq!(
        guest
            .world
            .call(2, EVTCHNOP_ALLOC_UNBOUND, arg)
            .unwrap()
            .port,
        two
    );
}
