//! A 16550 serial port (National Semiconductor PC16550D data sheet).

use crate::arch::cpu::pause;
#[cfg(not(test))]
use crate::arch::cpu::{inb, outb};
use config::xen_cmdline::{Baud, Com, Parity};
use heapless::Deque;
#[cfg(test)]
use tests::{inb, outb};

/// Characters that wait for the port.
const WAITING: usize = 8192;
/// The port's own queue.
const FIFO: usize = 16;
/// So many waiting leave room for a line of the log, whoever writes it.
const CROWDED: usize = WAITING - 1024;
/// A port that takes nothing for so long (ns) is stuck.
const STUCK_NS: u64 = 1_000_000_000;
/// How often to look before giving a character up: a port that is stuck must not stop the machine.
const PATIENCE: u32 = 1_000_000;

// Registers' offsets.
const DATA: u16 = 0;
const INTERRUPTS: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

const INTERRUPT_RECEIVED: u8 = 1;
const INTERRUPT_EMPTY: u8 = 2;
const DIVISOR_LATCH: u8 = 0x80;
const RECEIVED: u8 = 1;
const EMPTY: u8 = 0x20;
/// The transmitter is idle too.
const SENT: u8 = 0x40;

/// Characters that wait for a port. Not part of it: an open port is moved about on small stacks.
pub(super) type Queue = Deque<u8, WAITING>;

/// An open port.
pub(super) struct Uart {
    base: u16,
    /// Nothing waits in memory: each character is handed to the port before the next instruction.
    pub(super) synchronous: bool,
    interrupts: bool,
    /// What the interrupt enable register holds.
    requested: u8,
    /// The port has taken characters since [`Self::is_crowded`] looked, and when (ns) that last saw that it had.
    moves: bool,
    moved: u64,
}

/// The line control register for `com`.
fn line_control(com: &Com) -> u8 {
    let parity = match com.parity {
        Parity::None => 0,
        Parity::Odd => 0x08,
        Parity::Even => 0x18,
        Parity::Mark => 0x28,
        Parity::Space => 0x38,
    };
    let stop = if com.stop_bits == 2 { 4 } else { 0 };
    (com.data_bits.clamp(5, 8) - 5) | stop | parity
}

/// The divisor for `com`'s speed; `None` leaves it as it is.
fn divisor(com: &Com) -> Option<u16> {
    match com.baud {
        Baud::Auto => None,
        Baud::Rate(rate) => u16::try_from(com.base_baud / rate.max(1))
            .ok()
            .map(|d| d.max(1)),
    }
}

impl Uart {
    /// Sets the port up. `None` if there is none.
    pub(super) fn open(com: &Com, synchronous: bool) -> Option<Self> {
        let base = com.io_base;
        // Nobody there: the bus answers all ones.
        if inb(base + LINE_STATUS) == 0xff {
            return None;
        }
        outb(base + INTERRUPTS, 0);
        let control = line_control(com);
        if let Some(divisor) = divisor(com) {
            outb(base + LINE_CONTROL, DIVISOR_LATCH | control);
            outb(base + DATA, divisor as u8);
            outb(base + INTERRUPTS, (divisor >> 8) as u8);
        }
        outb(base + LINE_CONTROL, control);
        // Queues on and empty; an interrupt for each character.
        outb(base + FIFO_CONTROL, 7);
        // DTR, RTS, and OUT2, which lets interrupts out.
        outb(base + MODEM_CONTROL, 0xb);
        Some(Self {
            base,
            synchronous,
            interrupts: false,
            requested: 0,
            moves: false,
            moved: 0,
        })
    }

    fn empty(&self) -> bool {
        inb(self.base + LINE_STATUS) & EMPTY != 0
    }

    /// Has a character wait; [`Self::send`] sends it.
    pub(super) fn put(&mut self, queue: &mut Queue, byte: u8) {
        if queue.is_full() {
            self.flush_to(queue, WAITING - FIFO);
        }
        let _ = queue.push_back(byte);
    }

    /// Sends what the port takes now, and the rest when it asks for it; everything if the port is
    /// synchronous or cannot ask.
    pub(super) fn send(&mut self, queue: &mut Queue) {
        if self.synchronous || !self.interrupts {
            self.flush(queue);
        } else {
            self.fill(queue);
            self.request(queue);
        }
    }

    /// Fills the port's queue for as long as it is found empty.
    fn fill(&mut self, queue: &mut Queue) {
        while !queue.is_empty() && self.empty() {
            for _ in 0..FIFO {
                let Some(byte) = queue.pop_front() else {
                    break;
                };
                outb(self.base + DATA, byte);
                self.moves = true;
            }
        }
    }

    /// Asks for an interrupt when there is room, if something waits.
    fn request(&mut self, queue: &Queue) {
        let waiting = if queue.is_empty() { 0 } else { INTERRUPT_EMPTY };
        let wanted = INTERRUPT_RECEIVED | waiting;
        if self.interrupts && self.requested != wanted {
            self.requested = wanted;
            outb(self.base + INTERRUPTS, wanted);
        }
    }

    /// Do so many characters wait that what can come later should? A port that is stuck loses what waits.
    pub(super) fn is_crowded(&mut self, queue: &mut Queue, now: u64) -> bool {
        if queue.len() <= CROWDED {
            return false;
        }
        self.fill(queue);
        if core::mem::take(&mut self.moves) {
            self.moved = now;
        } else if now.saturating_sub(self.moved) > STUCK_NS {
            queue.clear();
        }
        queue.len() > CROWDED
    }

    /// Waits until the port has taken everything.
    pub(super) fn flush(&mut self, queue: &mut Queue) {
        self.flush_to(queue, 0);
    }

    /// Waits until so many characters wait and no more.
    fn flush_to(&mut self, queue: &mut Queue, left: usize) {
        let mut patience = PATIENCE;
        while queue.len() > left {
            let before = queue.len();
            self.fill(queue);
            if queue.len() < before {
                patience = PATIENCE;
            } else if patience == 0 {
                queue.clear();
            } else {
                patience -= 1;
                pause();
            }
        }
    }

    /// Waits until the last character is on the line: what the port has taken is lost when the machine goes off.
    pub(super) fn drain(&self) {
        let _ = (0..PATIENCE).any(|_| inb(self.base + LINE_STATUS) & SENT != 0);
    }

    /// Takes what came in, sends what waits.
    pub(super) fn service(&mut self, queue: &mut Queue, mut received: impl FnMut(u8)) {
        for _ in 0..FIFO * 4 {
            if inb(self.base + LINE_STATUS) & RECEIVED == 0 {
                break;
            }
            received(inb(self.base + DATA));
        }
        self.fill(queue);
        self.request(queue);
        // Only edges interrupt. What came in while the line was still up for what was sent made none: now it does.
        outb(self.base + INTERRUPTS, 0);
        outb(self.base + INTERRUPTS, self.requested);
    }

    /// Lets the port interrupt.
    pub(super) fn enable_interrupts(&mut self, queue: &Queue) {
        self.interrupts = true;
        self.request(queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// The port that a test's thread has. It interrupts on a rising edge only, as the real line does.
    #[derive(Default)]
    struct Port {
        enabled: u8,
        input: VecDeque<u8>,
        /// Comes in right after the port was found to have nothing.
        late: VecDeque<u8>,
        output: Vec<u8>,
        /// Its queue is empty.
        empty: bool,
        high: bool,
        edges: usize,
    }

    thread_local! {
        static PORT: RefCell<Option<Port>> = const { RefCell::new(None) };
    }

    impl Port {
        fn level(&mut self) {
            let received = self.enabled & INTERRUPT_RECEIVED != 0 && !self.input.is_empty();
            let high = received || self.enabled & INTERRUPT_EMPTY != 0 && self.empty;
            self.edges += usize::from(high && !self.high);
            self.high = high;
        }
    }

    /// Does something with the port; none is there in other tests.
    fn port<T>(with: impl FnOnce(&mut Port) -> T) -> Option<T> {
        PORT.with_borrow_mut(|port| {
            let port = port.as_mut()?;
            let value = with(port);
            port.level();
            Some(value)
        })
    }

    pub(super) fn inb(number: u16) -> u8 {
        let read = |port: &mut Port| match number - Com::COM1.io_base {
            DATA => port.input.pop_front().unwrap_or(0),
            _ => {
                let status = u8::from(!port.input.is_empty()) | (u8::from(port.empty) * EMPTY);
                if port.input.is_empty() {
                    port.input.append(&mut port.late);
                }
                status
            }
        };
        port(read).unwrap_or(!0)
    }

    pub(super) fn outb(number: u16, value: u8) {
        port(|port| match number - Com::COM1.io_base {
            DATA => {
                port.output.push(value);
                port.empty = false;
            }
            INTERRUPTS => port.enabled = value,
            _ => {}
        });
    }

    #[test]
    fn what_comes_in_while_the_line_is_up_for_what_was_sent_interrupts_too() {
        PORT.set(Some(Port::default()));
        let mut uart = Uart::open(&Com::COM1, false).unwrap();
        uart.interrupts = true;
        // The divisor went through the same register.
        port(|port| port.output.clear());
        let mut queue = Queue::new();
        for byte in 0..FIFO as u8 * 2 {
            uart.put(&mut queue, byte);
        }
        port(|port| port.empty = true);
        uart.send(&mut queue);
        let sent = |port: &mut Port| {
            port.empty = true;
            port.late.push_back(b'x');
        };
        // All that is sent is on the line, and somebody types when nothing of that was seen.
        let before = port(|port| port.edges).unwrap();
        port(sent);
        assert_eq!(port(|port| port.edges), Some(before + 1), "room");
        let mut heard = Vec::new();
        uart.service(&mut queue, |byte| heard.push(byte));
        assert_eq!(port(|port| port.output.len()), Some(FIFO * 2));
        assert_eq!(heard, b"", "it was not seen yet");
        let edges = port(|port| port.edges);
        assert_eq!(edges, Some(before + 2), "no interrupt for it");
        uart.service(&mut queue, |byte| heard.push(byte));
        assert_eq!(heard, b"x");
        PORT.set(None);
    }

    #[test]
    fn what_does_not_fit_waits_for_room_only_and_a_stuck_port_for_ever_stops_nobody() {
        PORT.set(Some(Port::default()));
        let mut uart = Uart::open(&Com::COM1, false).unwrap();
        uart.interrupts = true;
        let mut queue = Queue::new();
        while !uart.is_crowded(&mut queue, 0) {
            uart.put(&mut queue, b'.');
        }
        assert_eq!(queue.len(), CROWDED + 1);
        while !queue.is_full() {
            uart.put(&mut queue, b'.');
        }
        // The port takes what fits it, once.
        port(|port| (port.empty, port.output) = (true, Vec::new()));
        uart.put(&mut queue, b'.');
        assert_eq!(port(|port| port.output.len()), Some(FIFO));
        assert_eq!(queue.len(), WAITING - FIFO + 1);
        assert!(uart.is_crowded(&mut queue, 0));
        assert!(uart.is_crowded(&mut queue, STUCK_NS));
        port(|port| port.empty = true);
        assert!(uart.is_crowded(&mut queue, 2 * STUCK_NS), "it moves");
        assert!(!uart.is_crowded(&mut queue, 4 * STUCK_NS) && queue.is_empty());
        // Long after that it is not stuck if it has begun to take what came meanwhile.
        port(|port| port.empty = true);
        (0..WAITING).for_each(|_| uart.put(&mut queue, b'.'));
        uart.send(&mut queue);
        assert!(uart.is_crowded(&mut queue, 100 * STUCK_NS));
        assert!(!queue.is_empty());
        PORT.set(None);
    }

    #[test]
    fn settings_become_registers() {
        assert_eq!(
            (line_control(&Com::COM1), divisor(&Com::COM1)),
            (3, Some(1))
        );
        let slow = Com {
            baud: Baud::Rate(9600),
            data_bits: 7,
            parity: Parity::Even,
            stop_bits: 2,
            ..Com::COM1
        };
        assert_eq!((line_control(&slow), divisor(&slow)), (0x1e, Some(12)));
        assert_eq!(
            divisor(&Com {
                baud: Baud::Auto,
                ..Com::COM1
            }),
            None
        );
    }

    #[test]
    fn a_port_that_is_not_there_is_not_opened() {
        assert!(Uart::open(&Com::COM1, true).is_none());
    }
}
