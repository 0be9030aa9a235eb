//! `cargo xtask xl`: commands for a running machine.

use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use qemu_tests::machine::channel::{Channel, Event, Sender};
use qemu_tests::machine::terminal::Raw;
use remote::{FILE_MAX, File, Stream};

use crate::paths;

/// The longest path of a socket (`sun_path` of unix(7), with its end).
const PATH_MAX: usize = 107;
/// Ctrl-] leaves a guest's console, as with xl.
const ESCAPE: u8 = 0x1d;

/// The socket of the machine that this process is about to run; gone when dropped.
pub struct Socket(PathBuf);

impl Socket {
    /// A place for it; none if its path would be too long.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new() -> Result<Option<Self>> {
        let folder = folder();
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.sock", std::process::id()));
        if path.as_os_str().len() > PATH_MAX {
            eprintln!(
                "xtask: {} is too long for a socket: cargo xtask xl will not find this machine",
                path.display()
            );
            return Ok(None);
        }
        Ok(Some(Self(path)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // QEMU has removed it, unless it was killed.
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.0.with_extension("lock"));
    }
}

fn folder() -> PathBuf {
    paths::target().join("run")
}

/// Sockets of the machines that run; those of dead ones are removed.
fn machines() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "sock")
        })
        .collect();
    sockets.sort();
    sockets.retain(|socket| match UnixStream::connect(socket) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            let _ = fs::remove_file(socket);
            false
        }
        other => other.is_ok(),
    });
    sockets
}

/// The machine that is meant: by its number, its socket, or as the only one. None if none runs.
///
/// # Errors
/// When several run, or not the one that is meant.
pub fn machine(wanted: Option<&str>) -> Result<Option<PathBuf>> {
    if let Some(path) = wanted.filter(|wanted| wanted.contains('/')) {
        return Ok(Some(path.into()));
    }
    let running = machines();
    if let Some(number) = wanted {
        let name = format!("{number}.sock");
        let found = running.into_iter().find(|path| path.ends_with(&name));
        return match found {
            Some(path) => Ok(Some(path)),
            None => bail!("machine {number} does not run"),
        };
    }
    match running.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let numbers = several.iter().filter_map(|path| path.file_stem());
            let numbers: Vec<_> = numbers.map(|name| name.to_string_lossy()).collect();
            bail!(
                "several machines run: choose one with --machine {}",
                numbers.join("|")
            );
        }
    }
}

/// The line to a machine, for this process alone: the machine hears one at a time.
pub struct Line {
    channel: Channel,
    _lock: fs::File,
}

impl Line {
    /// Connects to the machine at `socket`.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn open(socket: &Path) -> Result<Self> {
        let path = socket.with_extension("lock");
        let lock = fs::File::create(&path).with_context(|| path.display().to_string())?;
        if lock.try_lock().is_err() {
            eprintln!("xtask: waiting for another cargo xtask xl");
            lock.lock()?;
        }
        let channel = Channel::connect(socket)
            .with_context(|| format!("no machine answers at {}", socket.display()))?;
        Ok(Self {
            channel,
            _lock: lock,
        })
    }

    /// Runs a command; its output is ours. Gives its exit code.
    ///
    /// # Errors
    /// When the machine does not run it to its end.
    pub fn run(&mut self, words: &[String], file: Option<File>) -> Result<i32> {
        let mut raw = None;
        let code = self.channel.run(words, file, &mut |event| match event {
            Event::Output(stream, bytes) => print(stream, bytes),
            Event::Attached(sender) => {
                eprintln!("(Ctrl-] leaves)");
                raw = Some(Raw::new());
                std::thread::spawn(move || type_on(sender));
            }
        });
        drop(raw);
        Ok(code?)
    }

    /// Runs a command that must succeed; gives what it prints.
    ///
    /// # Errors
    /// When it does not.
    pub fn output(&mut self, words: &[&str]) -> Result<Vec<u8>> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let (mut said, mut complaint) = (Vec::new(), Vec::new());
        let code = self.channel.run(&words, None, &mut |event| {
            if let Event::Output(stream, bytes) = event {
                match stream {
                    Stream::Output => said.extend_from_slice(bytes),
                    Stream::Error => complaint.extend_from_slice(bytes),
                }
            }
        })?;
        if code != 0 {
            bail!("{}", String::from_utf8_lossy(&complaint).trim());
        }
        Ok(said)
    }
}

/// `cargo xtask xl`.
///
/// # Errors
/// When no machine runs, or it does not answer.
pub fn xl(wanted: Option<&str>, arguments: &[String]) -> Result<ExitCode> {
    let Some(socket) = machine(wanted)? else {
        bail!("no machine runs: cargo xtask run starts one");
    };
    let file = host_file(arguments)?;
    let words: Vec<String> = ["xl".to_owned()]
        .into_iter()
        .chain(arguments.iter().cloned())
        .collect();
    let code = Line::open(&socket)?.run(&words, file)?;
    // As a shell's: only the lowest byte.
    Ok(ExitCode::from(code as u8))
}

/// What goes along with `create` and `config-update`: the argument that is a file of the host, if one is.
fn host_file(arguments: &[String]) -> Result<Option<File>> {
    let mut words = arguments.iter().filter(|word| !word.starts_with('-'));
    if !words
        .next()
        .is_some_and(|word| word == "create" || word == "config-update")
    {
        return Ok(None);
    }
    let Some(name) = words.find(|word| !word.contains('=') && Path::new(word).is_file()) else {
        return Ok(None);
    };
    let bytes = fs::read(name).with_context(|| name.clone())?;
    if bytes.len() > FILE_MAX {
        bail!("{name} is larger than {} KiB", FILE_MAX >> 10);
    }
    Ok(Some(File {
        name: name.clone(),
        bytes,
    }))
}

fn print(stream: Stream, bytes: &[u8]) {
    // Nobody may be left to read it; the command runs to its end all the same.
    let _ = match stream {
        Stream::Output => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Error => std::io::stderr().lock().write_all(bytes),
    };
}

/// Gives what is typed to a guest's console, until Ctrl-] or the end of the input.
fn type_on(mut sender: Sender) {
    let mut input = std::io::stdin().lock();
    let terminal = input.is_terminal();
    let mut block = [0; 512];
    while let Ok(length @ 1..) = input.read(&mut block) {
        let typed = &block[..length];
        let end = typed.iter().position(|&byte| terminal && byte == ESCAPE);
        let sent = sender.input(&typed[..end.unwrap_or(length)]);
        if sent.is_err() || end.is_some() {
            break;
        }
    }
    let _ = sender.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_host_goes_along() {
        let words =
            |line: &str| -> Vec<String> { line.split(' ').map(ToString::to_string).collect() };
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for line in [
            "create FILE",
            "-vvv create -p FILE memory=1",
            "create -f FILE",
        ] {
            let file = host_file(&words(&line.replace("FILE", here)))
                .unwrap()
                .unwrap();
            assert_eq!(file.name, here);
            assert!(file.bytes.starts_with(b"[package]"));
        }
        for line in ["create /etc/xen/none.cfg", "list FILE", "destroy create"] {
            assert_eq!(
                host_file(&words(&line.replace("FILE", here))).unwrap(),
                None
            );
        }
    }
}
