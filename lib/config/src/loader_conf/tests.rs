use super::*;
use crate::diagnostic::Severity;
use core::net::Ipv4Addr;

const DESIGN: &str = r#"xen_kernel="/boot/microhv"
xen_cmdline="dom0_mem=64M dom0_max_vcpus=1 dom0=pvh console=com1,vga com1=115200,8n1 guest_loglvl=all loglvl=all iommu=debug"
boot_verbose="YES"
domains="xenstore netback blkback bridge"     # built by microhv at boot, in this order, after Domain-0
netback_kernel="/boot/netback"
netback_memory="16M"
netback_pptdevs="0/3/0"                       # bus/slot/function, as in FreeBSD's loader.conf(5)
cloned_interfaces="bridge0"
ifconfig_bridge0="addm em0 SYNCDHCP"
"#;

fn said(file: &str) -> Vec<String> {
    let mut said = Vec::new();
    LoaderConf::new(file.as_bytes()).diagnostics(|d| said.push(d.to_string()));
    said
}

fn text<'a>(value: Result<Option<crate::Span<'a>>, crate::Diagnostic<'a>>) -> Option<&'a str> {
    value.expect("no error").map(|span| span.text)
}

#[test]
fn the_file_of_the_design() {
    assert_eq!(said(DESIGN), Vec::<String>::new());
    let conf = LoaderConf::new(DESIGN.as_bytes());
    assert_eq!(text(conf.xen_kernel()), Some("/boot/microhv"));
    assert_eq!(conf.boot_verbose(), Ok(true));
    let domains: Vec<_> = conf.domains().map(|d| d.expect("a good name")).collect();
    assert_eq!(
        domains.iter().map(|d| d.name.text).collect::<Vec<_>>(),
        ["xenstore", "netback", "blkback", "bridge"]
    );
    let netback = domains.get(1).expect("four domains");
    assert_eq!(text(netback.kernel()), Some("/boot/netback"));
    assert_eq!(netback.memory(), Ok(Some(16 << 20)));
    assert_eq!(netback.vcpus(), Ok(None));
    let devices: Vec<_> = netback.pptdevs().collect();
    assert_eq!(
        devices,
        [Ok(Pptdev {
            bus: 0,
            slot: 3,
            function: 0
        })]
    );
    assert_eq!(
        devices.first().and_then(|d| d.ok()).map(|d| d.bdf()),
        Some(0x18)
    );
    assert_eq!(
        conf.cloned_interfaces().map(|s| s.text).collect::<Vec<_>>(),
        ["bridge0"]
    );
    let bridge: Vec<_> = conf
        .ifconfig("bridge0")
        .expect("plain")
        .expect("there")
        .collect();
    assert_eq!(
        bridge,
        [Setting::Member("em0"), Setting::Dhcp { synchronous: true }]
    );
    assert_eq!(
        conf.xen_options(|d| panic!("{d}"))
            .dom0_mem
            .map(|m| m.resolve(1 << 30)),
        Some(64 << 20)
    );
}

#[test]
fn the_file_of_this_repository() {
    let file = include_str!("../../../../xtask/assets/loader.conf");
    assert_eq!(said(file), Vec::<String>::new());
    let conf = LoaderConf::new(file.as_bytes());
    assert_eq!(text(conf.console_kernel()), Some("/boot/console"));
    assert_eq!(conf.domains().filter_map(Result::ok).count(), 4);
}

#[test]
fn syntax() {
    let file = " a=1\n\tb = \"two words\" # c\n#d=4\n\ne=x#f\ng=\"a\\\"b\\\\c#\"\r\na=5\nh=\"\"";
    let conf = LoaderConf::new(file.as_bytes());
    let all: Vec<_> = conf
        .assignments()
        .map(|a| {
            a.map(|a| (a.name.line, a.name.column, a.name.text, a.value.to_string()))
                .expect("good syntax")
        })
        .collect();
    let expected = [
        (1, 2, "a", "1"),
        (2, 2, "b", "two words"),
        (5, 1, "e", "x"),
        (6, 1, "g", "a\"b\\c#"),
        (7, 1, "a", "5"),
        (8, 1, "h", ""),
    ];
    assert_eq!(
        all,
        expected.map(|(line, column, name, value)| (line, column, name, value.to_string()))
    );
    assert_eq!(
        conf.get("a").map(|v| v.to_string()).as_deref(),
        Some("5"),
        "the last one wins"
    );
    assert_eq!(conf.get("z"), None);
}

#[test]
fn syntax_errors_name_their_place_and_the_next_line_counts() {
    let cases = [
        (
            "a=\"b",
            "loader.conf:1:5: a: expected '\"' at the end of the value",
        ),
        (
            "a=\"b\\\"",
            "loader.conf:1:7: a: expected '\"' at the end of the value",
        ),
        (
            "a=\"b\r",
            "loader.conf:1:5: a: expected '\"' at the end of the value",
        ),
        (
            "a \"b\"",
            "loader.conf:1:3: a: expected '=' behind the name, found '\"'",
        ),
        ("=1", "loader.conf:1:1: expected a name, found '='"),
        ("a=", "loader.conf:1:3: a: expected a value behind '='"),
        (
            "a=\"b\" c",
            "loader.conf:1:7: a: expected the end of the line behind the value, found 'c'",
        ),
        (
            "a=b c",
            "loader.conf:1:5: a: expected the end of the line behind the value, found 'c'",
        ),
    ];
    for (line, expected) in cases {
        let file = format!("{line}\nboot_verbose=\"YES\"\n");
        assert_eq!(said(&file).first().map(String::as_str), Some(expected));
        assert_eq!(LoaderConf::new(file.as_bytes()).boot_verbose(), Ok(true));
    }
}

#[test]
fn bad_values_name_line_and_value() {
    let file = "domains=\"net disk\"\nnet_memory=\"16Q\"\nnet_pptdevs=\"0/3/0 0/32/0\"\nnet_vcpus=0\nnet_cpus=\"0-3,x\"\nboot_verbose=maybe\ndisk_memory=\"8M\"\n";
    let mut lines = said(file);
    lines.sort();
    let expected = [
        "loader.conf:2:13: net_memory: expected a size such as 64M or 2G, found '16Q'",
        "loader.conf:3:20: net_pptdevs: expected bus/slot/function, such as 0/3/0 (bus to 255, slot to 31, function to 7), found '0/32/0'",
        "loader.conf:4:11: net_vcpus: expected a number of vCPUs from 1 to 32, found '0'",
        "loader.conf:5:15: net_cpus: expected CPUs below 256, such as 0-3,5,^1 or all, found 'x'",
        "loader.conf:6:14: boot_verbose: expected YES or NO, found 'maybe'",
    ];
    assert_eq!(lines, expected);
    let conf = LoaderConf::new(file.as_bytes());
    let disk = conf.domains().filter_map(Result::ok).nth(1).expect("disk");
    assert_eq!(
        disk.memory(),
        Ok(Some(8 << 20)),
        "the rest of the file counts"
    );
}

#[test]
fn errors_inside_xen_cmdline_name_the_files_column() {
    let file = "\nxen_cmdline=\"loglvl=all dom0_mem=64Q\"\n";
    let lines = said(file);
    assert_eq!(lines.len(), 1);
    assert!(
        lines
            .iter()
            .all(|l| l.starts_with("loader.conf:2:34: dom0_mem: expected a size")),
        "{lines:?}"
    );
}

#[test]
fn unknown_names_are_warnings() {
    let file = "hw.pci.mcfg=0\nif_tap_load=\"YES\"\ndomains=\"net\"\nnte_memory=\"16M\"\nnet_memory=\"16M\"\nifconfig_em0=\"up\"\n";
    let warnings: Vec<_> = LoaderConf::new(file.as_bytes()).warnings().collect();
    assert_eq!(
        warnings
            .iter()
            .map(|w| (w.line, w.name))
            .collect::<Vec<_>>(),
        [(1, "hw.pci.mcfg"), (2, "if_tap_load"), (4, "nte_memory")]
    );
    assert!(warnings.iter().all(|w| w.severity == Severity::Warning));
    assert_eq!(
        warnings.last().map(ToString::to_string).as_deref(),
        Some(
            "loader.conf:4:1: warning: nte_memory: ignored, because 'domains' names no such domain"
        )
    );
}

#[test]
fn domain_names() {
    let lines = said("domains=\"a a xen b/c Domain-0\"");
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines.iter().all(|l| l.starts_with("loader.conf:1:")));
    let conf = LoaderConf::new(b"domains=\"a a xen b\"");
    assert_eq!(
        conf.domains()
            .filter_map(Result::ok)
            .map(|d| d.name.text)
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn cmdlines_keep_their_escapes_out() {
    let conf = LoaderConf::new(b"domains=a\na_cmdline=\"x=\\\"y z\\\"\"\n");
    let domain = conf.domains().filter_map(Result::ok).next().expect("a");
    assert_eq!(
        domain
            .cmdline()
            .map(|v| v.characters().collect::<String>())
            .as_deref(),
        Some("x=\"y z\"")
    );
}

#[test]
fn ifconfig_settings() {
    let settings = |text: &'static str| {
        let conf = LoaderConf::new(text.as_bytes());
        conf.ifconfig("b")
            .expect("plain")
            .map(|s| s.collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let address = Setting::Address {
        address: Ipv4Addr::new(10, 0, 0, 1),
        prefix: 24,
    };
    assert_eq!(
        settings("ifconfig_b=\"inet 10.0.0.1/24 up\""),
        [address, Setting::Up]
    );
    assert_eq!(
        settings("ifconfig_b=\"inet 10.0.0.1 netmask 255.255.255.0\""),
        [address]
    );
    assert!(matches!(
        settings("ifconfig_b=\"inet 10.0.0.1 netmask 255.0.255.0\"").first(),
        Some(Setting::Malformed(..))
    ));
    assert!(matches!(
        settings("ifconfig_b=\"addm\"").first(),
        Some(Setting::Malformed(..))
    ));
    assert_eq!(said("ifconfig_b=\"inet 1/24\"").len(), 1);
    assert_eq!(said("ifconfig_b=\"stp em0\"").len(), 2);
}

#[test]
fn other_encodings_only_in_comments() {
    assert!(
        LoaderConf::new(b"# \xe4\xf6\nboot_verbose=YES")
            .assignments()
            .all(|a| a.is_ok())
    );
    let error = LoaderConf::new(b"a=\"\xe4\"")
        .assignments()
        .next()
        .expect("a line")
        .expect_err("Latin-1");
    assert_eq!(error.to_string(), "loader.conf:1:4: expected UTF-8 text");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(file in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        LoaderConf::new(&file).diagnostics(|d| { let _ = d.to_string(); });
    }

    #[test]
    fn near_misses_are_read_without_a_panic(file in "((domains|net_memory|net_pptdevs|net_cpus|xen_cmdline|ifconfig_b|a)[ ]?=?[ ]?\"?[ -~]{0,20}\"?\r?\n){0,8}") {
        let lines = file.lines().count() as u32;
        LoaderConf::new(file.as_bytes()).diagnostics(|d| assert!(d.line >= 1 && d.line <= lines.max(1)));
    }

    #[test]
    fn any_value_survives_quoting(value in "[^\n\r]{0,60}") {
        let quoted: String = value.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
        let file = format!("x=\"{quoted}\"\n");
        let conf = LoaderConf::new(file.as_bytes());
        proptest::prop_assert_eq!(conf.get("x").map(|v| v.to_string()), Some(value));
    }
}
