//! Values as the file has them.

use alloc::string::String;
use alloc::vec::Vec;

/// A place in the file; both count from 1, columns in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Where it starts: of a string, its quote.
    pub position: Position,
    /// What it is.
    pub kind: Kind,
}

/// What a value is. xl makes no difference between `4` and `"4"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string, without its quotes and escapes.
    Text(String),
    /// A number as it is written.
    Number(String),
    /// `[ value, value, ... ]`
    List(Vec<Value>),
}

impl Value {
    /// The text of a string or number.
    #[must_use]
    pub fn atom(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text),
            Kind::List(_) => None,
        }
    }

    /// The place of the byte at `offset` of a string, as far as there are no escapes before it.
    #[must_use]
    pub fn inside(&self, offset: usize) -> Position {
        let quote = usize::from(matches!(self.kind, Kind::Text(_)));
        let offset = u32::try_from(offset.saturating_add(quote)).unwrap_or(u32::MAX);
        Position {
            line: self.position.line,
            column: self.position.column.saturating_add(offset),
        }
    }
}
