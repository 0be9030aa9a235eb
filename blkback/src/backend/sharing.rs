//! Who uses which sectors: what one writes, no other reads or writes, unless the operator says so (`w!`).

use alloc::format;

use super::{Backends, Ending, Failure, Platform};
use crate::check::Extent;
use crate::disk::Disk;

impl<D: Disk, P: Platform> Backends<D, P> {
    /// May a new disk have these sectors? `false`: not yet, for one that has them is about to end.
    ///
    /// # Errors
    /// Another has them; in the words of Xen's block script.
    pub(super) fn may_use(
        &self,
        params: &str,
        extent: &Extent,
        shared: bool,
    ) -> Result<bool, Failure> {
        let rivals = self.vbds.iter().filter(|(_, vbd)| {
            let harmless = vbd.extent.read_only && extent.read_only;
            !harmless && !vbd.shared && vbd.extent.overlaps(extent)
        });
        let mut free = true;
        for (key, vbd) in rivals {
            if shared {
                break;
            }
            if vbd.ending != Some(Ending::Forget) {
                let (m1, m2) = match extent.read_only {
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
