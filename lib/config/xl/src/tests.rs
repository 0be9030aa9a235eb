use super::*;
use crate::disk::Format;
use crate::value::Kind;

/// The handbook's file, with the callout numbers that its text form leaves at the ends of lines taken away.
const HANDBOOK: &str = r#"builder = "hvm"
name = "freebsd"
memory = 1024
vcpus = 2
vif = [ 'mac=00:16:3E:74:34:32,bridge=bridge0' ]
disk = [
'/dev/zvol/tank/xendisk0,raw,hda,rw',
'/root/freebsd.iso,raw,hdc:cdrom,r'
  ]
vnc = 1
vnclisten = "0.0.0.0"
serial = "pty"
usbdevice = "tablet"
"#;

fn config(text: &str) -> DomainConfig {
    DomainConfig::parse("t.cfg", text.as_bytes()).expect("a good file")
}

fn errors(text: &str) -> Vec<String> {
    DomainConfig::parse("t.cfg", text.as_bytes())
        .expect_err("a bad file")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_file_of_the_handbook() {
    let config = config(HANDBOOK);
    assert_eq!(
        config.domain_type,
        Some(DomainType::Hvm),
        "the caller can refuse it"
    );
    assert_eq!(config.name, "freebsd");
    assert_eq!(
        (config.memory, config.maxmem, config.vcpus, config.maxvcpus),
        (Some(1024), Some(1024), 2, 2)
    );
    let vif = config.vifs.first().expect("one vif");
    assert_eq!(vif.mac, Some(Mac([0x00, 0x16, 0x3e, 0x74, 0x34, 0x32])));
    assert_eq!(vif.bridge.as_deref(), Some("bridge0"));
    let [disk, cd] = config.disks.as_slice() else {
        panic!("two disks")
    };
    assert_eq!(
        (disk.target.as_deref(), disk.number.number, disk.writable),
        (Some("/dev/zvol/tank/xendisk0"), 768, true)
    );
    assert_eq!(
        (
            cd.target.as_deref(),
            cd.number.number,
            cd.writable,
            cd.cdrom
        ),
        (Some("/root/freebsd.iso"), 5632, false, true)
    );
    assert_eq!(
        (config.vnc, config.vnclisten.as_deref()),
        (Some(true), Some("0.0.0.0"))
    );
    assert_eq!(
        (config.serial, config.usbdevice),
        (vec!["pty".to_string()], vec!["tablet".to_string()])
    );
    assert_eq!(config.on_reboot, Action::Restart);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_file_of_the_debian_guest() {
    let config = config(
        "type = \"pvh\"; name = 'debian' # two on a line\nmemory=0x100\nmaxmem=512\nvcpus=1\nmaxvcpus=2\nkernel=\"/boot/debian/vmlinux\"\nramdisk=\"/boot/debian/initrd\"\nroot=\"/dev/xvda ro\"\nextra='console=hvc0'\ndisk=['/dev/gpt/debian-root,raw,xvda,rw',]\nvif=['', 'mac=2:0:0:0:0:1,backend=bridge,rate=10Mb/s']\ncpus=[\"2\", \"3-8,^5\"]\nuuid=\"6d2d5f3c-0b4e-4c5d-8f38-6f2f3f6f9f10\"\non_crash=\"preserve\"\nhap=1\nfrob=2\n",
    );
    assert_eq!(config.domain_type, Some(DomainType::Pvh));
    assert_eq!(
        (config.memory, config.maxmem, config.vcpus, config.maxvcpus),
        (Some(256), Some(512), 1, 2)
    );
    assert_eq!(config.cmdline, "root=/dev/xvda ro console=hvc0");
    assert_eq!(config.disks.first().map(|d| d.number.number), Some(51712));
    assert_eq!(config.vifs.len(), 2);
    assert_eq!(
        config.vifs.get(1).and_then(|v| v.backend.as_deref()),
        Some("bridge")
    );
    let cpus = config.cpus.expect("given");
    assert!(
        cpus.of(0).contains(2)
            && !cpus.of(0).contains(3)
            && cpus.of(1).contains(8)
            && !cpus.of(1).contains(5)
    );
    assert!(cpus.of(2).contains(77));
    assert_eq!(
        config.uuid.map(|u| u.to_string()).as_deref(),
        Some("6d2d5f3c-0b4e-4c5d-8f38-6f2f3f6f9f10")
    );
    assert_eq!(config.on_crash, Action::Preserve);
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "t.cfg:15:1: hap: ignored, because it has no effect in microhv",
            "t.cfg:16:1: frob: ignored, because xl.cfg has no such option"
        ]
    );
}

#[test]
fn values() {
    let settings = syntax::parse(
        b"a='x\\n\\x41\\101\\'\"'\nb=[ 1, [ 'c', ], # comment\n 0x1f ]\na += 'y'; b += [ 2 ]\n",
    )
    .expect("good");
    assert_eq!(
        settings.iter().map(|s| s.key.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(
        settings.first().and_then(|s| s.value.atom()),
        Some("x\nAA'\"y")
    );
    let Some(Kind::List(list)) = settings.get(1).map(|s| &s.value.kind) else {
        panic!("a list")
    };
    assert_eq!(
        list.iter()
            .map(|v| v.atom().unwrap_or("[]"))
            .collect::<Vec<_>>(),
        ["1", "[]", "0x1f", "2"]
    );
    assert_eq!(
        list.get(2).map(|v| (v.position.line, v.position.column)),
        Some((3, 2))
    );
}

#[test]
fn syntax_errors_name_their_place() {
    let cases = [
        (
            "name=\"x",
            "t.cfg:1:8: expected \" at the end of the string, found the end of the file",
        ),
        (
            "name='x\n'",
            "t.cfg:1:8: expected ' at the end of the string, found the end of the line",
        ),
        ("name 'x'", "t.cfg:1:6: expected '=', found '''"),
        (
            "name=x",
            "t.cfg:1:6: expected a string in quotes, a number, or a list in brackets, found 'x'",
        ),
        (
            "vif=[ 'a' 'b' ]",
            "t.cfg:1:11: expected ',' or ']', found '''",
        ),
        (
            "vif=[ 'a',\n\n",
            "t.cfg:3:1: expected a string in quotes, a number, or a list in brackets, found the end of the file",
        ),
        (
            "vcpus=2 4",
            "t.cfg:1:9: expected the end of the line or ';' behind the value, found '4'",
        ),
        ("def f():", "t.cfg:1:5: expected '=', found 'f'"),
        (
            "\n 4=2",
            "t.cfg:2:2: expected the name of an option, found '4'",
        ),
        (
            "a='\\q'",
            "t.cfg:1:5: expected an escape such as \\n, \\\\ or \\\", found 'q'",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(text), [expected], "{text}");
    }
    let deep = "a=".to_string() + &"[".repeat(100_000);
    assert_eq!(
        errors(&deep),
        ["t.cfg:1:19: expected a list that nests less deeply, found '['"]
    );
    let latin = DomainConfig::parse("t.cfg", b"a='b'\nname='\xe4'").expect_err("Latin-1");
    assert_eq!(
        latin.first().map(ToString::to_string).as_deref(),
        Some("t.cfg:2:7: expected UTF-8 text")
    );
}

#[test]
fn every_bad_value_is_named() {
    let text = "memory='lots'\nvcpus=0\nvif=['mac=1','mac=01:00:00:00:00:00', 'frob=1', 'x']\ndisk=['/x,raw,vda', ',raw,xvda', '/x,raw', 'bad:/x,xvda,w', '/x,raw,xvda,rw,5']\non_crash='boom'\ntype='pvh'\nbuilder='hvm'\nvnc='yes'\ncpus='1,x'\nuuid='1'\nkernel=['a']\n";
    let mut expected = [
        "t.cfg:1:1: expected name=\"...\": every domain needs one",
        "t.cfg:1:8: memory: expected a number from 1 to 16777216, found 'lots'",
        "t.cfg:2:7: vcpus: expected a number from 1 to 128, found '0'",
        "t.cfg:3:11: vif: expected an address such as 00:16:3e:74:34:32, found '1'",
        "t.cfg:3:19: vif: expected an address such as 00:16:3e:74:34:32, found '01:00:00:00:00:00'",
        "t.cfg:3:40: vif: unknown vif parameter 'frob=1'",
        "t.cfg:3:50: vif: expected name=value, found 'x'",
        "t.cfg:4:15: disk: expected a virtual disk such as xvda, hda or sda1, found 'vda'",
        "t.cfg:4:31: disk: expected a target, because the disk is no CD drive",
        "t.cfg:4:41: disk: expected a virtual disk (vdev) such as xvda",
        "t.cfg:4:45: disk: unknown disk prefix 'bad'",
        "t.cfg:4:77: disk: too many parameters without a name, at '5'",
        "t.cfg:5:10: on_crash: expected destroy, restart, rename-restart, preserve, coredump-destroy, coredump-restart or soft-reset, found 'boom'",
        "t.cfg:7:9: builder: contradicts 'type'",
        "t.cfg:8:5: vnc: expected 0 or 1, found 'yes'",
        "t.cfg:9:9: cpus: expected CPUs below 256, such as 0-3,5,^1 or all, found 'x'",
        "t.cfg:10:6: uuid: expected a UUID, found '1'",
        "t.cfg:11:8: kernel: expected a string, found a list",
    ];
    let mut found = errors(text);
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(
        errors("name='1'"),
        [
            "t.cfg:1:6: name: expected 1 to 128 characters, not only digits, without blanks, '/' and quotes, found '1'"
        ]
    );
    assert_eq!(
        errors("name='a';vcpus=2;maxvcpus=1"),
        ["t.cfg:1:27: maxvcpus: expected at least the 2 of vcpus"]
    );
    assert_eq!(
        errors("name='a';disk=['/x,,xvda','/y,,d0']"),
        ["t.cfg:1:15: disk: 'd0' is given twice"]
    );
}

#[test]
fn disks_of_xens_own_test() {
    let plain = Disk::parse("/dev/vg/guest-volume,,hda").expect("good");
    assert_eq!(
        (
            plain.target.as_deref(),
            plain.format,
            plain.number.number,
            plain.writable
        ),
        (Some("/dev/vg/guest-volume"), Format::Raw, 768, true)
    );
    let same = [
        "/dev/vg/guest-volume,raw,hda,rw",
        "format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume",
        "raw:/dev/vg/guest-volume,hda,w",
        "phy:/dev/vg/guest-volume,hda,w",
        "tap:aio:/dev/vg/guest-volume,hda",
    ];
    for spec in same {
        assert_eq!(Disk::parse(spec).as_ref(), Ok(&plain), "{spec}");
    }
    let iso = Disk::parse("/root/image.iso,,hdc,cdrom").expect("good");
    assert!(iso.cdrom && !iso.writable);
    let same = [
        "/root/image.iso,,hdc,,cdrom",
        "/root/image.iso,raw,hdc,devtype=cdrom",
        "format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso",
        "raw:/root/image.iso,hdc:cdrom,ro",
    ];
    for spec in same {
        assert_eq!(Disk::parse(spec).as_ref(), Ok(&iso), "{spec}");
    }
    for spec in [
        "devtype=cdrom,,,hdc",
        ",,hdc:cdrom,r",
        ",hdc:cdrom,r",
        "vdev=hdc,access=r,devtype=cdrom,target=",
        ",empty,hdc:cdrom,r",
        "vdev=hdc,access=r,devtype=cdrom",
    ] {
        let empty = Disk::parse(spec).expect(spec);
        assert_eq!(
            (empty.target, empty.format, empty.cdrom),
            (None, Format::Empty, true),
            "{spec}"
        );
    }
    let iscsi = Disk::parse(
        "iscsi:iqn.2001-05.com.equallogic:0-8a0906-23fe93404-c82797962054a96d-examplehost,xvda,w",
    )
    .expect("good");
    assert_eq!(iscsi.script.as_deref(), Some("block-iscsi"));
    assert_eq!(
        iscsi.target.as_deref(),
        Some("iqn.2001-05.com.equallogic:0-8a0906-23fe93404-c82797962054a96d-examplehost")
    );
    let phy = Disk::parse("backendtype=phy,vdev=xvdb,access=w,target=/dev/a,b:c ").expect("good");
    assert_eq!(
        (phy.backendtype.as_deref(), phy.target.as_deref()),
        (Some("phy"), Some("/dev/a,b:c "))
    );
    let flags =
        Disk::parse("no-discard,untrusted,backend=blkback,vdev=xvda,target=/x").expect("good");
    assert_eq!(
        (flags.discard, flags.trusted, flags.backend.as_deref()),
        (Some(false), Some(false), Some("blkback"))
    );
    for bad in [
        "foo",
        "",
        "/x,raw,xvda,x",
        "/x,zip,xvda",
        "/x,raw,xvda,vdev=xvdb",
        "raw:/x,vhd,xvda",
        "/x,raw,xvda,backendtype=y",
        "/x,raw,xvda:floppy",
    ] {
        assert!(Disk::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn vifs() {
    assert_eq!(Vif::parse(""), Ok(Vif::default()));
    let vif = Vif::parse("mac=00:16:3E:74:3d:76, model=rtl8139,bridge=xenbr0,mtu=9000,devid=3,ip=10.0.0.2,untrusted,type=vif").expect("good");
    assert_eq!(
        vif.mac.map(|m| m.to_string()).as_deref(),
        Some("00:16:3e:74:3d:76")
    );
    assert_eq!(
        (vif.mtu, vif.devid, vif.trusted, vif.ip.as_deref()),
        (Some(9000), Some(3), Some(false), Some("10.0.0.2"))
    );
    assert_eq!(
        Mac::in_xens_range(0xffff_ffff).to_string(),
        "00:16:3e:7f:ff:ff"
    );
    for bad in [
        "mac=00:16:3e:74:34",
        "mac=00:16:3e:74:34:32:1",
        "mac=0:0:0:0:0:0",
        "mtu=1",
        "devid=x",
        "rate=1",
        "type=x",
    ] {
        assert!(Vif::parse(bad).is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(file in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = DomainConfig::parse("t.cfg", &file);
    }

    #[test]
    fn near_misses_are_read_without_a_panic(
        file in "((name|disk|vif|memory|cpus|uuid|type|vnc) ?\\+?= ?(\\[ ?)?['\"]?[ -~]{0,24}['\"]?,?( ?\\])?[\n;]){0,6}"
    ) {
        if let Err(errors) = DomainConfig::parse("t.cfg", file.as_bytes()) {
            for error in errors {
                proptest::prop_assert!(error.position.line as usize <= file.lines().count() + 1, "{}", error);
            }
        }
    }

    #[test]
    fn any_spec_is_read_without_a_panic(spec in "[ -~]{0,40}", pieces in proptest::collection::vec("(target|format|vdev|raw|phy|mac|rate|cdrom|hdc|/x|)[=:,]?", 0..8)) {
        for spec in [spec, pieces.concat()] {
            let _ = Disk::parse(&spec);
            let _ = Vif::parse(&spec);
            let _ = Vdev::parse(&spec);
        }
    }

    #[test]
    fn any_string_survives_quoting(text in "[^\0\r]{0,60}") {
        let quoted: String = text.chars().map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            '\n' => "\\n".to_string(),
            c => c.to_string(),
        }).collect();
        let settings = syntax::parse(format!("k=\"{quoted}\"").as_bytes()).map_err(|e| proptest::test_runner::TestCaseError::fail(e.1))?;
        proptest::prop_assert_eq!(settings.first().and_then(|s| s.value.atom()), Some(text.as_str()));
    }

    #[test]
    fn names_of_disks_round_trip(disk in 0u32..2000, partition in 0u32..256) {
        let mut letters = Vec::new();
        let mut rest = disk + 1;
        while rest > 0 {
            letters.push(b'a' + ((rest - 1) % 26) as u8);
            rest = (rest - 1) / 26;
        }
        letters.reverse();
        let letters = String::from_utf8(letters).expect("ASCII");
        let name = if partition == 0 { format!("xvd{letters}") } else { format!("xvd{letters}{partition}") };
        proptest::prop_assert_eq!(Vdev::parse(&name), Vdev::parse(&format!("d{disk}p{partition}")));
        proptest::prop_assert!(Vdev::parse(&name).is_some());
    }
}
