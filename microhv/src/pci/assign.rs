//! Giving a device to a domain, and taking it back.

use super::Sbdf;
use super::bar::{self, BARS, Bar};
use super::binding::Bindings;
use super::enumerate::{EXPRESS, Function};
use super::filter::Shadow;
use super::msix::{Capability, Table};
use super::reset::{self, Method, Saved};
use super::space::{Space, command, register};
use crate::arch::timer;
use crate::domain::Domain;
use crate::iommu;
use crate::mm::frame_table;
use crate::paging::Access;
use crate::types::{DomId, Gfn, Mfn};
use core::fmt;
use xen_abi::Errno;

/// Memory of one device that can be mapped, at most: 1 GiB, as pages one by one.
const LARGEST_BAR: u64 = 1 << 30;

/// Why a device cannot be assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignError {
    /// No function answers there.
    NoDevice,
    /// Another domain has it.
    Taken(DomId),
    /// It is a bridge.
    Bridge,
    /// The machine has no IOMMU, or it is off.
    NoIommu,
    /// The IOMMU cannot remap interrupts and the operator did not accept that.
    NoInterruptRemapping,
    /// Firmware reserves memory for its DMA.
    Reserved,
    /// Its DMA cannot be told from its neighbours' (conventional PCI bus).
    SharedRequester,
    /// A BAR has no address, overlaps memory, or is too large.
    BadBar(u8),
    /// The domain or the machine has no memory for its tables.
    NoMemory,
    /// Too many devices are assigned.
    TooMany,
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => f.write_str("there is no such device"),
            Self::Taken(domain) => write!(f, "it is already assigned to {domain}"),
            Self::Bridge => f.write_str("it is a bridge"),
            Self::NoIommu => f.write_str("there is no IOMMU in use, so its DMA could not be confined"),
            Self::NoInterruptRemapping => f.write_str(
                "the IOMMU does not remap interrupts, so it could raise any (iommu=no-intremap in xen_cmdline accepts that)",
            ),
            Self::Reserved => f.write_str("firmware reserves memory for its DMA"),
            Self::SharedRequester => {
                f.write_str("it is behind a conventional PCI bridge, so its DMA cannot be told from its neighbours'")
            }
            Self::BadBar(index) => write!(f, "its BAR {index} has no usable address"),
            Self::NoMemory => f.write_str("no memory for its tables"),
            Self::TooMany => f.write_str("too many devices are assigned"),
        }
    }
}

impl From<Errno> for AssignError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENODEV => Self::NoIommu,
            _ => Self::NoMemory,
        }
    }
}

/// A device in a domain's hands.
#[derive(Debug)]
pub struct Assignment {
    pub(super) sbdf: Sbdf,
    pub(super) domain: DomId,
    /// What was there when it was assigned.
    pub(super) function: Function,
    pub(super) shadow: Shadow,
    pub(super) msix: Option<Table>,
    /// Pages that the domain does not see.
    pub(super) hidden: core::ops::Range<u64>,
    /// MSI-X was enabled, which takes a while, as every entry has to be masked: it stays so.
    pub(super) msix_on: bool,
    pub(super) bindings: Bindings,
    pub(super) drop_logged: bool,
}

/// A device that was reset and has to be left alone for a while.
#[derive(Clone, Copy, Debug)]
pub struct Recovering {
    pub(super) sbdf: Sbdf,
    saved: Saved,
    ready_ns: u64,
}

impl Recovering {
    /// Waits until the device may be touched, and puts back what firmware had set.
    pub(super) fn finish(&self, space: &dyn Space) {
        // At most 100 ms, and only where a driver domain is restarted at once.
        while timer::now_ns() < self.ready_ns {
            core::hint::spin_loop();
        }
        self.saved.restore(space, self.sbdf);
    }
}

/// What every condition before the device is touched says.
pub(super) fn check(function: &Function) -> Result<(), AssignError> {
    let unmapped = !iommu::intremap() && !iommu::accepts_no_intremap();
    let mut reasons = [
        (function.bridge, AssignError::Bridge),
        (!iommu::present(), AssignError::NoIommu),
        (unmapped, AssignError::NoInterruptRemapping),
        (iommu::is_reserved(function.sbdf), AssignError::Reserved),
        (function.behind_conventional, AssignError::SharedRequester),
    ]
    .into_iter();
    let found = reasons.find(|(holds, _)| *holds);
    found.map_or(Ok(()), |(_, why)| Err(why))
}

/// Maps the device's memory into the domain and lets its DMA through the domain's tables.
pub(super) fn hand_over(
    space: &dyn Space,
    function: &Function,
    neighbours: &[Function],
    owner: &Domain,
) -> Result<Assignment, AssignError> {
    let sbdf = function.sbdf;
    let bars = bar::probe(space, sbdf);
    let capability = Capability::find(space, sbdf, &bars);
    let hidden = capability.map_or(0..0, |capability| capability.pages());
    for (index, bar) in (0u8..)
        .zip(&bars)
        .filter(|(_, bar)| bar.size > 0 && !bar.io)
    {
        let mapped = map_bar(space, bar, &hidden, sbdf, neighbours, owner);
        mapped.map_err(|errno| match errno {
            Errno::ENOMEM => AssignError::NoMemory,
            _ => AssignError::BadBar(index),
        })?;
    }
    // Memory decoding on, so that the MSI-X table answers; bus mastering is for the driver to turn on.
    let (off, on) = (
        command::BUS_MASTER | command::IO,
        command::MEMORY | command::INTX_DISABLE,
    );
    space.change16(sbdf, register::COMMAND, off, on);
    snoop_always(space, sbdf);
    let msix = capability.and_then(Table::map);
    if let Some(table) = &msix {
        table.disable(space, sbdf);
    }
    let mut p2m = owner.p2m.lock();
    let io = p2m.io.as_mut().ok_or(AssignError::NoIommu)?;
    io.attach(sbdf, &function.upstream)?;
    Ok(Assignment {
        sbdf,
        domain: owner.id,
        function: function.clone(),
        shadow: Shadow::new(bars),
        msix,
        hidden,
        msix_on: false,
        bindings: Bindings::default(),
        drop_logged: false,
    })
}

/// Has the device's requests see what CPUs' caches hold. A request that does not (No Snoop, which is on after reset) reads
/// what the memory held before: of a page that was zeroed for its new owner, the old owner's bytes.
fn snoop_always(space: &dyn Space, sbdf: Sbdf) {
    /// Device Control and its bit Enable No Snoop (PCI Express Base 5.0, 7.5.3.4).
    const DEVICE_CONTROL: u8 = 8;
    const NO_SNOOP: u16 = 1 << 11;
    if let Some(at) = space.capability(sbdf, EXPRESS).filter(|at| *at <= 0xf0) {
        space.change16(sbdf, at + DEVICE_CONTROL, NO_SNOOP, 0);
    }
}

fn map_bar(
    space: &dyn Space,
    bar: &Bar,
    hidden: &core::ops::Range<u64>,
    sbdf: Sbdf,
    neighbours: &[Function],
    owner: &Domain,
) -> Result<(), Errno> {
    let end = bar.end().ok_or(Errno::EINVAL)?;
    if bar.base == 0 || bar.size > LARGEST_BAR {
        return Err(Errno::EINVAL);
    }
    let (first, last) = (bar.base & !0xfff, end.next_multiple_of(4096));
    if bar.size < 4096 && shares_page(space, first, sbdf, neighbours) {
        // Mapping the page would give away the neighbour's registers.
        log::warn!(
            "PCI: {sbdf}: the BAR at {:#x} shares a page with another device and is not mapped",
            bar.base
        );
        return Ok(());
    }
    let mut p2m = owner.p2m.lock();
    for at in (first..last)
        .step_by(4096)
        .filter(|at| !hidden.contains(at))
    {
        // A device may have moved its BAR behind our back: no memory of the machine's is given away for that.
        if frame_table::covers(Mfn::containing(at)) {
            return Err(Errno::EINVAL);
        }
        // For the domain's CPUs, not for its devices.
        p2m.add_device(Gfn::containing(at), Mfn::containing(at), Access::READ_WRITE)?;
    }
    Ok(())
}

/// Does another function's BAR start in the page at `page`?
fn shares_page(space: &dyn Space, page: u64, sbdf: Sbdf, neighbours: &[Function]) -> bool {
    neighbours
        .iter()
        .filter(|other| other.sbdf != sbdf && !other.bridge)
        .any(|other| {
            let word = |index: u8| space.read32(other.sbdf, register::BAR0 + index * 4);
            (0..BARS as u8).any(|index| {
                let low = word(index);
                let wide = low & 7 == 4 && index + 1 < BARS as u8;
                let high = if wide { word(index + 1) } else { 0 };
                low & 1 == 0 && u64::from(high) << 32 | u64::from(low & !0xfff) == page
            })
        })
}

impl Assignment {
    /// Takes the device out of the domain's hands: no DMA, no interrupts, reset.
    pub(super) fn take_back(mut self, space: &dyn Space, owner: &Domain) -> Recovering {
        let sbdf = self.sbdf;
        let (off, on) = (command::BUS_MASTER, command::INTX_DISABLE);
        space.change16(sbdf, register::COMMAND, off, on);
        // The domain's tables stay valid until every request in flight is done.
        if let Some(io) = &mut owner.p2m.lock().io {
            io.detach(sbdf);
        }
        if let Some(table) = &self.msix {
            table.disable(space, sbdf);
        }
        self.bindings.release_all();
        let saved = Saved::take(space, sbdf);
        let method = reset::reset(space, sbdf);
        match method {
            Method::None => {
                log::warn!("PCI: {sbdf} has no way to be reset; its DMA and interrupts are blocked")
            }
            method => log::info!(
                "PCI: {sbdf} taken back from {}, reset ({method:?})",
                self.domain
            ),
        }
        Recovering {
            sbdf,
            saved,
            ready_ns: timer::now_ns().saturating_add(method.silence_ns()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::fake::{Fake, Function as Registers};
    use super::*;

    #[test]
    fn a_bar_over_memory_maps_none_of_it() {
        use crate::domain::tests::{alone, destroy, domain};
        let _alone = alone();
        let (owner, space) = (domain(8), Fake::default());
        let map = |base| {
            let bar = Bar {
                base,
                size: 8192,
                ..Bar::default()
            };
            map_bar(&space, &bar, &(0..0), Sbdf::new(0, 3, 0), &[], &owner)
        };
        let memory = crate::mm::phys::ARENA_FIRST * 4096;
        for base in [memory, memory - 4096] {
            assert_eq!(map(base), Err(Errno::EINVAL));
            let there = owner.p2m.lock().lookup(Gfn::containing(memory));
            assert!(there.is_none());
        }
        map(0xfebc_0000).unwrap();
        destroy(&owner);
    }

    #[test]
    fn a_device_may_not_pass_the_caches_by() {
        let (space, mut device) = (Fake::default(), Registers::new(0x8086, 0x1533, 0x0200_0001));
        device.capability(0x50, EXPRESS, &[]);
        device.put16(0x58, 0x2810);
        device.writable[0x58..0x5a].fill(0xff);
        let sbdf = Sbdf::new(0, 3, 0);
        space.add(sbdf, device);
        snoop_always(&space, sbdf);
        assert_eq!(space.read16(sbdf, 0x58), 0x2010);
    }

    #[test]
    fn a_neighbour_in_the_same_page_is_found_below_and_above_4_gib() {
        let (space, mut neighbour) = (Fake::default(), Registers::new(0x1af4, 0x1041, 0x0200_0001));
        neighbour.put32(0x10, 0xfebc_1400);
        neighbour.put32(0x14, 0xc041);
        neighbour.put32(0x18, 0x8000_2404);
        neighbour.put32(0x1c, 0x12);
        let sbdf = Sbdf::new(0, 4, 0);
        space.add(sbdf, neighbour);
        let mut functions = super::super::enumerate::Functions::new();
        functions.scan(&space);
        let shares = |page, of| shares_page(&space, page, of, &functions.list);
        let own = Sbdf::new(0, 3, 0);
        assert!(shares(0xfebc_1000, own) && shares(0x12_8000_2000, own));
        assert!(!shares(0xfebc_2000, own) && !shares(0x8000_2000, own) && !shares(0xc000, own));
        assert!(!shares(0xfebc_1000, sbdf), "its own");
    }
}
