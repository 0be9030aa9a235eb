//! Guests whose kernels come as Debian ships them: compressed, and on the guest's own disk.

use anyhow::{Context, Result};

use crate::check;
use crate::scenario::{Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "Debian's bzImage as it is",
    debian: true,
    play: bzimage,
}];

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
    running.power_off()?;
    Ok(())
}
