//! Guests that take nothing, grant nothing, or write nonsense: they hurt nobody else.

use super::*;

#[test]
fn a_guest_without_buffers_loses_frames_and_holds_nobody_up() {
    let mut world = World::new();
    world.buffers(A, 1);
    world.frame(UPLINK, &frame(MAC_A, WORLD, 60));
    world.run();
    world.buffers(B, 1);
    world.buffers(UPLINK, 10);
    world.frame(A, &frame(MAC_B, MAC_A, 60));
    world.frame(A, &frame(MAC_B, MAC_A, 61));
    world.frame(A, &frame(WORLD, MAC_A, 62));
    world.run();
    assert_eq!(world.got(B).len(), 1);
    assert_eq!(world.got(UPLINK).len(), 1);
    assert_eq!(world.counters(B).out_dropped, 1);
    assert_eq!(world.answers(A), vec![NETIF_RSP_DROPPED, 0, 0]);
}

#[test]
fn packets_wait_for_the_uplink_in_order_and_not_for_ever() {
    let mut world = World::new();
    // The uplink is known to lead to the world.
    world.buffers(A, 10);
    world.frame(UPLINK, &frame(MAC_A, WORLD, 60));
    world.run();
    let frames: Vec<_> = (0..6).map(|n| frame(WORLD, MAC_A, 100 + n)).collect();
    world.buffers(UPLINK, 2);
    for frame in &frames {
        world.frame(A, frame);
    }
    world.run();
    assert_eq!(world.got(UPLINK), frames[..2]);
    assert_eq!(
        world.fronts[&UPLINK].borrow().wants,
        Some(0),
        "it is asked to notify"
    );
    world.buffers(UPLINK, 3);
    world.run();
    assert_eq!(world.got(UPLINK), frames[..5]);
    assert_eq!(world.answers(A), vec![0; 5]);
    assert_eq!(world.engine.deadline(), Some(world.host.now + PATIENCE));
    world.host.now += PATIENCE;
    assert!(!world.engine.pass(&mut world.host));
    assert_eq!(world.answers(A).last(), Some(&NETIF_RSP_DROPPED));
    assert_eq!(world.engine.deadline(), None);
}

#[test]
fn a_grant_that_is_none_costs_its_packet_only() {
    let mut world = World::new();
    world.buffers(B, 4);
    world.frame(A, &frame(MAC_B, MAC_A, 60));
    world.send(
        A,
        &frame(MAC_B, MAC_A, 3000),
        &[100, 2900],
        NettxFlags::empty(),
        None,
    );
    world.frame(A, &frame(MAC_B, MAC_A, 61));
    // The header's page is gone, then that of the second part of another packet.
    world.pages.borrow_mut().remove(&(domain(A), 1000));
    world.pages.borrow_mut().remove(&(domain(A), 1002));
    world.run();
    let statuses: Vec<i16> = world.fronts[&B]
        .borrow()
        .received
        .iter()
        .map(|r| r.status)
        .collect();
    assert_eq!(statuses, vec![NETIF_RSP_ERROR, 61]);
    let mut answers = world.fronts[&A].borrow().answers.clone();
    answers.sort();
    assert_eq!(answers, vec![(1000, -1), (1001, -1), (1002, -1), (1003, 0)]);
    assert_eq!(world.counters(A).in_errors, 2);
}

#[test]
fn a_broken_ring_ends_its_port_alone() {
    let mut world = World::new();
    world.buffers(B, 4);
    world.fronts[&A].borrow_mut().broken = true;
    world.frame(UPLINK, &frame(MAC_B, WORLD, 60));
    world.run();
    assert_eq!(world.got(B).len(), 1);
    assert_eq!(world.engine.take_broken(), Some((A, Broken("test"))));
    assert_eq!(world.engine.take_broken(), None);
    world.engine.remove(A).unwrap();
    world.run();
}
