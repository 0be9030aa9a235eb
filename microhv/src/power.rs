//! Turning the machine off and on again.
#![allow(unsafe_code, reason = "ports")]

use crate::acpi;
use crate::arch::cpu::{inb, inw, outb, outw};

/// SLP_EN and SCI_EN of the PM1 control register, and where SLP_TYP is (ACPI 6.5, 4.8.3.2.1).
const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE_SHIFT: u32 = 10;
const SLEEP_TYPE_MASK: u16 = 7 << SLEEP_TYPE_SHIFT;
const SCI_ENABLE: u16 = 1;

/// Turns the machine off (ACPI S5); halts if that does not work.
pub fn off() -> ! {
    crate::console::flush();
    if let Some(machine) = acpi::machine() {
        sleep(&machine.power);
    }
    log::error!("the machine does not turn off by ACPI; halted");
    crate::console::flush();
    crate::panic::halt()
}

fn sleep(power: &acpi::Power) {
    let Some(types) = power.s5 else {
        return;
    };
    let [Some(control), second] = power.pm1_control else {
        return;
    };
    // In legacy mode the sleep bits belong to firmware.
    if inw(control) & SCI_ENABLE == 0
        && let Some((port, value)) = power.enable
    {
        outb(port, value);
        let _ = (0..1_000_000).any(|_| inw(control) & SCI_ENABLE != 0);
    }
    for (port, kind) in [(Some(control), types[0]), (second, types[1])] {
        if let Some(port) = port {
            let kept = inw(port) & !(SLEEP_TYPE_MASK | SLEEP_ENABLE);
            outw(
                port,
                kept | u16::from(kind & 7) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE,
            );
        }
    }
    wait();
}

/// For what was asked to happen.
fn wait() {
    (0..1_000_000).for_each(|_| core::hint::spin_loop());
}

/// Starts the machine again: by ACPI's reset register, the chip set, the keyboard controller, or a
/// triple fault.
pub fn reboot() -> ! {
    crate::console::flush();
    if let Some((port, value)) = acpi::machine().and_then(|machine| machine.power.reset) {
        outb(port, value);
        wait();
    }
    // Reset control register: system reset, then the request (Intel ICH data sheets).
    outb(0xcf9, 2);
    outb(0xcf9, 6);
    wait();
    // 8042: pulse the reset line, when its input buffer is empty.
    let _ = (0..10_000).any(|_| inb(0x64) & 2 == 0);
    outb(0x64, 0xfe);
    wait();
    triple_fault()
}

#[cfg(target_os = "none")]
fn triple_fault() -> ! {
    use x86_64::VirtAddr;
    use x86_64::structures::DescriptorTablePointer;
    let none = DescriptorTablePointer {
        limit: 0,
        base: VirtAddr::new(0),
    };
    // SAFETY: the machine is to be reset; an exception without a descriptor table does that.
    unsafe {
        x86_64::instructions::tables::lidt(&none);
        core::arch::asm!("ud2", options(noreturn));
    }
}

#[cfg(test)]
fn triple_fault() -> ! {
    panic!("reboot")
}
