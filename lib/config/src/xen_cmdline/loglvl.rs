//! `loglvl` and `guest_loglvl`.

use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// Importance of a message, most important first. A threshold prints its own level and those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As a threshold: nothing.
    None,
    /// Errors.
    Error,
    /// And warnings.
    Warning,
    /// And information.
    Info,
    /// And details for developers; `all` means the same.
    Debug,
}

/// `<level>[/<rate-limited level>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel {
    /// Messages of this level and above are always printed.
    pub always: Level,
    /// Messages of this level and above, below `always`, are printed when there are not too many; never less
    /// than `always`.
    pub rate_limited: Level,
}

impl LogLevel {
    /// Xen's default for `loglvl`.
    pub const LOGLVL_DEFAULT: LogLevel = LogLevel {
        always: Level::Info,
        rate_limited: Level::Info,
    };
    /// Xen's default for `guest_loglvl`.
    pub const GUEST_LOGLVL_DEFAULT: LogLevel = LogLevel {
        always: Level::None,
        rate_limited: Level::Warning,
    };

    pub(super) fn parse<'a>(
        name: &'static str,
        value: Span<'a>,
    ) -> Result<LogLevel, Diagnostic<'a>> {
        let level = |part: Span<'a>| match part.text {
            "none" => Ok(Level::None),
            "error" => Ok(Level::Error),
            "warning" => Ok(Level::Warning),
            "info" => Ok(Level::Info),
            "debug" | "all" => Ok(Level::Debug),
            _ => Err(Diagnostic::error(
                name,
                part,
                "expected none, error, warning, info, debug or all",
            )),
        };
        match value.split_once('/') {
            None => level(value).map(|always| LogLevel {
                always,
                rate_limited: always,
            }),
            Some((always, limited)) => {
                let always = level(always)?;
                Ok(LogLevel {
                    always,
                    rate_limited: level(limited)?.max(always),
                })
            }
        }
    }
}
