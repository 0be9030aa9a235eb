//! Which functions the machine has, and the bridges above each.

use super::Sbdf;
use super::fault::Faults;
use super::space::{Space, register};

/// Functions kept; more are named in a warning and cannot be assigned.
pub const MAX_FUNCTIONS: usize = 256;
/// Bridges above one function.
pub const MAX_DEPTH: usize = 8;
/// Capability identifier of PCI Express.
pub const EXPRESS: u8 = 0x10;

/// The bridges above a function, outermost first.
pub type Upstream = heapless::Vec<Sbdf, MAX_DEPTH>;

/// One function as found at boot.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its address.
    pub sbdf: Sbdf,
    /// Vendor and device ID.
    pub vendor: u16,
    /// See `vendor`.
    pub device: u16,
    /// Class, subclass, programming interface, revision from bit 31 down.
    pub class: u32,
    /// A bridge (header type other than 0).
    pub bridge: bool,
    /// A conventional PCI bus is on the way to it: its DMA carries the bridge's requester ID, not its own.
    pub behind_conventional: bool,
    /// Bridges above it.
    pub upstream: Upstream,
    /// What the IOMMU stopped of it.
    pub faults: Faults,
}

/// All functions found.
#[derive(Debug, Default)]
pub struct Functions {
    /// In the order found: each bus before those below it.
    pub list: heapless::Vec<Function, MAX_FUNCTIONS>,
    /// Some did not fit.
    pub overflow: bool,
}

impl Functions {
    /// None so far.
    pub const fn new() -> Self {
        Self {
            list: heapless::Vec::new(),
            overflow: false,
        }
    }

    /// The function at `sbdf`.
    pub fn find(&self, sbdf: Sbdf) -> Option<&Function> {
        self.list.iter().find(|function| function.sbdf == sbdf)
    }

    /// Finds all functions from bus 0 on.
    pub fn scan(&mut self, space: &dyn Space) {
        // A bus is scanned once, whatever bridges claim.
        let mut seen = [0u64; 4];
        seen[0] = 1;
        self.scan_bus(space, 0, &Upstream::new(), false);
        let mut next = 0;
        while let Some(bridge) = self
            .list
            .get(next)
            .filter(|_| next < MAX_FUNCTIONS)
            .cloned()
        {
            next += 1;
            if !bridge.bridge {
                continue;
            }
            let bus = space.read8(bridge.sbdf, register::SECONDARY_BUS);
            let (word, bit) = (usize::from(bus) / 64, bus % 64);
            // PCI-to-PCI bridges only; a host or ISA bridge has no bus of its own.
            let header = space.read8(bridge.sbdf, register::HEADER_TYPE) & 0x7f;
            if header != 1 || seen[word] >> bit & 1 != 0 {
                continue;
            }
            seen[word] |= 1 << bit;
            let mut upstream = bridge.upstream.clone();
            if upstream.push(bridge.sbdf).is_err() {
                self.overflow = true;
                continue;
            }
            let conventional =
                bridge.behind_conventional || space.capability(bridge.sbdf, EXPRESS).is_none();
            self.scan_bus(space, bus, &upstream, conventional);
        }
    }

    fn scan_bus(
        &mut self,
        space: &dyn Space,
        bus: u8,
        upstream: &Upstream,
        behind_conventional: bool,
    ) {
        for device in 0..32 {
            let mut functions = 1;
            let mut function = 0;
            while function < functions {
                let sbdf = Sbdf::new(bus, device, function);
                function += 1;
                let ids = space.read32(sbdf, register::VENDOR_ID);
                if ids as u16 == 0xffff {
                    if function == 1 {
                        break;
                    }
                    continue;
                }
                let header = space.read8(sbdf, register::HEADER_TYPE);
                if function == 1 && header & 0x80 != 0 {
                    functions = 8;
                }
                let found = Function {
                    sbdf,
                    vendor: ids as u16,
                    device: (ids >> 16) as u16,
                    class: space.read32(sbdf, register::CLASS),
                    bridge: header & 0x7f != 0 || space.read8(sbdf, register::CLASS + 3) == 0x06,
                    behind_conventional,
                    upstream: upstream.clone(),
                    faults: Faults::default(),
                };
                if self.list.push(found).is_err() {
                    self.overflow = true;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::fake::{Fake, Function as FakeFunction};
    use super::*;

    fn bridge(secondary: u8, express: bool) -> FakeFunction {
        let mut function = FakeFunction::new(0x1b36, 0x000c, 0x0604_0000);
        function.registers[0x0e] = 1;
        function.registers[0x19] = secondary;
        if express {
            function.capability(0x54, EXPRESS, &[]);
        }
        function
    }

    #[test]
    fn functions_behind_bridges_are_found_once() {
        let space = Fake::default();
        space.add(
            Sbdf::new(0, 0, 0),
            FakeFunction::new(0x8086, 0x29c0, 0x0600_0000),
        );
        space.add(Sbdf::new(0, 1, 0), bridge(1, true));
        space.add(Sbdf::new(1, 0, 0), bridge(2, false));
        space.add(Sbdf::new(2, 5, 0), FakeFunction::new(1, 2, 0x0200_0000));
        // A bridge that claims bus 0, and one that claims a bus which is taken.
        space.add(Sbdf::new(2, 6, 0), bridge(0, true));
        space.add(Sbdf::new(2, 7, 0), bridge(1, true));
        let mut multi = FakeFunction::new(3, 4, 0x0100_0000);
        multi.registers[0x0e] = 0x80;
        space.add(Sbdf::new(0, 0x1f, 0), multi);
        space.add(Sbdf::new(0, 0x1f, 3), FakeFunction::new(3, 5, 0x0100_0000));
        let mut functions = Functions::new();
        functions.scan(&space);
        assert_eq!(functions.list.len(), 8);
        let deep = functions.find(Sbdf::new(2, 5, 0)).unwrap();
        assert_eq!(
            deep.upstream.as_slice(),
            &[Sbdf::new(0, 1, 0), Sbdf::new(1, 0, 0)]
        );
        assert!(deep.behind_conventional && !deep.bridge);
        assert!(
            !functions
                .find(Sbdf::new(1, 0, 0))
                .unwrap()
                .behind_conventional
        );
        assert!(functions.find(Sbdf::new(0, 0, 0)).unwrap().bridge);
        assert!(!functions.find(Sbdf::new(0, 0x1f, 3)).unwrap().bridge);
        assert!(!functions.overflow);
    }

    #[test]
    fn a_machine_without_devices_has_none() {
        let mut functions = Functions::new();
        functions.scan(&Fake::default());
        assert!(functions.list.is_empty());
    }
}
