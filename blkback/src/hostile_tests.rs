//! Frontends that do everything wrong.

use core::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;
use xen_abi::io::blkif::*;

use crate::fake_frontend::*;
use crate::protocol::Protocol;

const ERROR: i16 = BLKIF_RSP_ERROR;

#[test]
fn senseless_requests_are_refused_one_by_one() {
    for protocol in [Protocol::X86_64, Protocol::X86_32] {
        let mut world = World::new(Options {
            protocol,
            ..DEFAULT
        });
        world.guest.grant(1, false);
        let cases: &[(u8, u64, &[BlkifRequestSegment], i16)] = &[
            (BLKIF_OP_READ, 0, &[], ERROR),
            (BLKIF_OP_WRITE, 0, &[], ERROR),
            (BLKIF_OP_READ, 0, &[part(1, 3, 2)], ERROR),
            (BLKIF_OP_READ, 0, &[part(1, 0, 8)], ERROR),
            (BLKIF_OP_READ, 0, &[part(1, 255, 255)], ERROR),
            (BLKIF_OP_READ, SECTORS - 7, &[page(1)], ERROR),
            (BLKIF_OP_READ, SECTORS, &[part(1, 0, 0)], ERROR),
            (BLKIF_OP_READ, u64::MAX, &[part(1, 0, 0)], ERROR),
            (BLKIF_OP_READ, u64::MAX - START, &[part(1, 0, 0)], ERROR),
            (BLKIF_OP_READ, 0, &[page(2)], ERROR),
            (BLKIF_OP_READ, 0, &[page(1), page(u32::MAX)], ERROR),
            (BLKIF_OP_RESERVED_1, 0, &[page(1)], BLKIF_RSP_EOPNOTSUPP),
            (7, 0, &[page(1)], BLKIF_RSP_EOPNOTSUPP),
            (255, 0, &[page(1)], BLKIF_RSP_EOPNOTSUPP),
            (BLKIF_OP_READ, SECTORS - 8, &[page(1)], BLKIF_RSP_OKAY),
        ];
        for (id, (operation, sector, segments, status)) in cases.iter().enumerate() {
            world.direct(id as u64, *operation, *sector, segments);
            world.finish();
            assert_eq!(
                world.answers(),
                [(id as u64, *operation, *status)],
                "case {id}"
            );
            assert_eq!(world.guest.mapped.get(), 0, "case {id}");
        }
        assert_eq!(world.engine.disk().log.len(), 1);
    }
}

#[test]
fn more_segments_than_fit_are_refused() {
    let mut world = World::new(DEFAULT);
    world.guest.grant(1, false);
    let request = |nr_segments| BlkifRequest {
        operation: BLKIF_OP_READ,
        nr_segments,
        ..Default::default()
    };
    for nr_segments in [12, 255] {
        world.raw(&request(nr_segments));
    }
    let indirect = |indirect_op, nr_segments| BlkifRequestIndirect {
        operation: BLKIF_OP_INDIRECT,
        indirect_op,
        nr_segments,
        indirect_grefs: [1; 8],
        ..Default::default()
    };
    world.raw(&indirect(BLKIF_OP_READ, 0));
    world.raw(&indirect(BLKIF_OP_READ, 257));
    world.raw(&indirect(BLKIF_OP_READ, u16::MAX));
    world.raw(&indirect(BLKIF_OP_INDIRECT, 1));
    world.raw(&indirect(BLKIF_OP_DISCARD, 1));
    // The list names pages that are not granted; a list that is none.
    world.raw(&BlkifRequestIndirect {
        indirect_grefs: [9; 8],
        ..indirect(BLKIF_OP_READ, 1)
    });
    world.guest.grant(1, false).fill(0xff);
    world.raw(&indirect(BLKIF_OP_READ, 256));
    world.finish();
    let statuses: Vec<_> = world.answers().iter().map(|answer| answer.2).collect();
    let unsupported = BLKIF_RSP_EOPNOTSUPP;
    assert_eq!(
        statuses,
        [
            ERROR,
            ERROR,
            ERROR,
            ERROR,
            ERROR,
            unsupported,
            unsupported,
            ERROR,
            ERROR
        ]
    );
    assert_eq!(
        (world.engine.disk().log.len(), world.guest.mapped.get()),
        (0, 0)
    );
}

#[test]
fn one_frontend_does_not_take_all_memory() {
    for persistent in [false, true] {
        let mut world = World::new(Options {
            persistent,
            room: 1000,
            ..DEFAULT
        });
        let list = world.guest.grant(0, false);
        for index in 0..200u32 {
            world.guest.grant(1 + index, false);
            list.as_ref()
                .write(index as usize * 8, &part(1 + index, 0, 0))
                .unwrap();
        }
        for id in 0..32 {
            world.raw(&BlkifRequestIndirect {
                operation: BLKIF_OP_INDIRECT,
                indirect_op: BLKIF_OP_READ,
                nr_segments: 200,
                id,
                ..Default::default()
            });
        }
        world.serve();
        let under_way = world.engine.disk().queue.len();
        // 201 pages each; the eleventh goes over the limit.
        assert_eq!(under_way, 11 * 5, "commands of 40 segments");
        let mut most = 0;
        while !world.engine.disk().queue.is_empty() || world.engine.has_more() {
            most = most.max(world.guest.mapped.get());
            world.complete(1);
        }
        assert_eq!(world.answers().len(), 32);
        assert!(most <= 2048 + 201);
    }
}

#[test]
fn a_ring_whose_indexes_make_no_sense_is_given_up() {
    let mut world = World::new(DEFAULT);
    world
        .ring_page
        .0
        .memory()
        .atomic_u32(0)
        .unwrap()
        .store(33, SeqCst);
    assert!(world.engine.serve(world.id).is_err());
    world
        .ring_page
        .0
        .memory()
        .atomic_u32(0)
        .unwrap()
        .store(1, SeqCst);
    assert!(world.engine.serve(world.id).is_ok());
    assert!(world.engine.is_idle(world.id), "it stays given up");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Slots of any bytes, in both layouts: each is answered once, nothing outside the extent is written, nothing stays
    /// mapped.
    #[test]
    fn any_bytes_are_survived(
        bits32 in any::<bool>(),
        persistent in any::<bool>(),
        slots in prop::collection::vec(
            (0..8u8, 0..13u8, prop::collection::vec(any::<u8>(), 112), 0..2000u64, any::<bool>(), 0..4u32), 1..32),
    ) {
        let protocol = if bits32 { Protocol::X86_32 } else { Protocol::X86_64 };
        let mut world = World::new(Options { protocol, persistent, ..DEFAULT });
        for gref in 0..4 {
            let page = world.guest.grant(gref, gref == 3);
            for index in 0..512 {
                page.as_ref().write(index * 8, &part(index as u32 % 5, index as u8 % 8, 7)).unwrap();
            }
        }
        let before = world.content(0, 2048);
        let count = slots.len();
        for (operation, segments, mut bytes, sector, plausible, gref) in slots {
            (bytes[0], bytes[1]) = (operation, segments);
            if plausible {
                let (at, first) = if bits32 { (12, 20) } else { (16, 24) };
                bytes[at..at + 8].copy_from_slice(&sector.to_le_bytes());
                for segment in bytes[first..].chunks_exact_mut(8) {
                    segment[..4].copy_from_slice(&gref.to_le_bytes());
                    segment[4] %= 9;
                    segment[5] %= 9;
                }
            }
            match bits32 {
                true => world.raw(&<[u8; 108]>::try_from(&bytes[..108]).unwrap()),
                false => world.raw(&slot(&bytes)),
            }
        }
        world.finish();
        prop_assert_eq!(world.answers().len(), count);
        prop_assert!(world.engine.is_idle(world.id));
        world.engine.disconnect(world.id);
        prop_assert_eq!(world.guest.mapped.get(), 0);
        let after = world.content(0, 2048);
        let (start, end) = (START as usize * 512, (START + SECTORS) as usize * 512);
        prop_assert_eq!(&before[..start], &after[..start]);
        prop_assert_eq!(&before[end..], &after[end..]);
    }

    /// Any mix of good requests, completing in any order on a disk with little room, leaves what a disk that does one
    /// after the other would (writes of one batch go to different places).
    #[test]
    fn the_disk_ends_up_as_it_should(
        batches in prop::collection::vec(prop::collection::vec((0..128u64, any::<bool>(), any::<u8>(), 0..20u8), 1..20), 1..6),
        picks in prop::collection::vec(any::<usize>(), 32),
        room in 1..6usize,
        persistent in any::<bool>(),
    ) {
        let mut world = World::new(Options { room, persistent, ..DEFAULT });
        let mut picks = picks.into_iter().cycle();
        world.engine.disk().pick = Box::new(move |_| picks.next().unwrap());
        let mut model = world.content(0, 2048);
        for batch in batches {
            let mut touched = std::collections::HashSet::new();
            let mut reads = vec![];
            let mut count = 0;
            for (index, (block, write, byte, special)) in batch.into_iter().enumerate() {
                if !touched.insert(block) {
                    continue;
                }
                let (gref, sector) = (index as u32, block * 8);
                let gref = gref + 100 * u32::from(byte);
                // A frontend that keeps its grants uses the same page for a reference always.
                let known = world.guest.granted.borrow().get(&gref).map(|(page, _)| page.clone());
                let page_of = known.unwrap_or_else(|| world.guest.grant(gref, false));
                let at = (START + sector) as usize * 512;
                let operation = match (write, special) {
                    (true, 0) => BLKIF_OP_WRITE_BARRIER,
                    (true, 1) => BLKIF_OP_FLUSH_DISKCACHE,
                    (true, _) => BLKIF_OP_WRITE,
                    (false, _) => BLKIF_OP_READ,
                };
                if write {
                    page_of.fill(byte);
                    model[at..at + 4096].fill(byte);
                } else {
                    reads.push((page_of, model[at..at + 4096].to_vec()));
                }
                world.direct(index as u64, operation, sector, &[page(gref)]);
                count += 1;
            }
            world.finish();
            let answers = world.answers();
            prop_assert_eq!(answers.len(), count);
            prop_assert!(answers.iter().all(|answer| answer.2 == BLKIF_RSP_OKAY));
            for (page, expected) in reads {
                prop_assert!(page.bytes() == expected);
            }
            if !persistent {
                world.guest.granted.borrow_mut().clear();
            }
        }
        prop_assert!(world.content(0, 2048) == model);
    }
}
