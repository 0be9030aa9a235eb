//! What frontends get for their requests.

use xen_abi::io::blkif::*;

use crate::fake::*;
use crate::fake_frontend::*;
use crate::protocol::Protocol;

const OK: i16 = BLKIF_RSP_OKAY;
const BITS32: Options = Options {
    protocol: Protocol::X86_32,
    ..DEFAULT
};
const PERSISTENT: Options = Options {
    persistent: true,
    ..DEFAULT
};

#[test]
fn data_goes_to_the_disk_and_comes_back_in_both_layouts() {
    for options in [
        DEFAULT,
        BITS32,
        PERSISTENT,
        Options {
            persistent: true,
            ..BITS32
        },
    ] {
        let mut world = World::new(options);
        let out = world.guest.grant(1, false);
        let back = world.guest.grant(2, false);
        out.fill(0xab);
        world.direct(
            0x1234_5678_9abc,
            BLKIF_OP_WRITE,
            16,
            &[page(1), part(1, 2, 3)],
        );
        world.finish();
        assert_eq!(world.answers(), [(0x1234_5678_9abc, BLKIF_OP_WRITE, OK)]);
        assert_eq!(world.content(START + 16, 10), vec![0xab; 5120]);
        assert_eq!(world.content(START + 26, 1), vec![126; 512]);
        world.direct(7, BLKIF_OP_READ, 15, &[part(2, 1, 3)]);
        world.finish();
        assert_eq!(world.answers(), [(7, BLKIF_OP_READ, OK)]);
        let bytes = back.bytes();
        assert_eq!(
            (
                bytes[511],
                bytes[512],
                bytes[1024],
                bytes[2047],
                bytes[2048]
            ),
            (0, 115, 0xab, 0xab, 0)
        );
    }
}

#[test]
fn what_is_mapped_for_a_request_is_unmapped_before_the_answer() {
    let mut world = World::new(DEFAULT);
    for gref in 1..=22 {
        world.guest.grant(gref, false);
    }
    let segments: Vec<_> = (1..=11).map(page).collect();
    let more: Vec<_> = (12..=22).map(page).collect();
    world.direct(1, BLKIF_OP_READ, 0, &segments);
    world.direct(2, BLKIF_OP_WRITE, 200, &more);
    world.serve();
    assert_eq!(world.guest.mapped.get(), 22);
    world.finish();
    assert_eq!((world.guest.mapped.get(), world.answers().len()), (0, 2));
    assert_eq!(world.guest.unmap_calls.get(), 1, "both requests at once");
}

#[test]
fn persistent_pages_are_mapped_once_and_for_both_directions() {
    let mut world = World::new(PERSISTENT);
    for gref in 1..=11 {
        world.guest.grant(gref, false);
    }
    let segments: Vec<_> = (1..=11).map(page).collect();
    for (round, operation) in [BLKIF_OP_WRITE, BLKIF_OP_READ, BLKIF_OP_READ, BLKIF_OP_WRITE]
        .into_iter()
        .enumerate()
    {
        world.direct(round as u64, operation, 0, &segments);
        world.finish();
        assert_eq!(world.answers(), [(round as u64, operation, OK)]);
    }
    assert_eq!(
        (
            world.guest.map_calls.get(),
            world.guest.unmap_calls.get(),
            world.guest.mapped.get()
        ),
        (1, 0, 11)
    );
    assert!(world.engine.disconnect(world.id));
    assert_eq!(world.guest.mapped.get(), 0);
}

#[test]
fn a_page_granted_for_reading_only_serves_writes_to_the_disk_but_nothing_else() {
    for options in [DEFAULT, PERSISTENT] {
        let mut world = World::new(options);
        world.guest.grant(1, true).fill(9);
        world.direct(1, BLKIF_OP_WRITE, 0, &[page(1)]);
        world.direct(2, BLKIF_OP_READ, 8, &[page(1)]);
        world.finish();
        let answers = world.answers();
        assert!(answers.contains(&(1, BLKIF_OP_WRITE, OK)));
        assert!(answers.contains(&(2, BLKIF_OP_READ, BLKIF_RSP_ERROR)));
        assert_eq!(world.content(START, 8), vec![9; 4096]);
        assert_eq!(world.guest.mapped.get(), 0);
    }
}

#[test]
fn the_cache_of_pages_is_bounded_and_lets_the_oldest_go() {
    let mut world = World::new(PERSISTENT);
    for gref in 0..3000 {
        world.guest.grant(gref, false);
        world.direct(u64::from(gref), BLKIF_OP_READ, 0, &[page(gref)]);
        // Used all the time.
        world.direct(u64::from(gref), BLKIF_OP_READ, 0, &[page(0)]);
        world.finish();
        assert_eq!(world.answers().len(), 2);
        assert!(world.guest.mapped.get() <= 1056);
    }
    let calls = world.guest.map_calls.get();
    world.direct(1, BLKIF_OP_READ, 0, &[page(0)]);
    world.direct(1, BLKIF_OP_READ, 0, &[page(2999)]);
    world.finish();
    assert_eq!(
        world.guest.map_calls.get(),
        calls,
        "neither the busiest nor the newest has gone"
    );
    world.direct(1, BLKIF_OP_READ, 0, &[page(1)]);
    world.finish();
    assert_eq!(world.guest.map_calls.get(), calls + 1);
}

#[test]
fn indirect_requests_carry_many_segments_in_as_many_commands_as_the_disk_wants() {
    for options in [DEFAULT, PERSISTENT, BITS32] {
        let mut world = World::new(options);
        let list = world.guest.grant(500, true);
        let mut pages = vec![];
        for index in 0..100u32 {
            list.as_ref()
                .write(index as usize * 8, &page(1 + index))
                .unwrap();
            let page = world.guest.grant(1 + index, false);
            page.fill(index as u8);
            pages.push(page);
        }
        let mut grefs = [0; 8];
        grefs[0] = 500;
        indirect(&mut world, 77, BLKIF_OP_WRITE, 100, grefs);
        world.finish();
        assert_eq!(world.answers(), [(77, BLKIF_OP_WRITE, OK)]);
        let expected: Vec<u8> = (0..100).flat_map(|index| [index; 4096]).collect();
        assert_eq!(world.content(START, 800), expected);
        assert!(!world.engine.disk().log.is_empty());
        indirect(&mut world, 78, BLKIF_OP_READ, 3, grefs);
        world.finish();
        assert_eq!(world.answers(), [(78, BLKIF_OP_READ, OK)]);
    }
}

fn indirect(
    world: &mut World,
    id: u64,
    indirect_op: u8,
    nr_segments: u16,
    indirect_grefs: [u32; 8],
) {
    let operation = BLKIF_OP_INDIRECT;
    match world.front {
        Front::Bits64(_) => {
            world.raw(&BlkifRequestIndirect {
                operation,
                indirect_op,
                nr_segments,
                id,
                indirect_grefs,
                ..Default::default()
            });
        }
        Front::Bits32(_) => {
            let id = U64Align4::new(id);
            let request = BlkifX86_32RequestIndirect {
                operation,
                indirect_op,
                nr_segments,
                id,
                indirect_grefs,
                ..Default::default()
            };
            world.raw(&request);
        }
    }
}

#[test]
fn flush_comes_before_the_data_that_asks_for_it_and_barriers_stand_between_requests() {
    let mut world = World::new(DEFAULT);
    for gref in 1..=4 {
        world.guest.grant(gref, false);
    }
    world.direct(1, BLKIF_OP_WRITE, 0, &[page(1)]);
    world.direct(2, BLKIF_OP_WRITE_BARRIER, 8, &[page(2)]);
    world.direct(3, BLKIF_OP_WRITE, 16, &[page(3)]);
    world.direct(4, BLKIF_OP_FLUSH_DISKCACHE, 0, &[]);
    world.serve();
    assert_eq!(
        world.engine.disk().queue.len(),
        1,
        "the barrier waits for the first write"
    );
    let mut order = vec![];
    while !world.engine.disk().queue.is_empty() || world.engine.has_more() {
        world.complete(1);
        order.extend(world.answers().iter().map(|answer| answer.0));
    }
    assert_eq!(order, [1, 2, 3, 4]);
    let log: Vec<_> = world
        .engine
        .disk()
        .log
        .iter()
        .map(|kept| match kept {
            Kept::Write(sector, _) => *sector as i64,
            Kept::Flush => -1,
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(log, [100, -1, 108, -1, 116, -1]);
    // A refused barrier holds nobody up.
    world.direct(5, BLKIF_OP_WRITE_BARRIER, 9999, &[page(2)]);
    world.direct(6, BLKIF_OP_WRITE_BARRIER, 0, &[page(99)]);
    world.direct(7, BLKIF_OP_READ, 0, &[page(1)]);
    world.finish();
    assert_eq!(world.answers().len(), 3);
}

#[test]
fn a_disk_without_a_cache_needs_no_flush() {
    let mut world = World::new(DEFAULT);
    let mut limits = world.engine.disk().limits;
    limits.flush = false;
    world.engine.set_limits(limits);
    world.direct(1, BLKIF_OP_FLUSH_DISKCACHE, 0, &[]);
    world.serve();
    assert_eq!(world.answers(), [(1, BLKIF_OP_FLUSH_DISKCACHE, OK)]);
    assert_eq!(world.engine.disk().log, []);
}

#[test]
fn discards_come_in_pieces_that_the_disk_takes() {
    for options in [DEFAULT, BITS32] {
        let mut world = World::new(options);
        discard(&mut world, 1, 10, 150, 0);
        world.finish();
        assert_eq!(world.answers(), [(1, BLKIF_OP_DISCARD, OK)]);
        assert_eq!(
            world.engine.disk().log,
            [
                Kept::Discard(110, 64),
                Kept::Discard(174, 64),
                Kept::Discard(238, 22)
            ]
        );
        discard(&mut world, 2, 10, 1015, 0);
        discard(&mut world, 3, u64::MAX, 2, 0);
        discard(&mut world, 4, 0, 8, 1);
        world.finish();
        let statuses: Vec<_> = world.answers().iter().map(|answer| answer.2).collect();
        assert_eq!(
            statuses,
            [BLKIF_RSP_ERROR, BLKIF_RSP_ERROR, BLKIF_RSP_EOPNOTSUPP]
        );
        let mut limits = world.engine.disk().limits;
        limits.discard = None;
        world.engine.set_limits(limits);
        discard(&mut world, 5, 0, 8, 0);
        world.finish();
        assert_eq!(
            world.answers(),
            [(5, BLKIF_OP_DISCARD, BLKIF_RSP_EOPNOTSUPP)]
        );
    }
}

#[test]
fn sectors_to_be_wiped_become_zeros_in_pieces_that_the_disk_takes() {
    let mut world = World::new(Options {
        zeroes: true,
        ..DEFAULT
    });
    let before = world.content(0, 110);
    discard(&mut world, 1, 10, 150, 0);
    world.finish();
    assert_eq!(world.answers(), [(1, BLKIF_OP_DISCARD, OK)]);
    assert_eq!(
        world.engine.disk().log,
        [Kept::Zero(110, 100), Kept::Zero(210, 50)]
    );
    assert_eq!(world.content(110, 150), vec![0; 150 * 512]);
    assert_eq!(world.content(0, 110), before);
    assert_ne!(world.content(260, 1), vec![0; 512]);
    // Forgetting is not enough.
    let mut limits = world.engine.disk().limits;
    limits.zeroes = None;
    world.engine.set_limits(limits);
    discard(&mut world, 2, 0, 8, 0);
    world.finish();
    assert_eq!(
        world.answers(),
        [(2, BLKIF_OP_DISCARD, BLKIF_RSP_EOPNOTSUPP)]
    );
}

fn discard(world: &mut World, id: u64, sector_number: u64, nr_sectors: u64, flag: u8) {
    let operation = BLKIF_OP_DISCARD;
    match world.front {
        Front::Bits64(_) => {
            world.raw(&BlkifRequestDiscard {
                operation,
                flag,
                id,
                sector_number,
                nr_sectors,
                ..Default::default()
            });
        }
        Front::Bits32(_) => world.raw(&BlkifX86_32RequestDiscard {
            operation,
            flag,
            id: U64Align4::new(id),
            sector_number: U64Align4::new(sector_number),
            nr_sectors: U64Align4::new(nr_sectors),
            ..Default::default()
        }),
    }
}

#[test]
fn a_read_only_disk_refuses_all_that_writes() {
    let mut world = World::new(Options {
        read_only: true,
        ..DEFAULT
    });
    world.guest.grant(1, false);
    let list = world.guest.grant(2, false);
    list.as_ref().write(0, &page(1)).unwrap();
    world.direct(1, BLKIF_OP_WRITE, 0, &[page(1)]);
    world.direct(2, BLKIF_OP_WRITE_BARRIER, 0, &[page(1)]);
    world.direct(3, BLKIF_OP_FLUSH_DISKCACHE, 0, &[page(1)]);
    indirect(&mut world, 4, BLKIF_OP_WRITE, 1, [2, 0, 0, 0, 0, 0, 0, 0]);
    discard(&mut world, 5, 0, 8, 0);
    world.finish();
    assert_eq!(
        world
            .answers()
            .iter()
            .map(|answer| answer.2)
            .collect::<Vec<_>>(),
        [BLKIF_RSP_ERROR; 5]
    );
    assert_eq!(world.engine.disk().log, []);
    world.direct(6, BLKIF_OP_READ, 0, &[page(1)]);
    world.direct(7, BLKIF_OP_FLUSH_DISKCACHE, 0, &[]);
    world.finish();
    assert_eq!(
        world
            .answers()
            .iter()
            .map(|answer| answer.2)
            .collect::<Vec<_>>(),
        [OK; 2]
    );
}

#[test]
fn a_full_disk_queue_delays_but_loses_nothing() {
    let mut world = World::new(Options { room: 2, ..DEFAULT });
    for gref in 1..=32 {
        world.guest.grant(gref, false);
        world.direct(
            u64::from(gref),
            BLKIF_OP_READ,
            u64::from(gref),
            &[page(gref)],
        );
    }
    world.serve();
    let mut order = vec![];
    while !world.engine.disk().queue.is_empty() {
        assert!(world.engine.disk().queue.len() <= 2);
        world.complete(1);
        order.extend(world.answers().iter().map(|answer| answer.0));
    }
    assert_eq!(order, (1..=32).collect::<Vec<_>>());
}

#[test]
fn one_notification_for_a_batch_and_one_start_of_the_disk() {
    let mut world = World::new(DEFAULT);
    for gref in 1..=20 {
        world.guest.grant(gref, false);
        world.direct(u64::from(gref), BLKIF_OP_READ, 0, &[page(gref)]);
    }
    let kicks = world.engine.disk().kicks;
    world.serve();
    assert_eq!(
        (world.engine.disk().queue.len(), world.engine.disk().kicks),
        (20, kicks + 1)
    );
    world.complete(20);
    assert_eq!(world.bell.0.get(), 1);
    world.answers();
    world.complete(5);
    assert_eq!(world.bell.0.get(), 1, "nothing new, no notification");
}

#[test]
fn a_failed_command_fails_its_request_only() {
    let mut world = World::new(DEFAULT);
    world.guest.grant(1, false);
    world.engine.disk().broken.insert(START + 8);
    world.direct(1, BLKIF_OP_READ, 0, &[page(1)]);
    world.direct(2, BLKIF_OP_READ, 8, &[page(1)]);
    world.direct(3, BLKIF_OP_WRITE_BARRIER, 8, &[page(1)]);
    world.direct(4, BLKIF_OP_READ, 16, &[page(1)]);
    world.finish();
    let statuses: Vec<_> = world.answers().iter().map(|answer| answer.2).collect();
    assert_eq!(statuses, [OK, BLKIF_RSP_ERROR, BLKIF_RSP_ERROR, OK]);
    assert_eq!(world.engine.counts(world.id).errors, 2);
}

#[test]
fn a_connection_ends_when_its_requests_have() {
    let mut world = World::new(PERSISTENT);
    world.guest.grant(1, false);
    world.direct(1, BLKIF_OP_WRITE, 0, &[page(1)]);
    world.direct(2, BLKIF_OP_WRITE_BARRIER, 0, &[page(1)]);
    world.serve();
    world.engine.close(world.id);
    world.direct(3, BLKIF_OP_WRITE, 0, &[page(1)]);
    world.serve();
    assert!(!world.engine.disconnect(world.id));
    assert_eq!(world.guest.mapped.get(), 1);
    world.complete(usize::MAX);
    assert_eq!(world.answers().len(), 1);
    assert!(world.engine.disconnect(world.id));
    assert_eq!((world.guest.mapped.get(), world.bell.0.get()), (0, 1));
    assert_eq!(
        std::rc::Rc::strong_count(&world.bell.0),
        1,
        "its port is closed"
    );
    world.serve();
}
