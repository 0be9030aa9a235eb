//! Where a frame goes.

use crate::mac::{Addresses, Mac};
use crate::table::{Learn, Table};
use core::time::Duration;

/// A port's number: vifs, the uplink, and the bridge's own interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// The bridge's own interface, `bridge0`.
pub const LOCAL: PortId = PortId(0);

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To this port only.
    One(PortId),
    /// To every port but the one it came from. `unknown`: because nobody knows where the address is, not because it
    /// is a group's.
    Flood {
        /// See above.
        unknown: bool,
    },
    /// To nobody.
    Drop(DropReason),
}

/// Why a frame goes to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The source is another port's own address, or a group's.
    Forged,
    /// A protocol that ends at the bridge (spanning tree and the like).
    LinkLocal,
    /// The destination is at the port it came from.
    SamePort,
}

/// The switch: the address table and who the uplink is.
#[derive(Debug, Default)]
pub struct Switch {
    /// Addresses.
    pub table: Table,
    uplinks: alloc::collections::BTreeSet<PortId>,
}

impl Switch {
    /// Adds a port with the address the store names for it. False: another port has that address; the port works, but
    /// frames for the address keep going to the other one.
    pub fn add_port(&mut self, port: PortId, mac: Option<Mac>, uplink: bool) -> bool {
        if uplink {
            self.uplinks.insert(port);
        }
        // The NIC's own address is nobody's here: the uplink carries those of the world.
        match mac {
            Some(mac) if !uplink => self.table.add_static(mac, port),
            _ => true,
        }
    }

    /// Forgets a port.
    pub fn remove_port(&mut self, port: PortId) {
        self.uplinks.remove(&port);
        self.table.remove_port(port);
    }

    /// Decides about a frame that came in at `port`, and learns from it.
    pub fn decide(&mut self, port: PortId, frame: Addresses, now: Duration) -> Verdict {
        if frame.source.is_group() {
            return Verdict::Drop(DropReason::Forged);
        }
        if self
            .table
            .learn(frame.source, port, now, self.uplinks.contains(&port))
            == Learn::Forged
        {
            return Verdict::Drop(DropReason::Forged);
        }
        if frame.destination.is_link_local() {
            return Verdict::Drop(DropReason::LinkLocal);
        }
        if frame.destination.is_group() {
            return Verdict::Flood { unknown: false };
        }
        match self.table.lookup(frame.destination, now) {
            Some(target) if target == port => Verdict::Drop(DropReason::SamePort),
            Some(target) => Verdict::One(target),
            None => Verdict::Flood { unknown: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLINK: PortId = PortId(1);
    const GUEST: PortId = PortId(2);
    const OTHER: PortId = PortId(3);
    const GUEST_MAC: Mac = Mac([0, 0x16, 0x3e, 0, 0, 1]);
    const OTHER_MAC: Mac = Mac([0, 0x16, 0x3e, 0, 0, 2]);
    const WORLD: Mac = Mac([0x52, 0x55, 10, 0, 2, 2]);
    const NOW: Duration = Duration::from_secs(1);

    fn switch() -> Switch {
        let mut switch = Switch::default();
        assert!(switch.add_port(UPLINK, Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])), true));
        assert!(switch.add_port(GUEST, Some(GUEST_MAC), false));
        assert!(switch.add_port(OTHER, Some(OTHER_MAC), false));
        switch
    }

    fn frame(source: Mac, destination: Mac) -> Addresses {
        Addresses {
            destination,
            source,
        }
    }

    #[test]
    fn unicast_to_a_known_address_is_never_flooded() {
        let mut switch = switch();
        // Before it sent anything: the store named it.
        assert_eq!(
            switch.decide(UPLINK, frame(WORLD, GUEST_MAC), NOW),
            Verdict::One(GUEST)
        );
        assert_eq!(
            switch.decide(OTHER, frame(OTHER_MAC, GUEST_MAC), NOW),
            Verdict::One(GUEST)
        );
        assert_eq!(
            switch.decide(GUEST, frame(GUEST_MAC, WORLD), NOW),
            Verdict::One(UPLINK)
        );
        let nobody = Mac([2, 0, 0, 0, 0, 9]);
        assert_eq!(
            switch.decide(GUEST, frame(GUEST_MAC, nobody), NOW),
            Verdict::Flood { unknown: true }
        );
    }

    #[test]
    fn groups_reach_everybody_but_link_local_ones_nobody() {
        let mut switch = switch();
        assert_eq!(
            switch.decide(GUEST, frame(GUEST_MAC, Mac::BROADCAST), NOW),
            Verdict::Flood { unknown: false }
        );
        let bpdu = Mac([1, 0x80, 0xc2, 0, 0, 0]);
        assert_eq!(
            switch.decide(GUEST, frame(GUEST_MAC, bpdu), NOW),
            Verdict::Drop(DropReason::LinkLocal)
        );
    }

    #[test]
    fn nobody_speaks_in_anothers_name() {
        let mut switch = switch();
        assert_eq!(
            switch.decide(OTHER, frame(GUEST_MAC, WORLD), NOW),
            Verdict::Drop(DropReason::Forged)
        );
        assert_eq!(
            switch.decide(UPLINK, frame(GUEST_MAC, OTHER_MAC), NOW),
            Verdict::Drop(DropReason::Forged)
        );
        assert_eq!(
            switch.decide(OTHER, frame(Mac::BROADCAST, WORLD), NOW),
            Verdict::Drop(DropReason::Forged)
        );
        assert_eq!(
            switch.decide(UPLINK, frame(WORLD, GUEST_MAC), NOW),
            Verdict::One(GUEST)
        );
    }

    #[test]
    fn a_frame_never_goes_back() {
        let mut switch = switch();
        assert_eq!(
            switch.decide(GUEST, frame(GUEST_MAC, GUEST_MAC), NOW),
            Verdict::Drop(DropReason::SamePort)
        );
    }

    #[test]
    fn a_port_that_left_is_forgotten() {
        let mut switch = switch();
        switch.remove_port(GUEST);
        assert_eq!(
            switch.decide(UPLINK, frame(WORLD, GUEST_MAC), NOW),
            Verdict::Flood { unknown: true }
        );
    }
}
