//! Bochs's log, which is the only thing that says how the machine ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::machine::qmp::End;

/// What a line of Bochs's log means.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    /// The screen is this terminal.
    Screen(&'a str),
    /// A CPU reset, which is also what a machine starts with.
    Reset,
    /// The end.
    End(End),
}

/// Understands a line of Bochs's log.
fn said(line: &str) -> Option<Said<'_>> {
    if let Some((_, name)) = line.split_once("connected to screen \"") {
        return name.split('"').next().map(Said::Screen);
    }
    if line.contains("bx_pc_system_c::Reset(") {
        return Some(Said::Reset);
    }
    let (_, panic) = line.split_once(">>PANIC<< ")?;
    let off = ["soft power off", "shutdown requested"]
        .iter()
        .any(|words| panic.contains(words));
    Some(Said::End(if off {
        End::PoweredOff
    } else {
        End::Other(panic.trim().to_owned())
    }))
}

/// Reads the log up to Bochs's end. A machine that resets itself is ended.
pub(super) fn watch(log: impl Read, mut copy: File, pid: Pid, end: &Mutex<End>) {
    let set = |value| *end.lock().unwrap_or_else(PoisonError::into_inner) = value;
    let mut resets = 0;
    let mut lines = BufReader::new(log);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
        // A full disk must not stop the machine.
        let _ = copy.write_all(&line);
        match said(&String::from_utf8_lossy(&line)) {
            Some(Said::Screen(name)) => drain(name),
            Some(Said::Reset) => {
                resets += 1;
                if resets == 2 {
                    set(End::Reset);
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            Some(Said::End(value)) => set(value),
            None => {}
        }
        line.clear();
    }
}

/// Reads what Bochs draws on its terminal: nobody sees it, but Bochs stops when the terminal is full, and takes for keys what
/// the terminal echoes.
fn drain(name: &str) {
    let Ok(mut screen) = File::open(name) else {
        return;
    };
    if let Ok(mut settings) = tcgetattr(&screen) {
        settings.make_raw();
        let _ = tcsetattr(&screen, OptionalActions::Now, &settings);
    }
    thread::spawn(move || {
        let mut block = [0; 4096];
        while matches!(screen.read(&mut block), Ok(1..)) {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_how_a_machine_ended() {
        let other = |why: &str| Some(Said::End(End::Other(why.into())));
        for (line, meaning) in [
            (
                "00278267060p[ACPI  ] >>PANIC<< ACPI control: soft power off\n",
                Some(Said::End(End::PoweredOff)),
            ),
            (
                "1p[UNMAP ] >>PANIC<< Shutdown port: shutdown requested",
                Some(Said::End(End::PoweredOff)),
            ),
            (
                "1p[CPU0  ] >>PANIC<< exception(): 3rd (13) exception with no resolution\n",
                other("exception(): 3rd (13) exception with no resolution"),
            ),
            (
                "0i[SYS   ] bx_pc_system_c::Reset(HARDWARE) called",
                Some(Said::Reset),
            ),
            (
                "Bochs connected to screen \"/dev/pts/0\"\n",
                Some(Said::Screen("/dev/pts/0")),
            ),
            ("0i[ACPI  ] new IRQ line = 11", None),
        ] {
            assert_eq!(said(line), meaning, "{line}");
        }
    }
}
