//! The prompt: what is typed, however wrong, is answered.

mod machine;
mod typing;

use machine::Pretend;
use proptest::prelude::*;
use typing::{CFG, archive, booted, type_line};

/// The hypervisor's log comes between prints: not within a line, then.
#[test]
fn a_line_is_printed_in_one_go() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    type_line(&mut app, "xl list");
    let mut lines = app.host.prints.iter();
    let line = lines.find(|bytes| bytes.starts_with(b"blkback ")).unwrap();
    assert!(line.ends_with(b"\r\n"));
}

#[test]
fn other_subcommands() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    let (said, status) = type_line(&mut app, "xl list");
    let mut lines = said.lines();
    assert_eq!(
        lines.next(),
        Some("Name                                        ID   Mem VCPUs\tState\tTime(s)")
    );
    assert_eq!(
        lines.next(),
        Some("Domain-0                                     0    16     1     r-----       0.0")
    );
    assert_eq!(status, 0);
    assert_eq!(lines.count(), 4);
    assert_eq!(type_line(&mut app, "xl domid bridge"), ("4".into(), 0));
    assert_eq!(type_line(&mut app, "xl domname 1"), ("xenstore".into(), 0));
    assert_eq!(type_line(&mut app, "xl domname 77").1, 1);
    let (said, status) = type_line(&mut app, "xl list nobody");
    assert_eq!(
        (said.as_str(), status),
        ("nobody is an invalid domain identifier (rc=-6)", 1)
    );
    let (said, status) = type_line(&mut app, "xl list 77");
    assert_eq!(
        (said.as_str(), status),
        ("Error: Domain '77' does not exist.", 1)
    );
    assert_eq!(
        type_line(&mut app, "xl what"),
        ("command 'what' not implemented".into(), 1)
    );
    let (said, status) = type_line(&mut app, "xl pause");
    assert!(
        said.starts_with("'xl pause' requires at least 1 argument."),
        "{said}"
    );
    assert_eq!(status, 2);
    assert_eq!(type_line(&mut app, "xl list -x").1, 2);
    let (said, _) = type_line(&mut app, "xl vcpu-list blkback");
    assert!(
        said.ends_with(
            "blkback                              3     0     1   -b-       2.5  all / all"
        ),
        "{said}"
    );
    assert_eq!(type_line(&mut app, "xl vcpu-pin blkback all 1").1, 0);
    assert_eq!(app.host.domains[&3].affinity[&0], 0b10);
    assert_eq!(type_line(&mut app, "xl vcpu-pin blkback 0 x").1, 1);
    let (said, _) = type_line(&mut app, "xl info");
    assert!(said.contains("cpu_mhz                : 2000.001"), "{said}");
    assert!(said.contains("xen_version            : 4.17-microhv"));
    assert!(said.contains("microhv_image          : 700 KiB"));
    assert_eq!(
        type_line(&mut app, "xl info free_memory"),
        ("1024".into(), 0)
    );
    app.host.log = b"(XEN) hello\n".to_vec();
    assert_eq!(
        type_line(&mut app, "xl dmesg -c"),
        ("(XEN) hello".into(), 0)
    );
    assert_eq!(type_line(&mut app, "xl dmesg"), (String::new(), 0));
    let (said, status) = type_line(&mut app, "xl debug-use");
    assert_eq!(status, 0);
    assert!(
        said.contains("Grants mapped") && said.contains("store_nodes"),
        "{said}"
    );
    let (said, _) = type_line(&mut app, "xl debug-exits blkback");
    assert!(
        said.contains("exit cpuid") && said.contains("hypercall 29 sched_op"),
        "{said}"
    );
    assert_eq!(type_line(&mut app, "xl help").1, 0);
    let (said, _) = type_line(&mut app, "xl help create");
    assert!(said.starts_with("Usage: xl create"), "{said}");
    assert_eq!(type_line(&mut app, "nothing").1, 127);
    assert_eq!(type_line(&mut app, "echo $?"), ("127".into(), 0));
    let (said, _) = type_line(&mut app, "ls boot/debian");
    assert!(
        said.contains("initrd") && said.contains("vmlinux"),
        "{said}"
    );
    let (said, _) = type_line(&mut app, "cat /etc/xen/debian.cfg");
    assert!(said.contains("memory = 256"));
    assert_eq!(type_line(&mut app, "cat nothing").1, 1);
    assert_eq!(
        type_line(&mut app, "cat big"),
        ("cat: big: File too large".into(), 1)
    );
    assert_eq!(type_line(&mut app, "xl create big").1, 3);
    for name in console::xl::names::<Pretend>() {
        let (said, _) = type_line(&mut app, &format!("xl {name} -h"));
        assert!(said.starts_with(&format!("Usage: xl {name}")), "{said}");
    }
}

fn word() -> impl Strategy<Value = String> {
    let known = [
        "xl",
        "debian",
        "Domain-0",
        "xenstore",
        "blkback",
        "5",
        "0",
        "77",
        "-f",
        "-w",
        "-a",
        "-p",
        "-c",
        "-n",
        "-h",
        "all",
        "/etc/xen/debian.cfg",
        "memory=0",
        "vcpus=500",
        "-1",
        "65535",
        "99999999999999999999",
        "cat",
        "ls",
        "/var/log/xen/",
    ];
    let names = console::xl::names::<Pretend>()
        .into_iter()
        .chain(known)
        .collect::<Vec<_>>();
    prop_oneof![
        4 => proptest::sample::select(names).prop_map(String::from),
        1 => "[ -~]{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_is_typed_the_prompt_comes_back(
        lines in proptest::collection::vec((any::<bool>(), proptest::collection::vec(word(), 0..6)), 1..12),
    ) {
        let archive = archive(CFG);
        let mut app = booted(&archive);
        for (xl, words) in lines {
            let line = format!("{}{}", if xl { "xl " } else { "" }, words.join(" "));
            if line.contains("sleep") {
                continue; // for as long as it says
            }
            app.host.typed.extend(line.bytes());
            app.host.typed.extend(b"\r\x1d");
            app.turn();
            let seen = app.host.seen();
            prop_assert!(seen.ends_with("]Domain-0# "), "{line}: {seen}");
        }
    }
}

#[test]
fn a_verbose_boot_says_each_step() {
    let archive = archive(CFG);
    let boot = |cmdline| {
        let mut app = console::app::App::new(
            machine::Pretend::new(),
            console::archive::Archive::new(&archive),
            cmdline,
        );
        app.start();
        app.host.seen()
    };
    assert!(!boot("prompt_status").contains("known to xenstore"));
    let said = boot("boot_verbose prompt_status");
    assert!(
        said.contains(
            "domain 4, bridge: 16384 KiB, known to xenstore\nthe network's uplink is connected\n"
        ),
        "{said}"
    );
}
