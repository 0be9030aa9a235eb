//! Guests' console rings.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use console::host::{ConsoleError, Consoles};
use domain::grant::{MappedRange, map_range};
use domain::stream::StreamLayout;
use domain::xen_abi::event_channel::EvtchnPort;
use domain::{DomId, Port};

use super::Real;

/// The console's grant reference (Xen `GNTTAB_RESERVED_CONSOLE`).
const GRANT_CONSOLE: u32 = 0;
/// Bytes of a guest's output ring.
const OUTPUT: usize = 2048;

/// One guest's console.
struct GuestConsole {
    page: MappedRange,
    port: Port,
}

/// All guests' consoles.
#[derive(Default)]
pub struct GuestConsoles(BTreeMap<DomId, GuestConsole>);

impl GuestConsoles {
    /// Whether `port` belongs to one of them.
    pub fn has_port(&self, port: EvtchnPort) -> bool {
        self.0.values().any(|console| console.port.number() == port)
    }

    fn get(&self, domid: DomId) -> Result<&GuestConsole, ConsoleError> {
        self.0.get(&domid).ok_or(ConsoleError::Absent)
    }
}

impl Consoles for Real {
    fn console_open(&mut self, domid: DomId, port: u32) -> Result<(), ConsoleError> {
        let page = map_range(domid, &[GRANT_CONSOLE], false).map_err(ConsoleError::Refused)?;
        let port = Port::bind_interdomain(domid, port).map_err(ConsoleError::Refused)?;
        self.consoles.0.insert(domid, GuestConsole { page, port });
        Ok(())
    }

    fn console_close(&mut self, domid: DomId) {
        self.consoles.0.remove(&domid);
    }

    fn console_take(&mut self, domid: DomId) -> Result<Vec<u8>, ConsoleError> {
        let console = self.consoles.get(domid)?;
        let mut output = vec![0; OUTPUT];
        let read = StreamLayout::CONSOLE_OUT.read(console.page.memory(), &mut output);
        let count = read.map_err(|_| ConsoleError::Broken)?;
        output.truncate(count);
        if count > 0 {
            notify(console);
        }
        Ok(output)
    }

    fn console_put(&mut self, domid: DomId, input: &[u8]) -> Result<usize, ConsoleError> {
        let console = self.consoles.get(domid)?;
        let written = StreamLayout::CONSOLE_IN.write(console.page.memory(), input);
        let count = written.map_err(|_| ConsoleError::Broken)?;
        if count > 0 {
            notify(console);
        }
        Ok(count)
    }
}

/// The guest may have closed its end; then there is nobody to notify.
fn notify(console: &GuestConsole) {
    if let Err(errno) = console.port.notify() {
        log::debug!("notifying a guest's console: {errno}");
    }
}
