//! Domains that fail or cheat: a log line says so, and everyone else keeps running.

use anyhow::{Result, bail};

use crate::archive::Archive;
use crate::check;
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a driver domain that panics",
        debian: false,
        play: panic,
    },
    Scenario {
        name: "a domain that triple-faults",
        debian: false,
        play: triple_fault,
    },
    Scenario {
        name: "a guest that triple-faults, created by xl",
        debian: false,
        play: guest_triple_fault,
    },
    Scenario {
        name: "stack overflow, write to code, memory used up: named and ended",
        debian: false,
        play: exceptions,
    },
    Scenario {
        name: "the runtime's promises hold in a domain",
        debian: false,
        play: runtime,
    },
    Scenario {
        name: "the virtual CPU's promises hold in two domains at once",
        debian: false,
        play: |stage| cpu(stage, "", "").map(drop),
    },
    Scenario {
        name: "VCPUOP_initialise: a vCPU starts with PAE paging, and not if its tables begin with reserved bits",
        debian: false,
        play: pae,
    },
    Scenario {
        name: "speculation: the virtual CPU's promises hold with a barrier at each exit",
        debian: false,
        play: barrier,
    },
    Scenario {
        name: "speculation: the virtual CPU's promises hold with IBRS at each exit",
        debian: false,
        play: restricted,
    },
    Scenario {
        name: "a domain that abuses the store",
        debian: false,
        play: store,
    },
    Scenario {
        name: "a domain that maps a page everywhere takes no memory for that",
        debian: false,
        play: places,
    },
    Scenario {
        name: "wrong hypercalls get Xen's errno",
        debian: false,
        play: hypercalls,
    },
];

/// The default archive with the domain `faulty`, started at boot to do `what`.
fn archive(stage: &Stage, what: &str) -> Result<Archive> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.edit("boot/loader.conf", |text| {
        let text = text.replace("blkback bridge\"", "blkback bridge faulty\"");
        text + &format!("faulty_memory=\"16M\"\nfaulty_cmdline=\"do={what}\"\n")
    })?;
    Ok(archive)
}

/// `names` must be alive: listed, and not shut down or crashed.
fn alive(running: &mut Running, names: &[&str]) -> Result<()> {
    let list = running.xl("xl list")?;
    for name in names {
        let state = check::row(&list, name)?.get(4).copied().unwrap_or_default();
        if state.contains(['s', 'c', 'd']) {
            bail!("{name} is not alive:\n{list}");
        }
    }
    Ok(())
}

fn panic(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.edit("boot/loader.conf", |text| {
        text.replace("\"/boot/netback\"", "\"/boot/faulty\"") + "netback_cmdline=\"do=panic\"\n"
    })?;
    let mut running = stage.boot_to_prompt(&archive)?;
    running.prints("on purpose")?;
    running.prints_line("netback's panic", |line| {
        line.contains("netback") && line.contains("panic")
    })?;
    alive(&mut running, &["Domain-0", "xenstore", "blkback", "bridge"])?;
    running.power_off()
}

fn triple_fault(stage: &Stage) -> Result<()> {
    let mut running = stage.boot_to_prompt(&archive(stage, "triple-fault")?)?;
    running.prints("triple fault")?;
    alive(
        &mut running,
        &["Domain-0", "xenstore", "netback", "blkback", "bridge"],
    )?;
    running.power_off()
}

fn guest_triple_fault(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.bytes(
        "etc/xen/faulty.cfg",
        "name = \"faulty\"\nkernel = \"/boot/faulty\"\ncmdline = \"do=triple-fault\"\nmemory = 16\non_crash = \"destroy\"\n",
    );
    let mut running = stage.boot_to_prompt(&archive)?;
    running.xl("xl create /etc/xen/faulty.cfg")?;
    running.prints("triple fault")?;
    running.prints("faulty (domain 5) has crashed")?;
    alive(
        &mut running,
        &["Domain-0", "xenstore", "netback", "blkback", "bridge"],
    )?;
    let list = running.xl("xl list")?;
    if let Ok(columns) = check::row(&list, "faulty") {
        bail!("a crashed guest with on_crash=\"destroy\" is still listed: {columns:?}");
    }
    running.power_off()
}

/// Each place needs a table of microhv's.
fn places(stage: &Stage) -> Result<()> {
    let mut running = stage.boot(stage.machine(), &archive(stage, "places")?)?;
    running.wait_prompt(HANG)?;
    let said = running.prints(" places, ")?;
    let places = said
        .split_once(" places, then ENOMEM")
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u32>().ok());
    if !places.is_some_and(|places| (1..1000).contains(&places)) {
        bail!("{places:?} places: {said}");
    }
    alive(
        &mut running,
        &[
            "Domain-0", "xenstore", "netback", "blkback", "bridge", "faulty",
        ],
    )?;
    running.power_off()
}

fn hypercalls(stage: &Stage) -> Result<()> {
    let mut running = stage.boot(stage.machine(), &archive(stage, "hypercalls")?)?;
    running.wait_prompt(HANG)?;
    running.prints("wrong hypercalls answered as Xen does")?;
    let said = running.transcript();
    let sum = said.lines().find_map(|line| {
        line.split_once("wrong hypercalls answered")?
            .0
            .rsplit_once("faulty: ")
    });
    let words: Vec<&str> = sum
        .map(|(_, sum)| sum.split_whitespace().collect())
        .unwrap_or_default();
    match words[..] {
        [right, "of", all] if right == all && all != "0" => {}
        _ => bail!("not all wrong hypercalls were answered as Xen does:\n{said}"),
    }
    alive(
        &mut running,
        &[
            "Domain-0", "xenstore", "netback", "blkback", "bridge", "faulty",
        ],
    )?;
    running.power_off()
}

/// The domain tries lib/domain against the hypervisor: events, timers, grants, rings.
fn runtime(stage: &Stage) -> Result<()> {
    let mut running = stage.boot(stage.machine(), &archive(stage, "runtime")?)?;
    running.wait_prompt(HANG)?;
    running.prints("runtime checks passed")?;
    let said = running.transcript();
    if said.contains("FAILED") {
        bail!("not all checks passed:\n{said}");
    }
    running.power_off()
}

/// What two domains with the same image check at once, that share one CPU, so that each sees what the other leaves in the
/// registers. `words` are added to `xen_cmdline`.
pub(super) fn two_cpu_checks(stage: &Stage, words: &str) -> Result<Archive> {
    two_checks(stage, "cpu", words)
}

/// The same for `do=what`.
pub(super) fn two_checks(stage: &Stage, what: &str, words: &str) -> Result<Archive> {
    let mut archive = archive(stage, what)?;
    archive.edit("boot/loader.conf", |text| {
        text.replace(" faulty\"", " faulty second\"")
            .replace("loglvl=all\"", &format!("loglvl=all {words}\""))
            + "second_kernel=\"/boot/faulty\"\nsecond_memory=\"16M\"\n\
               faulty_vcpus=\"2\"\nsecond_vcpus=\"2\"\n"
            + &format!("second_cmdline=\"do={what}\"\n")
    })?;
    Ok(archive)
}

/// `VCPUOP_initialise` with PAE paging, good and bad.
fn pae(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    for field in ["pae", "pdpte"] {
        let path = format!("etc/xen/{field}.cfg");
        archive.bytes(&path, starts_second(field, field));
    }
    let mut running = stage.boot_to_prompt(&archive)?;
    pae_paging(&mut running)?;
    running.power_off()
}

/// The configuration of a guest that starts its second vCPU in a state with this field.
pub(super) fn starts_second(name: &str, field: &str) -> String {
    format!(
        "name = \"{name}\"\nkernel = \"/boot/faulty\"\ncmdline = \"do=refused field={field}\"\n\
         memory = 16\nvcpus = 2\non_crash = \"destroy\"\n"
    )
}

/// Guests `pae` and `pdpte`: one starts, the other is told that it cannot.
pub(super) fn pae_paging(running: &mut Running) -> Result<()> {
    for (field, says) in [
        ("pae", "field=pae: the second vCPU has run"),
        // EINVAL, and nothing to start.
        ("pdpte", "the second vCPU: -22, -22"),
    ] {
        running.xl(&format!("xl create /etc/xen/{field}.cfg"))?;
        running.prints(says)?;
        running.xl(&format!("xl destroy {field}"))?;
    }
    Ok(())
}

/// Plays them; says what the console said. `features` are added to the machine's CPU.
fn cpu(stage: &Stage, features: &str, words: &str) -> Result<String> {
    let mut machine = stage.machine();
    machine.cpus = 1;
    machine.cpu += features;
    let mut running = stage.boot(machine, &two_cpu_checks(stage, words)?)?;
    running.wait_prompt(HANG)?;
    running.prints("CPU checks passed, domain 5")?;
    running.prints("CPU checks passed, domain 6")?;
    let said = running.transcript();
    if said.contains("FAILED") {
        bail!("not all checks passed:\n{said}");
    }
    running.power_off()?;
    Ok(said)
}

/// Lets TCG's CPU say what a Zen 2 says. It takes the registers' writes and does nothing.
const SPECULATES: &str = ",x-force-features=on,+ibpb,+ibrs,+amd-stibp,+amd-ssbd";

/// The way out of a guest overwrites the return stack and writes PRED_CMD, the way in executes VERW.
fn barrier(stage: &Stage) -> Result<()> {
    let said = cpu(stage, SPECULATES, "spec-ctrl=verw")?;
    check::contains(
        &said,
        &[
            "Speculative mitigation facilities: IBPB IBRS STIBP SSBD",
            "Support for HVM VMs: STIBP+ IBPB-entry RSB VERW; Spectre v2: handled; BHI: not affected; L1TF: not affected;",
        ],
    )
}

/// The way out writes SPEC_CTRL, and so does the way in; a barrier when a CPU changes to another vCPU.
fn restricted(stage: &Stage) -> Result<()> {
    let said = cpu(stage, SPECULATES, "spec-ctrl=no-ibpb-entry")?;
    check::contains(
        &said,
        &[
            "Support for HVM VMs: IBRS-entry STIBP+ IBPB-ctxt RSB; Spectre v2: vulnerable by spec-ctrl;",
        ],
    )
}

/// The domain asks the store for too much, takes nothing, and breaks the protocol: only its own connection suffers.
fn store(stage: &Stage) -> Result<()> {
    let mut running = stage.boot(stage.machine(), &archive(stage, "store")?)?;
    running.wait_prompt(HANG)?;
    running.prints("store checks passed")?;
    let said = running.transcript();
    if said.contains("FAILED") {
        bail!("not all checks passed:\n{said}");
    }
    running.prints("breaks the protocol")?;
    alive(
        &mut running,
        &[
            "Domain-0", "xenstore", "netback", "blkback", "bridge", "faulty",
        ],
    )?;
    running.power_off()
}

/// Three domains that go wrong in different ways, each with what its last words must contain.
fn exceptions(stage: &Stage) -> Result<()> {
    const WAYS: [(&str, &str, &str); 3] = [
        ("deep", "stack-overflow", "stack overflow"),
        ("scribbler", "write-text", "page fault"),
        ("greedy", "use-up-memory", "memory allocation of"),
    ];
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.edit("boot/loader.conf", |mut text| {
        text = text.replace("blkback bridge\"", "blkback bridge deep scribbler greedy\"");
        for (name, what, _) in WAYS {
            text += &format!(
                "{name}_kernel=\"/boot/faulty\"\n{name}_memory=\"16M\"\n{name}_cmdline=\"do={what}\"\n"
            );
        }
        text
    })?;
    let mut running = stage.boot_to_prompt(&archive)?;
    // They are not waited for by the prompt.
    for (name, what, words) in WAYS {
        running.prints_line(&format!("{name}'s last words (do={what})"), |line| {
            line.contains(name) && line.contains("panicked at") && line.contains(words)
        })?;
        running.prints(&format!("{name} (d"))?;
    }
    alive(
        &mut running,
        &["Domain-0", "xenstore", "netback", "blkback", "bridge"],
    )?;
    running.power_off()
}
