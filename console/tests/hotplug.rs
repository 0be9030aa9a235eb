//! Devices that come and go while their guest runs.

mod machine;
mod typing;

use console::app::App;
use machine::Pretend;
use typing::{CFG, archive, booted, type_line};

const VBD: &str = "/local/domain/3/backend/vbd/5/51728";

fn with_guest(archive: &[u8]) -> App<'_, Pretend> {
    let mut app = booted(archive);
    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert_eq!(status, 0, "{said}");
    app
}

#[test]
fn a_disk_comes_and_goes() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    let before = app.host.store.clone();
    let attach = "xl block-attach debian /dev/gpt/data,raw,xvdb,rw";
    assert_eq!(type_line(&mut app, attach), (String::new(), 0));
    assert_eq!(app.host.store[&format!("{VBD}/params")], "/dev/gpt/data");
    let (said, _) = type_line(&mut app, "xl block-list 5");
    assert!(said.contains("51728 3   5      1     "), "{said}");
    // Twice, by the other way of writing it.
    let again = "xl block-attach 5 phy:/dev/gpt/other xvdb w";
    let (said, status) = type_line(&mut app, again);
    assert!(
        said.contains("device already exists in xenstore\nlibxl_device_disk_add failed."),
        "{said}"
    );
    assert_eq!(status, 1);
    assert_eq!(
        type_line(&mut app, "xl block-detach debian xvdb"),
        (String::new(), 0)
    );
    assert_eq!(app.host.store, before, "something is left in the store");
    let (said, status) = type_line(&mut app, "xl block-detach debian xvdb");
    assert_eq!(
        (said.as_str(), status),
        ("Error: Device xvdb not connected.", 1)
    );
    let (said, status) = type_line(&mut app, "cat /var/log/xen/xl-debian.log");
    assert!(
        status == 0 && said.contains("vbd 51728 attached") && said.contains("vbd 51728 detached"),
        "{said}"
    );
}

#[test]
fn a_vif_comes_and_goes_by_number_and_address() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    let before = app.host.store.clone();
    for name in ["1", "00:16:3e:aa:bb:cc"] {
        let attach = "xl network-attach debian mac=00:16:3e:aa:bb:cc bridge=bridge0";
        assert_eq!(type_line(&mut app, attach), (String::new(), 0));
        let (said, _) = type_line(&mut app, "xl network-list debian");
        assert!(said.contains("1   4  00:16:3e:aa:bb:cc     1"), "{said}");
        let detach = format!("xl network-detach debian {name}");
        assert_eq!(type_line(&mut app, &detach), (String::new(), 0));
        assert_eq!(app.host.store, before, "something is left in the store");
    }
    let (said, status) = type_line(&mut app, "xl network-detach debian 1");
    assert_eq!((said.as_str(), status), ("Unknown device 1.", 1));
}

#[test]
fn a_frontend_that_holds_its_disk_keeps_it_unless_forced() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    let attach = "xl block-attach debian /dev/gpt/data,raw,xvdb,rw";
    assert_eq!(type_line(&mut app, attach).1, 0);
    app.host.frontends_hold = true;
    let (said, status) = type_line(&mut app, "xl block-detach debian xvdb");
    assert!(
        said.contains("unable to remove device with path")
            && said.ends_with("libxl_device_disk_safe_remove failed."),
        "{said}"
    );
    assert_eq!(status, 1);
    assert_eq!(app.host.store[&format!("{VBD}/online")], "0");
    assert_eq!(type_line(&mut app, "xl block-detach -f 5 xvdb").1, 0);
    assert!(!app.host.store.contains_key(&format!("{VBD}/online")));
    // An interface is taken away in the end.
    assert_eq!(type_line(&mut app, "xl network-detach 5 0").1, 0);
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_left() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    let before = app.host.store.clone();
    let wrong = [
        (
            "xl block-attach nobody /dev/gpt/data,raw,xvdb,rw",
            "nobody is an invalid domain identifier",
            1,
        ),
        (
            "xl block-attach blkback /dev/gpt/data,raw,xvdb,rw",
            "blkback is no guest: its devices are fixed\nlibxl_device_disk_add failed.",
            1,
        ),
        (
            "xl block-attach 0 /dev/gpt/data,raw,xvdb,rw",
            "Domain-0 is no guest: its devices are fixed\nlibxl_device_disk_add failed.",
            1,
        ),
        (
            "xl block-attach debian /dev/gpt/data,raw,xvdb,sideways",
            "command line: config parsing error in disk specification: expected access r, ro, w or rw, found 'sideways' in `/dev/gpt/data,raw,xvdb,sideways'",
            1,
        ),
        (
            "xl network-attach debian bridge=xenbr7",
            "there is no bridge 'xenbr7', only bridge0\nlibxl_device_nic_add failed.",
            1,
        ),
        (
            "xl network-attach debian mac=1",
            "expected an address such as 00:16:3e:74:34:32, found '1'",
            1,
        ),
        (
            "xl network-detach debian 00:16:3e:00:00:01",
            "Unknown device 00:16:3e:00:00:01.",
            1,
        ),
        (
            "xl block-detach nobody xvdb",
            "nobody is an invalid domain identifier (rc=-6)",
            1,
        ),
        (
            "xl block-list nobody",
            "nobody is an invalid domain identifier",
            0,
        ),
    ];
    for (line, text, code) in wrong {
        let (said, status) = type_line(&mut app, line);
        assert!(said.ends_with(text), "{line}: {said}");
        assert_eq!(status, code, "{line}");
    }
    let (said, status) = type_line(&mut app, "xl block-attach debian");
    assert!(
        said.starts_with("'xl block-attach' requires at least 2 arguments."),
        "{said}"
    );
    assert_eq!(status, 2);
    app.host.backend_state = 6;
    app.host.backend_error = Some("there is no disk \"/dev/gpt/nothing\"".into());
    let (said, status) = type_line(&mut app, "xl block-attach 5 /dev/gpt/nothing,raw,xvdb,rw");
    assert_eq!(
        (said.as_str(), status),
        (
            "blkback refuses vbd 51728: there is no disk \"/dev/gpt/nothing\"\nlibxl_device_disk_add failed.",
            1
        )
    );
    assert_eq!(app.host.store, before, "something is left in the store");
}

#[test]
fn a_guest_that_restarts_has_what_was_attached_and_not_what_was_detached() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    app.host.now += 2_000_000_000;
    for line in [
        "xl block-attach debian /dev/gpt/data,raw,xvdb,rw",
        "xl network-attach debian",
        "xl network-detach debian 0",
    ] {
        assert_eq!(type_line(&mut app, line).1, 0, "{line}");
    }
    app.host.shut_down(5, 1);
    app.turn();
    app.host.seen();
    let (said, _) = type_line(&mut app, "xl domid debian");
    let domid = said.trim();
    assert_ne!(domid, "");
    let has = |path: &str| {
        let path = format!("/local/domain/{domid}/device/{path}/state");
        app.host.store.contains_key(&path)
    };
    assert!(has("vbd/51712") && has("vbd/51728") && has("vif/1") && !has("vif/0"));
}
