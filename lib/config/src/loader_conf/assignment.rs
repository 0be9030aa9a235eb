//! The syntax: one `name="value"` a line.

use super::value::Value;
use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// One `name="value"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// The name, with its position.
    pub name: Span<'a>,
    /// The value, with its position.
    pub value: Value<'a>,
}

/// The assignments of a file, in its order. A line that is wrong is one error; the next line is read on.
///
/// Grammar (FreeBSD's loader.conf(5) and stand/forth/support.4th): `name = value`, blanks around both; a value is
/// quoted by `"`, with `\` before a character that is meant literally, or a word without blanks; `#` starts a comment.
#[derive(Clone, Debug)]
pub struct Assignments<'a> {
    rest: &'a [u8],
    line: u32,
}

impl<'a> Assignments<'a> {
    /// Reads `file` from its start.
    #[must_use]
    pub fn new(file: &'a [u8]) -> Self {
        Assignments {
            rest: file,
            line: 0,
        }
    }
}

impl<'a> Iterator for Assignments<'a> {
    type Item = Result<Assignment<'a>, Diagnostic<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let mut halves = self.rest.splitn(2, |byte| *byte == b'\n');
            let line = halves.next().unwrap_or_default();
            self.rest = halves.next().unwrap_or_default();
            self.line = self.line.saturating_add(1);
            if let Some(item) = read_line(line, self.line) {
                return Some(item);
            }
        }
        None
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// `None` for a line with nothing on it.
fn read_line(bytes: &[u8], line: u32) -> Option<Result<Assignment<'_>, Diagnostic<'_>>> {
    let text = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            // Comments may be in any encoding; a setting may not.
            let valid = bytes
                .get(..error.valid_up_to())
                .and_then(|b| core::str::from_utf8(b).ok())
                .unwrap_or("");
            if valid.trim_start_matches(is_blank).starts_with('#') {
                return None;
            }
            let at = Span {
                text: valid,
                line,
                column: 1,
            }
            .end();
            return Some(Err(Diagnostic::error("", at, "expected UTF-8 text")));
        }
    };
    let whole = Span {
        text,
        line,
        column: 1,
    };
    let start = text.trim_start_matches(is_blank);
    if start.is_empty() || start.starts_with('#') {
        return None;
    }
    Some(read_assignment(whole, start))
}

fn read_assignment<'a>(whole: Span<'a>, start: &'a str) -> Result<Assignment<'a>, Diagnostic<'a>> {
    let after_name = start.trim_start_matches(is_name);
    let name = start.strip_suffix(after_name).unwrap_or("");
    if name.is_empty() {
        return Err(Diagnostic::error(
            "",
            first_character(whole.at(start)),
            "expected a name",
        ));
    }
    let equals = after_name.trim_start_matches(is_blank);
    let Some(behind) = equals.strip_prefix('=') else {
        return Err(Diagnostic::error(
            name,
            first_character(whole.at(equals)),
            "expected '=' behind the name",
        ));
    };
    let value_text = behind.trim_start_matches(is_blank);
    let (value, after) = match value_text.strip_prefix('"') {
        Some(quoted) => read_quoted(whole, name, quoted)?,
        None => {
            let after = value_text.trim_start_matches(|c| !is_blank(c) && !matches!(c, '#' | '"'));
            (value_text.strip_suffix(after).unwrap_or(""), after)
        }
    };
    let tail = after.trim_start_matches(is_blank);
    if !tail.is_empty() && !tail.starts_with('#') {
        return Err(Diagnostic::error(
            name,
            first_character(whole.at(tail)),
            "expected the end of the line behind the value",
        ));
    }
    if value.is_empty() && !value_text.starts_with('"') {
        return Err(Diagnostic::error(
            name,
            whole.at(value_text),
            "expected a value behind '='",
        ));
    }
    Ok(Assignment {
        name: whole.at(name),
        value: Value::new(whole.at(value)),
    })
}

/// The text up to the closing quote, and what is behind that.
fn read_quoted<'a>(
    whole: Span<'a>,
    name: &'a str,
    quoted: &'a str,
) -> Result<(&'a str, &'a str), Diagnostic<'a>> {
    let mut escaped = false;
    for (offset, c) in quoted.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '"' {
            let (value, after) = quoted.split_at_checked(offset).unwrap_or((quoted, ""));
            return Ok((value, after.strip_prefix('"').unwrap_or("")));
        }
    }
    let end = quoted.trim_end_matches('\r');
    Err(Diagnostic::error(
        name,
        whole.at(end).end(),
        "expected '\"' at the end of the value",
    ))
}

fn first_character(span: Span<'_>) -> Span<'_> {
    let length = span.text.chars().next().map_or(0, char::len_utf8);
    span.at(span.text.get(..length).unwrap_or(""))
}
