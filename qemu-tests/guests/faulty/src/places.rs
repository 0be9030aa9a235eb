//! A domain that maps one page everywhere it can: the tables which that takes are the machine's memory.

use super::hypercalls::call;
use xen_abi::hypercall::HYPERVISOR_MEMORY_OP;
use xen_abi::memory::{AddToPhysmap, XENMAPSPACE_SHARED_INFO, XENMEM_ADD_TO_PHYSMAP};
use xen_abi::{DOMID_SELF, Errno};

/// Far more than microhv may spend on them.
const PLACES: u64 = 20_000;

/// Maps its `shared_info` in one range of 2 MiB after the other, from 64 GiB on, and says how often it could.
pub fn map_everywhere() {
    let refused = (0..PLACES).find_map(|place| {
        let mut request = AddToPhysmap {
            domid: DOMID_SELF,
            space: XENMAPSPACE_SHARED_INFO,
            gpfn: (1 << 24) + (place << 9),
            ..Default::default()
        };
        let command = u64::from(XENMEM_ADD_TO_PHYSMAP);
        let answer = call(HYPERVISOR_MEMORY_OP, command, (&raw mut request) as u64, 0);
        Errno::from_ret(answer).err().map(|errno| (place, errno))
    });
    match refused {
        Some((places, errno)) => log::info!("faulty: {places} places, then {errno:?}"),
        None => log::error!("faulty: {PLACES} places, and no end"),
    }
}
