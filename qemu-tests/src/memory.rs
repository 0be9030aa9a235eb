//! The machine's memory as QEMU sees it, from outside everything that runs in it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use serde_json::json;

use crate::machine::serial::Running;
use crate::scenario::Stage;

/// Bytes that are read at a time.
const BLOCK: usize = 1 << 20;

/// A copy of the machine's memory below 2 GiB.
#[derive(Debug)]
pub struct Memory {
    file: File,
}

impl Memory {
    /// Copies the first `size` bytes of physical memory, which must be RAM.
    ///
    /// # Errors
    /// When QEMU refuses or the copy cannot be written.
    pub fn copy(stage: &Stage, running: &mut Running, size: u64) -> Result<Self> {
        let path = stage.folder().join("memory");
        running.qmp(
            "pmemsave",
            &json!({"val": 0, "size": size, "filename": path}),
        )?;
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        // The open file is enough; gigabytes should not stay behind.
        std::fs::remove_file(&path)?;
        Ok(Self { file })
    }

    /// Every address, a multiple of `align`, at which `bytes` are. `align` divides a MiB, and `bytes` are no longer.
    ///
    /// # Errors
    /// When the copy cannot be read.
    pub fn find(&mut self, bytes: &[u8], align: usize) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        let mut block = vec![0; BLOCK];
        let mut start = 0;
        loop {
            if self.file.read_at(&mut block, start)? < BLOCK {
                return Ok(found);
            }
            for at in (0..BLOCK).step_by(align) {
                let length = bytes.len().min(align);
                if block.get(at..at + length) == Some(&bytes[..length])
                    && self.read(start + at as u64, bytes.len())? == bytes
                {
                    found.push(start + at as u64);
                }
            }
            start += BLOCK as u64;
        }
    }

    /// `length` bytes at `address`.
    ///
    /// # Errors
    /// When they are not in the copy.
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, address)?;
        Ok(bytes)
    }
}
