//! PCI functions given to a domain: `0/3/0`.

use crate::number;
use crate::span::Span;

/// Why a function's address is not accepted.
pub(super) const EXPECTED: &str =
    "expected bus/slot/function, such as 0/3/0 (bus to 255, slot to 31, function to 7)";

/// A PCI function on segment 0, written bus/slot/function as in FreeBSD's `pptdevs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pptdev {
    /// 0 to 255.
    pub bus: u8,
    /// Device number on the bus, 0 to 31.
    pub slot: u8,
    /// 0 to 7.
    pub function: u8,
}

impl Pptdev {
    /// Reads one address; `None` if it is none.
    #[must_use]
    pub fn parse(text: Span<'_>) -> Option<Pptdev> {
        let (bus, rest) = text.split_once('/')?;
        let (slot, function) = rest.split_once('/')?;
        // Decimal only: FreeBSD reads "010" as ten.
        let decimal = |span: Span<'_>, limit: u8| {
            let digits = span.text.trim_start_matches('0');
            let text = if digits.is_empty() && !span.text.is_empty() {
                "0"
            } else {
                digits
            };
            number::whole_as::<u8>(text)
                .filter(|n| *n <= limit && span.text.bytes().all(|b| b.is_ascii_digit()))
        };
        Some(Pptdev {
            bus: decimal(bus, 255)?,
            slot: decimal(slot, 31)?,
            function: decimal(function, 7)?,
        })
    }

    /// The requester id of the PCI bus: bus in bits 15:8, slot in 7:3, function in 2:0.
    #[must_use]
    pub fn bdf(&self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.slot) << 3 | u16::from(self.function)
    }
}
