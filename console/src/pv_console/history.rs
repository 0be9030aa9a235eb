//! The last output of a guest.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bytes kept for each guest.
pub const HISTORY_SIZE: usize = 64 << 10;

/// A guest's last output; older bytes make room for newer ones.
#[derive(Debug, Default)]
pub struct History {
    bytes: VecDeque<u8>,
}

impl History {
    /// Nothing said yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
        }
    }

    /// Adds output.
    pub fn push(&mut self, output: &[u8]) {
        let output = output
            .get(output.len().saturating_sub(HISTORY_SIZE)..)
            .unwrap_or_default();
        let excess = (self.bytes.len() + output.len()).saturating_sub(HISTORY_SIZE);
        self.bytes.drain(..excess);
        self.bytes.extend(output);
    }

    /// What is kept, oldest byte first; from the start of a line if the beginning is lost.
    #[must_use]
    pub fn read(&self) -> Vec<u8> {
        let full = self.bytes.len() == HISTORY_SIZE;
        let start = match self.bytes.iter().position(|&byte| byte == b'\n') {
            Some(end) if full => end + 1,
            _ => 0,
        };
        self.bytes.iter().skip(start).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_whole_lines() {
        let mut history = History::new();
        history.push(b"first\n");
        assert_eq!(history.read(), b"first\n");
        for _ in 0..HISTORY_SIZE / 8 {
            history.push(b"1234567\n");
        }
        let kept = history.read();
        assert!(kept.len() <= HISTORY_SIZE && kept.len() > HISTORY_SIZE - 16);
        assert!(kept.starts_with(b"1234567\n"));
        history.push(&vec![b'x'; 2 * HISTORY_SIZE]);
        assert_eq!(history.read().len(), HISTORY_SIZE);
    }
}
