//! A pretended machine with one configuration, and an operator who types lines.
#![allow(dead_code, reason = "each test file uses a part")]

use console::app::App;
use console::archive::Archive;

use crate::machine::{Pretend, kernel, tar};

pub const CFG: &str = r#"
name = "debian"
type = "pvh"
kernel = "/boot/debian/vmlinux"
ramdisk = "/boot/debian/initrd"
cmdline = "console=hvc0 root=/dev/xvda"
memory = 256
vcpus = 2
disk = [ '/dev/gpt/debian-root,raw,xvda,rw' ]
vif = [ 'mac=00:16:3e:01:02:03,bridge=bridge0' ]
"#;

pub fn archive(cfg: &str) -> Vec<u8> {
    // A kernel without the note.
    let mut other = kernel();
    let name = other.len() - 12;
    assert_eq!(&other[name..name + 4], b"Xen\0");
    other[name] = b'Y';
    tar(&[
        ("boot/debian/vmlinux", &kernel()),
        ("boot/debian/initrd", b"initrd"),
        ("boot/bz", &bzimage(&lz4(&kernel()))),
        ("boot/bad", &bzimage(b"rubbish")),
        ("boot/old", &bzimage(&lz4(&other))),
        ("big", &vec![0; 2 << 20]),
        ("etc/xen/debian.cfg", cfg.as_bytes()),
    ])
}

/// A bzImage with `payload`.
pub fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    file[0x1f1] = 1;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend(payload);
    file
}

/// What Linux's build makes of `kernel` with lz4, which here finds nothing to compress.
pub fn lz4(kernel: &[u8]) -> Vec<u8> {
    let mut block = vec![0xf0];
    let mut rest = kernel.len() - 15;
    while rest >= 255 {
        block.push(255);
        rest -= 255;
    }
    block.push(rest as u8);
    block.extend(kernel);
    let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
    packed.extend((block.len() as u32).to_le_bytes());
    packed.extend(block);
    packed.extend((kernel.len() as u32).to_le_bytes());
    packed
}

pub fn booted(archive: &[u8]) -> App<'_, Pretend> {
    let mut app = App::new(Pretend::new(), Archive::new(archive), "prompt_status");
    app.start();
    app.host.seen();
    app
}

/// Types a line; gives what it printed and its exit code.
pub fn type_line(app: &mut App<'_, Pretend>, line: &str) -> (String, i32) {
    app.host.typed.extend(line.bytes());
    app.host.typed.push(b'\r');
    app.turn();
    let seen = app.host.seen();
    let (said, prompt) = seen.rsplit_once("\n[").expect("no prompt");
    let status = prompt
        .strip_suffix("]Domain-0# ")
        .expect("no prompt")
        .parse()
        .unwrap();
    let said = said
        .strip_prefix(line)
        .unwrap_or(said)
        .trim_start_matches('\n');
    (said.to_string(), status)
}
