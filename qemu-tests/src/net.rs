//! The host's end of a network test: a TCP peer, and a stream of bytes that no bug repeats by chance.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::scenario::HANG;

/// `length` bytes that depend on `seed` (xorshift64; Marsaglia 2003).
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// The SHA-256 of `bytes`, as sha256sum prints it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A server on the host that takes one connection; a guest finds it at 10.0.2.2.
#[derive(Debug)]
pub struct Peer {
    /// Its port.
    pub port: u16,
    thread: JoinHandle<std::io::Result<Vec<u8>>>,
}

impl Peer {
    /// Sends `bytes` to whoever connects, then receives what comes until the other side closes.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(bytes: Vec<u8>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(HANG))?;
            stream.write_all(&bytes)?;
            if !bytes.is_empty() {
                stream.shutdown(std::net::Shutdown::Write)?;
            }
            let mut received = Vec::new();
            stream.read_to_end(&mut received)?;
            Ok(received)
        });
        Ok(Self { port, thread })
    }

    /// What the other side sent. Blocks until it has closed the connection.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn received(self) -> Result<Vec<u8>> {
        match self.thread.join() {
            Ok(received) => received.context("TCP connection from the guest"),
            Err(_) => bail!("the TCP peer panicked"),
        }
    }
}

/// A port of the host that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// The body of `http://127.0.0.1:PORT/`.
///
/// # Errors
/// When nobody answers or the status is not 200.
pub fn http_get(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(HANG))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("no HTTP answer: {text:?}")
    };
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("HTTP answer: {status}");
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_sha256sum() {
        // printf abc | sha256sum
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn noise_does_not_repeat_and_can_be_made_again() {
        let bytes = noise(7, 10_000);
        assert_eq!(bytes.len(), 10_000);
        assert_eq!(bytes, noise(7, 10_000));
        assert_ne!(bytes[..4096], bytes[4096..8192]);
        assert_ne!(bytes, noise(9, 10_000));
    }

    #[test]
    fn a_peer_sends_then_receives() {
        let peer = Peer::start(b"out".to_vec()).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, peer.port)).unwrap();
        stream.write_all(b"in").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        drop(stream);
        assert_eq!(text, "out");
        assert_eq!(peer.received().unwrap(), b"in");
    }
}
