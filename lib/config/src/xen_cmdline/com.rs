//! `com1=...`, `com2=...`.

use crate::diagnostic::Diagnostic;
use crate::number;
use crate::span::Span;

/// Line speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baud {
    /// As the firmware or boot loader left it.
    Auto,
    /// Bits per second.
    Rate(u32),
}

/// Parity bit of each character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// `n`
    None,
    /// `o`
    Odd,
    /// `e`
    Even,
    /// `m`
    Mark,
    /// `s`
    Space,
}

/// A serial port's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Com {
    /// Line speed.
    pub baud: Baud,
    /// The UART's clock in baud (its crystal's frequency divided by 16).
    pub base_baud: u32,
    /// Bits of a character, 5 to 8.
    pub data_bits: u8,
    /// Parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// First I/O port of its registers.
    pub io_base: u16,
    /// Interrupt line; 0 polls.
    pub irq: u8,
}

impl Com {
    /// A PC's first port: 115,200 baud, 8n1, I/O ports from 0x3f8, interrupt 4.
    pub const COM1: Com = Com {
        baud: Baud::Rate(115_200),
        base_baud: 115_200,
        data_bits: 8,
        parity: Parity::None,
        stop_bits: 1,
        io_base: 0x3f8,
        irq: 4,
    };
    /// A PC's second port: I/O ports from 0x2f8, interrupt 3.
    pub const COM2: Com = Com {
        io_base: 0x2f8,
        irq: 3,
        ..Com::COM1
    };

    pub(super) fn parse<'a>(
        port: Com,
        name: &'static str,
        value: Span<'a>,
    ) -> Result<Com, Diagnostic<'a>> {
        let mut com = port;
        let mut position = 0;
        for part in value.split(',') {
            let (key, text) = match part.split_once('=') {
                Some((key, text)) => (key.text, text),
                None => {
                    position += 1;
                    match position {
                        1 => ("baud", part),
                        2 => ("framing", part),
                        3 => ("io-base", part),
                        4 => ("irq", part),
                        _ => ("", part),
                    }
                }
            };
            // An empty position keeps its default: `com1=115200,,0x2f8`.
            if part.text.is_empty() && position > 1 {
                continue;
            }
            com.set(key, text.text)
                .map_err(|reason| Diagnostic::error(name, text, reason))?;
        }
        match com.baud {
            Baud::Rate(baud) if baud > com.base_baud => Err(Diagnostic::error(
                name,
                value,
                "expected a speed of at most the base speed (115200 unless given)",
            )),
            _ => Ok(com),
        }
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), &'static str> {
        match key {
            "baud" => {
                let (baud, base) = text
                    .split_once('/')
                    .map_or((text, None), |(baud, base)| (baud, Some(base)));
                let rate = |text| number::whole_as::<u32>(text).filter(|rate| *rate > 0);
                let expected = "expected a speed such as 115200, or auto";
                self.baud = if baud == "auto" {
                    Baud::Auto
                } else {
                    Baud::Rate(rate(baud).ok_or(expected)?)
                };
                if let Some(base) = base {
                    self.base_baud = rate(base).ok_or(expected)?;
                }
            }
            "clock-hz" => {
                let clock = number::whole_as::<u32>(text).filter(|hz| *hz >= 16);
                self.base_baud = clock.ok_or("expected a frequency in Hz")? / 16;
            }
            "framing" => {
                let mut letters = text.chars();
                let (Some(data), Some(parity), Some(stop), None) = (
                    letters.next(),
                    letters.next(),
                    letters.next(),
                    letters.next(),
                ) else {
                    return Err("expected data bits, parity and stop bits, such as 8n1");
                };
                self.set_data_bits(data)?;
                self.set_parity(parity)?;
                self.set_stop_bits(stop)?;
            }
            "data-bits" => self.set_data_bits(one_character(text))?,
            "parity" => self.set_parity(one_character(text))?,
            "stop-bits" => self.set_stop_bits(one_character(text))?,
            "io-base" => {
                let port = number::whole_as::<u16>(text).filter(|port| *port <= 0xfff8);
                self.io_base = port.ok_or("expected an I/O port such as 0x3f8")?;
            }
            "irq" => {
                self.irq = number::whole_as::<u8>(text)
                    .filter(|irq| *irq < 16)
                    .ok_or("expected an interrupt line from 0 to 15")?
            }
            _ => {
                return Err(
                    "expected baud, data-bits, parity, stop-bits, io-base, irq or clock-hz",
                );
            }
        }
        Ok(())
    }

    fn set_data_bits(&mut self, c: char) -> Result<(), &'static str> {
        let bits = c.to_digit(10).and_then(|bits| u8::try_from(bits).ok());
        self.data_bits = bits
            .filter(|bits| (5..=8).contains(bits))
            .ok_or("expected 5 to 8 data bits, as in 8n1")?;
        Ok(())
    }

    fn set_parity(&mut self, c: char) -> Result<(), &'static str> {
        self.parity = match c {
            'n' => Parity::None,
            'o' => Parity::Odd,
            'e' => Parity::Even,
            'm' => Parity::Mark,
            's' => Parity::Space,
            _ => return Err("expected parity n, o, e, m or s, as in 8n1"),
        };
        Ok(())
    }

    fn set_stop_bits(&mut self, c: char) -> Result<(), &'static str> {
        self.stop_bits = match c {
            '1' => 1,
            '2' => 2,
            _ => return Err("expected 1 or 2 stop bits, as in 8n1"),
        };
        Ok(())
    }
}

/// The only character of `text`, or one that no setting accepts.
fn one_character(text: &str) -> char {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => letter,
        _ => '?',
    }
}
