//! Requests to xenstore.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use console::guest::Entry;
use console::host::Store;
use domain::store::{Store as Connection, StoreAccess, Transaction};
use domain::{DomId, Errno};

use super::Real;

impl Real {
    /// Asks the store, unless it is lost; it is when it does not answer.
    fn ask<T>(
        &mut self,
        request: impl FnOnce(&mut Connection) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if self.store_lost {
            return Err(Errno::ENOTCONN);
        }
        let result = request(&mut self.store);
        if matches!(result, Err(Errno::ETIMEDOUT)) {
            log::error!("xenstore does not answer");
            self.store_lost = true;
        }
        result
    }
}

impl Store for Real {
    fn store_apply(&mut self, entries: &[Entry]) -> Result<(), Errno> {
        self.ask(|store| {
            store.transaction(|transaction| {
                entries
                    .iter()
                    .try_for_each(|entry| write(transaction, entry))
            })
        })
    }

    fn store_read(&mut self, path: &str) -> Result<String, Errno> {
        self.ask(|store| store.read_string(path))
    }

    fn store_list(&mut self, path: &str) -> Result<Vec<String>, Errno> {
        self.ask(|store| store.directory(path))
    }

    fn store_write(&mut self, path: &str, value: &str) -> Result<(), Errno> {
        self.ask(|store| store.write(path, value))
    }

    fn store_remove(&mut self, path: &str) -> Result<(), Errno> {
        self.ask(|store| store.rm(path))
    }

    fn store_watch(&mut self, path: &str) -> Result<(), Errno> {
        self.ask(|store| store.watch(path, path))
    }

    fn store_unwatch(&mut self, path: &str) {
        // Without a store there is no watch to end.
        let _ = self.ask(|store| store.unwatch(path, path));
    }

    fn store_lost(&mut self) {
        self.store_lost = true;
    }

    fn store_introduce(&mut self, domid: DomId, gfn: u64, port: u32) -> Result<(), Errno> {
        self.ask(|store| store.introduce(domid, gfn, port))
    }

    fn store_release(&mut self, domid: DomId) -> Result<(), Errno> {
        self.ask(|store| store.release(domid))
    }
}

fn write(transaction: &mut Transaction<'_>, entry: &Entry) -> Result<(), Errno> {
    match &entry.value {
        Some(value) => transaction.write(&entry.path, value)?,
        None => transaction.mkdir(&entry.path)?,
    }
    if entry.permissions.is_empty() {
        return Ok(());
    }
    let list = entry.permissions.iter();
    let list: Vec<String> = list.map(|p| format!("{}{}", p.access, p.domid)).collect();
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    transaction.set_permissions(&entry.path, &list)
}
