//! The small operations.

use xen_abi::Errno;
use xen_abi::grant_table::*;
use xen_abi::xen::DOMID_SELF;

use super::world::World;

const PERMIT: u16 = 1;

#[test]
fn small_operations_answer_as_xen_does() {
    let world = World::new();
    let size = GnttabQuerySize {
        dom: DOMID_SELF,
        ..Default::default()
    };
    let [answer] = world.call(1, GNTTABOP_QUERY_SIZE, [size]).unwrap();
    assert_eq!(
        (answer.status, answer.nr_frames, answer.max_nr_frames),
        (0, 1, 64)
    );
    let other = GnttabQuerySize { dom: 2, ..size };
    assert_eq!(
        world.call(1, GNTTABOP_QUERY_SIZE, [other]).unwrap()[0].status,
        GNTST_PERMISSION_DENIED
    );
    assert_eq!(
        world.call(0, GNTTABOP_QUERY_SIZE, [other]).unwrap()[0].status,
        GNTST_OKAY
    );
    let nobody = GnttabQuerySize { dom: 9, ..size };
    assert_eq!(
        world.call(0, GNTTABOP_QUERY_SIZE, [nobody]).unwrap()[0].status,
        GNTST_BAD_DOMAIN
    );
    assert_eq!(
        world.call(1, GNTTABOP_QUERY_SIZE, [size, size]),
        Err(Errno::EINVAL)
    );
    let setup = |nr_frames| GnttabSetupTable {
        dom: DOMID_SELF,
        nr_frames,
        ..Default::default()
    };
    assert_eq!(
        world.call(1, GNTTABOP_SETUP_TABLE, [setup(3)]).unwrap()[0].status,
        GNTST_OKAY
    );
    assert_eq!(
        world.call(1, GNTTABOP_SETUP_TABLE, [setup(65)]).unwrap()[0].status,
        GNTST_GENERAL_ERROR
    );
    assert_eq!(
        world.call(1, GNTTABOP_QUERY_SIZE, [size]).unwrap()[0].nr_frames,
        3
    );
    assert!(world.table(1, |table| table.frame(63)).is_ok());
    assert_eq!(world.table(1, |table| table.frame(64)), Err(Errno::EINVAL));
    assert_eq!(
        world.table(1, |table| table.frame(u32::MAX)),
        Err(Errno::EINVAL)
    );
    for (version, result) in [
        (1, Ok(())),
        (2, Err(Errno::ENOSYS)),
        (0, Err(Errno::EINVAL)),
        (3, Err(Errno::EINVAL)),
    ] {
        assert_eq!(
            world
                .call(1, GNTTABOP_SET_VERSION, [GnttabSetVersion { version }])
                .map(|_| ()),
            result
        );
    }
    let version = GnttabGetVersion {
        dom: DOMID_SELF,
        ..Default::default()
    };
    assert_eq!(
        world.call(1, GNTTABOP_GET_VERSION, [version]).unwrap()[0].version,
        1
    );
    assert_eq!(
        world.call(
            1,
            GNTTABOP_GET_VERSION,
            [GnttabGetVersion { dom: 2, ..version }]
        ),
        Err(Errno::EPERM)
    );
    assert_eq!(
        world.call(
            1,
            GNTTABOP_GET_VERSION,
            [GnttabGetVersion { dom: 9, ..version }]
        ),
        Err(Errno::ESRCH)
    );
    let frames = GnttabGetStatusFrames {
        dom: DOMID_SELF,
        nr_frames: 1,
        ..Default::default()
    };
    assert_eq!(
        world.call(1, GNTTABOP_GET_STATUS_FRAMES, [frames]).unwrap()[0].status,
        GNTST_GENERAL_ERROR
    );
    let replace = GnttabUnmapAndReplace::default();
    assert_eq!(
        world
            .call(1, GNTTABOP_UNMAP_AND_REPLACE, [replace])
            .unwrap()[0]
            .status,
        GNTST_GENERAL_ERROR
    );
    for cmd in [
        GNTTABOP_DUMP_TABLE,
        GNTTABOP_TRANSFER,
        GNTTABOP_CACHE_FLUSH,
        13,
        u32::MAX,
    ] {
        assert_eq!(
            world.call(1, cmd, [GnttabTransfer::default()]),
            Err(Errno::ENOSYS)
        );
    }
}

#[test]
fn entries_are_swapped_unless_they_are_in_use() {
    let world = World::new();
    let page = world.page(1, 0x10);
    world.grant(1, 9, 2, 0x10, PERMIT);
    let swap = |ref_a, ref_b| {
        let arg = GnttabSwapGrantRef {
            ref_a,
            ref_b,
            ..Default::default()
        };
        world.call(1, GNTTABOP_SWAP_GRANT_REF, [arg]).unwrap()[0].status
    };
    assert_eq!(swap(9, 20), GNTST_OKAY);
    assert_eq!(world.map(2, 1, 9, 0x80, true).0, GNTST_GENERAL_ERROR);
    assert_eq!(world.map(2, 1, 20, 0x80, true).0, GNTST_OKAY);
    assert_eq!(world.at(2, 0x80), Some((page.mfn(), false)));
    assert_eq!(
        (swap(9, 20), swap(20, 9), swap(9, 512)),
        (GNTST_EAGAIN, GNTST_EAGAIN, GNTST_BAD_GNTREF)
    );
}
