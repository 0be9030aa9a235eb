use super::*;
use crate::diagnostic::Severity;
use crate::span::Span;

fn read(text: &str) -> (XenCmdline<'_>, Vec<String>) {
    let mut said = Vec::new();
    let options = XenCmdline::parse(Span::new(text), |d| said.push(d.to_string()));
    (options, said)
}

fn clean(text: &str) -> XenCmdline<'_> {
    let (options, said) = read(text);
    assert_eq!(said, Vec::<String>::new());
    options
}

fn complaint(text: &str) -> String {
    let (_, said) = read(text);
    assert_eq!(said.len(), 1, "{said:?}");
    said.into_iter().next().unwrap_or_default()
}

#[test]
fn the_lines_of_the_handbook() {
    let options = clean(
        "dom0_mem=8192M dom0_max_vcpus=4 dom0=pvh console=com1,vga com1=115200,8n1 guest_loglvl=all loglvl=all",
    );
    assert_eq!(options.dom0_mem.map(|m| m.resolve(64 << 30)), Some(8 << 30));
    assert_eq!(options.dom0_max_vcpus.map(|v| v.resolve(1)), Some(4));
    assert_eq!(
        options.console,
        ConsoleList {
            com1: Some(SerialFilter::All),
            com2: None,
            vga: true
        }
    );
    assert_eq!(options.com1, Com::COM1);
    assert_eq!(options.loglvl.always, Level::Debug);
    assert_eq!(options.guest_loglvl.always, Level::Debug);
    clean(
        "dom0_mem=8192M dom0_max_vcpus=4 dom0pvh=1 console=com1,vga com1=115200,8n1 guest_loglvl=all loglvl=all",
    );
    let options = clean("iommu=debug dom0=verbose sync_console");
    assert!(
        options.iommu.debug
            && options.iommu.verbose
            && options.dom0.verbose
            && options.sync_console
    );
}

#[test]
fn nothing_said_is_xens_default() {
    let options = clean("");
    assert_eq!(options, XenCmdline::default());
    assert_eq!(options.loglvl.always, Level::Info);
    assert_eq!(
        (
            options.guest_loglvl.always,
            options.guest_loglvl.rate_limited
        ),
        (Level::None, Level::Warning)
    );
    assert!(options.iommu.enabled && options.iommu.intremap && !options.noreboot);
}

#[test]
fn dom0_mem_forms() {
    let mem = |text, available| clean(text).dom0_mem.map(|m| m.resolve(available));
    assert_eq!(mem("dom0_mem=512M,max:1G", 4 << 30), Some(512 << 20));
    assert_eq!(mem("dom0_mem=1G+25%", 256 << 30), Some(65 << 30));
    assert_eq!(mem("dom0_mem=50%", 2 << 30), Some(1 << 30));
    assert_eq!(
        mem("dom0_mem=-128M", 1 << 30),
        Some((1 << 30) - (128 << 20))
    );
    assert_eq!(
        mem("dom0_mem=64M,min:128M,max:96M", 1 << 30),
        Some(96 << 20),
        "max overrides min"
    );
    assert_eq!(
        mem("dom0_mem=max:1G", 1 << 30),
        Some((1 << 30) - (64 << 20))
    );
    assert_eq!(
        mem("dom0_mem=65536", 1 << 30),
        Some(64 << 20),
        "KiB without a suffix"
    );
    assert_eq!(
        mem("dom0_mem=4G", 1 << 30),
        Some(1 << 30),
        "never more than there is"
    );
    assert_eq!(
        clean("dom0_mem=512M,max:1G")
            .dom0_mem
            .and_then(|m| m.limit(4 << 30)),
        Some(1 << 30)
    );
}

#[test]
fn dom0_max_vcpus_forms() {
    let vcpus = |text, cpus| clean(text).dom0_max_vcpus.map(|v| v.resolve(cpus));
    let table = [(2, 4), (4, 4), (6, 6), (8, 8), (10, 8)];
    for (cpus, expected) in table {
        assert_eq!(vcpus("dom0_max_vcpus=4-8", cpus), Some(expected));
    }
    assert_eq!(vcpus("dom0_max_vcpus=-2", 4), Some(2));
    assert_eq!(vcpus("dom0_max_vcpus=3-", 8), Some(8));
    assert_eq!(vcpus("dom0_max_vcpus=1", 8), Some(1));
}

#[test]
fn com_forms() {
    let com = clean("com1=9600/1843200,7e2,0x2f8,0").com1;
    let expected = Com {
        baud: Baud::Rate(9600),
        base_baud: 1_843_200,
        data_bits: 7,
        parity: Parity::Even,
        stop_bits: 2,
        io_base: 0x2f8,
        irq: 0,
    };
    assert_eq!(com, expected);
    assert_eq!(
        clean("com1=baud=115200,parity=n,stop-bits=1,io-base=0x3f8").com1,
        Com::COM1
    );
    assert_eq!(clean("com1=auto").com1.baud, Baud::Auto);
    assert_eq!(clean("com2=115200,8n1").com2.io_base, 0x2f8);
    assert_eq!(clean("com1=115200,,0x2f8").com1.io_base, 0x2f8);
}

#[test]
fn levels() {
    let levels = clean("guest_loglvl=error/info").guest_loglvl;
    assert_eq!(
        (levels.always, levels.rate_limited),
        (Level::Error, Level::Info)
    );
    let levels = clean("loglvl=debug/warning").loglvl;
    assert_eq!(
        (levels.always, levels.rate_limited),
        (Level::Debug, Level::Debug)
    );
    assert!(Level::None < Level::Error && Level::Info < Level::Debug);
}

#[test]
fn iommu_forms() {
    assert!(!clean("iommu=off").iommu.enabled);
    assert!(!clean("iommu=no").iommu.enabled);
    assert!(!clean("no-iommu").iommu.enabled);
    assert!(clean("iommu").iommu.enabled);
    let iommu = clean("iommu=debug,no-intremap,required").iommu;
    assert!(iommu.debug && iommu.verbose && !iommu.intremap && iommu.required && iommu.enabled);
    assert!(!clean("iommu=intremap=off").iommu.intremap);
    assert!(clean("iommu=force").iommu.required);
    assert!(complaint("iommu=quarantine=scratch-page").contains("warning: iommu: ignored"));
}

#[test]
fn spec_ctrl_forms() {
    assert_eq!(clean("").spec_ctrl, SpecCtrl::default());
    assert!(!clean("spec-ctrl=no").spec_ctrl.enabled);
    assert!(!clean("no-spec-ctrl").spec_ctrl.enabled);
    let wish = clean("spec-ctrl=rsb,no-ibpb-entry,md-clear=off,l1d-flush=1").spec_ctrl;
    assert_eq!(
        wish,
        SpecCtrl {
            rsb: Some(true),
            ibpb_entry: Some(false),
            verw: Some(false),
            l1d_flush: Some(true),
            ..SpecCtrl::default()
        }
    );
    let wish = clean("spec-ctrl=ibrs,stibp=no spec-ctrl=no-ibpb,verw").spec_ctrl;
    assert_eq!((wish.ibrs, wish.stibp), (Some(true), Some(false)));
    assert_eq!((wish.ibpb, wish.verw), (Some(false), Some(true)));
    assert!(
        complaint("spec-ctrl=bti-thunk=retpoline").contains("warning: spec-ctrl: ignored"),
        "Xen has it"
    );
    assert!(complaint("spec-ctrl").contains("expected '='"));
}

#[test]
fn ept_forms() {
    let exec_sp = |text| clean(text).spec_ctrl.exec_sp;
    assert_eq!(exec_sp("ept=exec-sp"), Some(true));
    assert_eq!(exec_sp("ept=no-exec-sp spec-ctrl=rsb"), Some(false));
    assert_eq!(exec_sp("spec-ctrl=no ept=exec-sp=0"), Some(false));
    assert!(complaint("ept=no-pml").contains("warning: ept: ignored"));
    assert!(complaint("ept=exec").contains("ept: expected exec-sp"));
}

#[test]
fn booleans() {
    assert!(
        clean("noreboot").noreboot
            && clean("noreboot=true").noreboot
            && clean("sync_console=1").sync_console
    );
    assert!(clean("").apicv && clean("apicv=0 apicv").apicv && !clean("apicv=1 apicv=0").apicv);
    assert!(!clean("noreboot no-noreboot").noreboot && !clean("noreboot noreboot=off").noreboot);
}

#[test]
fn unknown_options_are_warnings_with_their_place() {
    let (_, said) = read("loglvl=all frobnicate=2 -- init=/bin/sh");
    assert_eq!(
        said,
        [
            "loader.conf:1:12: warning: xen_cmdline: ignored, because microhv has no such option, found 'frobnicate=2'"
        ]
    );
}

#[test]
fn malformed_values_name_their_column_and_keep_the_default() {
    let cases = [
        ("loglvl=all dom0_mem=64Q", 21, "'64Q'"),
        ("dom0_mem=64M,max:x", 18, "'x'"),
        ("dom0_mem=100%", 10, "'100%'"),
        ("dom0_max_vcpus=0", 16, "'0'"),
        ("dom0_max_vcpus=4-2", 16, "'4-2'"),
        ("com1=115200,9n1", 13, "'9n1'"),
        ("com1=fast", 6, "'fast'"),
        ("com1=baud=0", 11, "'0'"),
        ("com1=230400", 6, "'230400'"),
        ("com1=115200,8n1,0x3f8,4,5", 25, "'5'"),
        ("console=com3", 9, "'com3'"),
        ("console=com1,none", 14, "'none'"),
        ("loglvl=loud", 8, "'loud'"),
        ("guest_loglvl=all/x", 18, "'x'"),
        ("iommu=debug,frob", 13, "'frob'"),
        ("spec-ctrl=yes", 11, "'yes'"),
        ("spec-ctrl=rsb,hvm", 15, "'hvm'"),
        ("spec-ctrl=verw=maybe", 11, "'verw=maybe'"),
        ("dom0=pv", 6, "'pv'"),
        ("dom0=verbose=maybe", 6, "'verbose=maybe'"),
        ("dom0pvh=0", 9, "'0'"),
        ("sync_console=perhaps", 1, "'sync_console=perhaps'"),
    ];
    for (text, column, found) in cases {
        let (options, said) = read(text);
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        let said = said.first().cloned().unwrap_or_default();
        assert!(
            said.starts_with(&format!("loader.conf:1:{column}: ")),
            "{text}: {said}"
        );
        assert!(said.ends_with(found), "{text}: {said}");
        assert_eq!(options.dom0_mem, None, "{text}");
    }
    assert_eq!(
        complaint("dom0_mem"),
        "loader.conf:1:9: dom0_mem: expected '=' and a value"
    );
    assert_eq!(
        complaint("dom0_mem="),
        "loader.conf:1:10: dom0_mem: expected a value behind '='"
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,200}") {
        XenCmdline::parse(Span::new(&text), |d| { let _ = d.to_string(); });
    }

    #[test]
    fn near_misses_are_read_without_a_panic(
        words in proptest::collection::vec(
            "(dom0_mem|dom0_max_vcpus|dom0|console|com1|loglvl|iommu|spec-ctrl|noreboot)=[-+%:,/=0-9a-zA-Z]{0,24}", 0..6)
    ) {
        let text = words.join(" ");
        XenCmdline::parse(Span::new(&text), |d| {
            assert!(d.column >= 1 && d.column as usize <= text.len() + 1);
            assert!(d.severity == Severity::Warning || d.reason.starts_with("expected"));
        });
    }

    #[test]
    fn sizes_round_trip(mebibytes in 1u64..1 << 20) {
        let text = format!("dom0_mem={mebibytes}M");
        let expected = Some(mebibytes << 20);
        proptest::prop_assert_eq!(XenCmdline::parse(Span::new(&text), |_| {}).dom0_mem.map(|m| m.resolve(u64::MAX)), expected);
    }
}

#[test]
fn verbose_and_synchronous_output_leave_nothing_out() {
    let parse = |text| XenCmdline::parse(Span::new(text), |_| {});
    let level = |always, rate_limited| LogLevel {
        always,
        rate_limited,
    };
    let quiet = "loglvl=error/info guest_loglvl=none/warning";
    let guest = level(Level::None, Level::Warning);
    assert_eq!(
        parse(quiet).levels(false),
        (level(Level::Error, Level::Info), guest)
    );
    assert_eq!(
        parse(quiet).levels(true),
        (level(Level::Debug, Level::Debug), guest)
    );
    let synchronous = "sync_console loglvl=error/info guest_loglvl=none/warning";
    assert_eq!(
        parse(synchronous).levels(false),
        (
            level(Level::Info, Level::Info),
            level(Level::Warning, Level::Warning)
        )
    );
}
