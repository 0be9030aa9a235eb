//! A guest sends anything.

use super::world::World;
use crate::message::Header;
use proptest::prelude::*;
use xen_abi::io::xs_wire as xs;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("data".to_string()),
        "data/[ab](/[ab])?",
        "/local/domain/[056]/data(/[ab])?",
        Just("/".to_string()),
        "@(releaseDomain|introduceDomain)",
        "[/@a. -]{0,8}",
    ]
}

fn request() -> impl Strategy<Value = (u32, u32, Vec<u8>)> {
    let payload = prop_oneof![
        name().prop_map(|name| format!("{name}\0").into_bytes()),
        (name(), "[nrwbTF0-9\\x00]{0,6}")
            .prop_map(|(name, rest)| format!("{name}\0{rest}\0").into_bytes()),
        (name(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(name, rest)| [
            name.as_bytes(),
            b"\0",
            &rest
        ]
        .concat()),
        "[TF]\0".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..60),
    ];
    (0u32..30, 0u32..4, payload)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Requests that are nearly right, from two guests and the control domain.
    #[test]
    fn requests(requests in proptest::collection::vec((prop_oneof![Just(0u16), Just(5), Just(6)], request()), 1..60)) {
        let mut world = World::new(&[5, 6]);
        for (domid, (kind, tx, payload)) in requests {
            // Domain 0 may release the others; then they have no ring.
            if world.server.platform().pages.contains_key(&domid) {
                let _ = world.request_tx(domid, tx, kind, &payload);
            }
        }
        prop_assert!(world.server.store.db.is_consistent());
        for domid in [5, 6] {
            if world.server.platform().pages.contains_key(&domid) {
                world.events(domid);
                world.ok(0, xs::XS_RELEASE, &format!("{domid}\0"));
            }
            // Whatever it did: after its release nothing is on its account.
            prop_assert_eq!(world.server.store.db.accounts.get(domid).memory, 0);
            prop_assert_eq!(world.server.store.db.accounts.get(domid).nodes, 0);
        }
        prop_assert!(world.server.store.db.is_consistent());
    }

    /// Bytes that are no requests, and indices that are no indices.
    #[test]
    fn bytes(pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), any::<Option<u32>>()), 1..20)) {
        let mut world = World::new(&[5]);
        for (piece, index) in pieces {
            {
                let page = world.page(5);
                let mut page = page.0.borrow_mut();
                for byte in &piece {
                    let at = page.req_prod as usize % 1024;
                    page.req[at] = *byte;
                    page.req_prod = page.req_prod.wrapping_add(1);
                }
                if let Some(index) = index {
                    match index % 5 {
                        0 => page.req_prod = index,
                        1 => page.rsp_cons = index,
                        2 => page.req_cons = index,
                        3 => page.rsp_prod = index,
                        _ => page.connection = index % 3,
                    }
                }
            }
            world.serve();
            world.write(0, "/tool/x", "others go on");
        }
        prop_assert!(world.server.store.db.accounts.get(5).memory < 100_000);
        prop_assert!(world.server.store.db.is_consistent());
    }

    /// Whole messages with any contents.
    #[test]
    fn messages(messages in proptest::collection::vec((0u32..32, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..200)), 1..30)) {
        let mut world = World::new(&[5]);
        for (kind, tx, payload) in messages {
            world.put(5, &Header { kind, req_id: 1, tx_id: tx % 3, len: 0 }.with_payload(&payload));
            let (header, _) = world.message(5).expect("every request has a reply");
            prop_assert_eq!(header.req_id, 1);
            world.serve();
            world.take(5);
        }
    }
}
