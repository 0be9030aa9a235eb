//! Bad input from the operator: each mistake is named with its place and value, and the rest of the machine comes up.

use anyhow::{Context, Result, bail};

use super::boot::DOMAINS;
use crate::check;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "loader.conf: a syntax error",
        debian: false,
        play: syntax,
    },
    Scenario {
        name: "loader.conf: a domain without an image",
        debian: false,
        play: unknown_domain,
    },
    Scenario {
        name: "loader.conf: a missing image",
        debian: false,
        play: missing_image,
    },
    Scenario {
        name: "loader.conf: an image that is no ELF file",
        debian: false,
        play: no_elf,
    },
    Scenario {
        name: "loader.conf: an ELF file without PVH note",
        debian: false,
        play: no_pvh,
    },
    Scenario {
        name: "loader.conf: pptdevs that is no bus/slot/function",
        debian: false,
        play: pptdevs_syntax,
    },
    Scenario {
        name: "loader.conf: pptdevs without such a device",
        debian: false,
        play: pptdevs_device,
    },
    Scenario {
        name: "loader.conf: memory that does not fit",
        debian: false,
        play: memory,
    },
    Scenario {
        name: "loader.conf: an unknown option of xen_cmdline",
        debian: false,
        play: option,
    },
    Scenario {
        name: "loader.conf is missing",
        debian: false,
        play: no_loader_conf,
    },
    Scenario {
        name: "xl create: bad configurations are refused",
        debian: false,
        play: create,
    },
];

/// Boots with `from` in loader.conf replaced by `to`. The console must have a line with the place of `to` if
/// `placed`, and with `value`; all domains but `lost` must be there.
fn mistake(
    stage: &Stage,
    from: &str,
    to: &str,
    placed: bool,
    value: &str,
    lost: Option<&str>,
) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.edit("boot/loader.conf", |text| text.replacen(from, to, 1))?;
    let text = String::from_utf8(archive.read("boot/loader.conf")?)?;
    let line = text
        .lines()
        .position(|line| line.contains(to))
        .context("the mistake is not in loader.conf")?
        + 1;
    let mut running = stage.boot_to_prompt(&archive)?;
    let said = running.transcript();
    let place = if placed {
        format!("loader.conf:{line}:")
    } else {
        String::new()
    };
    if !said
        .lines()
        .any(|said| said.contains(&place) && said.contains(value))
    {
        bail!("no line with \"{place}\" and \"{value}\" in:\n{said}");
    }
    let list = running.xl("xl list")?;
    for name in DOMAINS {
        match (check::row(&list, name), Some(name) == lost) {
            (Err(error), false) => return Err(error),
            (Ok(_), true) => bail!("{name} was built all the same:\n{list}"),
            _ => {}
        }
    }
    running.power_off()
}

fn syntax(stage: &Stage) -> Result<()> {
    mistake(
        stage,
        "boot_verbose=\"YES\"",
        "boot_verbose YES",
        true,
        "boot_verbose",
        None,
    )
}

fn unknown_domain(stage: &Stage) -> Result<()> {
    mistake(
        stage,
        "blkback bridge\"",
        "blkback bridge ghost\"",
        false,
        "/boot/ghost",
        None,
    )
}

fn missing_image(stage: &Stage) -> Result<()> {
    mistake(
        stage,
        "\"/boot/bridge\"",
        "\"/boot/nowhere\"",
        false,
        "/boot/nowhere",
        Some("bridge"),
    )
}

fn no_elf(stage: &Stage) -> Result<()> {
    mistake(
        stage,
        "\"/boot/bridge\"",
        "\"/boot/loader.conf\"",
        false,
        "/boot/loader.conf",
        Some("bridge"),
    )
}

fn no_pvh(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    // A program of this host: a correct ELF file, for something else.
    archive.file("boot/true", "/bin/true");
    archive.edit("boot/loader.conf", |text| {
        text.replace("\"/boot/bridge\"", "\"/boot/true\"")
    })?;
    let mut running = stage.boot_to_prompt(&archive)?;
    check::contains(&running.transcript(), &["/boot/true"])?;
    let list = running.xl("xl list")?;
    check::row(&list, "blkback")?;
    if check::row(&list, "bridge").is_ok() {
        bail!("bridge was built from /bin/true:\n{list}");
    }
    running.power_off()
}

fn pptdevs_syntax(stage: &Stage) -> Result<()> {
    mistake(
        stage,
        "netback_pptdevs=\"0/3/0\"",
        "netback_pptdevs=\"0/32/0\"",
        true,
        "'0/32/0'",
        Some("netback"),
    )
}

fn pptdevs_device(stage: &Stage) -> Result<()> {
    mistake(
        stage,
        "netback_pptdevs=\"0/3/0\"",
        "netback_pptdevs=\"0/9/0\"",
        false,
        "0/9/0",
        Some("netback"),
    )
}

fn memory(stage: &Stage) -> Result<()> {
    mistake(
        stage,
        "bridge_memory=\"16M\"",
        "bridge_memory=\"64G\"",
        false,
        "64G",
        Some("bridge"),
    )
}

fn option(stage: &Stage) -> Result<()> {
    mistake(
        stage,
        "loglvl=all\"",
        "loglvl=all frobnicate=2\"",
        true,
        "'frobnicate=2'",
        None,
    )
}

fn no_loader_conf(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.remove("boot/loader.conf");
    let mut running = stage.boot(stage.machine(), &archive)?;
    running.wait_for("microhv cannot start: ", HANG)?;
    check::contains(&running.wait_for("\n", HANG)?, &["loader.conf"])
}

fn create(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    archive.bytes("etc/xen/syntax.cfg", "name = \"syntax\nkernel = 3 4\n");
    archive.bytes(
        "etc/xen/nokernel.cfg",
        "name = \"nokernel\"\nkernel = \"/boot/nowhere\"\nmemory = 64\n",
    );
    archive.bytes(
        "etc/xen/noelf.cfg",
        "name = \"noelf\"\nkernel = \"/boot/loader.conf\"\nmemory = 64\n",
    );
    archive.bytes(
        "etc/xen/huge.cfg",
        "name = \"huge\"\nkernel = \"/boot/bridge\"\nmemory = 1000000\n",
    );
    let mut running = stage.boot_to_prompt(&archive)?;
    for (name, word) in [
        ("syntax", "1"),
        ("nokernel", "/boot/nowhere"),
        ("noelf", "/boot/loader.conf"),
        ("huge", "memory"),
        ("absent", "absent"),
    ] {
        let answer = running.command(&format!("xl create /etc/xen/{name}.cfg"), HANG)?;
        if answer.code == 0 || !answer.text.contains(word) {
            bail!(
                "xl create {name} gave {} without \"{word}\":\n{}",
                answer.code,
                answer.text
            );
        }
    }
    let list = running.xl("xl list")?;
    if list.lines().count() != DOMAINS.len() + 1 {
        bail!("a refused guest left something behind:\n{list}");
    }
    running.power_off()
}
