//! Bochs: a machine with VMX and EPT instead of SVM and NPT, and without an IOMMU.

use anyhow::{Context, Result, ensure};

use super::faults;
use super::memory_disk::{address, ping};
use crate::archive::Archive;
use crate::bootdisk::{self, Content};
use crate::check;
use crate::guest::Guest;
use crate::machine::bochs::{BROADWELL, ICE_LAKE, Machine, configure};
use crate::machine::channel::{Channel, Event};
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "Bochs: 1 CPU, the Rust domains, no device without an IOMMU",
        debian: false,
        play: |stage| domains(stage, 1),
    },
    Scenario {
        name: "Bochs: 2 CPUs, xl from the host, guests come and go",
        debian: false,
        play: |stage| domains(stage, 2),
    },
    Scenario {
        name: "Bochs: the virtual CPU's promises hold in two domains at once",
        debian: false,
        play: cpu,
    },
    Scenario {
        name: "Bochs: an entry that the CPU refuses: the log names the field, and only that domain ends",
        debian: false,
        play: refused,
    },
    Scenario {
        name: "Bochs: a CPU that delivers interrupts by itself keeps the same promises",
        debian: false,
        play: delivers,
    },
    Scenario {
        name: "Bochs: an interrupt from another CPU is posted to a running guest",
        debian: false,
        play: posted,
    },
    Scenario {
        name: "Bochs: two Debian guests, one with 2 vCPUs, on a boot module and a bridge without uplink",
        debian: true,
        play: injected,
    },
    Scenario {
        name: "Bochs, mended: two Debian guests on 2 CPUs, which deliver interrupts by themselves and post them",
        debian: true,
        play: delivered,
    },
];

/// The machine with a boot disk that holds `archive`, and disks of `guests` as a boot module.
pub(super) fn machine(stage: &Stage, archive: &Archive, guests: &[Guest]) -> Result<Machine> {
    let images = stage.images();
    let loader = (images.firmware)()?.loader;
    let mut archive = archive.clone();
    let module = match guests {
        [] => None,
        guests => Some(stage.module_for(guests)?),
    };
    configure(&mut archive, module.as_deref())?;
    let disk = stage.folder().join("disk.img");
    let content = Content {
        loader: &loader,
        microhv: &images.microhv,
        archive: &archive,
    };
    bootdisk::create(&disk, content, &[])?;
    Ok(Machine {
        bochs: (images.bochs)()?,
        cpu: BROADWELL,
        cpus: 2,
        memory: 1024,
        disk,
        folder: stage.folder().to_owned(),
        real_time: false,
        channel: None,
    })
}

/// Domain-0 and the domains beside it, on so many CPUs.
fn domains(stage: &Stage, cpus: u32) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.bytes(
        "etc/xen/idle.cfg",
        "name = \"idle\"\nkernel = \"/boot/faulty\"\ncmdline = \"do=sleep\"\nmemory = 16\nvcpus = 2\n",
    );
    let mut machine = machine(stage, &archive, &[])?;
    machine.cpus = cpus;
    let socket = std::env::temp_dir().join(format!("microhv-bochs-{}.sock", std::process::id()));
    machine.channel = Some(socket.clone());
    let mut running = stage.start_bochs(&machine)?;
    running.wait_prompt(HANG)?;
    check::contains(
        &running.transcript(),
        &[
            &format!("CPUs: {cpus} of {cpus} run"),
            "VMX: ",
            "no device is assigned to any domain",
        ],
    )?;
    let list = running.xl("xl list")?;
    for name in ["Domain-0", "xenstore", "bridge"] {
        check::row(&list, name)?;
    }
    // A Broadwell: large pages are not executable, so code took some of them apart, one 2 MiB at a time.
    check::contains(
        &running.transcript(),
        &["EXEC_SP-", "ITLB multihit: handled"],
    )?;
    let exits = running.xl("xl debug-exits bridge")?;
    let taken = exits
        .lines()
        .find(|line| line.contains("exit nested-page-fault"));
    ensure!(taken.is_some(), "no large page was taken apart:\n{exits}");
    if cpus > 1 {
        from_the_host(&socket)?;
        come_and_go(&mut running)?;
    }
    let end = running.power_off();
    let _ = std::fs::remove_file(socket);
    end
}

/// The second serial port carries commands.
fn from_the_host(socket: &std::path::Path) -> Result<()> {
    let mut said = Vec::new();
    let words = ["xl", "list"].map(str::to_owned);
    let code = Channel::connect(socket)?
        .run(&words, None, &mut |event| {
            if let Event::Output(_, bytes) = event {
                said.extend_from_slice(bytes);
            }
        })
        .context("xl from the host")?;
    ensure!(code == 0, "xl list from the host ended with {code}");
    check::row(&String::from_utf8_lossy(&said), "bridge").map(drop)
}

/// A guest is created and destroyed a few times, and leaves nothing behind.
fn come_and_go(running: &mut Running) -> Result<()> {
    let life = |running: &mut Running| -> Result<()> {
        running.xl("xl create /etc/xen/idle.cfg")?;
        running.xl("xl pause idle")?;
        running.xl("xl unpause idle")?;
        running.xl("xl destroy idle").map(drop)
    };
    life(running)?;
    let before = running.holdings()?;
    for _ in 0..4 {
        life(running)?;
        running.holds(&before)?;
    }
    Ok(())
}

/// The same checks from inside as with SVM, with interrupts injected.
fn cpu(stage: &Stage) -> Result<()> {
    let mut machine = machine(stage, &faults::two_cpu_checks(stage, "")?, &[])?;
    machine.cpus = 1;
    let mut running = stage.start_bochs(&machine)?;
    running.prints("APIC virtualisation off or absent")?;
    passes_checks(running)
}

fn passes_checks(mut running: Running) -> Result<()> {
    running.wait_prompt(HANG)?;
    for domain in [3, 4] {
        running.prints(&format!("CPU checks passed, domain {domain}"))?;
    }
    let said = running.transcript();
    ensure!(!said.contains("FAILED"), "not all checks passed:\n{said}");
    running.power_off()
}

/// Each of these fields is wrong in the state that a domain gives its second vCPU.
fn refused(stage: &Stage) -> Result<()> {
    const FIELDS: [(&str, &str); 8] = [
        ("tr", "TR: access rights"),
        ("cs", "CS: access rights: DPL against that of SS"),
        ("ss", "SS: limit and granularity"),
        ("rflags", "RFLAGS: a reserved bit"),
        ("efer", "IA32_EFER: a reserved bit"),
        ("cr0", "CR0: a bit that this CPU does not have"),
        ("cr3", "CR3: bits above the physical address"),
        ("cr4", "CR4: PCIDE outside IA-32e mode"),
    ];
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.bytes("etc/xen/right.cfg", faults::starts_second("right", "none"));
    let fields = FIELDS.iter().map(|(field, _)| *field);
    for field in fields.chain(["pae", "pdpte"]) {
        let path = format!("etc/xen/{field}.cfg");
        archive.bytes(&path, faults::starts_second(field, field));
    }
    let mut running = stage.start_bochs(&machine(stage, &archive, &[])?)?;
    running.wait_prompt(HANG)?;
    // The state is one that a CPU takes, but for the field.
    const RUNS: &str = "the second vCPU has run, and the first does";
    running.xl("xl create /etc/xen/right.cfg")?;
    running.wait_for(RUNS, HANG)?;
    faults::pae_paging(&mut running)?;
    for (field, rule) in FIELDS {
        running.xl(&format!("xl create /etc/xen/{field}.cfg"))?;
        running.prints(&format!("{field} (domain"))?;
        check::contains(
            &running.transcript(),
            &[&format!("vmcs: the CPU refused the entry: {rule}")],
        )?;
        let list = running.xl("xl list")?;
        for name in ["Domain-0", "xenstore", "bridge", "right"] {
            check::row(&list, name)?;
        }
        ensure!(
            check::row(&list, field).is_err(),
            "{field} is still there:\n{list}"
        );
        // Printed after the list was.
        running.wait_for(RUNS, HANG)?;
    }
    let said = running.transcript();
    let ends = said.matches("vCPU 1: the CPU refused the vCPU's state");
    ensure!(
        ends.count() == FIELDS.len(),
        "not all were refused:\n{said}"
    );
    running.power_off()
}

/// APIC virtualisation: the same checks again, with no interrupt injected.
fn delivers(stage: &Stage) -> Result<()> {
    let mut machine = machine(stage, &faults::two_cpu_checks(stage, "apicv=1")?, &[])?;
    (machine.cpu, machine.cpus) = (ICE_LAKE, 1);
    let mut running = stage.start_bochs(&machine)?;
    running.prints("APIC virtualisation on with posted interrupts")?;
    passes_checks(running)
}

/// A vCPU that another one interrupts stays in guest mode.
fn posted(stage: &Stage) -> Result<()> {
    let archive = faults::two_checks(stage, "second-vcpu", "apicv=1")?;
    let mut machine = machine(stage, &archive, &[])?;
    machine.cpu = ICE_LAKE;
    let mut running = stage.start_bochs(&machine)?;
    running.wait_prompt(HANG)?;
    running.prints("1 of 1 CPU checks passed, domain 3")?;
    running.prints("1 of 1 CPU checks passed, domain 4")?;
    let said = running.xl("xl debug-exits")?;
    let posted = said
        .lines()
        .filter(|line| line.contains("interrupts posted"));
    ensure!(posted.count() > 0, "no interrupt was posted:\n{said}");
    let said = running.transcript();
    ensure!(
        !said.contains("a posted interrupt ended guest mode"),
        "the CPU did not take it by itself:\n{said}"
    );
    running.power_off()
}

/// Two guests of Debian's unmodified kernel.
fn two_guests() -> [Guest; 2] {
    [("one", 2), ("two", 1)].map(|(name, vcpus)| Guest {
        vcpus,
        memory: 192,
        more: "vif = ['bridge=bridge0']\n",
        ..Guest::new(name, None)
    })
}

/// They run with injected interrupts.
fn injected(stage: &Stage) -> Result<()> {
    let guests = two_guests();
    let archive = stage.archive_with(&guests)?;
    // With several CPUs Bochs loses an exception now and then (docs/bochs.md).
    let mut machine = machine(stage, &archive, &guests)?;
    machine.cpus = 1;
    let mut running = stage.start_bochs(&machine)?;
    use_guests(&mut running)?;
    end_guests(running)
}

/// A machine whose CPUs deliver interrupts by themselves, also to Linux.
pub(super) fn delivering(stage: &Stage, archive: &Archive, guests: &[Guest]) -> Result<Machine> {
    let mut archive = archive.clone();
    archive.edit("boot/loader.conf", |text| {
        text.replace("loglvl=all\"", "loglvl=all apicv=1\"")
    })?;
    let mut machine = machine(stage, &archive, guests)?;
    machine.bochs = (stage.images().mended_bochs)()?;
    machine.cpu = ICE_LAKE;
    Ok(machine)
}

/// They run with APIC virtualisation and posted interrupts.
fn delivered(stage: &Stage) -> Result<()> {
    let guests = two_guests();
    let machine = delivering(stage, &stage.archive_with(&guests)?, &guests)?;
    let mut running = stage.start_bochs(&machine)?;
    running.prints("APIC virtualisation on with posted interrupts")?;
    use_guests(&mut running)?;
    let said = running.xl("xl debug-exits")?;
    let posted = |line: &str| line.starts_with("one ") && line.contains("interrupts posted");
    ensure!(
        said.lines().any(posted),
        "no interrupt was posted to guest one:\n{said}"
    );
    end_guests(running)
}

/// Their disks, the network between them.
fn use_guests(running: &mut Running) -> Result<()> {
    running.wait_prompt(HANG)?;
    for (name, ip, cpus) in [("one", "10.9.0.1/24", "2"), ("two", "10.9.0.2/24", "1")] {
        running.attach_when_up(name)?;
        let said = running.guest("nproc; cat /proc/sys/kernel/osrelease")?;
        ensure!(said.starts_with(cpus), "{name} has other CPUs:\n{said}");
        // The disk: what is written is there again when it is read from the disk.
        running.guest("dd if=/dev/urandom of=/root/data bs=64k count=16 2>/dev/null; sync")?;
        let said = running.guest(
            "sha256sum /root/data; echo 3 >/proc/sys/vm/drop_caches; sha256sum /root/data",
        )?;
        // The log's lines come in between.
        let sums = said.lines().filter(|line| line.ends_with(" /root/data"));
        let sums: Vec<&str> = sums.collect();
        ensure!(
            sums.len() == 2 && sums[0] == sums[1],
            "what {name} reads is not what it wrote:\n{said}"
        );
        // Nobody gives addresses without an uplink.
        address(running, ip)?;
        if name == "two" {
            ping(running)?;
        }
        running.detach()?;
    }
    Ok(())
}

/// One ends by force and comes again; the other ends by itself.
fn end_guests(mut running: Running) -> Result<()> {
    running.xl("xl destroy two")?;
    running.xl("xl create /etc/xen/auto/two.cfg")?;
    running.xl("xl destroy two")?;
    running.xl("xl shutdown -w one")?;
    running.power_off()
}
