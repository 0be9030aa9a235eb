//! Where frames go, and what becomes of them on the way.

use super::*;

#[test]
fn a_frame_goes_where_its_address_is_with_one_copy_each() {
    let mut world = World::new();
    world.buffers(B, 10);
    world.buffers(UPLINK, 10);
    let frames: Vec<_> = (0..5).map(|n| frame(MAC_B, MAC_A, 60 + n)).collect();
    for frame in &frames {
        world.frame(A, frame);
    }
    world.run();
    assert_eq!(world.got(B), frames);
    assert_eq!(world.got(UPLINK), Vec::<Vec<u8>>::new());
    assert_eq!(world.answers(A), vec![0; 5]);
    assert_eq!(world.host.copies, 2, "headers, then packets");
    assert_eq!(
        (world.counters(A).in_frames, world.counters(B).out_frames),
        (5, 5)
    );
}

#[test]
fn a_broadcast_reaches_everybody_else_and_the_interface() {
    let mut world = World::new();
    for port in [A, B, UPLINK] {
        world.buffers(port, 4);
    }
    let shout = frame(Mac::BROADCAST, WORLD, 100);
    world.frame(UPLINK, &shout);
    world.run();
    assert_eq!(world.got(A), vec![shout.clone()]);
    assert_eq!(world.got(B), vec![shout.clone()]);
    assert!(world.got(UPLINK).is_empty());
    assert_eq!(world.host.local, vec![shout]);
    assert_eq!(world.answers(UPLINK), vec![0]);
    assert_eq!(world.counters(A).out_flooded, 0);
}

#[test]
fn a_large_packet_keeps_its_offloads() {
    let mut world = World::new();
    world.buffers(B, 30);
    let bytes = frame(MAC_B, MAC_A, 60_000);
    let mut parts = vec![66];
    parts.extend([4096; 14]);
    parts.push(60_000 - 66 - 14 * 4096);
    world.send(A, &bytes, &parts, NettxFlags::CSUM_BLANK, Some(1448));
    world.run();
    assert_eq!(world.got(B), vec![bytes]);
    let front = world.fronts[&B].borrow();
    let flags = front.received[0].flags;
    assert!(
        flags.contains(NetrxFlags::CSUM_BLANK | NetrxFlags::EXTRA_INFO | NetrxFlags::MORE_DATA)
    );
    assert_eq!(
        world
            .answers(A)
            .iter()
            .filter(|status| **status == NETIF_RSP_NULL)
            .count(),
        1
    );
    assert_eq!(world.answers(A).len(), 17);
}

#[test]
fn what_a_receiver_cannot_do_is_done_for_it() {
    const C: PortId = PortId(4);
    const MAC_C: Mac = Mac([0, 0x16, 0x3e, 0, 0, 0xc]);
    let mut world = World::new();
    world.add(C, Some(MAC_C), false, Receiver::default());
    world.buffers(C, 40);
    let payload: Vec<u8> = (0..20_000).map(|n| n as u8).collect();
    let mut bytes = packet::test_frames::tcp_frame(&payload, 0x18);
    bytes[..6].copy_from_slice(&MAC_C.0);
    bytes[6..12].copy_from_slice(&MAC_A.0);
    let parts = [54, 4096, 4096, 4096, 4096, 20_000 - 4 * 4096];
    world.send(A, &bytes, &parts, NettxFlags::CSUM_BLANK, Some(1448));
    world.run();
    let got = world.got(C);
    assert_eq!(got.len(), 14);
    assert!(got.iter().all(|frame| packet::test_frames::holds(frame)));
    assert_eq!(
        got.iter()
            .flat_map(|frame| frame[54..].to_vec())
            .collect::<Vec<_>>(),
        payload
    );
    assert_eq!(
        world
            .answers(A)
            .iter()
            .filter(|status| **status == 0)
            .count(),
        6
    );
    // A checksum alone.
    let mut small = packet::test_frames::tcp_frame(&[1, 2, 3], 0x18);
    small[..6].copy_from_slice(&MAC_C.0);
    small[6..12].copy_from_slice(&MAC_A.0);
    world.frame_blank(A, &small);
    world.run();
    assert!(packet::test_frames::holds(world.got(C).last().unwrap()));
}

#[test]
fn a_header_in_many_parts_is_read() {
    let mut world = World::new();
    world.buffers(B, 4);
    let bytes = frame(MAC_B, MAC_A, 80);
    world.send(A, &bytes, &[1, 5, 7, 67], NettxFlags::empty(), None);
    world.run();
    assert_eq!(world.got(B), vec![bytes]);
}

#[test]
fn the_interface_sends_and_is_reached_by_its_address() {
    let mut world = World::new();
    world.buffers(UPLINK, 4);
    world.buffers(A, 4);
    let own = Mac([2, 0x62, 0x72, 0, 0, 1]);
    world
        .engine
        .send_local(&frame(Mac::BROADCAST, own, 80), &mut world.host);
    assert_eq!((world.got(UPLINK).len(), world.got(A).len()), (1, 1));
    world.frame(UPLINK, &frame(own, WORLD, 70));
    world.run();
    assert_eq!(world.host.local, vec![frame(own, WORLD, 70)]);
    assert_eq!(world.answers(UPLINK), vec![0]);
    assert_eq!(
        world.got(A).len(),
        1,
        "unicast to the interface is not flooded"
    );
    world
        .engine
        .send_local(&frame(WORLD, own, 90), &mut world.host);
    assert_eq!((world.got(UPLINK).len(), world.got(A).len()), (2, 1));
}
