//! The hypervisor's console: `CONSOLEIO_write` for logs (every domain), raw output and input (Domain-0).

pub use crate::hypercall::{console_read as read, console_write as write_bytes};
use core::fmt::{self, Write};

/// Longest line written with one hypercall; longer ones are cut.
const LINE: usize = 512;

/// A line being built on the stack.
struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Room is kept for the newline.
        let room = LINE - 1 - self.len;
        let count = text.len().min(room);
        self.bytes[self.len..self.len + count].copy_from_slice(&text.as_bytes()[..count]);
        self.len += count;
        Ok(())
    }
}

/// Writes formatted text as one line. Used by the log and by the panic handler: it does not allocate.
pub fn write_line(text: fmt::Arguments<'_>) {
    let mut line = Line {
        bytes: [0; LINE],
        len: 0,
    };
    // Infallible: `Line` cuts instead of failing, and a failing `Display` leaves what it wrote.
    let _ = line.write_fmt(text);
    line.bytes[line.len] = b'\n';
    let _ = write_bytes(&line.bytes[..=line.len]);
}
