//! The second serial port, for whoever connects.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Carries COM2 to one client of `socket` after the other; what comes while there is none is lost, as on any line.
pub(super) fn bridge(line: &TcpStream, socket: &UnixListener) {
    let client = Arc::new(Mutex::new(None::<std::os::unix::net::UnixStream>));
    let theirs = Arc::clone(&client);
    let Ok(mut input) = line.try_clone() else {
        return;
    };
    thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(length @ 1..) = input.read(&mut block) {
            let mut client = theirs.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(stream) = client.as_mut() {
                // One that has gone is noticed by its reader.
                let _ = stream.write_all(&block[..length]);
            }
        }
        // The machine has ended; so has the line.
        if let Some(stream) = theirs.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    });
    let mut line = line;
    while let Ok((mut stream, _)) = socket.accept() {
        let Ok(writer) = stream.try_clone() else {
            continue;
        };
        *client.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        let mut block = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            if line.write_all(&block[..length]).is_err() {
                return;
            }
        }
        *client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
