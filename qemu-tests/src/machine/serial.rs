//! A running machine whose serial console a program reads and types on.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bochs;
use super::qemu::{Machine, Serial};
use super::qmp::{End, Listener, Qmp};

/// What has come out of the console so far.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    output: Mutex<Output>,
    grown: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Output> {
        // The bytes are whole whoever panicked.
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What knows how a machine ended.
#[derive(Debug)]
enum Witness {
    Qemu(Qmp),
    Bochs(bochs::Watch),
}

/// A machine whose console is ours. Dropping it kills the emulator.
pub struct Running {
    child: Child,
    input: Box<dyn Write + Send>,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    witness: Option<Witness>,
    log: PathBuf,
    /// Everything before this has been looked at by [`Self::wait_for`].
    position: usize,
}

impl Running {
    /// Starts `machine`; `log` gets everything that its console and QEMU print; `echo` prints it as well.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start(machine: &Machine, log: &Path, echo: bool) -> Result<Self> {
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let copy = File::create(log).with_context(|| log.display().to_string())?;
        let listener = Listener::new()?;
        let machine = Machine {
            serial: Serial::Pipe,
            ..machine.clone()
        };
        let mut command = machine.command();
        command
            .args(listener.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(copy.try_clone()?);
        let mut child = command
            .spawn()
            .with_context(|| machine.qemu.display().to_string())?;
        let input = child.stdin.take().context("QEMU's standard input")?;
        let stdout = child.stdout.take().context("QEMU's standard output")?;
        let (shared, reader) = read(stdout, copy, echo);
        let qmp = match listener.accept(&mut child) {
            Ok(qmp) => qmp,
            Err(error) => {
                let _ = child.kill();
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{error}: {}", said.trim());
            }
        };
        Ok(Self {
            child,
            input: Box::new(input),
            shared,
            reader: Some(reader),
            witness: Some(Witness::Qemu(qmp)),
            log: log.to_owned(),
            position: 0,
        })
    }

    /// Starts a machine in Bochs; otherwise as [`Self::start`].
    ///
    /// # Errors
    /// When Bochs does not start.
    pub fn start_bochs(machine: &bochs::Machine, log: &Path, echo: bool) -> Result<Self> {
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let copy = File::create(log).with_context(|| log.display().to_string())?;
        let (child, console, watch) = machine.start()?.into_parts();
        let (shared, reader) = read(console.try_clone()?, copy, echo);
        Ok(Self {
            child,
            input: Box::new(console),
            shared,
            reader: Some(reader),
            witness: Some(Witness::Bochs(watch)),
            log: log.to_owned(),
            position: 0,
        })
    }

    /// The file that holds everything the console has printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Types `text` as it is.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.input
            .write_all(text.as_bytes())
            .and_then(|()| self.input.flush())
            .context("the machine has ended")
    }

    /// Waits until `find` finds something in what came after the last find; it returns a result and how many
    /// bytes are done with. `what` is for the message.
    ///
    /// # Errors
    /// When `limit` passes or the machine ends first. The limit is there for hangs, not to measure.
    pub fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<(T, usize)>,
    ) -> Result<T> {
        let from = self.position;
        let (value, length) = self.wait_from(from, what, limit, |text, lengths| {
            find(text).map(|(value, length)| (value, lengths.original(length)))
        })?;
        self.position += length;
        Ok(value)
    }

    /// Waits until `find` finds something in all that was printed, whatever has been looked at.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_anywhere<T>(
        &self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        self.wait_from(0, what, limit, |text, _| find(text))
    }

    fn wait_from<T>(
        &self,
        from: usize,
        what: &str,
        limit: Duration,
        find: impl Fn(&str, &Lengths) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut output = self.shared.lock();
        loop {
            let (text, lengths) = lossy(output.bytes.get(from..).unwrap_or_default());
            if let Some(value) = find(&text, &lengths) {
                return Ok(value);
            }
            if output.closed {
                bail!("the machine ended while waiting for {what}");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no {what} within {} s", limit.as_secs());
            }
            output = self
                .shared
                .grown
                .wait_timeout(output, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for `text` and returns what came before it.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        self.wait(&format!("\"{text}\""), limit, |said| {
            said.find(text)
                .map(|at| (said[..at].to_owned(), at + text.len()))
        })
    }

    /// Executes a command of QEMU's machine protocol.
    ///
    /// # Errors
    /// When QEMU has gone or refuses, or the machine is none of QEMU's.
    pub fn qmp(
        &mut self,
        command: &str,
        arguments: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        match &mut self.witness {
            Some(Witness::Qemu(qmp)) => qmp.execute(command, arguments),
            Some(Witness::Bochs(_)) => bail!("Bochs has no {command}"),
            None => bail!("the machine has ended"),
        }
    }

    /// Everything printed so far.
    #[must_use]
    pub fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().bytes).into_owned()
    }

    /// Waits for the emulator to end by itself.
    ///
    /// # Errors
    /// When it has not ended after `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> Result<End> {
        let deadline = Instant::now() + limit;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the machine still runs after {} s", limit.as_secs());
            }
            thread::sleep(Duration::from_millis(5));
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok(match self.witness.take() {
            Some(Witness::Qemu(qmp)) => qmp.end(),
            Some(Witness::Bochs(watch)) => watch.end(),
            None => End::Other("asked twice".into()),
        })
    }
}

/// Reads a console to its end, in a thread of its own; `copy` gets it too.
fn read(
    mut console: impl Read + Send + 'static,
    mut copy: File,
    echo: bool,
) -> (Arc<Shared>, JoinHandle<()>) {
    let shared = Arc::new(Shared::default());
    let theirs = Arc::clone(&shared);
    let reader = thread::spawn(move || {
        pass_on(&mut console, &mut copy, echo, |bytes| {
            theirs.lock().bytes.extend_from_slice(bytes);
            theirs.grown.notify_all();
        });
        theirs.lock().closed = true;
        theirs.grown.notify_all();
    });
    (shared, reader)
}

/// Reads a console to its end; `copy` gets what comes, the terminal if `echo`, and `take`.
pub(super) fn pass_on(
    console: &mut impl Read,
    copy: &mut File,
    echo: bool,
    mut take: impl FnMut(&[u8]),
) {
    let mut block = [0; 4096];
    loop {
        let length = match console.read(&mut block) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        // Neither a full disk nor a closed terminal ends the machine, or loses what somebody waits for.
        let _ = copy.write_all(&block[..length]);
        if echo {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(&block[..length]).and_then(|()| out.flush());
        }
        take(&block[..length]);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then both calls have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How positions in a lossy text relate to the bytes it came from.
struct Lengths(Vec<(usize, usize)>);

impl Lengths {
    /// The number of original bytes behind the first `length` bytes of text.
    fn original(&self, length: usize) -> usize {
        let (text, bytes) = self
            .0
            .iter()
            .rev()
            .find(|(text, _)| *text <= length)
            .copied()
            .unwrap_or_default();
        bytes + (length - text)
    }
}

/// Text of a console that may print anything; each broken byte sequence becomes U+FFFD.
fn lossy(bytes: &[u8]) -> (String, Lengths) {
    let mut text = String::with_capacity(bytes.len());
    let mut lengths = Vec::new();
    let mut done = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        done += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            text.push('\u{fffd}');
            done += chunk.invalid().len();
            lengths.push((text.len(), done));
        }
    }
    (text, Lengths(lengths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_bytes_do_not_shift_the_position() {
        let bytes = b"a\xffb\xfe\xfecd";
        let (text, lengths) = lossy(bytes);
        let at = text.find("cd").unwrap();
        assert_eq!(lengths.original(at), 5);
        assert_eq!(lengths.original(text.find('b').unwrap()), 2);
        assert_eq!(lengths.original(1), 1);
    }
}
