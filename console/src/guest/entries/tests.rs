//! Tests of the module beside.

use super::*;

fn find<'a>(entries: &'a [Entry], path: &str) -> &'a Entry {
    entries
        .iter()
        .find(|entry| entry.path == path)
        .unwrap_or_else(|| panic!("no {path}"))
}

fn value<'a>(entries: &'a [Entry], path: &str) -> &'a str {
    find(entries, path).value.as_deref().unwrap()
}

#[test]
fn a_disk_as_libxl_writes_it() {
    let vbd = Device {
        kind: "vbd",
        number: 51712,
        frontend: 5,
        backend: 3,
    };
    let disk = Disk::parse("/dev/gpt/debian-root,raw,xvda,rw").unwrap();
    let entries = vbd_entries(&vbd, &disk, true);
    let (front, back) = (
        "/local/domain/5/device/vbd/51712",
        "/local/domain/3/backend/vbd/5/51712",
    );
    assert_eq!(value(&entries, &format!("{front}/backend")), back);
    assert_eq!(value(&entries, &format!("{front}/backend-id")), "3");
    assert_eq!(value(&entries, &format!("{front}/virtual-device")), "51712");
    assert_eq!(value(&entries, &format!("{back}/frontend")), front);
    assert_eq!(
        value(&entries, &format!("{back}/params")),
        "/dev/gpt/debian-root"
    );
    assert_eq!(value(&entries, &format!("{back}/mode")), "w");
    assert_eq!(
        find(&entries, front).permissions,
        [Permission::none(5), Permission::read(3)]
    );
    assert_eq!(
        find(&entries, back).permissions,
        [Permission::none(3), Permission::read(5)]
    );
    let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let last = [format!("{front}/state"), format!("{back}/state")];
    assert!(paths.ends_with(&[last[0].as_str(), last[1].as_str()]));
}

#[test]
fn a_read_only_disk_offers_no_writing() {
    let vbd = Device {
        kind: "vbd",
        number: 51728,
        frontend: 5,
        backend: 3,
    };
    let disk = Disk::parse("/dev/gpt/data,raw,xvdb,r").unwrap();
    let entries = vbd_entries(&vbd, &disk, false);
    assert_eq!(
        value(&entries, "/local/domain/3/backend/vbd/5/51728/mode"),
        "r"
    );
    assert_eq!(
        value(
            &entries,
            "/local/domain/3/backend/vbd/5/51728/discard-enable"
        ),
        "0"
    );
}

#[test]
fn an_interface_and_the_uplink() {
    let vif = Device {
        kind: "vif",
        number: 0,
        frontend: 5,
        backend: 4,
    };
    let config = Vif::parse("mac=00:16:3e:74:34:32,bridge=bridge0").unwrap();
    let entries = vif_entries(&vif, &config, config.mac.unwrap(), "bridge0", false);
    let back = "/local/domain/4/backend/vif/5/0";
    assert_eq!(value(&entries, &format!("{back}/mac")), "00:16:3e:74:34:32");
    assert_eq!(value(&entries, &format!("{back}/bridge")), "bridge0");
    assert!(!entries.iter().any(|entry| entry.path.ends_with("/uplink")));
    let entries = vif_entries(&vif, &config, config.mac.unwrap(), "bridge0", true);
    assert_eq!(value(&entries, &format!("{back}/uplink")), "1");
}

#[test]
fn a_guest_can_write_only_what_is_its_own() {
    let entries = domain_entries(&DomainEntries {
        domid: 5,
        name: "debian",
        uuid: "u",
        memory: 1024,
        max_memory: 2048,
        vcpus: 2,
        max_vcpus: 3,
        store: Some((1, 2)),
        console: Some((3, 4)),
        kernel: "/boot/debian/vmlinux",
    });
    assert_eq!(value(&entries, "/local/domain/5/memory/target"), "1024");
    assert_eq!(value(&entries, "/local/domain/5/console/port"), "4");
    assert_eq!(
        value(&entries, "/local/domain/5/cpu/1/availability"),
        "online"
    );
    assert_eq!(
        value(&entries, "/local/domain/5/cpu/2/availability"),
        "offline"
    );
    assert_eq!(
        find(&entries, "/local/domain/5").permissions,
        [Permission::none(0), Permission::read(5)]
    );
    let own: Vec<_> = entries
        .iter()
        .filter(|entry| entry.permissions.first() == Some(&Permission::none(5)))
        .map(|entry| entry.path.strip_prefix("/local/domain/5/").unwrap())
        .collect();
    assert!(own.contains(&"data") && own.contains(&"control/shutdown"));
    assert!(!own.contains(&"device") && !own.contains(&"memory"));
    assert_eq!(
        find(&entries, "/libxl/5").permissions,
        [Permission::none(0)]
    );
}
