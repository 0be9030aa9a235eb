//! Which address is behind which port.
//!
//! Static entries are the vifs' own addresses, as the store names them: they never age and nobody else can take them.
//! Learned ones age after [`LIFETIME`] and are limited in number, in all and for each port, so that no guest can push
//! out what others taught. Both limits and the lifetime are FreeBSD's bridge(4) defaults (`maxaddr`, `timeout`).

use crate::mac::Mac;
use crate::switch::PortId;
use alloc::collections::BTreeMap;
use core::time::Duration;

/// How long a learned entry lives after the last frame from its address (bridge(4): 1200 seconds).
pub const LIFETIME: Duration = Duration::from_secs(1200);
/// Learned entries at most (bridge(4): 2000).
pub const MAX_LEARNED: usize = 2000;
/// Learned entries of one port at most, the uplink apart: guests may have bridges inside, but not thousands of hosts.
pub const MAX_LEARNED_PORT: usize = 100;

#[derive(Clone, Copy, Debug)]
struct Learned {
    port: PortId,
    /// When the last frame came from the address.
    seen: Duration,
}

/// What came of learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// The address is known at this port now.
    Known,
    /// The address is another port's own: the frame is forged.
    Forged,
    /// The table, or the port's share of it, is full of living entries.
    Full,
}

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    fixed: BTreeMap<Mac, PortId>,
    learned: BTreeMap<Mac, Learned>,
    counts: BTreeMap<PortId, usize>,
}

impl Table {
    /// Makes `mac` the port's own for as long as the port exists. False if another port has it already.
    pub fn add_static(&mut self, mac: Mac, port: PortId) -> bool {
        if self.fixed.get(&mac).is_some_and(|owner| *owner != port) {
            return false;
        }
        self.forget(mac);
        self.fixed.insert(mac, port);
        true
    }

    /// Forgets everything about a port.
    pub fn remove_port(&mut self, port: PortId) {
        self.fixed.retain(|_, owner| *owner != port);
        self.learned.retain(|_, entry| entry.port != port);
        self.counts.remove(&port);
    }

    /// The port behind which `mac` is.
    #[must_use]
    pub fn lookup(&self, mac: Mac, now: Duration) -> Option<PortId> {
        if let Some(port) = self.fixed.get(&mac) {
            return Some(*port);
        }
        let entry = self.learned.get(&mac)?;
        (now.saturating_sub(entry.seen) < LIFETIME).then_some(entry.port)
    }

    /// A frame from `mac` came in at `port`. `unlimited`: the port may fill the table (the uplink).
    pub fn learn(&mut self, mac: Mac, port: PortId, now: Duration, unlimited: bool) -> Learn {
        if let Some(owner) = self.fixed.get(&mac) {
            return if *owner == port {
                Learn::Known
            } else {
                Learn::Forged
            };
        }
        if let Some(entry) = self.learned.get_mut(&mac) {
            if entry.port == port {
                entry.seen = now;
                return Learn::Known;
            }
            // It moved.
            self.forget(mac);
        }
        let full = |table: &Self| {
            table.learned.len() >= MAX_LEARNED
                || !unlimited
                    && table
                        .counts
                        .get(&port)
                        .is_some_and(|count| *count >= MAX_LEARNED_PORT)
        };
        if full(self) {
            self.age(now);
            if full(self) {
                return Learn::Full;
            }
        }
        self.learned.insert(mac, Learned { port, seen: now });
        *self.counts.entry(port).or_default() += 1;
        Learn::Known
    }

    fn forget(&mut self, mac: Mac) {
        if let Some(entry) = self.learned.remove(&mac)
            && let Some(count) = self.counts.get_mut(&entry.port)
        {
            *count -= 1;
        }
    }

    /// Drops entries that have outlived their time.
    pub fn age(&mut self, now: Duration) {
        let counts = &mut self.counts;
        self.learned.retain(|_, entry| {
            let lives = now.saturating_sub(entry.seen) < LIFETIME;
            if !lives && let Some(count) = counts.get_mut(&entry.port) {
                *count -= 1;
            }
            lives
        });
    }

    /// How many entries were learned.
    #[must_use]
    pub fn learned(&self) -> usize {
        self.learned.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PortId = PortId(1);
    const B: PortId = PortId(2);
    const NOW: Duration = Duration::from_secs(10);

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    #[test]
    fn addresses_are_learned_move_and_age() {
        let mut table = Table::default();
        assert_eq!(table.lookup(mac(1), NOW), None);
        assert_eq!(table.learn(mac(1), A, NOW, false), Learn::Known);
        assert_eq!(table.lookup(mac(1), NOW), Some(A));
        assert_eq!(table.learn(mac(1), B, NOW, false), Learn::Known);
        assert_eq!(
            table.lookup(mac(1), NOW + LIFETIME - Duration::from_secs(1)),
            Some(B)
        );
        assert_eq!(table.lookup(mac(1), NOW + LIFETIME), None);
        table.age(NOW + LIFETIME);
        assert_eq!(table.learned(), 0);
    }

    #[test]
    fn a_static_address_cannot_be_taken() {
        let mut table = Table::default();
        table.learn(mac(1), B, NOW, false);
        assert!(table.add_static(mac(1), A));
        assert!(!table.add_static(mac(1), B));
        assert_eq!(table.learn(mac(1), B, NOW, false), Learn::Forged);
        assert_eq!(table.lookup(mac(1), NOW + 2 * LIFETIME), Some(A));
        table.remove_port(A);
        assert_eq!(table.lookup(mac(1), NOW), None);
        assert!(table.add_static(mac(1), B));
    }

    #[test]
    fn a_port_cannot_fill_the_table() {
        let mut table = Table::default();
        table.learn(mac(9999), B, NOW, false);
        let known = (0..5000)
            .filter(|n| table.learn(mac(*n), A, NOW, false) == Learn::Known)
            .count();
        assert_eq!(known, MAX_LEARNED_PORT);
        assert_eq!(table.lookup(mac(9999), NOW), Some(B));
        // Old entries make room.
        assert_eq!(
            table.learn(mac(8888), A, NOW + LIFETIME, false),
            Learn::Known
        );
        assert_eq!(table.learned(), 1);
    }

    #[test]
    fn the_table_is_bounded_whatever_the_uplink_sends() {
        let mut table = Table::default();
        for n in 0..10_000 {
            table.learn(mac(n), A, NOW, true);
        }
        assert_eq!(table.learned(), MAX_LEARNED);
        table.remove_port(A);
        assert_eq!(table.learned(), 0);
    }
}
