//! Access Control Services (PCI Express Base 5.0, 6.12): what a device wants of another goes up to the IOMMU, instead of
//! across the switch or the device that both are part of.

use super::Sbdf;
use super::enumerate::{EXPRESS, Function};
use super::space::Space;
use crate::acpi;
use crate::mm::mmio::Mmio;

/// The extended capability.
const ACS: u32 = 0x0d;
/// Its bits Source Validation, Translation Blocking (no device is to translate by itself), P2P Request Redirect, P2P
/// Completion Redirect, Upstream Forwarding: capability register, and control register 16 bits above.
const REDIRECT: u32 = 0x1f;
/// P2P Egress Control and Direct Translated P2P: exceptions from redirection.
const EXCEPTIONS: u32 = 0x60;
/// Bytes of a function's configuration space.
const SIZE: u64 = 4096;

/// Has the function send up what its peers are to get through it. False: it cannot, or nobody can tell.
pub fn redirect(space: &dyn Space, sbdf: Sbdf) -> bool {
    let registers = || Mmio::map(place(acpi::table(b"MCFG")?, sbdf)?, SIZE);
    space.capability(sbdf, EXPRESS).is_some() && registers().is_some_and(|found| turn_on(&found))
}

/// Where ACPI's table MCFG (PCI Firmware 3.3, 4.1.2) has the function's configuration space.
fn place(mcfg: &[u8], sbdf: Sbdf) -> Option<u64> {
    let mut entries = mcfg.get(44..)?.chunks_exact(16);
    let entry = entries.find(|it| {
        let segment = u16::from_le_bytes([it[8], it[9]]);
        segment == sbdf.segment() && (it[10]..=it[11]).contains(&sbdf.bus())
    })?;
    // The address is that of bus 0, also where the range begins later.
    let base = u64::from_le_bytes(*entry.first_chunk()?);
    base.checked_add(u64::from(sbdf.source_id()) * SIZE)
}

fn turn_on(registers: &Mmio) -> bool {
    find(registers).is_some_and(|at| {
        let before = registers.read_u32(at + 4);
        let wanted = before & REDIRECT;
        let others = before & !((REDIRECT | EXCEPTIONS) << 16);
        registers.write_u32(at + 4, others | wanted << 16);
        registers.read_u32(at + 4) >> 16 & (REDIRECT | EXCEPTIONS) == wanted
    })
}

/// The capability's offset. The list is the device's own and may be anything: no more are looked at than there is room for.
fn find(registers: &Mmio) -> Option<usize> {
    let next = |at: &usize| Some((registers.read_u32(*at) >> 20) as usize & !3);
    let inside = |at: &usize| (0x100..=0x1000 - 8).contains(at);
    core::iter::successors(Some(0x100), |at| next(at).filter(inside))
        .take((0x1000 - 0x100) / 8)
        .find(|at| registers.read_u32(*at) & 0xffff == ACS)
}

/// The function through which one of two devices may reach the other's registers behind the IOMMU's back: one that does
/// not redirect, of those where the ways to them part or on the way from there to the root. Devices that have nothing in
/// common but the root complex count as apart, as in Linux's groups.
pub fn between(
    space: &dyn Space,
    one: &Function,
    other: &Function,
    redirects: &dyn Fn(Sbdf) -> bool,
) -> Option<Sbdf> {
    for (a, b) in way(one).zip(way(other)) {
        if a == b && (is_upstream_port(space, a) || redirects(a)) {
            continue;
        }
        let apart = a.bus() == 0 && a.device() != b.device();
        return [a, b].into_iter().find(|at| !apart && !redirects(*at));
    }
    None
}

fn way(function: &Function) -> impl Iterator<Item = Sbdf> {
    let bridges = function.upstream.iter().copied();
    bridges.chain([function.sbdf])
}

/// A switch's port towards the root has nothing to redirect (6.12.1.1).
fn is_upstream_port(space: &dyn Space, sbdf: Sbdf) -> bool {
    let at = space.capability(sbdf, EXPRESS);
    at.is_some_and(|at| space.read8(sbdf, at | 2) >> 4 == 5)
}

#[cfg(test)]
mod tests {
    use super::super::enumerate::Functions;
    use super::super::space::fake::{Fake, Function as Registers};
    use super::*;

    /// A configuration space with these registers; the rest is zero.
    fn registers(words: &[(usize, u32)]) -> Mmio {
        let memory = Box::leak(Box::new([0u64; SIZE as usize / 8]));
        let registers = Mmio::fake(memory);
        for (at, word) in words {
            registers.write_u32(*at, *word);
        }
        registers
    }

    #[test]
    fn what_the_device_can_is_turned_on_and_exceptions_off() {
        // Behind another capability; firmware has set both exceptions and a bit that is not ours.
        let there = registers(&[
            (0x100, 0x1481_0001),
            (0x148, 0x0001_000d),
            (0x14c, 0x0160_005d),
        ]);
        assert!(turn_on(&there));
        assert_eq!(there.read_u32(0x14c), 0x011d_005d);
        assert!(turn_on(&there), "again");
        // A device that needs none of it says so by a capability without bits.
        assert!(turn_on(&registers(&[(0x100, 0x0001_000d)])));
    }

    #[test]
    fn hostile_lists_end() {
        for words in [
            &[][..],
            &[(0x100, 0x1001_0001)],
            &[(0x100, 0x2001_0001), (0x200, 0x1001_0002)],
            &[(0x100, 0x0fc1_0001), (0x0fc, 0x0001_000d)],
            &[(0x100, 0xffc1_0001), (0xffc, 0x0001_000d)],
        ] {
            assert!(!turn_on(&registers(words)), "{words:x?}");
        }
        // At the very end it fits; the device may also have gone meanwhile.
        assert!(turn_on(&registers(&[
            (0x100, 0xff81_0001),
            (0xff8, 0x0001_000d)
        ])));
        let gone = registers(&[]);
        for at in (0..4096).step_by(4) {
            gone.write_u32(at, u32::MAX);
        }
        assert!(!turn_on(&gone));
    }

    #[test]
    fn a_place_is_found_for_the_buses_of_the_table() {
        let mut table = std::vec![0u8; 44];
        for (base, segment, first, last) in [
            (0xc000_0000u64, 1u16, 0u8, 255u8),
            (0xb000_0000, 0, 1, 0x3f),
            (u64::MAX, 0, 0x40, 0x40),
        ] {
            table.extend(base.to_le_bytes());
            table.extend(segment.to_le_bytes());
            table.extend([first, last, 0, 0, 0, 0]);
        }
        assert_eq!(place(&table, Sbdf::new(2, 3, 1)), Some(0xb021_9000));
        assert_eq!(place(&table, Sbdf::on(1, 8)), Some(0xc000_8000));
        for bus in [0, 0x40, 0x41] {
            assert_eq!(place(&table, Sbdf::new(bus, 0, 0)), None);
        }
        for cut in 0..table.len() {
            place(&table[..cut], Sbdf::new(2, 3, 1));
        }
    }

    /// Root ports 5.0, 5.1 and 6.0; behind 6.0 a switch with two ports; endpoints on 0/2/0, 1, 2, 5 and 6.
    fn machine() -> (Fake, Functions) {
        let space = Fake::default();
        let port = |at: Sbdf, secondary, kind: u8| {
            let mut port = Registers::new(0x1b36, 0x000c, 0x0604_0000);
            port.registers[0x0e] = 0x81;
            port.registers[0x19] = secondary;
            port.capability(0x54, EXPRESS, &[kind << 4]);
            space.add(at, port);
        };
        port(Sbdf::new(0, 5, 0), 1, 4);
        port(Sbdf::new(0, 5, 1), 2, 4);
        port(Sbdf::new(0, 6, 0), 3, 4);
        port(Sbdf::new(3, 0, 0), 4, 5);
        port(Sbdf::new(4, 0, 0), 5, 6);
        port(Sbdf::new(4, 1, 0), 6, 6);
        for (bus, device, function) in [(0, 2, 0), (1, 0, 0), (2, 0, 0), (5, 0, 0), (6, 0, 0)]
            .into_iter()
            .chain([(0, 7, 0), (0, 7, 1), (6, 0, 1)])
        {
            let mut endpoint = Registers::new(0x1af4, 0x1042, 0x0100_0000);
            endpoint.registers[0x0e] = 0x80;
            space.add(Sbdf::new(bus, device, function), endpoint);
        }
        let mut functions = Functions::new();
        functions.scan(&space);
        assert_eq!(functions.list.len(), 14);
        (space, functions)
    }

    #[test]
    fn devices_are_apart_where_all_that_they_share_redirects() {
        let (space, functions) = machine();
        let at = |(bus, device, function)| Sbdf::new(bus, device, function);
        let open = |one, other, without: &[(u8, u8, u8)]| {
            let [one, other] = [one, other].map(|it| functions.find(at(it)).unwrap());
            let redirects = |sbdf| !without.iter().any(|it| at(*it) == sbdf);
            let [there, back] = [(one, other), (other, one)]
                .map(|(one, other)| between(&space, one, other, &redirects));
            assert_eq!(there.is_some(), back.is_some());
            there
        };
        // Different devices of the root complex, and below.
        let none = [(0, 2, 0), (0, 7, 0), (0, 5, 0), (1, 0, 0), (0, 6, 0)];
        assert_eq!(open((0, 2, 0), (0, 7, 0), &none), None);
        assert_eq!(open((0, 2, 0), (1, 0, 0), &none), None);
        assert_eq!(open((1, 0, 0), (5, 0, 0), &none), None);
        // Functions of one device, root ports among them.
        assert_eq!(open((0, 7, 0), (0, 7, 1), &[]), None);
        for without in [(0, 7, 0), (0, 7, 1)] {
            assert_eq!(open((0, 7, 0), (0, 7, 1), &[without]), Some(at(without)));
        }
        assert_eq!(open((1, 0, 0), (2, 0, 0), &[]), None);
        assert_eq!(
            open((1, 0, 0), (2, 0, 0), &[(0, 5, 1)]),
            Some(at((0, 5, 1)))
        );
        // Ports of one switch, which must redirect, as the port above them must; the switch's own upper port need not.
        let (left, right) = ((5, 0, 0), (6, 0, 0));
        assert_eq!(open(left, right, &[(3, 0, 0), left, right]), None);
        for without in [(0, 6, 0), (4, 0, 0), (4, 1, 0)] {
            assert!(open(left, right, &[without]).is_some());
        }
        assert_eq!(open(left, right, &[(4, 1, 0)]), Some(at((4, 1, 0))));
        assert_eq!(open(right, (6, 0, 1), &[(0, 6, 0)]), Some(at((0, 6, 0))));
    }
}
