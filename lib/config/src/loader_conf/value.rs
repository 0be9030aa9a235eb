//! The right side of an assignment.

use crate::diagnostic::Diagnostic;
use crate::span::Span;
use core::fmt;

/// A value as it stands in the file, with its escapes.
///
/// `Display` and [`Value::characters`] give it without them; [`Value::plain`] gives it as one piece of text,
/// which is possible only if there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    raw: Span<'a>,
}

impl<'a> Value<'a> {
    pub(super) fn new(raw: Span<'a>) -> Self {
        Value { raw }
    }

    /// The text between the quotes, escapes included, and where it is.
    #[must_use]
    pub fn raw(&self) -> Span<'a> {
        self.raw
    }

    /// The value's characters; a `\` makes the next one literal.
    pub fn characters(&self) -> impl Iterator<Item = char> + 'a {
        let mut raw = self.raw.text.chars();
        core::iter::from_fn(move || match raw.next()? {
            '\\' => Some(raw.next().unwrap_or('\\')),
            c => Some(c),
        })
    }

    /// The value as one piece of the file's text.
    ///
    /// # Errors
    /// The value has escapes. No option that is read this way has a meaning for a quote or a backslash.
    pub fn plain(&self, name: &'a str) -> Result<Span<'a>, Diagnostic<'a>> {
        match self.raw.text.find('\\') {
            None => Ok(self.raw),
            Some(offset) => {
                let from = self.raw.text.get(offset..).unwrap_or("");
                Err(Diagnostic::error(
                    name,
                    self.raw.at(from),
                    "expected a value without '\\'",
                ))
            }
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.characters()
            .try_for_each(|c| fmt::Write::write_char(f, c))
    }
}
