//! FIFO queues of guests that do anything, correct and hostile ones.

use core::sync::atomic::Ordering::SeqCst;
use std::collections::BTreeSet;

use proptest::prelude::*;
use xen_abi::event_channel::*;

use super::fifo_tests::{Guest, MASKED, fifo_guest};

/// One thing that happens; the guest's scribbling included.
#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Unmask(u32),
    Move(u32, u32),
    Priority(u32, u32),
    Drain(usize),
    Mask(u32),
    Scribble(u32, u32),
    ScribbleControl(usize, usize, u32),
}

fn steps(hostile: bool) -> impl Strategy<Value = Vec<Step>> {
    let port = 1..8u32;
    let honest = prop_oneof![
        4 => (0..6usize).prop_map(Step::Send),
        2 => (0..2usize).prop_map(Step::Drain),
        1 => port.clone().prop_map(Step::Unmask),
        1 => port.clone().prop_map(Step::Mask),
        1 => (port.clone(), 0..2u32).prop_map(|(port, vcpu)| Step::Move(port, vcpu)),
        1 => (port.clone(), 0..16u32).prop_map(|(port, priority)| Step::Priority(port, priority)),
    ];
    let scribble = prop_oneof![
        (port, any::<u32>()).prop_map(|(port, value)| Step::Scribble(port, value)),
        (0..2usize, 0..18usize, any::<u32>())
            .prop_map(|(vcpu, word, value)| Step::ScribbleControl(vcpu, word, value)),
    ];
    let step = if hostile {
        prop_oneof![3 => honest, 2 => scribble].boxed()
    } else {
        honest.boxed()
    };
    prop::collection::vec(step, 1..80)
}

fn play(guest: &mut Guest, channels: &[(u32, u32)], step: &Step, hostile: bool) -> Vec<u32> {
    match *step {
        Step::Send(index) => {
            guest.world.send(1, channels[index].0).unwrap();
        }
        Step::Unmask(port) => {
            let _ = guest.world.call(2, EVTCHNOP_UNMASK, EvtchnUnmask { port });
        }
        Step::Move(port, vcpu) => {
            let _ = guest
                .world
                .call(2, EVTCHNOP_BIND_VCPU, EvtchnBindVcpu { port, vcpu });
        }
        Step::Priority(port, priority) => {
            let _ = guest.world.call(
                2,
                EVTCHNOP_SET_PRIORITY,
                EvtchnSetPriority { port, priority },
            );
        }
        Step::Drain(vcpu) if !hostile => return guest.drain(vcpu),
        Step::Drain(_) => {}
        Step::Mask(port) => {
            guest.word(port).fetch_or(MASKED, SeqCst);
        }
        Step::Scribble(port, value) => guest.word(port).store(value, SeqCst),
        Step::ScribbleControl(vcpu, word, value) => {
            guest.control[vcpu]
                .atomic_u32(64 + word * 4)
                .store(value, SeqCst);
        }
    }
    vec![]
}

proptest! {
    /// Whatever is sent to a correct guest, however it masks and moves: nothing is lost, nothing comes unasked.
    #[test]
    fn a_correct_guest_loses_nothing(steps in steps(false)) {
        let mut guest = fifo_guest();
        let channels: Vec<_> = (0..6).map(|_| guest.world.channel()).collect();
        guest.drain(0);
        let mut expected = BTreeSet::new();
        for step in &steps {
            if let Step::Send(index) = step {
                expected.insert(channels[*index].1);
            }
            for port in play(&mut guest, &channels, step, false) {
                prop_assert!(expected.remove(&port), "port {} was not sent to", port);
            }
        }
        for (_, port) in &channels {
            guest.world.call(2, EVTCHNOP_UNMASK, EvtchnUnmask { port: *port }).unwrap();
        }
        for vcpu in [0, 1, 0, 1] {
            for port in guest.drain(vcpu) {
                prop_assert!(expected.remove(&port), "port {} was not sent to", port);
            }
        }
        prop_assert!(expected.is_empty(), "lost: {:?}", expected);
    }

    /// Whatever the guest writes into its pages: every step ends, and other domains' channels work on.
    #[test]
    fn a_hostile_guest_harms_itself_only(steps in steps(true)) {
        let mut guest = fifo_guest();
        let channels: Vec<_> = (0..6).map(|_| guest.world.channel()).collect();
        for step in &steps {
            play(&mut guest, &channels, step, true);
        }
        let before = guest.world.take_notified();
        prop_assert!(before.iter().all(|(domain, _)| *domain == 2));
        guest.world.send(2, channels[0].1).unwrap();
        prop_assert_eq!(guest.world.take_notified().len(), 1);
    }
}
