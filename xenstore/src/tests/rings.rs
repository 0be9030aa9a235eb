use super::world::World;
use crate::message::{HEADER, Header};
use xen_abi::io::xs_wire as xs;

#[test]
fn messages_longer_than_the_ring() {
    let mut world = World::new(&[]);
    let value = "v".repeat(4000);
    world.write(0, "/long", &value);
    assert_eq!(world.read(0, "/long"), Ok(value));
}

#[test]
fn indices_wrap() {
    let mut world = World::new(&[]);
    world.introduce(5);
    let page = world.page(5);
    world.ok(0, xs::XS_RELEASE, "5\0");
    {
        let mut page = page.0.borrow_mut();
        (page.req_cons, page.req_prod, page.rsp_cons, page.rsp_prod) =
            (u32::MAX - 9, u32::MAX - 9, u32::MAX - 3, u32::MAX - 3);
    }
    world.server.platform().pages.insert(5, page);
    world.introduce(5);
    for _ in 0..100 {
        assert_eq!(
            world.ok(5, xs::XS_GET_DOMAIN_PATH, "5\0"),
            "/local/domain/5\0"
        );
    }
}

#[test]
fn one_notification_a_batch() {
    let mut world = World::new(&[5]);
    let request = Header {
        kind: xs::XS_GET_DOMAIN_PATH,
        ..Default::default()
    }
    .with_payload(b"5\0");
    for _ in 0..10 {
        world.put(5, &request);
    }
    world.server.platform().notified.clear();
    world.serve();
    assert_eq!(world.server.platform().notified, [5]);
    world.serve();
    assert_eq!(
        world.server.platform().notified,
        [5],
        "and none when nothing has changed"
    );
    assert_eq!(
        world.take(5).len(),
        10 * (HEADER + "/local/domain/5\0".len())
    );
}

type BreakIt = fn(&mut World);

#[test]
fn a_client_that_breaks_the_protocol_loses_its_connection_only() {
    let break_it: [(BreakIt, u32); 3] = [
        (
            |world| world.page(5).0.borrow_mut().req_prod += 2000,
            xs::XENSTORE_ERROR_RINGIDX,
        ),
        (
            |world| world.page(5).0.borrow_mut().rsp_cons = 77,
            xs::XENSTORE_ERROR_RINGIDX,
        ),
        (
            |world| {
                let mut bytes = Header {
                    kind: xs::XS_READ,
                    ..Default::default()
                }
                .with_payload(b"");
                bytes.truncate(12);
                bytes.extend_from_slice(&5000u32.to_le_bytes());
                world.put(5, &bytes);
            },
            xs::XENSTORE_ERROR_PROTO,
        ),
    ];
    for (break_it, error) in break_it {
        let mut world = World::new(&[5]);
        world.ok(5, xs::XS_WATCH, "data\0t\0");
        world.events(5);
        break_it(&mut world);
        // Something must want to go out for a wrong rsp_cons to be seen.
        world.write(0, "/local/domain/5/data", "x");
        world.serve();
        assert_eq!(world.page(5).0.borrow().error, error);
        assert_eq!(world.server.store.db.accounts.get(5).watches, 0);
        world.write(0, "/local/domain/5/data", "the store goes on");
        let cons = world.page(5).0.borrow().req_cons;
        let prod = world.page(5).0.borrow().req_prod;
        world.page(5).0.borrow_mut().req_prod = prod.wrapping_add(16);
        world.serve();
        assert_eq!(
            world.page(5).0.borrow().req_cons,
            cons,
            "nothing is read any more"
        );
        // The way back: ask for a new connection.
        world.page(5).0.borrow_mut().connection = xs::XENSTORE_RECONNECT;
        world.serve();
        assert_eq!(
            (
                world.page(5).0.borrow().connection,
                world.page(5).0.borrow().error
            ),
            (0, 0)
        );
        assert_eq!(world.read(5, "data").as_deref(), Ok("the store goes on"));
    }
}

#[test]
fn reconnection_drops_what_was_half_done() {
    let mut world = World::new(&[5]);
    world.ok(5, xs::XS_WATCH, "data\0t\0");
    let tx = world.start(5);
    world.put(5, b"half a header");
    world.serve();
    world.page(5).0.borrow_mut().connection = xs::XENSTORE_RECONNECT;
    world.serve();
    world.events.clear();
    assert_eq!(world.page(5).0.borrow().connection, xs::XENSTORE_CONNECTED);
    assert_eq!(world.commit(5, tx), Err("ENOENT".into()));
    world.write(5, "data", "x");
    assert_eq!(world.events(5), Vec::<String>::new());
}
