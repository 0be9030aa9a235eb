//! Address space identifiers: each physical CPU hands them out in turn, so a vCPU that moved here or asked
//! for a flush gets one that no cached translation carries. When they run out the whole TLB is flushed and
//! a new generation begins; identifiers of older generations are worth nothing.

/// The identifiers of one physical CPU.
pub struct Asids {
    generation: u64,
    next: u32,
    count: u32,
}

/// What a vCPU got, and on which CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asid {
    pub number: u32,
    cpu: usize,
    generation: u64,
}

impl Asids {
    /// `count` identifiers including 0, which is the host's. The first use flushes whatever firmware left.
    pub const fn new(count: u32) -> Self {
        Self {
            generation: 0,
            next: count,
            count,
        }
    }

    /// The identifier to run `held`'s vCPU with on `cpu`, and whether the whole TLB must be flushed first.
    pub fn renew(&mut self, held: &mut Asid, cpu: usize) -> bool {
        if held.number != 0 && held.cpu == cpu && held.generation == self.generation {
            return false;
        }
        let flush = self.next >= self.count;
        if flush {
            self.generation += 1;
            self.next = 1;
        }
        *held = Asid {
            number: self.next,
            cpu,
            generation: self.generation,
        };
        self.next += 1;
        flush
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_keeps_its_identifier_until_it_moves() {
        let (mut here, mut there) = (Asids::new(16), Asids::new(16));
        let mut held = Asid::default();
        assert!(here.renew(&mut held, 0), "first use flushes");
        let first = held;
        assert!(!here.renew(&mut held, 0));
        assert_eq!(held, first);
        there.renew(&mut held, 1);
        assert!(!here.renew(&mut held, 0), "a fresh number needs no flush");
        assert_ne!(
            held.number, first.number,
            "translations left here in between are stale"
        );
    }

    #[test]
    fn running_out_flushes_and_outdates_all() {
        let mut asids = Asids::new(3);
        let mut held = [Asid::default(); 3];
        assert!(asids.renew(&mut held[0], 0));
        assert!(!asids.renew(&mut held[1], 0));
        assert!(asids.renew(&mut held[2], 0));
        assert_eq!(held[2].number, 1);
        assert!(!asids.renew(&mut held[0], 0));
        assert_eq!(held[0].number, 2, "the old 1 is of the last generation");
    }

    #[test]
    fn zero_is_never_given() {
        let mut asids = Asids::new(2);
        for _ in 0..5 {
            let mut held = Asid::default();
            asids.renew(&mut held, 0);
            assert_eq!(held.number, 1);
        }
    }
}
