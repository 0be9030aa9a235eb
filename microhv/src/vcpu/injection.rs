//! Events on their way into the guest: what the hardware is given at an entry, and what an exit interrupted. All vendors'
//! hardware writes them in the same way (Intel SDM, volume 3C, 25.8.3 and 28.2.4; AMD64 manual, volume 2, 15.20).

use super::Event;
use super::state::CR0_PE;

const VALID: u32 = 1 << 31;
const ERROR_CODE: u32 = 1 << 11;
const TYPE: u32 = 7 << 8;
const TYPE_INTERRUPT: u32 = 0 << 8;
const TYPE_NMI: u32 = 2 << 8;
const TYPE_EXCEPTION: u32 = 3 << 8;

/// Vector, type and error code, for an entry or from an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Information {
    /// Vector, type, which fields count.
    pub info: u32,
    /// The error code, if there is one.
    pub code: u32,
}

impl Information {
    /// An event is to be delivered to a guest with this CR0. In real mode exceptions have no error codes; VMX refuses an
    /// entry that would deliver one.
    pub fn of(event: Event, cr0: u64) -> Self {
        match event {
            Event::Exception(vector, Some(_)) if cr0 & CR0_PE == 0 => {
                Self::of(Event::Exception(vector, None), cr0)
            }
            Event::Interrupt(vector) => Self::interrupt(vector),
            Event::Nmi => Self {
                info: VALID | TYPE_NMI | 2,
                code: 0,
            },
            Event::Exception(vector, code) => Self {
                info: VALID | TYPE_EXCEPTION | u32::from(vector) | code.map_or(0, |_| ERROR_CODE),
                code: code.unwrap_or(0),
            },
        }
    }

    /// An external interrupt.
    pub fn interrupt(vector: u8) -> Self {
        Self {
            info: VALID | TYPE_INTERRUPT | u32::from(vector),
            code: 0,
        }
    }

    /// What an exit says is to be delivered again. Software interrupts and exceptions are not: rip is still at the
    /// instruction, which the guest executes again.
    pub fn interrupted(info: u32, code: u32) -> Option<Interrupted> {
        if info & VALID == 0 {
            return None;
        }
        let vector = info as u8;
        let code = if info & ERROR_CODE != 0 { code } else { 0 };
        match info & TYPE {
            TYPE_INTERRUPT => Some(Interrupted::Interrupt(vector)),
            TYPE_NMI => Some(Interrupted::Other(Self::of(Event::Nmi, CR0_PE))),
            // INT3 and INTO are instructions too. TCG names virtual interrupts exceptions here.
            TYPE_EXCEPTION => match vector {
                3 | 4 => None,
                32.. => Some(Interrupted::Interrupt(vector)),
                _ => Some(Interrupted::Other(Self {
                    info: info & !(1 << 12),
                    code,
                })),
            },
            _ => None,
        }
    }

    /// True for an NMI.
    pub fn is_nmi(&self) -> bool {
        self.info & (VALID | TYPE) == VALID | TYPE_NMI
    }
}

/// An event whose delivery an exit interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// An interrupt with this vector.
    Interrupt(u8),
    /// An exception or NMI.
    Other(Information),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_the_manual_says() {
        let info = |event| Information::of(event, CR0_PE);
        assert_eq!(
            info(Event::Interrupt(0xf3)),
            Information {
                info: 0x8000_00f3,
                code: 0
            }
        );
        assert_eq!(
            info(Event::Nmi),
            Information {
                info: 0x8000_0202,
                code: 0
            }
        );
        assert_eq!(
            info(Event::INVALID_OPCODE),
            Information {
                info: 0x8000_0306,
                code: 0
            }
        );
        assert_eq!(
            Information::of(Event::GENERAL_PROTECTION, 0),
            Information {
                info: 0x8000_030d,
                code: 0
            },
            "real mode"
        );
        assert_eq!(
            info(Event::Exception(14, Some(2))),
            Information {
                info: 0x8000_0b0e,
                code: 2
            }
        );
    }

    #[test]
    fn interrupted_events_are_delivered_again_and_instructions_are_not() {
        let interrupted = Information::interrupted;
        assert_eq!(interrupted(0x40, 0), None, "not valid");
        assert_eq!(
            interrupted(0x8000_0040, 9),
            Some(Interrupted::Interrupt(0x40))
        );
        let nmi = Information::of(Event::Nmi, CR0_PE);
        assert_eq!(interrupted(0x8000_0202, 0), Some(Interrupted::Other(nmi)));
        let fault = Information {
            info: 0x8000_0b0e,
            code: 7,
        };
        assert_eq!(
            interrupted(0x8000_1b0e, 7),
            Some(Interrupted::Other(fault)),
            "bit 12 is undefined"
        );
        assert_eq!(interrupted(0x8000_0480, 0), None, "INT n");
        assert_eq!(interrupted(0x8000_0603, 0), None, "INT3");
        assert_eq!(interrupted(0x8000_0303, 0), None, "INT3, as AMD has it");
        assert_eq!(
            interrupted(0x8000_03f3, 0),
            Some(Interrupted::Interrupt(0xf3)),
            "TCG"
        );
        assert!(Information::of(Event::Nmi, CR0_PE).is_nmi());
        assert!(!Information::interrupt(2).is_nmi());
    }
}
