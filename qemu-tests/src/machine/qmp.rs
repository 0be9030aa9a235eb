//! QEMU's machine protocol: the only source that says *why* a machine stopped (QEMU's exit code does not).

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It switched itself off (ACPI S5).
    PoweredOff,
    /// It reset itself, or triple-faulted: with `-no-reboot` that ends QEMU.
    Reset,
    /// QEMU stopped for a reason outside the machine; QMP's word for it, or "killed".
    Other(String),
}

/// The listening end of the protocol, before QEMU runs.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    folder: PathBuf,
}

impl Listener {
    /// Opens a socket with a name of its own.
    ///
    /// # Errors
    /// When the temporary folder is not writable.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("microhv-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let socket = UnixListener::bind(folder.join("qmp")).context("QMP socket")?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, folder })
    }

    /// QEMU's arguments; the machine waits (`-S`) until [`Self::accept`] lets it go, so no event is lost.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let path = self.folder.join("qmp");
        let chardev = format!("socket,id=qmp,path={}", path.display());
        [
            "-S",
            "-chardev",
            &chardev,
            "-mon",
            "chardev=qmp,mode=control",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Waits for QEMU to connect and starts the machine.
    ///
    /// # Errors
    /// When QEMU ends without connecting: its own message on standard error says why.
    pub fn accept(self, child: &mut Child) -> Result<Qmp> {
        let stream = loop {
            match self.socket.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if let Some(status) = child.try_wait()? {
                        bail!("QEMU did not start ({status})");
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error).context("QMP"),
            }
        };
        stream.set_nonblocking(false)?;
        let stream_out = stream.try_clone()?;
        let (sender, answers) = mpsc::channel();
        let reader = thread::spawn(move || read_until_end(stream, &sender));
        let mut qmp = Qmp {
            writer: stream_out,
            reader,
            answers,
        };
        for command in ["qmp_capabilities", "cont"] {
            qmp.execute(command, &Value::Object(serde_json::Map::new()))?;
        }
        Ok(qmp)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A left-over folder in /tmp does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The protocol of a running machine.
#[derive(Debug)]
pub struct Qmp {
    writer: UnixStream,
    reader: JoinHandle<End>,
    answers: Receiver<Value>,
}

impl Qmp {
    /// Executes a command and returns its answer.
    ///
    /// # Errors
    /// When QEMU has gone or refuses.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = serde_json::json!({"execute": command, "arguments": arguments});
        writeln!(self.writer, "{request}").context("QEMU has gone")?;
        let answer = self.answers.recv().context("QEMU has gone")?;
        match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => bail!("QMP {command}: {answer}"),
        }
    }

    /// Waits until QEMU closes the connection and says how the machine ended.
    #[must_use]
    pub fn end(self) -> End {
        self.reader
            .join()
            .unwrap_or_else(|_| End::Other("QMP reader panicked".into()))
    }
}

fn read_until_end(stream: UnixStream, answers: &Sender<Value>) -> End {
    let mut end = End::Other("killed".into());
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if let Some(said) = shutdown_event(&message) {
            end = said;
        } else if message.get("return").is_some() || message.get("error").is_some() {
            // Nobody may be waiting when the machine is being dropped.
            let _ = answers.send(message);
        }
    }
    end
}

/// What a message says about the machine's end, if anything.
fn shutdown_event(message: &Value) -> Option<End> {
    if message.get("event")? != "SHUTDOWN" {
        return None;
    }
    Some(match message.get("data")?.get("reason")?.as_str()? {
        "guest-shutdown" => End::PoweredOff,
        "guest-reset" => End::Reset,
        other => End::Other(other.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_shutdown_by_the_guest_is_in_order() {
        let event = |reason: &str| {
            let data = json!({"guest": true, "reason": reason});
            shutdown_event(&json!({"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": data}))
        };
        assert_eq!(event("guest-shutdown"), Some(End::PoweredOff));
        assert_eq!(event("guest-reset"), Some(End::Reset));
        assert_eq!(
            event("host-qmp-quit"),
            Some(End::Other("host-qmp-quit".into()))
        );
        assert_eq!(shutdown_event(&json!({"return": {}})), None);
        assert_eq!(shutdown_event(&json!({"event": "RESUME"})), None);
    }
}
