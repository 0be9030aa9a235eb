//! Subcommands that concern domains, CPUs, memory and scheduling.

mod machine;
mod typing;

use console::app::App;
use machine::Pretend;
use serde_json::Value;
use typing::{CFG, archive, booted, type_line};

/// A machine on which `debian` runs as domain 5.
fn with_guest(archive: &[u8]) -> App<'_, Pretend> {
    let mut app = booted(archive);
    assert_eq!(type_line(&mut app, "xl create /etc/xen/debian.cfg").1, 0);
    app
}

/// The line must fail with code 1 and say all of `words`.
fn refused(app: &mut App<'_, Pretend>, line: &str, words: &[&str]) {
    let (said, status) = type_line(app, line);
    assert_eq!(status, 1, "{line}: {said}");
    for word in words {
        assert!(said.contains(word), "{line}: no \"{word}\" in {said}");
    }
}

fn store<'a>(app: &'a App<'_, Pretend>, path: &str) -> &'a str {
    app.host.store.get(path).map_or("(none)", String::as_str)
}

#[test]
fn list_long_is_the_configuration_as_json() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    let (said, status) = type_line(&mut app, "xl list -l");
    assert_eq!(status, 0);
    let all: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 6);
    assert_eq!(all[0]["config"]["c_info"]["name"], "Domain-0");
    let (said, _) = type_line(&mut app, "xl list -l debian");
    let all: Value = serde_json::from_str(&said).unwrap();
    let config = &all[0]["config"];
    assert_eq!(all[0]["domid"], 5);
    assert_eq!(config["c_info"]["type"], "pvh");
    assert_eq!(config["b_info"]["max_memkb"], 262_144);
    assert_eq!(config["b_info"]["avail_vcpus"], serde_json::json!([0, 1]));
    assert_eq!(config["b_info"]["kernel"], "/boot/debian/vmlinux");
    assert_eq!(config["disks"][0]["pdev_path"], "/dev/gpt/debian-root");
    assert_eq!(config["disks"][0]["readwrite"], 1);
    assert_eq!(config["nics"][0]["mac"], "00:16:3e:01:02:03");
    assert_eq!(config["on_reboot"], "restart");
    let (said, _) = type_line(&mut app, "xl list -vcn debian");
    assert!(said.contains("Security Label         Cpupool NODE Affinity"));
    assert!(
        said.ends_with("               -          Pool-0 all"),
        "{said}"
    );
    assert_eq!(type_line(&mut app, "xl list debian bridge").1, 1);
}

#[test]
fn create_has_xls_options() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    let (said, status) = type_line(
        &mut app,
        "xl create -n /etc/xen/debian.cfg memory=128 'name=\"other\"'",
    );
    assert_eq!(status, 0);
    let (first, json) = said.split_once('\n').unwrap();
    assert_eq!(first, "Parsing config from /etc/xen/debian.cfg");
    let config: Value = serde_json::from_str(json).unwrap();
    assert_eq!(config["b_info"]["target_memkb"], 131_072);
    assert_eq!(config["c_info"]["name"], "other");
    assert!(!app.host.domains.contains_key(&5), "a dry run");
    let (said, status) = type_line(&mut app, "xl -N create -q /etc/xen/debian.cfg");
    assert_eq!((said.starts_with('{'), status), (true, 0), "{said}");
    refused(
        &mut app,
        "xl -N list",
        &["command does not implement -N (dryrun) option"],
    );

    let (said, status) = type_line(&mut app, "xl create a b");
    assert_eq!((said.starts_with("Usage: xl create"), status), (true, 2));
    let (said, status) = type_line(&mut app, "xl create -qp /etc/xen/debian.cfg vcpus=1");
    assert_eq!((said.as_str(), status), ("", 0));
    assert_eq!(app.host.domains[&5].pauses, 1, "-p");
    assert_eq!(app.host.domains[&5].info.max_vcpu_id, 0);
    assert_eq!(type_line(&mut app, "xl destroy debian").1, 0);

    let (said, status) = type_line(&mut app, "xl -vvv create /etc/xen/debian.cfg");
    assert_eq!(status, 0);
    for step in [
        "Domain 5 created from",
        "Domain 5: kernel /boot/debian/vmlinux; console at port ",
        "Domain 5: vbd 51712 taken up by blkback",
        "Domain 5: vif 0 taken up by bridge",
        "Domain 5 runs",
    ] {
        let line = format!("libxl: detail: debian: {step}");
        assert!(said.contains(&line), "no {line} in {said}");
    }
    assert_eq!(type_line(&mut app, "xl destroy debian").0, "", "no longer");

    let line = "xl create /dev/null 'name=\"x\"' 'kernel=\"/boot/debian/vmlinux\"' memory=64";
    assert_eq!(type_line(&mut app, line).1, 0);
    assert_eq!(type_line(&mut app, "xl domid x").0, "5");
}

#[test]
fn create_attaches_waits_or_does_not_care() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    app.host.typed.extend(b"xl create -c /etc/xen/debian.cfg\r");
    app.turn();
    app.host.says(5, "Linux version");
    app.turn();
    assert!(app.host.seen().ends_with("Linux version"), "-c");
    app.host.typed.extend(b"\x1d");
    app.turn();
    assert!(app.host.seen().ends_with("Domain-0# "));
    assert_eq!(type_line(&mut app, "xl destroy debian").1, 0);

    assert_eq!(type_line(&mut app, "xl create -e /etc/xen/debian.cfg").1, 0);
    assert_eq!(type_line(&mut app, "xl shutdown -w debian").1, 0);
    let (said, _) = type_line(&mut app, "xl list debian");
    assert!(said.contains("---s--"), "kept as it is: {said}");
    assert_eq!(type_line(&mut app, "xl destroy debian").1, 0);

    // Asked to end before the waiting begins.
    let stop = "/local/domain/5/control/shutdown";
    app.host.ends_at_once = Some(stop.to_string());
    let (said, status) = type_line(&mut app, "xl create -F /etc/xen/debian.cfg");
    assert_eq!(status, 0);
    assert!(
        said.contains("Waiting for domain debian (domid 5) to die"),
        "{said}"
    );
    assert!(!app.host.domains.contains_key(&5));
}

#[test]
fn the_saved_configuration_is_what_a_reboot_uses() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    let (said, status) = type_line(
        &mut app,
        "xl config-update debian /etc/xen/debian.cfg vcpus=1 memory=128",
    );
    assert_eq!(status, 0);
    assert!(said.contains("setting dom5 configuration"), "{said}");
    refused(
        &mut app,
        "xl config-update bridge /etc/xen/debian.cfg",
        &["no guest"],
    );
    refused(
        &mut app,
        "xl config-update debian",
        &["Config file not specified"],
    );
    let (_, status) = type_line(
        &mut app,
        "xl config-update debian /etc/xen/debian.cfg vcpus=0",
    );
    assert_eq!(status, 1);
    app.host.now += 2_000_000_000;
    assert_eq!(type_line(&mut app, "xl reboot -w debian").1, 0);
    assert_eq!(app.host.domains[&5].info.max_vcpu_id, 0);
    assert_eq!(app.host.domains[&5].info.tot_pages, 128 * 256 + 4);
}

#[test]
fn vcpu_set_writes_what_the_guest_watches() {
    let archive = archive(&CFG.replace("vcpus = 2", "vcpus = 1\nmaxvcpus = 3"));
    let mut app = with_guest(&archive);
    let available = |app: &App<'_, Pretend>| {
        [0, 1, 2].map(|n| store(app, &format!("/local/domain/5/cpu/{n}/availability")).to_string())
    };
    assert_eq!(available(&app), ["online", "offline", "offline"]);
    assert_eq!(type_line(&mut app, "xl vcpu-set debian 2").1, 0);
    assert_eq!(available(&app), ["online", "online", "offline"]);
    app.host.domains.get_mut(&5).unwrap().info.nr_online_vcpus = 2;
    refused(
        &mut app,
        "xl vcpu-set debian 3",
        &["You have 2 physical CPUs and want 3 vCPUs"],
    );
    assert_eq!(type_line(&mut app, "xl vcpu-set -i debian 3").1, 0);
    assert_eq!(available(&app), ["online"; 3]);
    assert_eq!(type_line(&mut app, "xl vcpu-set debian 1").1, 0);
    assert_eq!(available(&app), ["online", "offline", "offline"]);
    refused(
        &mut app,
        "xl vcpu-set -i debian 4",
        &[
            "Requested 4 VCPUs, however maxcpus is 3!",
            "libxl_set_vcpuonline failed domid=5 max_vcpus=4, rc: -3",
        ],
    );
    refused(
        &mut app,
        "xl vcpu-set debian x",
        &["Error: Invalid argument."],
    );
    refused(&mut app, "xl vcpu-set debian 0", &["first vCPU"]);
    refused(&mut app, "xl vcpu-set bridge 1", &["bridge is no guest"]);
}

#[test]
fn memory_is_asked_for_and_held_to() {
    let archive = archive(&CFG.replace("memory = 256", "memory = 256\nmaxmem = 512"));
    let mut app = with_guest(&archive);
    // Built with all of it, and held to what it is to have.
    let slack = 4 + 256;
    assert_eq!(app.host.domains[&5].info.tot_pages, 512 * 256 + 4);
    assert_eq!(app.host.domains[&5].info.max_pages, 256 * 256 + slack);
    assert_eq!(store(&app, "/local/domain/5/memory/static-max"), "524288");
    assert_eq!(store(&app, "/local/domain/5/memory/target"), "262144");

    assert_eq!(type_line(&mut app, "xl mem-set debian 128").1, 0);
    assert_eq!(store(&app, "/local/domain/5/memory/target"), "131072");
    assert_eq!(app.host.domains[&5].info.max_pages, 128 * 256 + slack);
    assert_eq!(type_line(&mut app, "xl mem-set debian 512m").1, 0);
    assert_eq!(app.host.domains[&5].info.max_pages, 512 * 256 + slack);
    refused(
        &mut app,
        "xl mem-set debian 513",
        &[
            "Domain 5:memory_dynamic_max must be less than or equal to memory_static_max",
            "cannot set domid 5 dynamic max memory to : 513",
        ],
    );
    refused(
        &mut app,
        "xl mem-set debian 2x",
        &["invalid memory size: 2x"],
    );
    refused(&mut app, "xl mem-set bridge 8", &["bridge is no guest"]);
    refused(
        &mut app,
        "xl mem-max debian 256",
        &[
            "must be greater than",
            "cannot set domid 5 static max memory to : 256",
        ],
    );
    assert_eq!(type_line(&mut app, "xl mem-max debian 1g").1, 0);
    assert_eq!(app.host.domains[&5].info.max_pages, 1024 * 256 + slack);
    assert_eq!(store(&app, "/local/domain/5/memory/target"), "524288");
    assert_eq!(
        type_line(&mut app, "xl mem-set debian").1,
        2,
        "an argument is missing"
    );

    let (said, status) = type_line(
        &mut app,
        "xl create /etc/xen/debian.cfg 'name=\"b\"' maxmem=9999",
    );
    assert_eq!(status, 3);
    assert!(said.contains("maxmem = 9999 does not fit"), "{said}");
}

#[test]
fn what_was_set_stays_over_a_reboot() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    for line in [
        "xl mem-set debian 200m",
        "xl vcpu-set debian 1",
        "xl sched-credit2 -d debian -w 300",
    ] {
        assert_eq!(type_line(&mut app, line).1, 0, "{line}");
    }
    app.host.now += 2_000_000_000;
    assert_eq!(type_line(&mut app, "xl reboot -w debian").1, 0);
    let domain = &app.host.domains[&5];
    assert_eq!(domain.info.max_vcpu_id, 1);
    assert_eq!(domain.info.max_pages, 200 * 256 + 4 + 256);
    assert_eq!(domain.weight, Some((300, 0)));
    assert_eq!(store(&app, "/local/domain/5/memory/target"), "204800");
    assert_eq!(store(&app, "/local/domain/5/memory/static-max"), "262144");
    assert_eq!(store(&app, "/local/domain/5/cpu/1/availability"), "offline");
}

#[test]
fn rename() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    refused(
        &mut app,
        "xl rename debian bridge",
        &[
            "Domain with name \"bridge\" already exists.",
            "Can't rename domain 'debian'.",
        ],
    );
    for name in ["a/b", "7", "'a b'", "''"] {
        let line = format!("xl rename 5 {name}");
        refused(&mut app, &line, &["Can't rename domain '5'."]);
    }
    refused(
        &mut app,
        "xl rename bridge b",
        &["only guests can be renamed"],
    );
    assert_eq!(type_line(&mut app, "xl rename debian other").1, 0);
    assert_eq!(type_line(&mut app, "xl domname 5").0, "other");
    assert_eq!(type_line(&mut app, "xl domid debian").1, 1);
    assert_eq!(store(&app, "/local/domain/5/name"), "other");
    let vm = store(&app, "/local/domain/5/vm").to_string();
    assert_eq!(store(&app, &format!("{vm}/name")), "other");
}

#[test]
fn weights() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    let (said, status) = type_line(&mut app, "xl sched-credit2");
    assert_eq!(status, 0);
    assert!(said.starts_with(
        "Cpupool Pool-0: ratelimit=0us\nName                                ID Weight  Cap\n"
    ));
    assert!(
        said.ends_with("\ndebian                               5    256    0"),
        "{said}"
    );
    assert_eq!(
        type_line(&mut app, "xl sched-credit2 -d debian -w 512").1,
        0
    );
    assert_eq!(app.host.domains[&5].weight, Some((512, 0)));
    let (said, _) = type_line(&mut app, "xl sched-credit2 --domain=debian");
    assert!(
        said.ends_with("    512    0") && said.lines().count() == 2,
        "{said}"
    );
    for (line, words) in [
        ("-d debian -w 0", "within range from 1 to 65535"),
        ("-d debian -c 50", "cap out of range, 0 only"),
        ("-w 5", "Must specify a domain."),
        ("-p Pool-0 -w 5", "Specifying a cpupool is not allowed"),
        ("-p other", "unknown cpupool 'other'"),
        ("-s -r 100", "libxl_sched_credit2_params_set failed."),
    ] {
        refused(&mut app, &format!("xl sched-credit2 {line}"), &[words]);
    }
    assert_eq!(type_line(&mut app, "xl sched-credit2 -d debian -c 0").1, 0);
}

#[test]
fn triggers_and_sysrq() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    assert_eq!(type_line(&mut app, "xl trigger debian nmi").1, 0);
    assert_eq!(type_line(&mut app, "xl trigger debian NMI 1").1, 0);
    assert_eq!(app.host.domains[&5].triggers, [(0, 0), (1, 0)]);
    refused(&mut app, "xl trigger debian nmi 2", &["it has no vCPU 2"]);
    for name in ["reset", "init", "power", "sleep", "s3resume"] {
        let words = format!("Send trigger '{name}' failed");
        refused(&mut app, &format!("xl trigger debian {name}"), &[&words]);
    }
    refused(
        &mut app,
        "xl trigger debian boom",
        &["Invalid trigger \"boom\""],
    );
    refused(&mut app, "xl trigger bridge nmi", &["no guest"]);

    assert_eq!(type_line(&mut app, "xl sysrq debian h").1, 0);
    assert_eq!(store(&app, "/local/domain/5/control/sysrq"), "h");
    refused(
        &mut app,
        "xl sysrq debian help",
        &["Invalid sysrq.", "Usage: xl sysrq"],
    );
    refused(&mut app, "xl sysrq bridge h", &["no guest"]);
}

#[test]
fn top_once_for_scripts() {
    let archive = archive(CFG);
    let mut app = with_guest(&archive);
    app.host.domains.get_mut(&5).unwrap().info.cpu_time = 7_900_000_000;
    let (said, status) = type_line(&mut app, "xl top");
    assert_eq!(status, 0);
    assert!(said.starts_with("      NAME  STATE   CPU(sec)"), "{said}");
    assert!(
        said.ends_with(
            "\n    debian --b---          7    0.0     262160   12.5     263184      12.5     2    1    1"
        ),
        "{said}"
    );
    assert_eq!(said.lines().count(), 7);
    let (said, _) = type_line(&mut app, "xl top -b -i 2 -d 1");
    assert_eq!(said.lines().count(), 14);
    refused(&mut app, "xl top -i x", &["numbers"]);
}

#[test]
fn top_until_q() {
    let archive = archive(CFG);
    let mut app = App::new(Pretend::new(), console::archive::Archive::new(&archive), "");
    app.start();
    app.host.seen();
    app.host.typed.extend(b"xl top\r--q");
    app.turn();
    let seen = app.host.seen();
    assert!(seen.contains("5 domains: 1 running, 4 blocked"), "{seen}");
    assert!(
        seen.contains("Mem: 2097152k total, 1048576k used, 1048576k free    CPUs: 2 @ 2000MHz")
    );
    assert!(seen.ends_with("Domain-0# "), "{seen}");
}

#[test]
fn info_as_xen_has_it() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    let (said, _) = type_line(&mut app, "xl info");
    let names: Vec<&str> = said.lines().map(|line| line[..22].trim()).collect();
    let xens = "host release version machine nr_cpus max_cpu_id nr_nodes cores_per_socket threads_per_core cpu_mhz \
                hw_caps virt_caps total_memory free_memory sharing_freed_memory sharing_used_memory \
                outstanding_claims free_cpus xen_major xen_minor xen_extra xen_version xen_caps xen_scheduler \
                xen_pagesize platform_params xen_changeset xen_commandline cc_compiler cc_compile_by \
                cc_compile_domain cc_compile_date build_id xend_config_format";
    let own = |name: &&str| name.starts_with("microhv_");
    let printed: Vec<&str> = names.into_iter().filter(|name| !own(name)).collect();
    assert_eq!(printed, xens.split_whitespace().collect::<Vec<_>>());
    assert_eq!(type_line(&mut app, "xl info total_memory").0, "2048");
    let (said, _) = type_line(&mut app, "xl info -n");
    assert!(
        said.contains("cpu_topology           :\ncpu:    core    socket     node\n  0:       0"),
        "{said}"
    );
    assert!(
        said.contains(
            "node:    memsize    memfree    distances\n   0:      2048       1024      10"
        )
    );
}
