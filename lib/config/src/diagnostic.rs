//! What is said about a mistake in a configuration file.

use crate::span::Span;
use core::fmt::{self, Write};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Ignored: an unknown option, or one that has no effect here.
    Warning,
    /// The option keeps its default because its value cannot be understood.
    Error,
}

/// One remark about the configuration, ready to print as `file:line:column: what: reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnostic<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// The file's name as the operator knows it.
    pub file: &'a str,
    /// Where it starts: line from 1.
    pub line: u32,
    /// Where it starts: column from 1, in bytes.
    pub column: u32,
    /// The option's name, empty if there is none yet.
    pub name: &'a str,
    /// The text that is wrong, empty if something is missing.
    pub found: &'a str,
    /// What was expected, or why it is ignored.
    pub reason: &'static str,
}

impl<'a> Diagnostic<'a> {
    /// An error about `found`, part of the option `name`.
    #[must_use]
    pub fn error(name: &'a str, found: Span<'a>, reason: &'static str) -> Self {
        Diagnostic {
            severity: Severity::Error,
            file: "loader.conf",
            line: found.line,
            column: found.column,
            name,
            found: found.text,
            reason,
        }
    }

    /// A warning about `found`, part of the option `name`.
    #[must_use]
    pub fn warning(name: &'a str, found: Span<'a>, reason: &'static str) -> Self {
        Diagnostic {
            severity: Severity::Warning,
            ..Self::error(name, found, reason)
        }
    }
}

impl fmt::Display for Diagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        f.write_str(self.reason)?;
        if !self.found.is_empty() {
            // The text goes to a console: no control characters of a broken file may reach it.
            f.write_str(", found '")?;
            for c in self.found.chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?
                } else {
                    f.write_char(c)?
                }
            }
            f.write_char('\'')?;
        }
        Ok(())
    }
}

impl core::error::Error for Diagnostic<'_> {}
