//! What the operator types.

use super::CONSOLE;
use heapless::Deque;
use spin::Mutex;

/// Characters that wait for Domain-0; more are lost.
const WAITING: usize = 1024;

static INPUT: Mutex<Deque<u8, WAITING>> = Mutex::new(Deque::new());

/// Takes characters that were typed; returns how many.
pub fn read_input(buf: &mut [u8]) -> usize {
    let mut input = INPUT.lock();
    let mut count = 0;
    for place in buf {
        let Some(byte) = input.pop_front() else {
            break;
        };
        *place = byte;
        count += 1;
    }
    count
}

/// Puts back, in front, what could not be handed over; what came last and finds no room is lost.
pub fn unread_input(bytes: &[u8]) {
    let mut input = INPUT.lock();
    for byte in bytes.iter().rev() {
        if input.is_full() {
            input.pop_back();
        }
        let _ = input.push_front(*byte);
    }
}

/// Looks after the serial port at its interrupt: takes what came in, sends what waits.
pub fn interrupt(_vector: u8) {
    let mut arrived = false;
    let mut guard = CONSOLE.lock();
    let console = &mut *guard;
    if let Some(uart) = &mut console.uart {
        let mut input = INPUT.lock();
        uart.service(&mut console.queue, |byte| {
            arrived = true;
            let _ = input.push_back(byte);
        });
    }
    drop(guard);
    if arrived {
        crate::domain::events::tell_operator(xen_abi::xen::VIRQ_CONSOLE);
    }
}
