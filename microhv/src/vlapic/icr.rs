//! The interrupt command register: what a write to it asks for.

use super::VLapic;

/// How an interrupt is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// An ordinary interrupt.
    Fixed(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// Start-up at the vector's page.
    Startup(u8),
}

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Every APIC of the domain.
    All,
    /// The APIC with this id.
    Physical(u32),
    /// The APICs whose logical id matches.
    Logical(u32),
}

/// An inter-processor interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What.
    pub delivery: Delivery,
    /// To whom.
    pub destination: Destination,
    /// Not to the sender, even if addressed.
    pub except_self: bool,
}

impl Command {
    /// Posts it to `apic` if it is addressed; false: it is not. The caller notifies the vCPU.
    pub fn give(&self, apic: &VLapic) -> bool {
        if !apic.is_addressed(self.destination) {
            return false;
        }
        match self.delivery {
            Delivery::Fixed(vector) => apic.post(vector),
            Delivery::Nmi => apic.post_nmi(),
            Delivery::Init => apic.post_init(),
            Delivery::Startup(vector) => apic.post_startup(vector),
        }
        true
    }

    /// Reads a value written to the register of the APIC with id `own`. `None`: nothing is sent (INIT level
    /// de-assert, which only old hardware needs, or a reserved delivery mode).
    pub fn decode(value: u64, own: u32) -> Option<Self> {
        let vector = value as u8;
        let delivery = match value >> 8 & 7 {
            // Lowest priority is not there in x2APIC mode on most CPUs; the first addressed one may take it.
            0 | 1 => Delivery::Fixed(vector),
            4 => Delivery::Nmi,
            // Level-triggered with level 0 is the de-assert.
            5 if value & (1 << 15 | 1 << 14) != 1 << 15 => Delivery::Init,
            6 => Delivery::Startup(vector),
            _ => return None,
        };
        let address = (value >> 32) as u32;
        let (destination, except_self) = match value >> 18 & 3 {
            1 => (Destination::Physical(own), false),
            2 => (Destination::All, false),
            3 => (Destination::All, true),
            _ if address == u32::MAX => (Destination::All, false),
            _ if value & 1 << 11 != 0 => (Destination::Logical(address), false),
            _ => (Destination::Physical(address), false),
        };
        Some(Self {
            delivery,
            destination,
            except_self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(value: u64) -> Option<Command> {
        Command::decode(value, 4)
    }

    #[test]
    fn commands_as_kernels_write_them() {
        let to = |delivery, destination, except_self| {
            Some(Command {
                delivery,
                destination,
                except_self,
            })
        };
        assert_eq!(
            decode(2 << 32 | 0xfb),
            to(Delivery::Fixed(0xfb), Destination::Physical(2), false)
        );
        assert_eq!(
            decode(3 << 32 | 1 << 11 | 0xfb),
            to(Delivery::Fixed(0xfb), Destination::Logical(3), false)
        );
        assert_eq!(
            decode(3 << 18 | 0x400),
            to(Delivery::Nmi, Destination::All, true)
        );
        assert_eq!(
            decode(1 << 18 | 0x30),
            to(Delivery::Fixed(0x30), Destination::Physical(4), false)
        );
        // INIT assert, de-assert, start-up: what Linux sends to wake a CPU.
        assert_eq!(
            decode(2 << 32 | 0xc500),
            to(Delivery::Init, Destination::Physical(2), false)
        );
        assert_eq!(decode(2 << 32 | 0x8500), None);
        assert_eq!(
            decode(2 << 32 | 0x69a),
            to(Delivery::Startup(0x9a), Destination::Physical(2), false)
        );
        // Edge-triggered INIT, as other kernels send it.
        assert_eq!(
            decode(2 << 32 | 0x4500),
            to(Delivery::Init, Destination::Physical(2), false)
        );
        assert_eq!(decode(0x200), None, "SMI");
        assert_eq!(
            decode(0xffff_ffff << 32 | 0x30),
            to(Delivery::Fixed(0x30), Destination::All, false)
        );
    }
}
