//! Who uses which sectors: what one writes, no other reads or writes, unless the operator says so (`w!`).

use alloc::format;

use xen_abi::DomId;

use super::locate::Place;
use super::{Backends, Ending, Failure, Platform};
use crate::disk::Disk;

impl<D: Disk, P: Platform> Backends<D, P> {
    /// May a new disk have these sectors? `false`: not yet, for one that has them is about to end.
    ///
    /// # Errors
    /// Another has them; in the words of Xen's block script.
    pub(super) fn may_use(
        &self,
        params: &str,
        place: &Place,
        (shared, dom): (bool, DomId),
    ) -> Result<bool, Failure> {
        let Place {
            unit,
            extents,
            file,
        } = place;
        let rivals = self.vbds.iter().filter(|(key, vbd)| {
            let harmless = vbd.extents.read_only && extents.read_only;
            // Domain-0 has given the file away, and leaves its sectors alone.
            let given = (*file && key.0 == 0) || (vbd.file && dom == 0);
            let meet = vbd.unit == *unit && vbd.extents.overlaps(extents);
            !harmless && !given && !vbd.shared && meet
        });
        let mut free = true;
        for (key, vbd) in rivals {
            if shared {
                break;
            }
            if vbd.ending != Some(Ending::Forget) {
                let (m1, m2) = match extents.read_only {
                    true => ("read-write ", "read-only "),
                    false => ("", ""),
                };
                let (by, when) = match key.0 {
                    0 => ("the privileged domain".into(), "by a guest"),
                    dom => (format!("a guest domain ({dom})"), "now"),
                };
                return Err(Failure(format!(
                    "Device {params} is mounted {m1}in {by}, and so cannot be mounted {m2}{when}."
                )));
            }
            free = false;
        }
        Ok(free)
    }
}
