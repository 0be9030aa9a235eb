//! Runs a machine on the terminal of the person who typed `cargo xtask run`.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::bochs;
use super::qemu::Machine;
use super::qmp::{End, Listener};
use super::serial::pass_on;

/// The terminal's settings, put back on drop: QEMU does that too, unless it is killed.
struct Saved(Option<Termios>);

impl Saved {
    fn new() -> Self {
        let stdin = std::io::stdin();
        Self(if stdin.is_terminal() {
            tcgetattr(&stdin).ok()
        } else {
            None
        })
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // Nothing is left to do when even this fails.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, settings);
        }
    }
}

/// The terminal gives every key as it is typed; as it was before on drop.
pub struct Raw(#[expect(dead_code, reason = "for its end")] Saved);

impl Raw {
    /// From now on; nothing changes if standard input is no terminal.
    #[must_use]
    pub fn new() -> Self {
        let saved = Saved::new();
        if let Some(mut settings) = saved.0.clone() {
            settings.make_raw();
            // Then keys come by the line, which works too.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &settings);
        }
        Self(saved)
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self::new()
    }
}

/// Boots `machine` with COM1 on our own terminal and waits for its end.
///
/// # Errors
/// When QEMU cannot be started.
pub fn run(machine: &Machine) -> Result<End> {
    let saved = Saved::new();
    let listener = Listener::new()?;
    let mut command = machine.command();
    command.args(listener.arguments());
    let mut child = command
        .spawn()
        .with_context(|| machine.qemu.display().to_string())?;
    let qmp = listener.accept(&mut child)?;
    let end = qmp.end();
    child.wait()?;
    drop(saved);
    Ok(end)
}

/// As QEMU has it: Ctrl-A x ends the emulator, Ctrl-A twice types one.
const ESCAPE: u8 = 1;

/// What typed `bytes` are for the machine; none when the machine is to be ended. `escaped` is kept from one call to the next.
fn typed(bytes: &[u8], escaped: &mut bool) -> Option<Vec<u8>> {
    let mut meant = Vec::new();
    for &byte in bytes {
        match (std::mem::take(escaped), byte) {
            (true, b'x' | b'X') => return None,
            (true, ESCAPE) => meant.push(ESCAPE),
            (true, other) => meant.extend([ESCAPE, other]),
            (false, ESCAPE) => *escaped = true,
            (false, other) => meant.push(other),
        }
    }
    Some(meant)
}

fn type_on(mut console: TcpStream, pid: Pid) {
    let mut input = std::io::stdin().lock();
    let terminal = input.is_terminal();
    let (mut block, mut escaped) = ([0; 512], false);
    while let Ok(length @ 1..) = input.read(&mut block) {
        let meant = if terminal {
            typed(&block[..length], &mut escaped)
        } else {
            Some(block[..length].to_vec())
        };
        let Some(meant) = meant else {
            let _ = kill_process(pid, Signal::KILL);
            return;
        };
        if console.write_all(&meant).is_err() {
            return;
        }
    }
}

/// Boots `machine` in Bochs with COM1 on our own terminal and in the file `log`, and waits for its end.
///
/// # Errors
/// When Bochs cannot be started.
pub fn run_bochs(machine: &bochs::Machine, log: &Path) -> Result<End> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut copy = File::create(log).with_context(|| log.display().to_string())?;
    let (mut child, mut console, watch) = machine.start()?.into_parts();
    let raw = Raw::new();
    let (input, pid) = (console.try_clone()?, Pid::from_child(&child));
    std::thread::spawn(move || type_on(input, pid));
    pass_on(&mut console, &mut copy, true, |_| {});
    child.wait()?;
    drop(raw);
    Ok(watch.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_a_x_ends_the_machine_even_in_two_reads() {
        let mut escaped = false;
        assert_eq!(typed(b"xl\r", &mut escaped), Some(b"xl\r".to_vec()));
        assert_eq!(
            typed(b"a\x01\x01b\x01z", &mut escaped),
            Some(b"a\x01b\x01z".to_vec())
        );
        assert_eq!(typed(b"b\x01", &mut escaped), Some(b"b".to_vec()));
        assert_eq!(typed(b"x", &mut escaped), None);
    }
}
