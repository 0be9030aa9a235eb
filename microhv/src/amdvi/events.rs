//! The event log (2.5): what a unit stopped, and what is wrong with it.

use super::registers::{Control, Registers, Status};
use super::unit::Unit;
use crate::iommu::fault::{self, report, tell};
use crate::iommu::patience::wait_until;
use crate::mm::{frames, phys};
use crate::pci::Sbdf;
use crate::types::{Mfn, PAGE_SIZE};
use core::fmt;
use spin::Mutex;

/// Bytes of an event.
const EVENT: usize = 16;
/// An entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    low: u64,
    address: u64,
}

const GN: u64 = 1 << 48;
const NX: u64 = 1 << 49;
const INTERRUPT: u64 = 1 << 51;
const PRESENT: u64 = 1 << 52;
const WRITE: u64 = 1 << 53;
const PERMISSION: u64 = 1 << 54;
const RESERVED: u64 = 1 << 55;
const IO_PAGE_FAULT: u8 = 2;

impl Event {
    /// The event code; 0 while the unit has not written the entry.
    pub const fn code(&self) -> u8 {
        (self.low >> 60) as u8
    }

    /// The requester ID, where the event is about a device.
    pub const fn source_id(&self) -> Option<u16> {
        match self.code() {
            1..=4 | 7..=9 => Some(self.low as u16),
            _ => None,
        }
    }

    /// The request was an interrupt. (QEMU sets the bit for any: the address must be one of interrupts.)
    pub const fn is_interrupt(&self) -> bool {
        self.low & INTERRUPT != 0
            && matches!(self.address, 0xfee0_0000..=0xfeef_ffff | 0xfd_f800_0000..=0xfd_f8ff_ffff)
    }

    /// Whether the request was a write, where the event says so. Hardware tells it for pages that are present; QEMU in
    /// two bits that mean something else where guests have tables of their own, which they have not here.
    pub fn write(&self) -> Option<bool> {
        if self.low & PRESENT != 0 {
            return Some(self.low & WRITE != 0);
        }
        (self.low & (GN | NX) != 0).then_some(self.low & NX != 0)
    }

    fn name(&self) -> &'static str {
        match self.code() {
            1 => "ILLEGAL_DEV_TABLE_ENTRY",
            2 => "IO_PAGE_FAULT",
            3 => "DEV_TAB_HARDWARE_ERROR",
            4 => "PAGE_TAB_HARDWARE_ERROR",
            5 => "ILLEGAL_COMMAND_ERROR",
            6 => "COMMAND_HARDWARE_ERROR",
            7 => "IOTLB_INV_TIMEOUT",
            8 => "INVALID_DEVICE_REQUEST",
            9 => "INVALID_PPR_REQUEST",
            _ => "unknown event",
        }
    }

    const fn reason(&self) -> &'static str {
        match self.low {
            low if low & RESERVED != 0 => "reserved bits in an entry",
            low if low & PERMISSION != 0 => "no permission",
            low if low & PRESENT != 0 => "not allowed",
            _ => "not present",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.code() {
            IO_PAGE_FAULT if self.is_interrupt() => {
                write!(f, "interrupt {address:#x} reason {}", self.reason())
            }
            IO_PAGE_FAULT => {
                f.write_str(match self.write() {
                    Some(true) => "write to",
                    Some(false) => "read from",
                    None => "access to",
                })?;
                write!(f, " {address:#x} reason {}", self.reason())
            }
            _ => write!(f, "{} {address:#x} ({:#x})", self.name(), self.low),
        }
    }
}

/// A unit's log: one page.
#[derive(Debug)]
pub struct EventLog {
    /// Where it is.
    pub frame: Mfn,
    head: usize,
}

impl EventLog {
    /// An empty log. None: no memory.
    pub fn new() -> Option<Self> {
        Some(Self {
            frame: frames::alloc_zeroed(0)?,
            head: 0,
        })
    }

    /// The oldest event, which leaves the log. An entry counts once its code is there: the tail pointer may be ahead of
    /// the entry on some units.
    fn pop(&mut self) -> Option<Event> {
        let low = phys::read_u64(self.frame, self.head);
        let event = Event {
            low,
            address: phys::read_u64(self.frame, self.head + 8),
        };
        if event.code() == 0 {
            return None;
        }
        phys::write_u64(self.frame, self.head, 0);
        phys::write_u64(self.frame, self.head + 8, 0);
        self.head = (self.head + EVENT) % PAGE_SIZE;
        Some(event)
    }

    /// Takes events, oldest first, as many as fit; true if the unit lost some for lack of space.
    pub fn take<const N: usize>(
        &mut self,
        registers: &Registers,
        events: &mut heapless::Vec<Event, N>,
    ) -> bool {
        // First, so that an event that comes now is signalled again.
        registers.clear_status(Status::EVENT_LOG_INT | Status::COM_WAIT_INT);
        while !events.is_full()
            && let Some(event) = self.pop()
        {
            let _ = events.push(event);
        }
        registers.set_event_head(self.head as u64);
        let lost = registers.status().contains(Status::EVENT_OVERFLOW);
        if lost && !events.is_full() {
            self.restart(registers);
        }
        lost
    }

    /// After an overflow logging stands still until it is turned off and on again (2.5.2).
    fn restart(&mut self, registers: &Registers) {
        let control = registers.control();
        registers.set_control(control - Control::EVENT_LOG_EN);
        // Should the unit not stop, nothing more is logged; nothing else depends on it.
        let _ = wait_until(|| !registers.status().contains(Status::EVENT_LOG_RUN));
        phys::fill(self.frame, 0);
        self.head = 0;
        registers.empty_event_log();
        registers.clear_status(Status::EVENT_OVERFLOW);
        registers.set_control(control);
    }
}

/// Reports the events of a unit; bounded work.
pub fn drain(unit: &Mutex<Unit>) {
    let of = unit.lock().sbdf;
    fault::drain(unit, Unit::take_events, |event| match event.source_id() {
        Some(id) => {
            let sbdf = Sbdf::on(of.segment(), id);
            report(sbdf, format_args!("AMD-Vi: fault: {sbdf} {event}"));
        }
        None => tell(format_args!("AMD-Vi: unit {of}: {event}")),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(flags: u64, address: u64) -> Event {
        Event {
            low: 2 << 60 | flags | 0x18,
            address,
        }
    }

    #[test]
    fn events_are_decoded() {
        let denied = fault(PRESENT | WRITE | PERMISSION, 0x1234_5678);
        assert_eq!(denied.low, 0x2070_0000_0000_0018);
        assert_eq!(denied.source_id(), Some(0x18));
        assert_eq!(
            denied.to_string(),
            "write to 0x12345678 reason no permission"
        );
        let read = fault(PRESENT | PERMISSION, 0x1000);
        assert_eq!(read.to_string(), "read from 0x1000 reason no permission");
        let absent = fault(0, 0x1000);
        assert_eq!(absent.to_string(), "access to 0x1000 reason not present");
        let interrupt = fault(INTERRUPT, 0xfee0_0000);
        assert_eq!(
            interrupt.to_string(),
            "interrupt 0xfee00000 reason not present"
        );
        let qemu = fault(INTERRUPT | NX, 0x4000_0000);
        assert_eq!(qemu.to_string(), "write to 0x40000000 reason not present");
        let command = Event {
            low: 5 << 60,
            address: 0x7000,
        };
        assert_eq!(command.source_id(), None);
        assert!(command.to_string().starts_with("ILLEGAL_COMMAND_ERROR"));
    }

    #[test]
    fn the_log_is_read_in_order_and_goes_round() {
        let registers = Registers::fake();
        let mut log = EventLog::new().unwrap();
        let mut put = 0;
        for round in 0..300u64 {
            phys::write_u64(log.frame, put + 8, round << 12);
            phys::write_u64(log.frame, put, 2 << 60 | round);
            put = (put + EVENT) % PAGE_SIZE;
            let mut events = heapless::Vec::<Event, 8>::new();
            assert!(!log.take(&registers, &mut events));
            let [event] = events[..] else { panic!() };
            assert_eq!(event.address, round << 12);
        }
        let mut events = heapless::Vec::<Event, 8>::new();
        assert!(!log.take(&registers, &mut events) && events.is_empty());
    }
}
