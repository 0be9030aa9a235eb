//! The operator's console: the log, Domain-0's output, and what is typed.
//!
//! Every line of the log goes to the serial port and to a ring that `xl dmesg` reads. What
//! Domain-0 writes goes to the serial port only, as it is.
#![allow(unsafe_code, reason = "the serial port")]

mod guest;
mod input;
mod levels;
pub mod ring;
mod uart;

use crate::arch::timer;
use core::fmt::{self, Arguments, Write};
use spin::Mutex;
use uart::{Queue, Uart};

pub use guest::guest_write;
pub use input::{interrupt, read_input, unread_input};
pub(crate) use levels::set as set_levels;

struct Console {
    uart: Option<Uart>,
    queue: Queue,
    /// The cursor is where a line starts.
    at_start: bool,
    /// The last character was a carriage return.
    returned: bool,
}

static CONSOLE: Mutex<Console> = Mutex::new(Console {
    uart: None,
    queue: Queue::new(),
    at_start: true,
    returned: false,
});

impl Console {
    /// To the serial port, with a carriage return before each line feed that has none.
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(uart) = &mut self.uart {
                if *byte == b'\n' && !self.returned {
                    uart.put(&mut self.queue, b'\r');
                }
                uart.put(&mut self.queue, *byte);
            }
            self.returned = *byte == b'\r';
            self.at_start = *byte == b'\n';
        }
    }

    /// What was put goes out.
    fn send(&mut self) {
        if let Some(uart) = &mut self.uart {
            uart.send(&mut self.queue);
        }
    }
}

/// A line of the log, on the serial port and in the ring.
struct Line<'a> {
    console: &'a mut Console,
    ring: &'a mut ring::Ring,
}

impl Line<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.console.put(bytes);
        self.ring.put(bytes);
    }
}

impl Write for Line<'_> {
    /// Replaces line feeds: a line of the log is one line.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (index, part) in text.split('\n').enumerate() {
            if index > 0 {
                self.put(b" | ");
            }
            self.put(part.as_bytes());
        }
        Ok(())
    }
}

/// One line of the log, as in Xen: who, seconds since start, and the message.
fn print(who: Arguments<'_>, message: Arguments<'_>) {
    let us = timer::now_ns() / 1000;
    let (seconds, us) = (us / 1_000_000, us % 1_000_000);
    let mut console = CONSOLE.lock();
    let mut ring = ring::RING.lock();
    if !console.at_start {
        console.put(b"\n");
    }
    let mut line = Line {
        console: &mut console,
        ring: &mut ring,
    };
    let _ = write!(line, "({who}) [{seconds:5}.{us:06}] {message}");
    line.put(b"\n");
    console.send();
}

/// Domain-0's output: to the serial port as it is, not to the log.
pub fn raw_write(bytes: &[u8]) {
    let mut console = CONSOLE.lock();
    console.put(bytes);
    console.send();
}

/// Does so much wait for the serial port that what domains write should wait with them? Nobody else's time is to go into
/// that.
pub fn is_crowded() -> bool {
    #[cfg(test)]
    if CROWDED.get() {
        return true;
    }
    let console = &mut *CONSOLE.lock();
    let uart = console.uart.as_mut();
    uart.is_some_and(|uart| uart.is_crowded(&mut console.queue, timer::now_ns()))
}

#[cfg(test)]
thread_local! {
    /// What a test says.
    pub static CROWDED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Opens the serial port, if there is one, and prints there what the log holds so far.
pub(crate) fn open(com: Option<&config::xen_cmdline::Com>, synchronous: bool) {
    let mut console = CONSOLE.lock();
    console.uart = com.and_then(|com| Uart::open(com, synchronous));
    let mut at = 0;
    let mut part = [0; 256];
    loop {
        let count = ring::RING.lock().read_from(&mut at, &mut part);
        if count == 0 {
            break;
        }
        console.put(&part[..count]);
    }
    console.send();
}

/// From now on the serial port's interrupts arrive at [`interrupt`].
pub(crate) fn enable_interrupts() {
    let console = &mut *CONSOLE.lock();
    if let Some(uart) = &mut console.uart {
        uart.enable_interrupts(&console.queue);
    }
}

/// Waits until all that was written is out.
pub fn flush() {
    let console = &mut *CONSOLE.lock();
    if let Some(uart) = &mut console.uart {
        uart.flush(&mut console.queue);
        uart.drain();
    }
}

/// The console for last words: whoever holds it does not matter any more.
pub fn emergency() -> impl Write {
    let patient = (0..1_000_000).find_map(|_| {
        core::hint::spin_loop();
        CONSOLE.try_lock()
    });
    let mut guard = patient.unwrap_or_else(|| {
        // At worst characters are lost.
        // SAFETY: only the panic handler calls, other CPUs have been told to stop, and the holder was given time to finish.
        unsafe { CONSOLE.force_unlock() };
        CONSOLE.lock()
    });
    let console = &mut *guard;
    if console.uart.is_none() {
        console.uart = Uart::open(&config::xen_cmdline::Com::COM1, true);
    }
    if let Some(uart) = &mut console.uart {
        uart.flush(&mut console.queue);
        uart.synchronous = true;
    }
    if !console.at_start {
        console.put(b"\n");
    }
    Emergency(guard)
}

struct Emergency(spin::MutexGuard<'static, Console>);

impl Write for Emergency {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text.as_bytes());
        self.0.send();
        if let Some(mut ring) = ring::RING.try_lock() {
            ring.put(text.as_bytes());
        }
        Ok(())
    }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // Crates describe their own workings; only their errors are the operator's business.
        let ours = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
        (ours || metadata.level() == log::Level::Error) && levels::hypervisor(metadata.level())
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            print(format_args!("XEN"), *record.args());
        }
    }

    fn flush(&self) {}
}

/// Makes the `log` crate's macros print here.
pub(crate) fn init_log() {
    static LOGGER: Logger = Logger;
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}
