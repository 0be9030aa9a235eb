//! The store with the client that our own domains use (`lib/domain`).

use super::world::World;
use crate::client::DomId;
use domain::store::{Store, StoreAccess, Transport};
use std::cell::RefCell;
use std::rc::Rc;
use xen_abi::Errno;
use xen_abi::event_channel::EvtchnPort;

struct ThroughRing {
    world: Rc<RefCell<World>>,
    domid: DomId,
}

impl Transport for ThroughRing {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let page = self.world.borrow_mut().page(self.domid);
        let mut page = page.0.borrow_mut();
        let count = bytes
            .len()
            .min((1024 - page.req_prod.wrapping_sub(page.req_cons)) as usize);
        for byte in &bytes[..count] {
            let at = page.req_prod as usize % 1024;
            page.req[at] = *byte;
            page.req_prod = page.req_prod.wrapping_add(1);
        }
        Ok(count)
    }

    fn receive(&mut self, out: &mut [u8]) -> Result<usize, Errno> {
        let page = self.world.borrow_mut().page(self.domid);
        let mut page = page.0.borrow_mut();
        let count = out
            .len()
            .min(page.rsp_prod.wrapping_sub(page.rsp_cons) as usize);
        for byte in &mut out[..count] {
            *byte = page.rsp[page.rsp_cons as usize % 1024];
            page.rsp_cons = page.rsp_cons.wrapping_add(1);
        }
        Ok(count)
    }

    fn wait(&mut self) -> Result<(), Errno> {
        self.world.borrow_mut().serve();
        Ok(())
    }

    fn rearm(&mut self, _work: bool) {}

    fn port(&self) -> EvtchnPort {
        1
    }
}

fn client(world: &Rc<RefCell<World>>, domid: DomId) -> Store {
    Store::over(Box::new(ThroughRing {
        world: world.clone(),
        domid,
    }))
}

fn events(world: &Rc<RefCell<World>>, store: &mut Store) -> Vec<(String, String)> {
    world.borrow_mut().serve();
    std::iter::from_fn(|| store.next_event().expect("a connection"))
        .map(|e| (e.path, e.token))
        .collect()
}

/// What domain 0, a backend (4) and a frontend (5) do with a vif.
#[test]
fn a_device_connects() {
    let world = Rc::new(RefCell::new(World::new(&[])));
    let mut control = client(&world, 0);
    for domid in [4, 5] {
        control.introduce(domid, 0xf_effc, 1).expect("a ring");
        assert_eq!(control.is_introduced(domid), Ok(true));
        let home = control.domain_path(domid).expect("a path");
        control
            .write(&format!("{home}/domid"), domid.to_string())
            .expect("writes");
        control
            .set_permissions(&home, &["n0", &format!("r{domid}")])
            .expect("works");
        control
            .set_permissions(&format!("{home}/domid"), &["n0", &format!("r{domid}")])
            .expect("works");
    }
    let (mut backend, mut frontend) = (client(&world, 4), client(&world, 5));
    assert_eq!((backend.own_domid(), frontend.own_domid()), (Ok(4), Ok(5)));

    control.mkdir("/local/domain/4/backend").expect("works");
    control
        .set_permissions("/local/domain/4/backend", &["n4"])
        .expect("works");
    backend.watch("backend", "new").expect("works");
    assert_eq!(
        events(&world, &mut backend),
        [("backend".into(), "new".into())]
    );

    let (front, back) = (
        "/local/domain/5/device/vif/0",
        "/local/domain/4/backend/vif/5/0",
    );
    control
        .transaction(|t| {
            t.mkdir(back)?;
            t.set_permissions(back, &["n4", "r5"])?;
            t.mkdir(front)?;
            t.set_permissions(front, &["n5", "r4"])?;
            t.write(&format!("{back}/frontend"), front)?;
            t.write(&format!("{back}/state"), "1")?;
            t.write(&format!("{front}/backend"), back)?;
            t.write(&format!("{front}/state"), "1")
        })
        .expect("commits");
    let news: Vec<_> = events(&world, &mut backend)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        news,
        [
            "backend/vif/5/0",
            "backend/vif/5/0/frontend",
            "backend/vif/5/0/state"
        ]
    );

    let other = backend
        .read_string("backend/vif/5/0/frontend")
        .expect("a path");
    assert_eq!(other, front);
    backend
        .watch(&format!("{other}/state"), "front")
        .expect("may");
    frontend
        .watch(&format!("{back}/state"), "back")
        .expect("may");
    events(&world, &mut backend);
    events(&world, &mut frontend);

    frontend
        .transaction(|t| {
            t.write("device/vif/0/tx-ring-ref", "8")?;
            t.write("device/vif/0/state", "3")
        })
        .expect("commits");
    assert_eq!(
        events(&world, &mut backend),
        [(format!("{front}/state"), "front".to_string())]
    );
    assert_eq!(backend.read_number(&format!("{front}/tx-ring-ref")), Ok(8));
    backend
        .write(&format!("{back}/state"), "4")
        .expect("its own");
    // Its own change comes back to it first.
    assert_eq!(
        events(&world, &mut backend),
        [("backend/vif/5/0/state".into(), "new".to_string())]
    );
    assert_eq!(
        events(&world, &mut frontend),
        [(format!("{back}/state"), "back".to_string())]
    );
    assert_eq!(frontend.read_number(&format!("{back}/state")), Ok(4));
    assert_eq!(
        frontend.write(&format!("{back}/state"), "6"),
        Err(Errno::EACCES)
    );

    control.release(5).expect("works");
    control.rm("/local/domain/5").expect("works");
    let gone: Vec<_> = events(&world, &mut backend)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(gone, [format!("{front}/state")]);
    assert_eq!(backend.read(&format!("{front}/state")), Err(Errno::EACCES));
}

#[test]
fn a_transaction_that_conflicts_is_tried_again() {
    let world = Rc::new(RefCell::new(World::new(&[])));
    let mut control = client(&world, 0);
    control.write("/counter", "1").expect("works");
    let mut tries = 0;
    control
        .transaction(|t| {
            tries += 1;
            let counter = t.read_number("/counter")?;
            if tries == 1 {
                // Somebody else is faster.
                let server = &mut world.borrow_mut().server;
                server.store.db.put("/counter", {
                    let mut node = server.store.db.get("/counter").cloned().expect("there");
                    node.value = b"41".to_vec();
                    node
                });
            }
            t.write_number("/counter", counter + 1)
        })
        .expect("commits");
    assert_eq!((tries, control.read_number("/counter")), (2, Ok(42)));
}
