//! The life of guests, from the operator's side.

mod machine;
mod typing;

use console::app::App;
use console::archive::Archive;
use machine::{Pretend, kernel, tar};
use typing::{CFG, archive, booted, type_line};

#[test]
fn boot_introduces_the_domains_and_connects_the_uplink() {
    let archive = archive(CFG);
    let app = booted(&archive);
    assert_eq!(
        app.host.introduced.keys().copied().collect::<Vec<_>>(),
        [2, 3, 4]
    );
    let store = |path: &str| app.host.store.get(path).map(String::as_str);
    assert_eq!(store("/local/domain/0/name"), Some("Domain-0"));
    assert_eq!(store("/local/domain/3/name"), Some("blkback"));
    assert_eq!(store("/local/domain/4/backend/vif/2/0/uplink"), Some("1"));
    assert_eq!(store("/local/domain/4/backend/vif/2/0/state"), Some("4"));
    assert_eq!(store("/local/domain/2/device/vif/0/backend-id"), Some("4"));
}

#[test]
fn nobody_waits_for_a_netback_that_has_ended() {
    let bytes = archive(CFG);
    let usual = booted(&bytes).host.now;
    let mut host = Pretend::new();
    host.shut_down(2, 0);
    let mut app = App::new(host, Archive::new(&bytes), "prompt_status");
    app.start();
    assert!(app.host.now < usual + 100_000_000);
    let seen = app.host.seen();
    let line = "netback (domain 2) has stopped: poweroff; destroyed\n";
    assert!(seen.contains(line) && !seen.contains("uplink"), "{seen}");
    let left = app.host.store.keys().find(|path| path.contains("/vif/"));
    assert_eq!(left, None);
}

#[test]
fn guests_of_the_auto_folder_are_created_at_boot() {
    let bytes = tar(&[
        ("boot/debian/vmlinux", &kernel()),
        ("boot/debian/initrd", b"initrd"),
        ("etc/xen/auto/debian.cfg", CFG.as_bytes()),
        ("etc/xen/auto/no.txt", b"rubbish"),
    ]);
    let mut app = App::new(Pretend::new(), Archive::new(&bytes), "");
    app.start();
    let seen = app.host.seen();
    assert!(seen.contains("debian runs as domain 5"), "{seen}");
    assert!(seen.ends_with("Domain-0# "), "{seen}");
    let mut app = App::new(Pretend::new(), Archive::new(&bytes), "noauto");
    app.start();
    assert!(!app.host.domains.contains_key(&5));
}

#[test]
fn xl_create_makes_a_running_guest() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert_eq!(
        (said.as_str(), status),
        ("Parsing config from /etc/xen/debian.cfg", 0)
    );
    let domain = &app.host.domains[&5];
    assert_eq!(domain.pauses, 0);
    assert_eq!(domain.info.tot_pages, 256 * 256 + 4);
    assert!(domain.info.max_pages >= domain.info.tot_pages);
    assert_eq!(domain.grants, [(0, 0, 0xfefff), (1, 1, 0xfeffe)]);
    assert_eq!(domain.vcpu.unwrap().rip, 0x100_0000);
    assert_eq!(domain.written[&0x100_0000], 4);
    assert_eq!(domain.params[&1], 0xfeffe);
    assert_eq!(app.host.introduced[&5], (0xfeffe, domain.params[&2] as u32));
    let store = |path: &str| app.host.store.get(path).map(String::as_str);
    assert_eq!(store("/local/domain/5/name"), Some("debian"));
    assert_eq!(store("/local/domain/5/memory/target"), Some("262144"));
    assert_eq!(
        store("/local/domain/3/backend/vbd/5/51712/params"),
        Some("/dev/gpt/debian-root")
    );
    assert_eq!(
        store("/local/domain/4/backend/vif/5/0/mac"),
        Some("00:16:3e:01:02:03")
    );
    assert_eq!(app.host.open, [5]);

    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert!(
        said.contains("Domain with name \"debian\" already exists."),
        "{said}"
    );
    assert_eq!(status, 3);
    let (said, _) = type_line(&mut app, "xl list debian");
    assert!(
        said.contains(
            "debian                                       5   256     2     -b----       0.0"
        ),
        "{said}"
    );
    let (said, _) = type_line(&mut app, "xl block-list debian");
    assert!(said.contains("51712 3   5"), "{said}");
    let (said, _) = type_line(&mut app, "xl network-list debian");
    assert!(said.contains("0   4  00:16:3e:01:02:03"), "{said}");
}

#[test]
fn a_failing_create_leaves_nothing() {
    for refused in [
        "create", "populate", "write", "grants", "vcpu", "console", "store", "unpause",
    ] {
        let archive = archive(CFG);
        let mut app = booted(&archive);
        let (nodes, free) = (app.host.store.len(), app.host.free_pages);
        app.host.refuse = Some(refused);
        let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
        assert!(
            said.contains("debian: ") && said.contains("ENOMEM"),
            "{refused}: {said}"
        );
        assert_eq!(status, 3, "{refused}");
        assert!(!app.host.domains.contains_key(&5), "{refused}");
        assert_eq!(app.host.store.len(), nodes, "{refused}: nodes left");
        assert_eq!(app.host.free_pages, free, "{refused}: memory lost");
        assert!(
            app.host.open.is_empty() && !app.host.introduced.contains_key(&5),
            "{refused}"
        );
        app.host.refuse = None;
        let (_, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
        assert_eq!(status, 0, "{refused}: second attempt");
    }
}

#[test]
fn a_bzimage_is_unpacked_on_its_way() {
    let plain = archive(CFG);
    let mut app = booted(&plain);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    let packed = archive(&CFG.replace("debian/vmlinux", "bz"));
    let mut other = booted(&packed);
    let (said, status) = type_line(&mut other, "xl create /etc/xen/debian.cfg");
    assert_eq!(status, 0, "{said}");
    let (plain, packed) = (&app.host.domains[&5], &other.host.domains[&5]);
    assert_eq!(plain.written, packed.written);
    assert!(packed.written.contains_key(&0x100_0000));
    assert_eq!(plain.vcpu, packed.vcpu);
}

#[test]
fn what_is_wrong_is_named() {
    let with = |from: &str, to: &str| archive(&CFG.replace(from, to));
    let cases = [
        (
            with("memory = 256", "memory = 4096"),
            "/etc/xen/debian.cfg:7: memory = 4096 does not fit: not enough memory: the domain needs 4194320 KiB, 1048576 KiB are free",
            3,
        ),
        (
            with("memory = 256", "memory = 17"),
            "kernel and modules need 17416 KiB of memory, the domain has 17408 KiB",
            3,
        ),
        (
            with("debian/vmlinux", "bad"),
            "debian: kernel /boot/bad: unknown compression, its first bytes are [72, 75, 62, 62, 69, 73]",
            3,
        ),
        (
            with("debian/vmlinux", "old"),
            "debian: kernel /boot/old: no XEN_ELFNOTE_PHYS32_ENTRY note: not a PVH kernel",
            3,
        ),
        (
            with("debian/vmlinux", "debian/initrd"),
            "kernel /boot/debian/initrd: neither a bzImage nor an ELF file",
            3,
        ),
        (
            with("debian/vmlinux", "nothing"),
            "/boot/nothing: No such file or directory",
            3,
        ),
        (
            with("type = \"pvh\"", "type = \"hvm\""),
            "type is hvm; microhv runs pvh guests only",
            3,
        ),
        (
            with("bridge=bridge0", "bridge=other"),
            "there is no bridge 'other', only bridge0",
            3,
        ),
        (
            with("xvda,rw'", "xvda,rw,backend=nobody'"),
            "there is no backend domain 'nobody'",
            3,
        ),
        (
            with("vcpus = 2", "vcpus = two"),
            "/etc/xen/debian.cfg:8:",
            1,
        ),
    ];
    for (bytes, reason, code) in cases {
        let mut app = booted(&bytes);
        let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
        assert!(said.contains(reason), "want {reason}, got {said}");
        assert_eq!(status, code, "{said}");
        assert!(!app.host.domains.contains_key(&5));
    }
    let bytes = archive(CFG);
    let mut app = booted(&bytes);
    app.host.backend_error = Some("no partition debian-root".into());
    app.host.backend_state = 1;
    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert!(
        said.contains("blkback refuses vbd 51712: no partition debian-root"),
        "{said}"
    );
    assert_eq!(status, 3);
    app.host.backend_error = None;
    let (said, _) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert!(
        said.contains("did not take up vbd 51712 within 10 s"),
        "{said}"
    );
    let (said, status) = type_line(&mut app, "xl create /etc/xen/none.cfg");
    assert!(said.contains("Failed to read config file"), "{said}");
    assert_eq!(status, 3);
}

#[test]
fn the_console_shows_what_was_said_and_passes_what_is_typed() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    app.host.says(5, "booting\n");
    app.turn();
    assert_eq!(
        app.host.seen(),
        "",
        "output of a guest nobody looks at stays in its history"
    );
    app.host.typed.extend(b"xl console debian\rls\r");
    app.turn();
    assert!(app.host.seen().ends_with("booting\n"));
    assert_eq!(app.host.domains[&5].hears, b"ls\r");
    app.host.says(5, "bin etc");
    app.host.domains.get_mut(&5).unwrap().room = 2;
    app.host.typed.extend(b"abcd");
    app.turn();
    assert_eq!(app.host.seen(), "bin etc");
    app.host.domains.get_mut(&5).unwrap().room = 8;
    app.turn();
    assert_eq!(app.host.domains[&5].hears, b"ls\rabcd");
    app.host.typed.extend(b"x\x1decho back\r");
    app.turn();
    assert_eq!(app.host.domains[&5].hears, b"ls\rabcdx");
    assert!(app.host.seen().contains("\nback\n[0]Domain-0# "));
    app.host.domains.get_mut(&5).unwrap().room = 0;
    app.host
        .typed
        .extend(b"xl console debian\rstuck\x1decho out\r");
    app.turn();
    assert!(
        app.host.seen().contains("\nout\n"),
        "a guest that reads nothing does not hold the operator"
    );
    let (said, _) = type_line(&mut app, "cat /var/log/xen/console/guest-debian.log");
    assert_eq!(said, "booting\nbin etc");
    let (said, status) = type_line(&mut app, "xl console blkback");
    assert!(said.contains("has no console"), "{said}");
    assert_eq!(status, 1);
}

#[test]
fn shutdown_reboot_and_destroy() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    app.host.now += 10_000_000_000;
    let (said, status) = type_line(&mut app, "xl reboot -w debian");
    assert!(
        said.contains("Rebooting domain 5") && said.contains("Domain 5 has been shut down"),
        "{said}"
    );
    assert_eq!(status, 0);
    assert!(app.host.domains.contains_key(&5), "on_reboot is restart");
    assert_eq!(app.host.domains[&5].pauses, 0);
    let (_, status) = type_line(&mut app, "xl shutdown -w debian");
    assert_eq!(status, 0);
    assert!(!app.host.domains.contains_key(&5), "on_poweroff is destroy");
    assert!(
        !app.host
            .store
            .keys()
            .any(|path| path.contains("/5/") || path.ends_with("/5"))
    );
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    app.host.now += 10_000_000_000;
    app.host.shut_down(5, 3);
    app.turn();
    let seen = app.host.seen();
    assert!(
        seen.contains("debian (domain 5) has crashed: destroy"),
        "{seen}"
    );
    assert!(!app.host.domains.contains_key(&5));
    type_line(&mut app, "xl create -p /etc/xen/debian.cfg");
    assert_eq!(app.host.domains[&5].pauses, 1);
    let (_, status) = type_line(&mut app, "xl destroy debian");
    assert_eq!(status, 0);
    assert!(!app.host.domains.contains_key(&5));
    let line = "xl create -q /etc/xen/debian.cfg memory=128 'vcpus = 1' 'name=\"small\"'";
    assert_eq!(type_line(&mut app, line), (String::new(), 0));
    assert_eq!(app.host.domains[&5].weight, None);
    type_line(&mut app, "xl destroy small");
    assert_eq!(
        type_line(&mut app, &format!("{line} cpu_weight=512 'cpus=\"1\"'")).1,
        0
    );
    assert_eq!(app.host.domains[&5].weight, Some((512, 0)));
    assert_eq!(app.host.domains[&5].affinity[&0], 0b10);
    let (said, _) = type_line(&mut app, "xl list small");
    assert!(
        said.contains("small                                        5   128     1"),
        "{said}"
    );
    // What was not destroyed has its devices still, and they go with it the next time.
    let before = app.host.store.clone();
    assert_eq!(type_line(&mut app, "xl create /etc/xen/debian.cfg").1, 0);
    app.host.refuse = Some("destroy");
    let (said, status) = type_line(&mut app, "xl destroy debian");
    assert!(said.contains("cannot be destroyed: "), "{said}");
    assert_eq!(status, 1);
    app.host.refuse = None;
    assert_eq!(type_line(&mut app, "xl destroy debian").1, 0);
    assert_eq!(app.host.store, before);
    let (said, status) = type_line(&mut app, "xl destroy Domain-0");
    assert!(said.contains("Not destroying domain 0"));
    assert_eq!(status, 1);
    let (said, status) = type_line(&mut app, "xl shutdown blkback");
    assert!(said.contains("blkback is no guest"), "{said}");
    assert_eq!(status, 1);
}

#[test]
fn a_crash_loop_ends() {
    let archive = archive(&format!("{CFG}\non_crash = 'restart'\n"));
    let mut app = booted(&archive);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    app.host.now += 10_000_000_000;
    app.host.shut_down(5, 3);
    app.turn();
    assert!(app.host.domains.contains_key(&5), "restarted");
    app.host.shut_down(5, 3);
    app.turn();
    assert!(
        !app.host.domains.contains_key(&5),
        "crashed at once: not again"
    );
    app.host.seen();
    let (said, _) = type_line(&mut app, "cat /var/log/xen/xl-debian.log");
    assert!(said.contains("not restarted"), "{said}");
}

#[test]
fn a_service_domain_that_stops_is_news_and_destroyed() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    app.host.shut_down(3, 3);
    app.turn();
    assert!(
        app.host
            .seen()
            .contains("blkback (domain 3) has stopped: crash; destroyed")
    );
    assert!(!app.host.domains.contains_key(&3));
    assert!(
        app.host.store.contains_key("/local/domain/3/name"),
        "its nodes stay"
    );
    let (said, status) = type_line(&mut app, "xl create /etc/xen/debian.cfg");
    assert!(
        said.contains("there is no backend domain 'blkback'"),
        "{said}"
    );
    assert_eq!(status, 3);
}

#[test]
fn without_a_store_running_guests_go_on() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    app.host.shut_down(1, 3);
    app.turn();
    assert!(
        app.host
            .seen()
            .contains("xenstore (domain 1) has stopped: crash")
    );
    assert!(app.host.domains.contains_key(&1) && app.host.domains.contains_key(&5));
    let (said, _) = type_line(&mut app, "xl list");
    assert!(
        said.contains("xenstore") && said.contains("---sc-"),
        "{said}"
    );
    assert_eq!(type_line(&mut app, "xl destroy debian").1, 0);
}

#[test]
fn poweroff_stops_guests_first() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    type_line(
        &mut app,
        "xl create -p /etc/xen/debian.cfg 'name=\"paused\"' disk=[] vif=[]",
    );
    let (said, _) = type_line(&mut app, "poweroff");
    assert!(
        said.contains("paused is paused and cannot shut down: destroyed"),
        "{said}"
    );
    assert!(said.contains("Shutting down debian"), "{said}");
    assert_eq!(app.host.ended, Some(0));
    assert!(!app.host.domains.contains_key(&5));
}

#[test]
fn a_guest_that_forgot_the_request_is_asked_again() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    app.host.forgotten = 2;
    let (said, _) = type_line(&mut app, "poweroff");
    assert!(!said.contains("did not shut down"), "{said}");
    assert_eq!((app.host.forgotten, app.host.ended), (0, Some(0)));
}
