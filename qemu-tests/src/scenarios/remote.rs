//! Commands from the host, over the second serial port.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::boot::DOMAINS;
use crate::check;
use crate::machine::channel::{Channel, Event};
use crate::machine::serial::Running;
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "xl from the host: exit codes, noise, the prompt beside it",
        debian: false,
        play: commands,
    },
    Scenario {
        name: "xl from the host: com2 is microhv's, or not there",
        debian: false,
        play: none,
    },
];

/// A guest that does nothing.
const IDLE: &str = "kernel = \"/boot/faulty\"\ncmdline = \"do=sleep\"\nmemory = 16\n";

/// A place for the socket; the stage's folder has too long a name for one.
fn socket() -> PathBuf {
    std::env::temp_dir().join(format!("microhv-com2-{}.sock", std::process::id()))
}

/// Runs `cargo xtask xl` for the machine at `socket`.
fn xl(socket: &Path, arguments: &[&str]) -> Result<Output> {
    // The scenarios are played by xtask itself.
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["xl", "--machine"]).arg(socket);
    command.args(arguments).stdin(Stdio::null());
    command.output().context("cannot start xtask")
}

/// The same, with its exit code checked; gives both of its outputs.
fn expect(socket: &Path, arguments: &[&str], code: i32) -> Result<(String, String)> {
    let output = xl(socket, arguments)?;
    let said = String::from_utf8(output.stdout)?;
    let complaint = String::from_utf8(output.stderr)?;
    if output.status.code() != Some(code) {
        let status = output.status;
        bail!("xl {arguments:?} ended with {status}, not {code}:\n{said}{complaint}");
    }
    Ok((said, complaint))
}

/// A machine with a guest's files and a second serial port.
fn machine(stage: &Stage) -> Result<(Running, PathBuf)> {
    let mut archive = stage.archive()?;
    archive.file("boot/faulty", &stage.images().faulty);
    archive.bytes("etc/xen/inside.cfg", format!("name = \"inside\"\n{IDLE}"));
    let mut machine = stage.machine();
    let socket = socket();
    machine.channel = Some(socket.clone());
    Ok((stage.boot(machine, &archive)?, socket))
}

fn commands(stage: &Stage) -> Result<()> {
    let (mut running, socket) = machine(stage)?;
    running.wait_prompt(HANG)?;
    // Wrong frames: noise with and without an end, a frame without its beginning.
    UnixStream::connect(&socket)?.write_all(b"\xff\xfe noise \0 more \0\0\x05\x01\x02")?;
    let (list, _) = expect(&socket, &["list"], 0)?;
    for name in DOMAINS {
        check::row(&list, name)?;
    }
    // The operator types half a line, which must not matter to anyone.
    running.send("ec")?;
    expect(&socket, &["list", "nobody"], 1)?;
    expect(&socket, &["pause"], 2)?;
    expect(&socket, &["create", "/no/such.cfg"], 3)?;
    expect(&socket, &["create", "/etc/xen/inside.cfg"], 0)?;
    let (said, complaint) = expect(&socket, &["create", "/etc/xen/inside.cfg"], 3)?;
    check::contains(&complaint, &["already exists"])?;
    check::contains(&said, &["Parsing config from"])?;
    // A file of this host.
    let file = stage.folder().join("mine.cfg");
    std::fs::write(&file, format!("name = \"mine\"\n{IDLE}"))?;
    let path = file.to_str().context("a path in UTF-8")?;
    expect(&socket, &["create", path, "memory=24"], 0)?;
    std::fs::write(&file, "name = \"mine\nmemory = 16\n")?;
    let (_, complaint) = expect(&socket, &["create", path], 1)?;
    check::contains(&complaint, &["mine.cfg:1"])?;
    let (list, _) = expect(&socket, &["list"], 0)?;
    let columns = check::row(&list, "mine")?;
    if columns[2] != "24" {
        bail!("mine has {} MiB, not 24", columns[2]);
    }
    check::row(&list, "inside")?;
    let answer = running.command("ho typed", HANG)?;
    if answer.code != 0 || !answer.text.ends_with("typed\n") {
        bail!("the operator's line was disturbed: {answer:?}");
    }
    let said = running.transcript();
    if said.contains("already exists") {
        bail!("the operator sees what the host is told:\n{said}");
    }
    expect(&socket, &["destroy", "mine"], 0)?;
    expect(&socket, &["destroy", "mine"], 1)?;
    many(&mut running, &socket)?;
    logs(&socket)?;
    running.power_off()?;
    let (_, complaint) = expect(&socket, &["list"], 1)?;
    check::contains(&complaint, &["no machine answers"])
}

/// Commands one after the other over one connection, while the operator gives some too.
fn many(running: &mut Running, socket: &Path) -> Result<()> {
    running.send("sleep 1\rxl domid bridge\rxl destroy inside\recho end of it\r")?;
    let mut channel = Channel::connect(socket)?;
    let mut output = |line: &str| -> Result<(i32, Vec<u8>)> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut said = Vec::new();
        let code = channel.run(&words, None, &mut |event| {
            if let Event::Output(_, bytes) = event {
                said.extend_from_slice(bytes);
            }
        })?;
        Ok((code, said))
    };
    for round in 0..10 {
        let (code, said) = output("xl domid bridge")?;
        if code != 0 || said != b"4\n" {
            let said = String::from_utf8_lossy(&said).into_owned();
            bail!("round {round}: {code}, {said:?}");
        }
    }
    // More than the port's queue, the batch and a frame hold.
    let (_, once) = output("cat /boot/loader.conf")?;
    let all = format!("cat{}", " /boot/loader.conf".repeat(30));
    let (code, said) = output(&all)?;
    if code != 0 || once.len() < 500 || said != once.repeat(30) {
        bail!(
            "{code}, {} bytes: {}",
            said.len(),
            String::from_utf8_lossy(&said)
        );
    }
    running.wait_for("\nend of it", HANG)?;
    running.wait_prompt(HANG)?;
    Ok(())
}

/// What `cargo xtask logs` does of a running machine.
fn logs(socket: &Path) -> Result<()> {
    let mut channel = Channel::connect(socket)?;
    let mut said = Vec::new();
    let words = ["cat".to_owned(), "/var/log/xen/xl-mine.log".to_owned()];
    let code = channel.run(&words, None, &mut |event| {
        if let Event::Output(_, bytes) = event {
            said.extend_from_slice(bytes);
        }
    })?;
    let said = String::from_utf8_lossy(&said).into_owned();
    check::contains(&said, &["created from", "has been destroyed"])?;
    if code != 0 {
        bail!("cat ended with {code}");
    }
    Ok(())
}

/// Without a second serial port, or with one that is microhv's, Domain-0 comes up all the same.
fn none(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    let mut running = stage.boot(stage.machine(), &archive)?;
    running.wait_prompt(HANG)?;
    running.power_off()?;
    archive.edit("boot/loader.conf", |text| {
        text.replace("console=com1", "console=com1,com2")
    })?;
    let mut machine = stage.machine();
    let socket = socket();
    machine.channel = Some(socket.clone());
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;
    let mut line = UnixStream::connect(&socket)?;
    line.write_all(b"\0\x01\0")?;
    running.xl("xl list")?;
    line.set_nonblocking(true)?;
    if let Ok(length) = std::io::Read::read(&mut line, &mut [0; 64]) {
        bail!("{length} bytes came from a port that is microhv's");
    }
    running.power_off()
}
