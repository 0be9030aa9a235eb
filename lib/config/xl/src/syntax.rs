//! The syntax: `key = value` pairs, ended by a line's end or `;`.

use crate::error::quoted;
use crate::value::{Kind, Position, Value};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::iter::Peekable;
use core::str::Chars;

/// How deep lists may nest; xl.cfg(5) itself needs three (`vnuma`).
const DEPTH_LIMIT: usize = 16;

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where the key starts.
    pub position: Position,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
}

/// Where reading stopped, and why.
pub type SyntaxError = (Position, String);

/// Reads a whole file. `key += value` adds to the list or string that `key` has already, as in xl.
///
/// # Errors
/// The first place that is no xl.cfg(5), with what was expected.
pub fn parse(file: &[u8]) -> Result<Vec<Setting>, SyntaxError> {
    let text = match core::str::from_utf8(file) {
        Ok(text) => text,
        Err(error) => {
            let before = file.get(..error.valid_up_to()).unwrap_or_default();
            let lines = before.iter().filter(|b| **b == b'\n').count();
            let column = before.iter().rev().take_while(|b| **b != b'\n').count();
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
            return Err((
                Position {
                    line: count(lines),
                    column: count(column),
                },
                "expected UTF-8 text".to_string(),
            ));
        }
    };
    let mut parser = Parser {
        rest: text.chars().peekable(),
        position: Position { line: 1, column: 1 },
    };
    let mut settings = Vec::new();
    while parser.skip_to_statement() {
        parser.statement(&mut settings)?;
    }
    Ok(settings)
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    position: Position,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.position = Position {
                line: self.position.line.saturating_add(1),
                column: 1,
            };
        } else {
            self.position.column = self
                .position
                .column
                .saturating_add(u32::try_from(c.len_utf8()).unwrap_or(1));
        }
        Some(c)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek().filter(|c| wanted(*c)) {
            taken.push(c);
            self.next();
        }
        taken
    }

    fn expected<T>(&mut self, what: &str) -> Result<T, SyntaxError> {
        let found = match self.peek() {
            None => "the end of the file".to_string(),
            Some('\n') => "the end of the line".to_string(),
            Some(c) => quoted(&c.to_string()),
        };
        Err((
            self.position,
            alloc::format!("expected {what}, found {found}"),
        ))
    }

    /// Skips blanks and a comment; with `lines`, ends of lines too.
    fn skip_blanks(&mut self, lines: bool) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => {}
                Some('\n') if lines => {}
                Some('#') => {
                    self.take_while(|c| c != '\n');
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    fn skip_to_statement(&mut self) -> bool {
        loop {
            self.skip_blanks(true);
            if self.peek() != Some(';') {
                return self.peek().is_some();
            }
            self.next();
        }
    }

    fn statement(&mut self, settings: &mut Vec<Setting>) -> Result<(), SyntaxError> {
        let position = self.position;
        if !self
            .peek()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        {
            return self.expected("the name of an option");
        }
        let key = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        self.skip_blanks(false);
        let add = self.peek() == Some('+');
        if add {
            self.next();
        }
        if self.peek() != Some('=') {
            return self.expected("'='");
        }
        self.next();
        self.skip_blanks(false);
        let value = self.value(0)?;
        self.skip_blanks(false);
        if !matches!(self.peek(), None | Some('\n' | ';')) {
            return self.expected("the end of the line or ';' behind the value");
        }
        if add && let Some(earlier) = settings.iter_mut().rev().find(|s| s.key == key) {
            return append(&mut earlier.value, value);
        }
        settings.push(Setting {
            position,
            key,
            value,
        });
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let position = self.position;
        let kind = match self.peek() {
            Some(quote @ ('"' | '\'')) => Kind::Text(self.string(quote)?),
            Some(c) if c.is_ascii_digit() => {
                Kind::Number(self.take_while(|c| c.is_ascii_alphanumeric()))
            }
            Some('[') if depth >= DEPTH_LIMIT => {
                return self.expected("a list that nests less deeply");
            }
            Some('[') => Kind::List(self.list(depth)?),
            _ => return self.expected("a string in quotes, a number, or a list in brackets"),
        };
        Ok(Value { position, kind })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, SyntaxError> {
        let mut values = Vec::new();
        self.next();
        loop {
            self.skip_blanks(true);
            if self.peek() == Some(']') {
                break;
            }
            values.push(self.value(depth + 1)?);
            self.skip_blanks(true);
            match self.peek() {
                Some(',') => {
                    self.next();
                }
                Some(']') => break,
                _ => return self.expected("',' or ']'"),
            }
        }
        self.next();
        Ok(values)
    }

    fn string(&mut self, quote: char) -> Result<String, SyntaxError> {
        let mut text = String::new();
        self.next();
        loop {
            match self.peek() {
                None | Some('\n') => {
                    return self.expected(&alloc::format!("{quote} at the end of the string"));
                }
                Some('\\') => text.push(self.escape()?),
                Some(c) => {
                    self.next();
                    if c == quote {
                        return Ok(text);
                    }
                    text.push(c);
                }
            }
        }
    }

    /// libxlu's escapes: `\\ \' \" \a \b \f \n \r \t \v \xHH \OOO`.
    fn escape(&mut self) -> Result<char, SyntaxError> {
        self.next();
        let number = |digits: String, radix| {
            u32::from_str_radix(&digits, radix)
                .ok()
                .filter(|n| *n > 0 && *n < 128)
                .and_then(char::from_u32)
        };
        let simple = match self.peek() {
            Some(c @ ('\\' | '\'' | '"')) => c,
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some('x') => {
                self.next();
                return match number(self.digits(2, 16), 16) {
                    Some(c) => Ok(c),
                    None => {
                        self.expected("two hexadecimal digits of an ASCII character before this")
                    }
                };
            }
            Some('0'..='7') => {
                return match number(self.digits(3, 8), 8) {
                    Some(c) => Ok(c),
                    None => self.expected("octal digits of an ASCII character before this"),
                };
            }
            _ => return self.expected("an escape such as \\n, \\\\ or \\\""),
        };
        self.next();
        Ok(simple)
    }

    fn digits(&mut self, most: usize, radix: u32) -> String {
        let mut digits = String::new();
        while digits.len() < most {
            match self.peek() {
                Some(c) if c.is_digit(radix) => digits.push(c),
                _ => break,
            }
            self.next();
        }
        digits
    }
}

/// `+=`: lists grow, strings get longer.
fn append(earlier: &mut Value, value: Value) -> Result<(), SyntaxError> {
    match (&mut earlier.kind, value.kind) {
        (Kind::List(list), Kind::List(more)) => list.extend(more),
        (Kind::List(list), kind) => list.push(Value {
            position: value.position,
            kind,
        }),
        (Kind::Text(text) | Kind::Number(text), Kind::Text(more) | Kind::Number(more)) => {
            text.push_str(&more);
            earlier.kind = Kind::Text(core::mem::take(text));
        }
        (Kind::Text(_) | Kind::Number(_), Kind::List(_)) => {
            return Err((
                value.position,
                "expected a string to add to a string, found a list".to_string(),
            ));
        }
    }
    Ok(())
}
