//! Bytes to lines.

use alloc::string::String;
use alloc::vec::Vec;

/// Longer lines are broken, in bytes.
pub const LINE_MAX: usize = 1024;

/// Puts lines together from pieces.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// When the first byte of `partial` came, in nanoseconds.
    since: u64,
    /// Inside an escape sequence.
    escape: Escape,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC [: until a letter.
    Control,
}

impl Lines {
    /// Takes `bytes`, gives each line that is complete to `line`: without line end, escape sequences and control
    /// characters, as UTF-8.
    pub fn push(&mut self, bytes: &[u8], now: u64, mut line: impl FnMut(&str)) {
        for &byte in bytes {
            match (self.escape, byte) {
                (Escape::Begun, b'[') => self.escape = Escape::Control,
                (Escape::Begun, _) => self.escape = Escape::None,
                (Escape::Control, 0x40..=0x7e) => self.escape = Escape::None,
                // A line end ends a sequence that was never finished.
                (Escape::Control, 0x20..=0x3f) => {}
                (_, 0x1b) => self.escape = Escape::Begun,
                (_, b'\n') => {
                    self.escape = Escape::None;
                    self.finish(&mut line);
                }
                (_, b'\t' | 0x20..=0x7e | 0x80..) => {
                    self.escape = Escape::None;
                    if self.partial.is_empty() {
                        self.since = now;
                    }
                    self.partial.push(byte);
                    if self.partial.len() >= LINE_MAX {
                        self.finish(&mut line);
                    }
                }
                _ => self.escape = Escape::None,
            }
        }
    }

    /// Gives what has waited for its line's end since before `limit`.
    pub fn expire(&mut self, limit: u64, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() && self.since <= limit {
            self.finish(&mut line);
        }
    }

    /// Whether a line has begun.
    #[must_use]
    pub fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    fn finish(&mut self, line: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.partial);
        // Those of two bytes too: U+009B is what ESC [ is.
        let plain = |c: &char| !c.is_control() || *c == '\t';
        let text: String = text.chars().filter(plain).collect();
        let text = text.trim_end();
        if !text.is_empty() {
            line(text);
        }
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<String>, Lines) {
        let (mut lines, mut said) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, 5, |line| said.push(line.to_string()));
        }
        (said, lines)
    }

    #[test]
    fn lines_come_whole_and_plain() {
        let (said, rest) = lines(&[
            b"one\r\ntw",
            b"o\n\n\x1b[1;32mgreen\x1b",
            b"[0m\x07\xc3\xa4\n",
            b"end\x1b[12\nred\xc2\x9b31m\nnext",
        ]);
        assert_eq!(said, ["one", "two", "greenä", "end", "red31m"]);
        assert!(rest.has_partial());
    }

    #[test]
    fn a_prompt_without_a_line_end_does_not_wait_for_ever() {
        let (_, mut rest) = lines(&[b"login: "]);
        rest.expire(4, |_| panic!("too early"));
        let mut said = String::new();
        rest.expire(5, |line| said = line.to_string());
        assert_eq!(said, "login:");
        assert!(!rest.has_partial());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_bounded_plain_lines(pieces: Vec<Vec<u8>>, long: u16) {
            let long = vec![b'x'; long.into()];
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).chain([&long[..]]).collect();
            let (said, rest) = lines(&pieces);
            for line in &said {
                // Bytes that are no UTF-8 become a character of three.
                proptest::prop_assert!(!line.is_empty() && line.len() <= 3 * LINE_MAX);
                proptest::prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'));
            }
            proptest::prop_assert!(rest.partial.len() < LINE_MAX);
        }

        #[test]
        fn pieces_do_not_matter(bytes: Vec<u8>, cut: proptest::sample::Index) {
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            proptest::prop_assert_eq!(lines(&[&bytes]).0, lines(&[first, second]).0);
        }
    }
}
