//! The second serial port, which Domain-0 has: a 16550 (National Semiconductor PC16550D data sheet) at ports 0x2f8 to
//! 0x2ff, with its interrupt as an event channel.
#![cfg_attr(target_os = "none", expect(unsafe_code, reason = "I/O ports"))]

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::event::Port;

/// Physical interrupt of the port.
const PIRQ: u32 = 3;
/// The port's own queue for output.
const FIFO: usize = 16;
/// Bytes moved at a time, each way: who has more gets another interrupt.
const BATCH: usize = 1024;

// Registers.
const DATA: u16 = 0;
const INTERRUPTS: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const INTERRUPT_RECEIVED: u8 = 1;
const INTERRUPT_EMPTY: u8 = 2;
const DIVISOR_LATCH: u8 = 0x80;
const BITS_8N1: u8 = 3;
/// Queues on and empty, an interrupt for eight characters (or some that have waited for a while).
const FIFOS: u8 = 0x87;
/// DTR, RTS, and OUT2, which lets interrupts out.
const MODEM: u8 = 0xb;
const RECEIVED: u8 = 1;
const EMPTY: u8 = 0x20;

/// The eight registers.
trait Registers {
    fn read(&mut self, register: u16) -> u8;
    fn write(&mut self, register: u16, value: u8);
}

/// Those of the machine.
struct Ports;

#[cfg(target_os = "none")]
impl Registers for Ports {
    fn read(&mut self, register: u16) -> u8 {
        // SAFETY: the hypervisor lets these ports reach a serial port, which has no part in memory safety.
        unsafe { x86_64::instructions::port::Port::new(0x2f8 + register).read() }
    }

    fn write(&mut self, register: u16, value: u8) {
        // SAFETY: as above.
        unsafe { x86_64::instructions::port::Port::new(0x2f8 + register).write(value) }
    }
}

#[cfg(not(target_os = "none"))]
impl Registers for Ports {
    fn read(&mut self, _: u16) -> u8 {
        !0
    }
    fn write(&mut self, _: u16, _: u8) {}
}

/// The serial port, 115,200 baud, 8n1.
pub struct Serial {
    line: Line<Ports>,
    port: Port,
}

impl Serial {
    /// Opens the port; none if this domain or the machine does not have it.
    #[must_use]
    pub fn open() -> Option<Self> {
        let port = Port::bind_pirq(PIRQ).ok()?;
        Some(Self {
            line: Line::open(Ports)?,
            port,
        })
    }

    /// The event channel that says: call [`Self::receive`] and [`Self::send`].
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port.number()
    }

    /// Takes what came in; if that is not all, another event comes.
    pub fn receive(&mut self) -> Vec<u8> {
        self.line.receive()
    }

    /// Sends from the front of `output`; if something is left, another event comes when there is room for it.
    pub fn send(&mut self, output: &mut VecDeque<u8>) {
        self.line.send(output);
    }
}

struct Line<R> {
    registers: R,
    /// Something waits to be sent.
    sending: bool,
}

impl<R: Registers> Line<R> {
    fn open(mut registers: R) -> Option<Self> {
        // Nobody there reads as ones; a register that is for nothing else tells a port from that.
        registers.write(SCRATCH, 0x5a);
        if registers.read(SCRATCH) != 0x5a {
            return None;
        }
        registers.write(INTERRUPTS, 0);
        registers.write(LINE_CONTROL, DIVISOR_LATCH | BITS_8N1);
        registers.write(DATA, 1);
        registers.write(INTERRUPTS, 0);
        registers.write(LINE_CONTROL, BITS_8N1);
        registers.write(FIFO_CONTROL, FIFOS);
        registers.write(MODEM_CONTROL, MODEM);
        registers.write(INTERRUPTS, INTERRUPT_RECEIVED);
        Some(Self {
            registers,
            sending: false,
        })
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut input = Vec::new();
        while input.len() < BATCH && self.registers.read(LINE_STATUS) & RECEIVED != 0 {
            input.push(self.registers.read(DATA));
        }
        self.arm();
        input
    }

    fn send(&mut self, output: &mut VecDeque<u8>) {
        let mut sent = 0;
        while sent < BATCH && !output.is_empty() && self.registers.read(LINE_STATUS) & EMPTY != 0 {
            for byte in output.drain(..FIFO.min(output.len())) {
                self.registers.write(DATA, byte);
                sent += 1;
            }
        }
        self.sending = !output.is_empty();
        self.arm();
    }

    /// Asks for interrupts. The line is edge-triggered: off and on again, so that what is still to do makes another edge.
    fn arm(&mut self) {
        let empty = if self.sending { INTERRUPT_EMPTY } else { 0 };
        self.registers.write(INTERRUPTS, 0);
        self.registers.write(INTERRUPTS, INTERRUPT_RECEIVED | empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port whose other end is two lists. It interrupts on a rising edge only, as the real line does.
    #[derive(Default)]
    struct Fake {
        registers: [u8; 8],
        input: VecDeque<u8>,
        output: Vec<u8>,
        /// Bytes that its queue still has room for before it has to be waited for.
        room: usize,
        high: bool,
        edges: usize,
    }

    impl Fake {
        fn level(&mut self) {
            let enabled = self.registers[1];
            let high =
                enabled & 1 != 0 && !self.input.is_empty() || enabled & 2 != 0 && self.room >= FIFO;
            if high && !self.high {
                self.edges += 1;
            }
            self.high = high;
        }
    }

    impl Registers for Fake {
        fn read(&mut self, register: u16) -> u8 {
            let value = match register {
                0 => self.input.pop_front().unwrap_or(0),
                5 => u8::from(!self.input.is_empty()) | if self.room >= FIFO { EMPTY } else { 0 },
                _ => self.registers[usize::from(register)],
            };
            self.level();
            value
        }

        fn write(&mut self, register: u16, value: u8) {
            if register == 0 && self.registers[3] & DIVISOR_LATCH == 0 {
                self.output.push(value);
                self.room -= 1;
            } else {
                self.registers[usize::from(register)] = value;
            }
            self.level();
        }
    }

    fn open(room: usize) -> Line<Fake> {
        let fake = Fake {
            room,
            ..Fake::default()
        };
        Line::open(fake).unwrap()
    }

    #[test]
    fn nobody_there_is_not_opened() {
        assert!(Line::open(Ports).is_none());
    }

    #[test]
    fn all_input_is_taken_though_only_edges_interrupt() {
        let mut line = open(0);
        line.registers.input.extend((0..3000_u32).map(|n| n as u8));
        line.registers.level();
        let mut taken = Vec::new();
        let mut seen = 0;
        while seen < line.registers.edges {
            seen = line.registers.edges;
            taken.extend(line.receive());
        }
        assert_eq!(taken, (0..3000_u32).map(|n| n as u8).collect::<Vec<_>>());
    }

    #[test]
    fn all_output_is_sent_though_only_edges_interrupt() {
        let mut line = open(FIFO);
        let mut output: VecDeque<u8> = (0..100).collect();
        line.send(&mut output);
        let mut seen = 0;
        while !output.is_empty() {
            line.registers.room = FIFO;
            line.registers.level();
            assert!(
                line.registers.edges > seen,
                "no interrupt for {} bytes",
                output.len()
            );
            seen = line.registers.edges;
            line.send(&mut output);
        }
        assert_eq!(line.registers.output, (0..100).collect::<Vec<_>>());
        // Nothing to send: an empty queue does not interrupt.
        line.registers.room = FIFO;
        line.registers.level();
        assert_eq!(line.registers.edges, seen);
    }
}
