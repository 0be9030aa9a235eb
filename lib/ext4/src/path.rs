//! From a path to an inode.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::inode::{Inode, ROOT};
use crate::{Device, Error, Ext4};

/// Symlinks on the way.
const LINKS_MAX: usize = 16;

impl<D: Device> Ext4<D> {
    /// What is at `path`, from the root of the file system on; symlinks are followed, and do not leave it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find(&self, path: &str) -> Result<Inode, Error> {
        let mut names: VecDeque<Vec<u8>> = parts(path.as_bytes()).collect();
        let mut here = self.inode(ROOT)?;
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            // At the root, `..` is the root: the disk says so.
            let found = self.inode(self.entry(&here, &name)?)?;
            if !found.is_link() {
                here = found;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Error::TooManyLinks);
            }
            let target = self.link_target(&found)?;
            if target.starts_with(b"/") {
                here = self.inode(ROOT)?;
            }
            let before: Vec<_> = parts(&target).collect();
            for name in before.into_iter().rev() {
                names.push_front(name);
            }
        }
        Ok(here)
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(<[u8]>::to_vec)
}
