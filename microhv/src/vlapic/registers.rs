//! The registers as MSRs 0x800 to 0x83f.

use super::{Command, LVT_MASKED, SVR_ENABLE, VLapic};
use core::sync::atomic::Ordering;

/// The guest named a register that is not there, wrote one that cannot be written, or set a reserved bit: #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalAccess;

/// What a write asks of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// An interrupt to send.
    Send(Command),
    /// The timer's deadline changed.
    Timer,
}

const ID: u32 = 0x802;
const VERSION: u32 = 0x803;
const TPR: u32 = 0x808;
const PPR: u32 = 0x80a;
const EOI: u32 = 0x80b;
const LDR: u32 = 0x80d;
const SVR: u32 = 0x80f;
const ISR: u32 = 0x810;
const TMR: u32 = 0x818;
const IRR: u32 = 0x820;
const ESR: u32 = 0x828;
const ICR: u32 = 0x830;
const LVT_TIMER: u32 = 0x832;
const LVT_ERROR: u32 = 0x837;
const TIMER_INITIAL: u32 = 0x838;
const TIMER_CURRENT: u32 = 0x839;
const TIMER_DIVIDE: u32 = 0x83e;
const SELF_IPI: u32 = 0x83f;

/// Version 0x14 with six LVT entries.
const VERSION_VALUE: u32 = 5 << 16 | 0x14;
/// Bits that software may set in an LVT entry: vector, delivery mode, polarity, trigger, mask; the timer's mode.
const LVT_WRITABLE: u32 = 0x1_a7ff;
const TIMER_WRITABLE: u32 = 0x3_00ff;
const TIMER_PERIODIC: u32 = 1 << 17;

impl VLapic {
    pub(super) fn is_periodic(&self) -> bool {
        self.lvt[0].load(Ordering::Relaxed) & TIMER_PERIODIC != 0
    }

    /// Reads MSR `msr`. `now`: nanoseconds since boot.
    ///
    /// # Errors
    /// No such register, or one that cannot be read.
    pub fn read(&self, msr: u32, now: u64) -> Result<u64, IllegalAccess> {
        self.take_posted();
        let value = match msr {
            ID => self.id,
            VERSION => VERSION_VALUE,
            TPR => self.tpr(),
            PPR => self.ppr(),
            LDR => self.logical_id(),
            SVR => self.svr.load(Ordering::Relaxed),
            ISR..TMR => self.isr.word((msr - ISR) as usize).ok_or(IllegalAccess)?,
            // Every interrupt is edge-triggered.
            TMR..IRR => 0,
            IRR..ESR => self.irr.word((msr - IRR) as usize).ok_or(IllegalAccess)?,
            ESR => self.esr.load(Ordering::Relaxed),
            ICR => return Ok(self.icr.load(Ordering::Relaxed)),
            LVT_TIMER..=LVT_ERROR => {
                let entry = self
                    .lvt
                    .get((msr - LVT_TIMER) as usize)
                    .ok_or(IllegalAccess)?;
                entry.load(Ordering::Relaxed)
            }
            TIMER_INITIAL => self.timer.initial(),
            TIMER_CURRENT => self.timer.count(now),
            TIMER_DIVIDE => self.timer.divide(),
            _ => return Err(IllegalAccess),
        };
        Ok(value.into())
    }

    /// Writes MSR `msr`. `now`: nanoseconds since boot.
    ///
    /// # Errors
    /// No such register, one that cannot be written, or a reserved bit.
    pub fn write(&self, msr: u32, value: u64, now: u64) -> Result<Effect, IllegalAccess> {
        if msr == ICR {
            self.icr.store(value, Ordering::Relaxed);
            return Ok(Command::decode(value, self.id).map_or(Effect::None, Effect::Send));
        }
        let value = u32::try_from(value).map_err(|_| IllegalAccess)?;
        match msr {
            TPR if value <= 0xff => self.set_tpr(value),
            EOI if value == 0 => self.end_of_interrupt(),
            SVR => {
                self.svr.store(value & 0x1ff, Ordering::Relaxed);
                if value & SVR_ENABLE == 0 {
                    // A disabled APIC masks its LVT entries (SDM 11.4.7.2).
                    for entry in &self.lvt {
                        entry.fetch_or(LVT_MASKED, Ordering::Relaxed);
                    }
                }
            }
            ESR if value == 0 => self.esr.store(0, Ordering::Relaxed),
            LVT_TIMER..=LVT_ERROR => {
                let entry = self
                    .lvt
                    .get((msr - LVT_TIMER) as usize)
                    .ok_or(IllegalAccess)?;
                let writable = if msr == LVT_TIMER {
                    TIMER_WRITABLE
                } else {
                    LVT_WRITABLE
                };
                let forced = if self.is_enabled() { 0 } else { LVT_MASKED };
                entry.store(value & writable | forced, Ordering::Relaxed);
            }
            TIMER_INITIAL => {
                self.timer.start(value, now);
                return Ok(Effect::Timer);
            }
            TIMER_DIVIDE => {
                self.timer.set_divide(value & 0xb, now);
                return Ok(Effect::Timer);
            }
            SELF_IPI => return Ok(Effect::Send(Command::to_self(value as u8, self.id))),
            _ => return Err(IllegalAccess),
        }
        Ok(Effect::None)
    }
}

impl Command {
    fn to_self(vector: u8, own: u32) -> Self {
        Self {
            delivery: super::Delivery::Fixed(vector),
            destination: super::Destination::Physical(own),
            except_self: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vlapic::{Delivery, Destination};
    use proptest::prelude::*;

    #[test]
    fn a_timer_set_by_registers_interrupts() {
        let apic = VLapic::new(0).unwrap();
        apic.write(SVR, 0x1ff, 0).unwrap();
        apic.write(TIMER_DIVIDE, 0xb, 0).unwrap();
        apic.write(LVT_TIMER, 0x2_00ec, 0).unwrap();
        assert_eq!(apic.write(TIMER_INITIAL, 1_000_000, 7), Ok(Effect::Timer));
        assert_eq!(apic.deadline(), Some(1_000_007));
        assert_eq!(apic.read(TIMER_CURRENT, 500_007), Ok(500_000));
        apic.tick(999_999);
        assert_eq!(apic.pending(), None);
        apic.tick(1_000_007);
        assert_eq!(apic.pending(), Some(0xec));
        assert_eq!(apic.deadline(), Some(2_000_007));
        assert_eq!(apic.read(IRR + 7, 0), Ok(1 << 12));
    }

    #[test]
    fn disabling_masks_the_lvt() {
        let apic = VLapic::new(0).unwrap();
        apic.write(SVR, 0x1ff, 0).unwrap();
        apic.write(LVT_TIMER, 0xec, 0).unwrap();
        apic.write(SVR, 0xff, 0).unwrap();
        assert_eq!(apic.read(LVT_TIMER, 0), Ok(0x1_00ec));
        apic.write(LVT_TIMER, 0xec, 0).unwrap();
        assert_eq!(apic.read(LVT_TIMER, 0), Ok(0x1_00ec));
    }

    #[test]
    fn a_masked_timer_is_silent_but_goes_on() {
        let apic = VLapic::new(0).unwrap();
        apic.write(SVR, 0x1ff, 0).unwrap();
        apic.write(LVT_TIMER, 0x3_00ec, 0).unwrap();
        apic.write(TIMER_INITIAL, 100, 0).unwrap();
        apic.tick(200);
        assert_eq!(apic.pending(), None);
        assert_eq!(apic.deadline(), Some(20_200));
    }

    #[test]
    fn read_only_and_missing_registers_fault() {
        let apic = VLapic::new(0).unwrap();
        for msr in [
            ID,
            VERSION,
            PPR,
            LDR,
            ISR,
            IRR,
            TIMER_CURRENT,
            0x800,
            0x80c,
            0x80e,
            0x82f,
            0x831,
            0x83d,
        ] {
            assert_eq!(apic.write(msr, 0, 0), Err(IllegalAccess), "{msr:#x}");
        }
        for msr in [EOI, SELF_IPI, 0x800, 0x80e, 0x831] {
            assert_eq!(apic.read(msr, 0), Err(IllegalAccess), "{msr:#x}");
        }
        assert_eq!(apic.write(EOI, 1, 0), Err(IllegalAccess));
        assert_eq!(apic.write(TPR, 1 << 32, 0), Err(IllegalAccess));
    }

    #[test]
    fn self_ipi_and_icr_send() {
        let apic = VLapic::new(3).unwrap();
        let Ok(Effect::Send(command)) = apic.write(SELF_IPI, 0x44, 0) else {
            panic!()
        };
        assert_eq!(
            (command.delivery, command.destination),
            (Delivery::Fixed(0x44), Destination::Physical(6))
        );
        let Ok(Effect::Send(command)) = apic.write(ICR, 2 << 32 | 0x44, 0) else {
            panic!()
        };
        assert_eq!(command.destination, Destination::Physical(2));
        assert_eq!(apic.read(ICR, 0), Ok(2 << 32 | 0x44));
    }

    proptest! {
        #[test]
        fn no_write_breaks_it(writes in proptest::collection::vec((0x800u32..0x840, any::<u64>(), any::<u64>()), 0..50)) {
            let apic = VLapic::new(0).unwrap();
            for (msr, value, now) in writes {
                let _ = apic.write(msr, value, now);
                apic.tick(now);
                let _ = apic.read(msr, now);
            }
        }
    }
}
