//! Where things are in the source tree and under `target/`.

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => root().join(target),
        None => root().join("target"),
    }
}

/// Where the machine's images are made.
pub fn image() -> PathBuf {
    target().join("image")
}

/// Where downloaded packages stay, so that a second run needs no network.
pub fn cache() -> PathBuf {
    target().join("cache")
}

/// Where runs and scenarios leave their console output.
pub fn log() -> PathBuf {
    target().join("log")
}
