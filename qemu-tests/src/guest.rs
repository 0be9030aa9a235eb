//! The Debian guest in a scenario: its configuration, its disk, and its shell behind `xl console`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::archive::Archive;
use crate::disk::{self, Partition};
use crate::fat;
use crate::machine::prompt::{Answer, without_log};
use crate::machine::serial::Running;
use crate::scenario::{HANG, Stage};
use crate::small_root;

/// Ctrl-], which leaves `xl console`.
const LEAVE: &str = "\x1d";

/// A guest's xl.cfg.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name; its root file system is on the partition `NAME-root`.
    pub name: &'static str,
    /// The address that it asks the DHCP server for, if it has a vif.
    pub address: Option<&'static str>,
    /// Its virtual CPUs.
    pub vcpus: u32,
    /// Its memory in MiB.
    pub memory: u32,
    /// More of xl.cfg, in lines.
    pub more: &'static str,
}

impl Guest {
    /// A guest with a network interface and two virtual CPUs.
    #[must_use]
    pub fn new(name: &'static str, address: Option<&'static str>) -> Self {
        Self {
            name,
            address,
            vcpus: 2,
            memory: 256,
            more: "",
        }
    }

    /// The text of its xl.cfg.
    #[must_use]
    pub fn config(&self) -> String {
        let Self {
            name,
            address,
            vcpus,
            memory,
            more,
        } = self;
        let mut text = format!(
            "name = \"{name}\"\ntype = \"pvh\"\nkernel = \"/boot/debian/vmlinux\"\nramdisk = \"/boot/debian/initrd\"\n\
             memory = {memory}\nvcpus = {vcpus}\ndisk = ['/dev/gpt/{name}-root,raw,xvda,rw']\n{more}"
        );
        let mut cmdline = format!("root=/dev/xvda rw console=hvc0 microhv.name={name}");
        if let Some(address) = address {
            // Writing to a String cannot fail.
            let _ = write!(cmdline, " microhv.address={address}");
            text += "vif = ['bridge=bridge0']\n";
        }
        text + &format!("cmdline = \"{cmdline}\"\n")
    }

    /// Has Domain-0 start it at boot.
    pub fn put(&self, archive: &mut Archive) {
        archive.bytes(&format!("etc/xen/auto/{}.cfg", self.name), self.config());
    }
}

impl Stage<'_> {
    /// The default boot archive with `guests` instead of the default one.
    ///
    /// # Errors
    /// When the Debian guest was not built.
    pub fn archive_with(&self, guests: &[Guest]) -> Result<Archive> {
        let mut archive = self.archive()?;
        for path in ["boot/debian/vmlinux", "boot/debian/initrd"] {
            archive.bytes(path, self.images().archive.read(path)?);
        }
        for guest in guests {
            guest.put(&mut archive);
        }
        Ok(archive)
    }

    /// A fresh disk with a root file system for each of `guests`.
    ///
    /// # Errors
    /// When the Debian guest was not built.
    pub fn disk_for(&self, guests: &[Guest]) -> Result<PathBuf> {
        let root = self.images().root.as_deref();
        let mut partitions = volumes(guests, root.context("no Debian root file system")?)?;
        let files = fat::partition(&self.folder().join("microhv.fat"))?;
        partitions.push(files);
        let target = self.folder().join("disk.img");
        disk::create(&target, &partitions)?;
        Ok(target)
    }

    /// A fresh image with a small root file system for each of `guests`, to be a boot module.
    ///
    /// # Errors
    /// When the Debian guest was not built.
    pub fn module_for(&self, guests: &[Guest]) -> Result<PathBuf> {
        let target = self.folder().join("module.img");
        let built = self.images().root.as_ref();
        let built = built.context("no Debian root file system")?;
        let root = self.folder().join("small.ext4");
        small_root::make(&built.with_file_name("root"), self.folder(), &root)?;
        disk::create(&target, &volumes(guests, &root)?)?;
        Ok(target)
    }

    /// Boots a machine with `guests` on a fresh disk whose writes stay, and waits for Domain-0's prompt.
    ///
    /// # Errors
    /// When the machine does not come up.
    pub fn boot_guests(&self, guests: &[Guest]) -> Result<Running> {
        let mut machine = self.machine();
        machine.disk = Some(self.disk_for(guests)?);
        machine.snapshot = false;
        let mut running = self.boot(machine, &self.archive_with(guests)?)?;
        running.wait_prompt(HANG)?;
        Ok(running)
    }
}

/// A partition with a copy of `root` for each of `guests`.
fn volumes(guests: &[Guest], root: &Path) -> Result<Vec<Partition>> {
    let size = std::fs::metadata(root)?.len();
    let volume = |guest: &Guest| Partition {
        name: format!("{}-root", guest.name),
        size,
        content: Some(root.to_owned()),
    };
    Ok(guests.iter().map(volume).collect())
}

impl Running {
    /// Goes from Domain-0's prompt to the console of `guest`, which shows again what the guest said before.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn attach(&mut self, guest: &str) -> Result<()> {
        self.send(&format!("xl console {guest}\r"))
    }

    /// Goes to the console of `guest` and waits until its userland is up.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn attach_when_up(&mut self, guest: &str) -> Result<()> {
        self.attach(guest)?;
        self.wait_for("debian: up", HANG)?;
        // What the kernel has to say would come between the lines of commands, and within the marks of this one; dmesg has it
        // all the same.
        self.send("dmesg -n 1\r")?;
        self.guest("true").map(drop)
    }

    /// Goes back to Domain-0's prompt.
    ///
    /// # Errors
    /// When the prompt does not come.
    pub fn detach(&mut self) -> Result<()> {
        self.send(LEAVE)?;
        self.wait_prompt(HANG).map(drop)
    }

    /// Runs `line` in the shell of the attached guest.
    ///
    /// # Errors
    /// When it has not ended after `limit`.
    pub fn guest_command(&mut self, line: &str, limit: Duration) -> Result<Answer> {
        // A console shows its history again, so marks must not repeat; the quotes keep the echo of what is typed from
        // looking like what is printed.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mark = NEXT.fetch_add(1, Ordering::Relaxed);
        let (begin, finish) = (format!("@<{mark}\r\n"), format!("@>{mark} "));
        self.send(&format!(
            "echo '@'\"<{mark}\"; {line}; echo '@'\">{mark} $?\"\r"
        ))?;
        let what = format!("end of the guest's command \"{line}\"");
        self.wait(&what, limit, |said| {
            let start = said.find(&begin)? + begin.len();
            let end = start + said[start..].find(&finish)?;
            let (code, _) = said[end + finish.len()..].split_once(['\r', '\n'])?;
            let said = without_log(&said[start..end].replace('\r', ""));
            let lines = said.split_inclusive('\n');
            let answer = Answer {
                code: code.parse().ok()?,
                // The guest's own lines, such as that about its address, come whenever they come.
                text: lines.filter(|line| !line.starts_with("debian: ")).collect(),
            };
            Some((answer, end + finish.len() + code.len()))
        })
    }

    /// Runs `line` in the shell of the attached guest; it must succeed.
    ///
    /// # Errors
    /// When it fails.
    pub fn guest(&mut self, line: &str) -> Result<String> {
        let Answer { code, text } = self.guest_command(line, HANG)?;
        if code != 0 {
            bail!("in the guest, \"{line}\" ended with {code}:\n{text}");
        }
        Ok(text)
    }

    /// Waits until the shell's `condition` holds in the attached guest. Whatever is changed by somebody else needs its time.
    ///
    /// # Errors
    /// When it does not hold after [`HANG`].
    pub fn guest_until(&mut self, condition: &str) -> Result<()> {
        self.guest(&format!("until {condition}; do usleep 100000; done"))
            .map(drop)
    }

    /// The attached guest must have got an address by DHCP; it is returned.
    ///
    /// # Errors
    /// When it gets none.
    pub fn guest_address(&mut self) -> Result<String> {
        self.guest_until("ip -4 addr show eth0 2>/dev/null | grep -q inet")?;
        let text = self.guest("ip -4 addr show eth0 | grep inet")?;
        let address = text
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.split('/').next());
        Ok(address
            .with_context(|| format!("no address in {text}"))?
            .to_owned())
    }
}
