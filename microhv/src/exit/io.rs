//! I/O ports. A domain sees PCI configuration space, filtered, and a debug port, Domain-0 the second serial port;
//! nothing else answers.

use crate::domain::Vcpu;
use crate::vcpu::{Event, IoAccess, Registers, VcpuRun};
use crate::{console, pci, serial};
use core::sync::atomic::Ordering;

/// Bytes written here go to the domain's log; it reads as itself, which is how software finds it.
const DEBUG_PORT: u16 = 0xe9;
/// Counter 2 of the interval timer, which kernels calibrate with. Reading 0 for ever it stands still and they give up
/// after one look; all ones would look like its start, and Linux reads that 100,000 times before it gives up.
const TIMER_COUNTER: u16 = 0x42;
const PCI_ADDRESS: u16 = 0xcf8;
const PCI_DATA: u16 = 0xcfc;
const PCI_DATA_LAST: u16 = 0xcff;
/// RFLAGS.DF.
const DIRECTION: u64 = 1 << 10;

/// Handles one access.
pub fn handle(vcpu: &Vcpu, run: &mut VcpuRun, access: IoAccess) {
    let mask = u32::MAX >> (32 - 8 * u32::from(access.size.clamp(1, 4)));
    if access.string {
        if access.input {
            // Would need to write guest memory; no kernel does this without a device that we never show.
            run.hw.inject(Event::GENERAL_PROTECTION);
            return;
        }
        skip_outs(run.hw.registers_mut(), &access);
    } else if access.input {
        let value = u64::from(read(vcpu, &access) & mask);
        let rax = &mut run.hw.registers_mut().rax;
        *rax = match access.size {
            // 32-bit results clear the upper half.
            4 => value,
            _ => *rax & !u64::from(mask) | value,
        };
    } else if access.port == DEBUG_PORT && console::is_crowded() {
        // The guest executes it again: it waits for room, and nobody else.
        return;
    } else {
        write(vcpu, &access, run.hw.registers().rax as u32 & mask);
    }
    run.hw.skip_instruction();
}

fn read(vcpu: &Vcpu, access: &IoAccess) -> u32 {
    match access.port {
        DEBUG_PORT => u32::MAX << 8 | u32::from(DEBUG_PORT),
        TIMER_COUNTER => 0,
        PCI_ADDRESS if access.size == 4 => vcpu.pci_address.load(Ordering::Relaxed),
        PCI_DATA..=PCI_DATA_LAST if let Some(offset) = data_offset(access) => {
            let address = vcpu.pci_address.load(Ordering::Relaxed);
            pci::config_read(vcpu.domain.id, address, offset, access.size)
        }
        port if access.size == 1 && vcpu.domain.privileged => {
            serial::read(port).map_or(u32::MAX, u32::from)
        }
        _ => u32::MAX,
    }
}

fn write(vcpu: &Vcpu, access: &IoAccess, value: u32) {
    match access.port {
        DEBUG_PORT if access.size == 1 => {
            console::guest_write(vcpu.domain.id, &vcpu.domain.name(), &[value as u8]);
        }
        PCI_ADDRESS if access.size == 4 => vcpu.pci_address.store(value, Ordering::Relaxed),
        PCI_DATA..=PCI_DATA_LAST if let Some(offset) = data_offset(access) => {
            let address = vcpu.pci_address.load(Ordering::Relaxed);
            pci::config_write(vcpu.domain.id, address, offset, access.size, value);
        }
        port if access.size == 1 && vcpu.domain.privileged => serial::write(port, value as u8),
        _ => {}
    }
}

/// Where in the four bytes of the data register; `None` if the access leaves them.
fn data_offset(access: &IoAccess) -> Option<u8> {
    let offset = (access.port - PCI_DATA) as u8;
    (offset + access.size <= 4).then_some(offset)
}

/// OUTS to a port that nobody owns: the data is dropped, the registers advance.
fn skip_outs(registers: &mut Registers, access: &IoAccess) {
    let mask = match access.address_size {
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    };
    let count = if access.repeat {
        registers.rcx & mask
    } else {
        1
    };
    let distance = count.wrapping_mul(access.size.into());
    let rsi = if registers.rflags & DIRECTION != 0 {
        registers.rsi.wrapping_sub(distance)
    } else {
        registers.rsi.wrapping_add(distance)
    };
    // A 32-bit result clears the upper half, a 16-bit one leaves the rest as it was.
    let merge = |old: u64, new: u64| {
        if mask == 0xffff {
            old & !mask | new & mask
        } else {
            new & mask
        }
    };
    registers.rsi = merge(registers.rsi, rsi);
    if access.repeat {
        registers.rcx = merge(registers.rcx, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTS: IoAccess = IoAccess {
        port: 0x80,
        size: 2,
        input: false,
        string: true,
        repeat: true,
        address_size: 8,
    };

    #[test]
    fn repeated_outs_advances() {
        let mut registers = Registers {
            rsi: 0x1000,
            rcx: 5,
            ..Registers::default()
        };
        skip_outs(&mut registers, &OUTS);
        assert_eq!((registers.rsi, registers.rcx), (0x100a, 0));
        let mut registers = Registers {
            rsi: 0x1000,
            rcx: 5,
            rflags: DIRECTION,
            ..Registers::default()
        };
        skip_outs(
            &mut registers,
            &IoAccess {
                repeat: false,
                ..OUTS
            },
        );
        assert_eq!((registers.rsi, registers.rcx), (0xffe, 5));
    }

    #[test]
    fn narrow_addresses_wrap() {
        let mut registers = Registers {
            rsi: 0xaaaa_fffe,
            rcx: 0xbbbb_0002,
            ..Registers::default()
        };
        skip_outs(
            &mut registers,
            &IoAccess {
                address_size: 2,
                ..OUTS
            },
        );
        assert_eq!((registers.rsi, registers.rcx), (0xaaaa_0002, 0xbbbb_0000));
        let mut registers = Registers {
            rsi: 0x1_ffff_fffe,
            rcx: 0x1_0000_0002,
            ..Registers::default()
        };
        skip_outs(
            &mut registers,
            &IoAccess {
                address_size: 4,
                ..OUTS
            },
        );
        assert_eq!((registers.rsi, registers.rcx), (2, 0));
    }

    #[test]
    fn the_data_register_has_four_bytes() {
        let access = |port, size| IoAccess {
            port,
            size,
            string: false,
            repeat: false,
            ..OUTS
        };
        assert_eq!(data_offset(&access(0xcfe, 2)), Some(2));
        assert_eq!(data_offset(&access(0xcfe, 4)), None);
    }
}
