//! The line editor of the prompt: from bytes typed to lines, with the echo to be sent back.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

/// Bytes in a line; more are not taken.
const LINE_MAX: usize = 1024;
/// Lines that Up and Down go through.
const HISTORY_MAX: usize = 100;

const CTRL_A: u8 = 0x01;
const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_E: u8 = 0x05;
const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const TAB: u8 = 0x09;
const LINE_FEED: u8 = 0x0a;
const CTRL_K: u8 = 0x0b;
const CTRL_L: u8 = 0x0c;
const RETURN: u8 = 0x0d;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// What a byte led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineEvent {
    /// The line is not finished.
    Editing,
    /// Return: here is the line, without its end.
    Line(String),
    /// Ctrl-C: the line was dropped; a new prompt is due.
    Interrupt,
    /// The screen was cleared; prompt and line have to be shown again.
    Redraw,
}

/// Where the decoder of keys is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Plain,
    /// Escape was typed.
    Escape,
    /// Escape and `[` or `O`, then this number so far.
    Sequence(u8),
}

/// An edited line with its history.
#[derive(Debug)]
pub struct LineEditor {
    line: Vec<u8>,
    cursor: usize,
    key: Key,
    after_return: bool,
    history: VecDeque<Vec<u8>>,
    /// Distance from the newest line of the history; 0 is the line being typed.
    back: usize,
    typed: Vec<u8>,
}

impl Default for LineEditor {
    fn default() -> Self {
        Self::new()
    }
}

impl LineEditor {
    /// An empty line.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line: Vec::new(),
            cursor: 0,
            key: Key::Plain,
            after_return: false,
            history: VecDeque::new(),
            back: 0,
            typed: Vec::new(),
        }
    }

    /// The line so far with the cursor at its end, to be shown again behind a new prompt.
    pub fn redraw(&mut self, echo: &mut Vec<u8>) {
        self.cursor = self.line.len();
        echo.extend_from_slice(&self.line);
    }

    /// Takes one typed byte; what the terminal has to show is added to `echo`. `complete` gives
    /// the words that can stand at the end of the line up to the cursor.
    pub fn input(
        &mut self,
        byte: u8,
        echo: &mut Vec<u8>,
        complete: &mut dyn FnMut(&str) -> Vec<String>,
    ) -> LineEvent {
        let after_return = core::mem::replace(&mut self.after_return, byte == RETURN);
        if self.key != Key::Plain {
            self.sequence(byte, echo);
            return LineEvent::Editing;
        }
        match byte {
            LINE_FEED if after_return => {}
            RETURN | LINE_FEED => return self.finish(echo),
            CTRL_C => {
                echo.extend_from_slice(b"^C\r\n");
                self.line.clear();
                self.cursor = 0;
                self.back = 0;
                return LineEvent::Interrupt;
            }
            CTRL_L => {
                echo.extend_from_slice(b"\x1b[H\x1b[2J");
                return LineEvent::Redraw;
            }
            BACKSPACE | DELETE => self.erase(self.cursor.saturating_sub(1), echo),
            CTRL_D => {
                self.move_to(self.cursor.saturating_add(1), echo);
                self.erase(
                    self.cursor
                        .saturating_sub(usize::from(!self.line.is_empty())),
                    echo,
                );
            }
            CTRL_U => self.erase(0, echo),
            CTRL_W => self.erase(self.word_start(), echo),
            CTRL_K => {
                self.line.truncate(self.cursor);
                echo.extend_from_slice(b"\x1b[K");
            }
            CTRL_A => self.move_to(0, echo),
            CTRL_E => self.move_to(self.line.len(), echo),
            TAB => self.complete(echo, complete),
            ESCAPE => self.key = Key::Escape,
            b' '..=b'~' => self.insert(byte, echo),
            _ => {}
        }
        LineEvent::Editing
    }

    fn finish(&mut self, echo: &mut Vec<u8>) -> LineEvent {
        echo.extend_from_slice(b"\r\n");
        let line = core::mem::take(&mut self.line);
        self.cursor = 0;
        self.back = 0;
        let text = String::from_utf8_lossy(&line).into_owned();
        if !line.is_empty() && self.history.back() != Some(&line) {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(line);
        }
        LineEvent::Line(text)
    }

    fn insert(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.line.len() >= LINE_MAX {
            echo.push(BELL);
            return;
        }
        self.line.insert(self.cursor, byte);
        self.show_from(self.cursor, echo);
        self.cursor += 1;
        self.step_back(self.line.len() - self.cursor, echo);
    }

    /// Removes from `start` to the cursor.
    fn erase(&mut self, start: usize, echo: &mut Vec<u8>) {
        let count = self.cursor.saturating_sub(start);
        if count == 0 {
            return;
        }
        self.line.drain(start..self.cursor);
        self.step_back(count, echo);
        self.cursor = start;
        self.show_from(start, echo);
        echo.extend_from_slice(b"\x1b[K");
        self.step_back(self.line.len() - self.cursor, echo);
    }

    fn move_to(&mut self, place: usize, echo: &mut Vec<u8>) {
        let place = place.min(self.line.len());
        if place < self.cursor {
            self.step_back(self.cursor - place, echo);
        } else {
            let passed = self.line.get(self.cursor..place).unwrap_or_default();
            echo.extend_from_slice(passed);
        }
        self.cursor = place;
    }

    fn show_from(&self, start: usize, echo: &mut Vec<u8>) {
        echo.extend_from_slice(self.line.get(start..).unwrap_or_default());
    }

    fn step_back(&self, count: usize, echo: &mut Vec<u8>) {
        echo.extend(core::iter::repeat_n(BACKSPACE, count));
    }

    fn word_start(&self) -> usize {
        let before = self.line.get(..self.cursor).unwrap_or_default();
        let end = before
            .iter()
            .rposition(|&byte| byte != b' ')
            .map_or(0, |at| at + 1);
        let word = before.get(..end).unwrap_or_default();
        word.iter()
            .rposition(|&byte| byte == b' ')
            .map_or(0, |at| at + 1)
    }

    fn replace(&mut self, line: Vec<u8>, echo: &mut Vec<u8>) {
        self.move_to(self.line.len(), echo);
        self.erase(0, echo);
        self.line = line;
        self.cursor = self.line.len();
        self.show_from(0, echo);
    }

    fn sequence(&mut self, byte: u8, echo: &mut Vec<u8>) {
        self.key = match (self.key, byte) {
            (Key::Escape, b'[' | b'O') => Key::Sequence(0),
            (Key::Sequence(number), b'0'..=b'9') => {
                Key::Sequence(number.wrapping_mul(10).wrapping_add(byte - b'0'))
            }
            (Key::Sequence(number), final_byte) => {
                self.named_key(number, final_byte, echo);
                Key::Plain
            }
            _ => Key::Plain,
        };
    }

    fn named_key(&mut self, number: u8, final_byte: u8, echo: &mut Vec<u8>) {
        match (final_byte, number) {
            (b'A', _) => self.walk(self.back.saturating_add(1), echo),
            (b'B', _) => self.walk(self.back.saturating_sub(1), echo),
            (b'C', _) => self.move_to(self.cursor.saturating_add(1), echo),
            (b'D', _) => self.move_to(self.cursor.saturating_sub(1), echo),
            (b'H', _) | (b'~', 1 | 7) => self.move_to(0, echo),
            (b'F', _) | (b'~', 4 | 8) => self.move_to(self.line.len(), echo),
            (b'~', 3) if self.cursor < self.line.len() => {
                self.move_to(self.cursor + 1, echo);
                self.erase(self.cursor - 1, echo);
            }
            _ => {}
        }
    }

    /// Goes to the line `back` lines before the one being typed.
    fn walk(&mut self, back: usize, echo: &mut Vec<u8>) {
        if back == self.back || back > self.history.len() {
            return;
        }
        if self.back == 0 {
            self.typed = self.line.clone();
        }
        let line = match back {
            0 => core::mem::take(&mut self.typed),
            _ => self
                .history
                .get(self.history.len() - back)
                .cloned()
                .unwrap_or_default(),
        };
        self.back = back;
        self.replace(line, echo);
    }

    fn complete(&mut self, echo: &mut Vec<u8>, complete: &mut dyn FnMut(&str) -> Vec<String>) {
        let before = String::from_utf8_lossy(self.line.get(..self.cursor).unwrap_or_default());
        let word = before.rsplit(' ').next().unwrap_or_default().len();
        let candidates = complete(&before);
        let Some((first, others)) = candidates.split_first() else {
            echo.push(BELL);
            return;
        };
        let common = others.iter().fold(first.len(), |length, other| {
            let same = first
                .bytes()
                .zip(other.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            length.min(same)
        });
        let end: Vec<u8> = first.bytes().take(common).skip(word).collect();
        let unique = others.is_empty();
        if end.is_empty() && !unique {
            echo.push(BELL);
        }
        for byte in end.into_iter().chain(unique.then_some(b' ')) {
            self.insert(byte, echo);
        }
    }
}

#[cfg(test)]
mod tests;
