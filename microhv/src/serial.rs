//! The second serial port, which is Domain-0's (`cargo xtask xl` speaks through it): its eight ports are passed
//! through, its interrupt is Domain-0's physical interrupt 3.

use core::sync::atomic::{AtomicU32, Ordering};

use spin::Once;
use xen_abi::Errno;

use crate::arch::cpu::{inb, outb};
use crate::domain;
use crate::types::DomId;
use config::xen_cmdline::{Com, XenCmdline};

/// The first of the ports as Domain-0 sees them, wherever the machine has them.
const FIRST: u16 = Com::COM2.io_base;
/// How many ports there are.
const COUNT: u16 = 8;
/// Its number among physical interrupts, whatever line the machine uses.
const PIRQ: u32 = Com::COM2.irq as u32;
/// Its number among device interrupts: no vector, which PCI devices have there.
const DEVICE: u32 = 0x100;

const INTERRUPTS: u16 = 1;
const LINE_STATUS: u16 = 5;

/// The machine's first port, once Domain-0 may use the others too.
static BASE: Once<u16> = Once::new();
/// Domain-0's event channel for the interrupt; 0 is none.
static CHANNEL: AtomicU32 = AtomicU32::new(0);
/// Somebody is about to bind.
const RESERVED: u32 = u32::MAX;

/// The port to give away: `None` if it is microhv's own console, has no interrupt or is not there.
pub fn spare<'a>(options: &'a XenCmdline<'_>) -> Option<&'a Com> {
    let com = &options.com2;
    let free = options.console.com2.is_none() && com.irq != 0;
    // Nobody there: the bus answers all ones.
    (free && com.io_base <= u16::MAX - COUNT && inb(com.io_base + LINE_STATUS) != 0xff)
        .then_some(com)
}

/// Gives the port to Domain-0. Its interrupt, edge-triggered, must arrive at [`interrupt`] from now on.
pub fn offer(com: &Com) {
    outb(com.io_base + INTERRUPTS, 0);
    BASE.call_once(|| com.io_base);
}

/// The machine's port behind port `port` of Domain-0.
fn place(port: u16) -> Option<u16> {
    let offset = port.checked_sub(FIRST).filter(|offset| *offset < COUNT)?;
    Some(BASE.get()? + offset)
}

/// Domain-0 reads one of its ports; `None` if it is not one of these.
pub fn read(port: u16) -> Option<u8> {
    place(port).map(inb)
}

/// Domain-0 writes to one of its ports.
pub fn write(port: u16, value: u8) {
    if let Some(port) = place(port) {
        outb(port, value);
    }
}

/// Binds physical interrupt `pirq` to the event channel that `allocate` makes for a device interrupt.
///
/// # Errors
/// `EINVAL`: not this port's, or there is no such port. `EEXIST`: bound already. Those of `allocate`.
pub fn bind(pirq: u32, allocate: impl FnOnce(u32) -> Result<u32, Errno>) -> Result<u32, Errno> {
    if pirq != PIRQ || BASE.get().is_none() {
        return Err(Errno::EINVAL);
    }
    CHANNEL
        .compare_exchange(0, RESERVED, Ordering::SeqCst, Ordering::SeqCst)
        .map_err(|_| Errno::EEXIST)?;
    let channel = allocate(DEVICE);
    CHANNEL.store(channel.unwrap_or(0), Ordering::SeqCst);
    channel
}

/// The event channel of device interrupt `device` was closed; the port is silent if it was this one's.
pub fn unbind(device: u32) {
    if device == DEVICE {
        write(FIRST + INTERRUPTS, 0);
        CHANNEL.store(0, Ordering::SeqCst);
    }
}

/// The port wants attention: Domain-0 is told.
pub fn interrupt(_vector: u8) {
    let channel = CHANNEL.load(Ordering::SeqCst);
    if matches!(channel, 0 | RESERVED) {
        return;
    }
    if let Some(dom0) = domain::find(DomId(0)) {
        domain::events::raise_device(&dom0, channel, DEVICE);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The port is there from the first call on, in place 0x2e8.
    pub fn offered() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            assert_eq!(read(0x2f8), None);
            assert_eq!(bind(3, Ok), Err(Errno::EINVAL), "not offered yet");
            offer(&Com {
                io_base: 0x2e8,
                ..Com::COM2
            });
        });
    }

    #[test]
    fn the_port_is_bound_once_and_only_as_interrupt_3() {
        let allocate = |device| {
            assert_eq!(device, DEVICE);
            Ok(7)
        };
        offered();
        assert_eq!((place(0x2f8), place(0x2ff)), (Some(0x2e8), Some(0x2ef)));
        assert_eq!((place(0x2f7), place(0x300), place(0)), (None, None, None));
        assert_eq!(bind(4, allocate), Err(Errno::EINVAL));
        assert_eq!(bind(3, |_| Err(Errno::ENOSPC)), Err(Errno::ENOSPC));
        assert_eq!(bind(3, allocate), Ok(7));
        assert_eq!(bind(3, allocate), Err(Errno::EEXIST));
        unbind(0x31);
        assert_eq!(bind(3, allocate), Err(Errno::EEXIST));
        unbind(DEVICE);
        assert_eq!(bind(3, allocate), Ok(7));
    }

    #[test]
    fn a_port_of_microhvs_own_is_not_spare() {
        let mut options = XenCmdline::default();
        // On the host all ports read as ones.
        assert_eq!(spare(&options), None);
        options.console.com2 = Some(config::xen_cmdline::SerialFilter::All);
        assert_eq!(spare(&options), None);
    }
}
