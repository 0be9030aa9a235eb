//! File systems that mke2fs makes; for the tests of `console`, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The bytes of a file system of `size`, made with these arguments, with what `fill` puts into a folder.
pub fn image(size: &str, arguments: &[&str], fill: impl FnOnce(&Path)) -> Vec<u8> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("mke2fs-{}-{number}", std::process::id()));
    let (tree, image) = (scratch.join("tree"), scratch.join("image"));
    fs::create_dir_all(&tree).unwrap();
    fill(&tree);
    let path = std::env::var("PATH").unwrap_or_default();
    let status = Command::new("mke2fs")
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .args(["-q", "-F"])
        .args(arguments)
        .arg("-d")
        .args([&tree, &image])
        .arg(size)
        .stdout(Stdio::null())
        .status()
        .expect("mke2fs (Debian: e2fsprogs) is needed");
    assert!(status.success());
    let bytes = fs::read(&image).unwrap();
    fs::remove_dir_all(&scratch).unwrap();
    bytes
}

/// Makes a file, and the folders that it is in.
pub fn write(tree: &Path, path: &str, bytes: &[u8]) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
