//! Guests whose kernels come as Debian ships them: compressed, and on the guest's own disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::disk::{self, Partition};
use crate::scenario::{HANG, Scenario, Stage};
use crate::{check, fat};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "Debian's bzImage as it is",
        debian: true,
        play: bzimage,
    },
    Scenario {
        name: "pygrub: a Debian disk boots its own kernel",
        debian: true,
        play: own_kernel,
    },
];

/// What Debian's `update-grub` writes, in short.
const GRUB_CFG: &str = r#"
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="1>0"
fi
function recordfail { set recordfail=1; }
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'simple' {
	linux	/boot/vmlinuz-none root=/dev/none
}
submenu 'Advanced options' $menuentry_id_option 'advanced' {
	menuentry 'Debian GNU/Linux, with Linux 6.1' --class debian $menuentry_id_option 'advanced-6.1' {
		insmod ext2
		search --no-floppy --fs-uuid --set=root 6d696372-6f68-7600-8000-000000000001
		echo	'Loading Linux 6.1 ...'
		linux	/boot/vmlinuz-6.1 root=/dev/xvda1 rw from=grub
		initrd	/boot/initrd.img-6.1
	}
}
"#;

/// `kernel=` may name what Debian's package has.
fn bzimage(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    let initrd = stage.images().archive.read("boot/debian/initrd")?;
    archive.bytes("boot/debian/initrd", initrd);
    let kernel = stage.images().bzimage.as_ref().context("no bzImage")?;
    archive.file("boot/vmlinuz", kernel);
    archive.bytes(
        "etc/xen/packed.cfg",
        "name = \"packed\"\ntype = \"pvh\"\nkernel = \"/boot/vmlinuz\"\nramdisk = \"/boot/debian/initrd\"\nmemory = 256\n\
         cmdline = \"root=/dev/xvda rw console=hvc0\"\ndisk = ['/dev/gpt/debian-root,raw,xvda,rw']\n",
    );
    let mut running = stage.boot_to_prompt(&archive)?;
    running.xl("xl create /etc/xen/packed.cfg")?;
    running.attach_when_up("packed")?;
    check::contains(&running.guest("mount")?, &["/dev/xvda on / type ext4 (rw"])?;
    running.detach()?;
    running.power_off()
}

/// A disk with a partition table and a root file system with /boot, as Debian's installer leaves it; then the same without
/// grub.cfg, and a disk without /boot.
fn own_kernel(stage: &Stage) -> Result<()> {
    let mut archive = stage.archive()?;
    for name in ["own", "empty"] {
        let config = format!(
            "name = \"{name}\"\ntype = \"pvh\"\nbootloader = \"pygrub\"\nextra = \"console=hvc0 microhv.name={name}\"\n\
             memory = 256\ndisk = ['/dev/gpt/{name}-root,raw,xvda,rw']\n"
        );
        archive.bytes(&format!("etc/xen/{name}.cfg"), config);
    }
    let mut machine = stage.machine();
    machine.disk = Some(disk_with_boot(stage)?);
    let mut running = stage.boot(machine, &archive)?;
    running.wait_prompt(HANG)?;

    let before = running.holdings()?;
    let answer = running.command("xl create /etc/xen/empty.cfg", HANG)?;
    let reason =
        "empty: bootloader: disk xvda (/dev/gpt/empty-root): no kernel in /boot or / of xvda";
    check::contains(&answer.text, &[reason])?;
    if answer.code != 3 {
        bail!("code {}", answer.code);
    }
    running.holds(&before)?;

    running.xl("xl create /etc/xen/own.cfg")?;
    running.attach_when_up("own")?;
    check::contains(
        &running.guest("cat /proc/cmdline")?,
        &["root=/dev/xvda1 rw from=grub console=hvc0 microhv.name=own"],
    )?;
    check::contains(&running.guest("mount")?, &["/dev/xvda1 on / type ext4 (rw"])?;
    // The disk is read again when the guest reboots.
    running.guest("rm /boot/grub/grub.cfg")?;
    running.send("reboot\r")?;
    running.wait_for("debian: reboot", HANG)?;
    running.wait_prompt(HANG)?;
    running.attach_when_up("own")?;
    check::contains(
        &running.guest("cat /proc/cmdline")?,
        &["root=/dev/xvda1 ro console=hvc0 microhv.name=own"],
    )?;
    running.detach()?;
    let log = running.xl("cat /var/log/xen/xl-own.log")?;
    check::contains(
        &log,
        &[
            "bootloader: /boot/grub/grub.cfg on xvda1: \"Debian GNU/Linux, with Linux 6.1\": kernel /boot/vmlinuz-6.1, ramdisk /boot/initrd.img-6.1",
            "bootloader: /boot/ on xvda1: \"/boot/vmlinuz-6.1\"",
        ],
    )?;
    running.xl("xl destroy own")?;
    let before = running.holdings()?;
    running.xl("xl create -p /etc/xen/own.cfg")?;
    running.xl("xl destroy own")?;
    running.holds(&before)?;
    running.power_off()
}

/// A disk with two guests' disks: `own-root`, a disk image of its own, and `empty-root`, a file system without /boot.
fn disk_with_boot(stage: &Stage) -> Result<PathBuf> {
    let images = stage.images();
    let root = images.root.as_ref().context("no Debian root file system")?;
    let folder = stage.folder();
    let file_system = folder.join("own.ext4");
    // debugfs fills it without being root.
    fs::copy(root, &file_system)?;
    let initrd = folder.join("initrd");
    fs::write(&initrd, images.archive.read("boot/debian/initrd")?)?;
    let grub = folder.join("grub.cfg");
    fs::write(&grub, GRUB_CFG)?;
    let kernel = images.bzimage.as_ref().context("no bzImage")?;
    let commands = format!(
        "mkdir boot\nmkdir boot/grub\nwrite {} boot/vmlinuz-6.1\nwrite {} boot/initrd.img-6.1\nwrite {} boot/grub/grub.cfg\n",
        kernel.display(),
        initrd.display(),
        grub.display()
    );
    debugfs(&file_system, &folder.join("commands"), &commands)?;
    let partition = |name: &str, content: &Path| -> Result<Partition> {
        Ok(Partition {
            name: name.into(),
            size: fs::metadata(content)?.len(),
            content: Some(content.to_owned()),
        })
    };
    let nested = folder.join("own.img");
    disk::create(&nested, &[partition("root", &file_system)?])?;
    let target = folder.join("disk.img");
    let parts = [
        partition("own-root", &nested)?,
        partition("empty-root", root)?,
        fat::partition(&folder.join("microhv.fat"))?,
    ];
    disk::create(&target, &parts)?;
    Ok(target)
}

fn debugfs(image: &Path, script: &Path, commands: &str) -> Result<()> {
    fs::write(script, commands)?;
    let output = Command::new("/usr/sbin/debugfs")
        .arg("-w")
        .arg("-f")
        .arg(script)
        .arg(image)
        .output()
        .context("debugfs (Debian: e2fsprogs)")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Its first line is its version; whatever comes then is an error.
    if !output.status.success() || said.lines().count() > 1 {
        bail!("debugfs: {said}");
    }
    Ok(())
}
