//! Writing whole sets of nodes.

use xen_abi::Errno;

use super::App;
use crate::guest::Entry;
use crate::host::{Host, Transaction};

/// How often a transaction that met another one is repeated.
const ATTEMPTS: u32 = 16;

impl<H: Host> App<'_, H> {
    /// Writes `entries` all at once: a watcher sees either none or all of them.
    pub(crate) fn write_entries(&mut self, entries: &[Entry]) -> Result<(), Errno> {
        for _ in 0..ATTEMPTS {
            let transaction = self.host.store_begin()?;
            if let Err(errno) = self.write_in(transaction, entries) {
                // The first error is the one that says something.
                let _ = self.host.store_end(transaction, false);
                return Err(errno);
            }
            match self.host.store_end(transaction, true) {
                Err(Errno::EAGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::EAGAIN)
    }

    fn write_in(&mut self, transaction: Transaction, entries: &[Entry]) -> Result<(), Errno> {
        for entry in entries {
            match &entry.value {
                Some(value) => self.host.store_write(transaction, &entry.path, value)?,
                None => self.host.store_mkdir(transaction, &entry.path)?,
            }
            if !entry.permissions.is_empty() {
                self.host
                    .store_permissions(transaction, &entry.path, &entry.permissions)?;
            }
        }
        Ok(())
    }

    /// Removes a node; one that is not there is no error.
    pub(crate) fn remove_node(&mut self, path: &str) {
        match self.host.store_remove(0, path) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => log::warn!("cannot remove {path}: {errno}"),
        }
    }

    /// A value as a number; -1, as xl prints it, if it is not there.
    pub(crate) fn store_number(&mut self, path: &str) -> i64 {
        let value = self.host.store_read(0, path);
        value
            .ok()
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(-1)
    }
}
