//! A machine that Bochs emulates: a CPU with VMX and EPT, an IDE disk that GRUB boots, two serial ports, and no IOMMU.
//!
//! What Bochs does otherwise than its manual says is in docs/bochs.md.

mod line;
mod log;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Pid;

use super::qmp::End;
use crate::archive::Archive;

/// A CPU with APIC virtualisation, without posted interrupts.
pub const BROADWELL: &str = "broadwell_ult";
/// A CPU with both.
pub const ICE_LAKE: &str = "corei7_icelake_u";

/// A machine that can be started.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The folder with Bochs, its libraries and its BIOS, as `cargo xtask` makes it.
    pub bochs: PathBuf,
    /// Bochs's name of the CPU's model.
    pub cpu: &'static str,
    /// Number of CPUs; one thread of the host executes them all.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The raw image behind the IDE disk; what is written to it stays.
    pub disk: PathBuf,
    /// Where Bochs's configuration and log go.
    pub folder: PathBuf,
    /// The machine's clock does not run faster than ours, as a person expects it; otherwise time flies while all CPUs wait.
    pub real_time: bool,
    /// The socket that COM2 becomes; none for a machine without COM2.
    pub channel: Option<PathBuf>,
}

/// Bochs, running.
#[derive(Debug)]
pub struct Bochs {
    /// The process.
    pub child: Child,
    /// COM1.
    pub console: TcpStream,
    watch: Watch,
}

/// Reads Bochs's log as it is written; knows at last how the machine ended.
#[derive(Debug)]
pub struct Watch {
    end: Arc<Mutex<End>>,
    reader: JoinHandle<()>,
    /// Holds the lock on the disk.
    _disk: File,
}

impl Watch {
    /// How the machine ended; Bochs must have.
    #[must_use]
    pub fn end(self) -> End {
        let _ = self.reader.join();
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.clone()
    }
}

impl Bochs {
    /// The parts, for somebody who waits for the process.
    #[must_use]
    pub fn into_parts(self) -> (Child, TcpStream, Watch) {
        (self.child, self.console, self.watch)
    }
}

impl Machine {
    /// Bochs's configuration, with the ports of ours that COM1 and COM2 connect to.
    fn configuration(&self, com1: u16, com2: Option<u16>) -> Result<String> {
        let Self {
            cpu,
            cpus,
            memory,
            disk,
            bochs,
            ..
        } = self;
        let share = bochs.join("share");
        let (disk, share) = (option(disk)?, option(&share)?);
        let sync = if self.real_time { "slowdown" } else { "none" };
        let display = match self.loader() {
            Some(_) => "term",
            None => "nogui",
        };
        // They tell of each virtual interrupt.
        let quiet: String = (0..*cpus)
            .map(|cpu| format!(", cpu{cpu:x}=ignore"))
            .collect();
        let mut text = format!(
            "config_interface: textconfig\n\
             display_library: {display}\n\
             cpu: model={cpu}, count={cpus}, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1\n\
             memory: guest={memory}, host={memory}\n\
             romimage: file={share}/BIOS-bochs-latest, options=fastboot\n\
             vgaromimage: file={share}/VGABIOS-lgpl-latest\n\
             pci: enabled=1, chipset=i440fx\n\
             ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
             ata0-master: type=disk, path={disk}, mode=flat\n\
             boot: disk\n\
             clock: sync={sync}, time0=utc\n\
             speaker: enabled=0\n\
             com1: enabled=1, mode=socket-client, dev=127.0.0.1:{com1}\n"
        );
        if let Some(port) = com2 {
            text += &format!("com2: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n");
        }
        // The log goes to us: the file that Bochs would write is the only thing that says how a machine ended.
        text += "log: /dev/stderr\npanic: action=fatal\nerror: action=report\n";
        Ok(text + &format!("info: action=report{quiet}\ndebug: action=ignore\n"))
    }

    /// What starts a Bochs out of a package, which has its own C library; none for one that was built here.
    fn loader(&self) -> Option<PathBuf> {
        let loader = self.bochs.join("lib/ld.so");
        loader.exists().then_some(loader)
    }

    /// The command that runs Bochs so that it does not outlive us.
    fn command(&self, configuration: &Path) -> Command {
        let library = self.bochs.join("lib");
        // Part of util-linux, which Debian marks essential.
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(loader) = self.loader() {
            command
                .arg(loader)
                .arg("--library-path")
                .arg(library.join("so"));
        }
        command
            .arg(library.join("bochs-bin"))
            .args(["-q", "-f"])
            .arg(configuration)
            .env("LTDL_LIBRARY_PATH", library.join("plugins"))
            .env("BXSHARE", self.bochs.join("share"))
            // Its screen is a terminal; no keys and no colours are wanted.
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the disk is in use, or Bochs does not start.
    pub fn start(&self) -> Result<Bochs> {
        fs::create_dir_all(&self.folder)?;
        let disk = File::options()
            .read(true)
            .write(true)
            .open(&self.disk)
            .with_context(|| self.disk.display().to_string())?;
        if disk.try_lock().is_err() {
            bail!("{} is another machine's disk", self.disk.display());
        }
        // Bochs's own lock, which stays when Bochs is killed. Ours says that nobody has the disk.
        let _ = fs::remove_file(with_lock(&self.disk));
        let com1 = listen()?;
        let com2 = match &self.channel {
            Some(socket) => Some((
                listen()?,
                UnixListener::bind(socket).context("COM2's socket")?,
            )),
            None => None,
        };
        let port = |listener: &TcpListener| Ok::<_, anyhow::Error>(listener.local_addr()?.port());
        let second = com2
            .as_ref()
            .map(|(listener, _)| port(listener))
            .transpose()?;
        let configuration = self.folder.join("bochsrc");
        fs::write(&configuration, self.configuration(port(&com1)?, second)?)?;
        let log = self.folder.join("bochs.log");
        let copy = File::create(&log).with_context(|| log.display().to_string())?;
        let mut child = self
            .command(&configuration)
            .spawn()
            .context("cannot start Bochs")?;
        let end = Arc::new(Mutex::new(End::Other("killed".into())));
        let stderr = child.stderr.take().context("Bochs's standard error")?;
        let pid = Pid::from_child(&child);
        let theirs = Arc::clone(&end);
        let reader = thread::spawn(move || log::watch(stderr, copy, pid, &theirs));
        let connect = |child: &mut Child| -> Result<TcpStream> {
            let console = accept(&com1, child)?;
            if let Some((listener, socket)) = &com2 {
                let line = accept(listener, child)?;
                let socket = socket.try_clone()?;
                thread::spawn(move || line::bridge(&line, &socket));
            }
            Ok(console)
        };
        let watch = Watch {
            end,
            reader,
            _disk: disk,
        };
        match connect(&mut child) {
            Ok(console) => Ok(Bochs {
                child,
                console,
                watch,
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                match watch.end() {
                    End::Other(why) => bail!("{error}: {why}; its log is {}", log.display()),
                    _ => Err(error),
                }
            }
        }
    }
}

/// Where the disk is that the boot loader reads into memory.
const MODULE: &str = "boot/disk.img";

/// Makes the configuration in `archive` fit: no IOMMU, so no domain gets a device, and netback, which is there for one, is not.
/// blkback has the image `disk` that the boot loader reads into memory, or is not there either. Interrupts are injected unless
/// the rest of the command line says otherwise: Linux hangs when Bochs 3.0 delivers them by itself (docs/bochs.md).
///
/// # Errors
/// When the archive has no loader.conf.
pub fn configure(archive: &mut Archive, disk: Option<&Path>) -> Result<()> {
    archive.edit("boot/loader.conf", |text| {
        let lines = text.lines();
        let lines =
            lines.filter(|line| !line.contains("_pptdevs=") && !line.starts_with("netback_"));
        let text: String = lines.map(|line| line.to_owned() + "\n").collect();
        let text = text
            .replacen("xen_cmdline=\"", "xen_cmdline=\"iommu=off apicv=0 ", 1)
            .replacen(" netback ", " ", 1);
        match disk {
            Some(_) => {
                text + &format!(
                    "mdroot_load=\"YES\"\nmdroot_type=\"md_image\"\nmdroot_name=\"/{MODULE}\"\n"
                )
            }
            None => text.replacen(" blkback ", " ", 1),
        }
    })?;
    archive.remove("boot/netback");
    if let Some(disk) = disk {
        archive.file(MODULE, disk);
    }
    Ok(())
}

/// A path as the value of an option: Bochs has no way to write some characters.
fn option(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    ensure!(
        !text.contains([',', '"', '\n', ' ', '$']),
        "Bochs cannot open a file whose path has spaces, commas, quotes or dollars in it: {text}"
    );
    Ok(text)
}

/// Bochs's lock beside a disk's image.
fn with_lock(disk: &Path) -> PathBuf {
    let mut name = disk.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for Bochs")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Waits until Bochs connects.
fn accept(listener: &TcpListener, child: &mut Child) -> Result<TcpStream> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if let Some(status) = child.try_wait()? {
                    bail!("Bochs did not start ({status})");
                }
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error).context("Bochs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            bochs: "/cache/bochs".into(),
            cpu: BROADWELL,
            cpus: 2,
            memory: 1024,
            disk: "/disk.img".into(),
            folder: "/log".into(),
            real_time: false,
            channel: None,
        }
    }

    #[test]
    fn the_configuration_is_that_of_the_machine() {
        let text = machine().configuration(1234, Some(99)).unwrap();
        for line in [
            "cpu: model=broadwell_ult, count=2, ",
            "memory: guest=1024, host=1024",
            "path=/disk.img, mode=flat",
            "romimage: file=/cache/bochs/share/BIOS-bochs-latest",
            "com1: enabled=1, mode=socket-client, dev=127.0.0.1:1234",
            "com2: enabled=1, mode=socket-client, dev=127.0.0.1:99",
            "clock: sync=none",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(!machine().configuration(1, None).unwrap().contains("com2"));
        let mut odd = machine();
        odd.disk = "/my disk.img".into();
        assert!(odd.configuration(1, None).is_err());
    }

    #[test]
    fn no_domain_is_there_for_a_device() {
        let configured = |disk: Option<&Path>| {
            let mut archive = Archive::new();
            archive.bytes("boot/netback", "elf").bytes(
                "boot/loader.conf",
                "xen_cmdline=\"a=b\"\ndomains=\"xenstore netback blkback bridge\"\nnetback_memory=\"1M\"\n\
                 blkback_pptdevs=\"0/2/0\"\nx=\"y\"\n",
            );
            configure(&mut archive, disk).unwrap();
            assert!(archive.read("boot/netback").is_err());
            String::from_utf8(archive.read("boot/loader.conf").unwrap()).unwrap()
        };
        assert_eq!(
            configured(None),
            "xen_cmdline=\"iommu=off apicv=0 a=b\"\ndomains=\"xenstore bridge\"\nx=\"y\"\n"
        );
        assert_eq!(
            configured(Some(Path::new("/host/img"))),
            "xen_cmdline=\"iommu=off apicv=0 a=b\"\ndomains=\"xenstore blkback bridge\"\nx=\"y\"\n\
             mdroot_load=\"YES\"\nmdroot_type=\"md_image\"\nmdroot_name=\"/boot/disk.img\"\n"
        );
    }

    #[test]
    fn a_killed_machine_leaves_no_lock() {
        assert_eq!(
            with_lock(Path::new("/a/disk.img")),
            Path::new("/a/disk.img.lock")
        );
    }
}
