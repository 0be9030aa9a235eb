//! Small things around the store.

use xen_abi::Errno;

use super::App;
use crate::host::Host;

impl<H: Host> App<'_, H> {
    /// Removes a node; one that is not there is no error.
    pub(crate) fn remove_node(&mut self, path: &str) {
        match self.host.store_remove(path) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => log::warn!("cannot remove {path}: {errno}"),
        }
    }

    /// A value as a number; -1, as xl prints it, if it is not there.
    pub(crate) fn store_number(&mut self, path: &str) -> i64 {
        let value = self.host.store_read(path);
        value
            .ok()
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(-1)
    }
}
