//! What is wrong, and where.

use crate::value::Position;
use alloc::string::{String, ToString};
use core::fmt;

/// One mistake in a configuration file; prints as `file:line:column: reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file's name as the caller knows it.
    pub file: String,
    /// Where it starts.
    pub position: Position,
    /// What was expected and what is there.
    pub reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.position.line, self.position.column, self.reason
        )
    }
}

impl core::error::Error for Error {}

/// A mistake inside one string, such as a disk specification: the offset in bytes and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// Bytes before the part that is wrong.
    pub offset: usize,
    /// What was expected and what is there.
    pub reason: String,
}

impl SpecError {
    /// A mistake at `part`, a piece of `whole`.
    #[must_use]
    pub fn new(whole: &str, part: &str, reason: impl Into<String>) -> Self {
        let offset = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        SpecError {
            offset: if offset <= whole.len() { offset } else { 0 },
            reason: reason.into(),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// `text` for a message: short, and with no control characters of a broken file.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for (count, c) in text.chars().enumerate() {
        if count == 60 {
            out.push_str("...");
            break;
        }
        if c.is_control() {
            out.push_str(&c.escape_default().to_string());
        } else {
            out.push(c);
        }
    }
    out.push('\'');
    out
}
