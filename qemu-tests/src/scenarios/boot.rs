//! The machine comes up, says what it is, and goes down.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use crate::check;
use crate::machine::qmp::End;
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "boot with 1 CPU",
        debian: false,
        play: |stage| boot(stage, 1),
    },
    Scenario {
        name: "boot with 2 CPUs",
        debian: false,
        play: |stage| boot(stage, 2),
    },
    Scenario {
        name: "boot with 4 CPUs",
        debian: false,
        play: |stage| boot(stage, 4),
    },
    Scenario {
        name: "boot with five disks, for which SeaBIOS keeps memory where QEMU puts the archive",
        debian: false,
        play: many_disks,
    },
    Scenario {
        name: "image and memory stay within their limits",
        debian: false,
        play: limits,
    },
    Scenario {
        name: "reboot from the prompt",
        debian: false,
        play: reboot,
    },
    Scenario {
        name: "no page of microhv is writable and executable at once",
        debian: false,
        play: page_rights,
    },
    Scenario {
        name: "an exception in microhv names registers and functions, then the machine reboots",
        debian: false,
        play: exception,
    },
    Scenario {
        name: "noreboot: after an exception microhv stays halted",
        debian: false,
        play: noreboot,
    },
];

/// What the product promises: KiB of microhv's image, and of all memory it has for itself beyond page tables.
const IMAGE_LIMIT: u64 = 1 << 10;
const MEMORY_LIMIT: u64 = 8 << 10;
/// MiB of a service domain.
const SERVICE_LIMIT: u64 = 16;

/// The domains of the default loader.conf, in the order of their numbers.
pub const DOMAINS: [&str; 5] = ["Domain-0", "xenstore", "netback", "blkback", "bridge"];

pub(super) fn boot(stage: &Stage, cpus: u32) -> Result<()> {
    let mut machine = stage.machine();
    machine.cpus = cpus;
    let mut running = stage.boot(machine, &stage.archive()?)?;
    running.wait_prompt(HANG)?;
    all_there(&mut running, cpus)?;
    running.power_off()
}

/// Every domain runs, and `cpus` are counted.
fn all_there(running: &mut Running, cpus: u32) -> Result<()> {
    let list = running.xl("xl list")?;
    for (number, name) in DOMAINS.iter().enumerate() {
        let columns = check::row(&list, name)?;
        if columns.get(1) != Some(&number.to_string().as_str()) {
            bail!("{name} is not domain {number}:\n{list}");
        }
    }
    let info = running.xl("xl info")?;
    let counted = info
        .lines()
        .find_map(|line| line.strip_prefix("nr_cpus"))
        .unwrap_or_default();
    if counted.trim_matches([' ', ':']) != cpus.to_string() {
        bail!("xl info does not count {cpus} CPUs:\n{info}");
    }
    Ok(())
}

/// The archive's end is in no RAM of the memory map then: it moves.
fn many_disks(stage: &Stage) -> Result<()> {
    let mut machine = stage.machine();
    for slot in 4..8 {
        let disk = stage.folder().join(format!("disk-{slot}.img"));
        std::fs::File::create(&disk)?.set_len(1 << 20)?;
        let drive = format!("if=none,id=disk{slot},format=raw,file={}", disk.display());
        let device = format!("virtio-blk-pci,addr={slot},drive=disk{slot},disable-legacy=on");
        for word in ["-drive", &drive, "-device", &device] {
            machine.extra.push(word.into());
        }
    }
    let mut running = stage.boot(machine, &stage.archive()?)?;
    running.wait_prompt(HANG)?;
    check::contains(&running.transcript(), &["\"\" moves to 0x"])?;
    all_there(&mut running, 2)?;
    running.power_off()
}

/// The numbers that the product promises, as it prints them itself.
fn limits(stage: &Stage) -> Result<()> {
    let mut running = stage.boot_to_prompt(&stage.archive()?)?;
    let info = running.xl("xl info")?;
    for (name, limit) in [
        ("microhv_image", IMAGE_LIMIT),
        ("microhv_memory", MEMORY_LIMIT),
    ] {
        let line = info.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
        match number {
            Some(kib) if kib > 0 && kib <= limit => {}
            _ => bail!("{name} is not at most {limit} KiB:\n{info}"),
        }
    }
    let list = running.xl("xl list")?;
    for name in &DOMAINS[1..] {
        let memory = check::row(&list, name)?[2].parse::<u64>()?;
        if memory > SERVICE_LIMIT {
            bail!("{name} has more than {SERVICE_LIMIT} MiB:\n{list}");
        }
    }
    running.power_off()
}

fn reboot(stage: &Stage) -> Result<()> {
    let mut running = stage.boot_to_prompt(&stage.archive()?)?;
    running.send("reboot\r")?;
    match running.wait_end(HANG)? {
        End::Reset => Ok(()),
        other => bail!("the machine did not reset: {other:?}"),
    }
}

/// Sends every CPU a non-maskable interrupt, which microhv takes as a fault of the hardware; returns its report.
fn fault(stage: &Stage, options: &str, last: &str) -> Result<(Running, String)> {
    let mut archive = stage.archive()?;
    archive.edit("boot/loader.conf", |text| {
        text.replacen("loglvl=all", &format!("loglvl=all {options}"), 1)
    })?;
    let mut running = stage.boot(stage.machine(), &archive)?;
    running.wait_for("domain bridge (d4)", HANG)?;
    running.qmp("inject-nmi", &json!({}))?;
    running.wait_for(last, HANG)?;
    let said = running.transcript();
    Ok((running, said))
}

fn exception(stage: &Stage) -> Result<()> {
    let (mut running, said) = fault(stage, "", "Rebooting")?;
    for wanted in [
        "NMI Nonmaskable Interrupt",
        "rip ffffffff8",
        "cr3 ",
        "backtrace:",
        " microhv::",
    ] {
        if !said.contains(wanted) {
            bail!("the report has no \"{wanted}\":\n{said}");
        }
    }
    match running.wait_end(HANG)? {
        End::Reset => Ok(()),
        other => bail!("the machine did not reset: {other:?}"),
    }
}

fn noreboot(stage: &Stage) -> Result<()> {
    fault(stage, "noreboot", "Halted, because of noreboot").map(drop)
}

/// Looks at the page tables that a CPU uses, at a moment when it runs microhv and no guest.
fn page_rights(stage: &Stage) -> Result<()> {
    let mut machine = stage.machine();
    machine.cpus = 1;
    let mut running = stage.boot(machine, &stage.archive()?)?;
    running.wait_for("CPUs: 1 of 1 run", HANG)?;
    let deadline = Instant::now() + HANG;
    while Instant::now() < deadline {
        let command = json!({ "command-line": "info tlb" });
        let answer = running.qmp("human-monitor-command", &command)?;
        let pages: Vec<_> = answer.as_str().unwrap_or_default().lines().collect();
        // One line a page: address, physical address, and flags, of which X means not executable.
        let flags = |line: &str| {
            line.rsplit(' ')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let code = |line: &&&str| line.starts_with("ffffffff80200000:");
        let Some(first) = pages.iter().find(code) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        if flags(first).contains(['W', 'X']) {
            bail!("microhv's code is not mapped for execution only: {first}");
        }
        let both = |line: &&&str| flags(line).contains('W') && !flags(line).contains('X');
        if let Some(page) = pages.iter().find(both) {
            bail!("writable and executable: {page}");
        }
        return Ok(());
    }
    bail!("the CPU never ran microhv when it was looked at")
}
