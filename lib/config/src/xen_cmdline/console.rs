//! `console=...`.

use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// Which characters belong to the console when two users share a serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialFilter {
    /// All of them: the port is not shared.
    All,
    /// `H`: those with the top bit set.
    High,
    /// `L`: those with the top bit clear.
    Low,
}

/// Where the log goes and the operator types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleList {
    /// The first serial port.
    pub com1: Option<SerialFilter>,
    /// The second serial port.
    pub com2: Option<SerialFilter>,
    /// The screen.
    pub vga: bool,
}

impl Default for ConsoleList {
    fn default() -> Self {
        ConsoleList {
            com1: Some(SerialFilter::All),
            com2: None,
            vga: true,
        }
    }
}

impl ConsoleList {
    pub(super) fn parse<'a>(
        value: Span<'a>,
        report: &mut dyn FnMut(Diagnostic<'a>),
    ) -> Result<ConsoleList, Diagnostic<'a>> {
        let mut list = ConsoleList {
            com1: None,
            com2: None,
            vga: false,
        };
        for part in value.split(',') {
            match part.text {
                "com1" => list.com1 = Some(SerialFilter::All),
                "com1H" => list.com1 = Some(SerialFilter::High),
                "com1L" => list.com1 = Some(SerialFilter::Low),
                "com2" => list.com2 = Some(SerialFilter::All),
                "com2H" => list.com2 = Some(SerialFilter::High),
                "com2L" => list.com2 = Some(SerialFilter::Low),
                "vga" => list.vga = true,
                "none" if value.text == "none" => {}
                "none" => return Err(Diagnostic::error("console", part, "expected 'none' alone")),
                "pv" | "dbgp" | "ehci" | "xhci" => {
                    report(Diagnostic::warning(
                        "console",
                        part,
                        "ignored, because microhv has no such console",
                    ));
                }
                _ => {
                    return Err(Diagnostic::error(
                        "console",
                        part,
                        "expected com1, com2, vga or none",
                    ));
                }
            }
        }
        Ok(list)
    }
}
