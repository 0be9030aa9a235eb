//! Runs a machine on the terminal of the person who typed `cargo xtask run`.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::qemu::Machine;
use super::qmp::{End, Listener};

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
