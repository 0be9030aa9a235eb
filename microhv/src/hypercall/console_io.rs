//! `console_io`: the operator's console for Domain-0, a line in the log for everyone else.

use xen_abi::Errno;
use xen_abi::xen::{CONSOLEIO_READ, CONSOLEIO_WRITE};

use super::{Caller, DONE, Outcome, Result, budget};
use crate::console;
use crate::guest_args::GuestArgs;

/// Bytes that move at a time.
const CHUNK: usize = 256;

/// `console_io(cmd, count, buffer)`.
pub fn call(caller: &Caller<'_>) -> Result {
    let count = caller.argument(1) as usize;
    let buffer = caller.argument(2);
    match caller.argument(0) as u32 {
        CONSOLEIO_WRITE => write(caller, count, buffer),
        CONSOLEIO_READ => {
            caller.check_privilege()?;
            let mut bytes = [0; CHUNK];
            let room = count.min(CHUNK);
            let got = console::read_input(&mut bytes[..room]);
            // Its lock is not held meanwhile: to find the caller's memory takes others.
            let written = caller.memory(buffer).write(0, &bytes[..got]);
            written.inspect_err(|_| console::unread_input(&bytes[..got]))?;
            Ok(Outcome::Value(got as u64))
        }
        _ => Err(Errno::ENOSYS),
    }
}

fn write(caller: &Caller<'_>, count: usize, buffer: u64) -> Result {
    let domain = &caller.vcpu.domain;
    let mut memory = caller.memory(buffer);
    let mut done = 0;
    while done < count {
        // A slow serial port takes its time, which is the writer's.
        if done > 0 && budget::is_spent() || console::is_crowded() {
            let (left, rest) = ((count - done) as u64, buffer.wrapping_add(done as u64));
            return Ok(Outcome::Again([u64::from(CONSOLEIO_WRITE), left, rest]));
        }
        let mut bytes = [0; CHUNK];
        let read = (count - done).min(CHUNK);
        memory.read(done, &mut bytes[..read])?;
        let mut text = bytes[..read].iter();
        let end = match domain.privileged {
            // The log comes between lines, where there are any.
            true => text.rposition(|byte| *byte == b'\n'),
            // A line of the log is longer than what makes it: one at a time finds room.
            false => text.position(|byte| *byte == b'\n'),
        };
        let piece = end.map_or(read, |end| end + 1);
        if domain.privileged {
            console::raw_write(&bytes[..piece]);
        } else {
            console::guest_write(domain.id, &domain.name(), &bytes[..piece]);
        }
        done += piece;
    }
    Ok(DONE)
}
