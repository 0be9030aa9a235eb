//! `xen_version`: who we are, and the features that guests choose their ways by.

use xen_abi::Errno;
use xen_abi::version::{self as abi, CompileInfo, FeatureInfo, Features, PlatformParameters};

use super::{Caller, Outcome, Result};

const FEATURES: Features = Features::WRITABLE_DESCRIPTOR_TABLES
    .union(Features::AUTO_TRANSLATED_PHYSMAP)
    .union(Features::SUPERVISOR_MODE_KERNEL)
    .union(Features::HVM_CALLBACK_VECTOR)
    .union(Features::HVM_SAFE_PVCLOCK)
    .union(Features::MEMORY_OP_VNODE_SUPPORTED);

/// `xen_version(cmd, arg)`.
pub fn call(caller: &Caller<'_>) -> Result {
    let argument = caller.argument(1);
    match caller.argument(0) as u32 {
        abi::XENVER_VERSION => Ok(Outcome::Value(u64::from(crate::exit::XEN_VERSION))),
        abi::XENVER_EXTRAVERSION => text::<{ abi::XEN_EXTRAVERSION_LEN }>(caller, ".0-microhv"),
        abi::XENVER_COMPILE_INFO => {
            let mut info = CompileInfo::default();
            copy(&mut info.compiler, "rustc");
            copy(&mut info.compile_by, "microhv");
            caller.answer(argument, &info)
        }
        abi::XENVER_CAPABILITIES => {
            text::<{ abi::XEN_CAPABILITIES_INFO_LEN }>(caller, "hvm-3.0-x86_64 ")
        }
        abi::XENVER_CHANGESET => {
            text::<{ abi::XEN_CHANGESET_INFO_LEN }>(caller, env!("CARGO_PKG_VERSION"))
        }
        abi::XENVER_PLATFORM_PARAMETERS => {
            caller.answer(argument, &PlatformParameters { virt_start: 0 })
        }
        abi::XENVER_GET_FEATURES => {
            let mut info: FeatureInfo = caller.read(argument)?;
            info.submap = match info.submap_idx {
                0 if caller.vcpu.domain.privileged => (FEATURES | Features::DOM0).bits(),
                0 => FEATURES.bits(),
                _ => return Err(Errno::EINVAL),
            };
            caller.answer(argument, &info)
        }
        abi::XENVER_PAGESIZE => Ok(Outcome::Value(crate::types::PAGE_SIZE as u64)),
        abi::XENVER_GUEST_HANDLE => caller.answer(argument, &*caller.vcpu.domain.handle.lock()),
        abi::XENVER_COMMANDLINE => {
            caller.check_privilege()?;
            text::<{ abi::XEN_COMMANDLINE_LEN }>(
                caller,
                crate::boot::orders().map_or("", |orders| orders.options.text),
            )
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Writes `value` into the caller's field of `N` bytes, cut and terminated as C wants it.
fn text<const N: usize>(caller: &Caller<'_>, value: &str) -> Result {
    let mut field = [0; N];
    copy(&mut field, value);
    caller.answer(caller.argument(1), &field)
}

fn copy(field: &mut [u8], value: &str) {
    let room = field.len().saturating_sub(1);
    for (to, from) in field.iter_mut().take(room).zip(value.bytes()) {
        *to = from;
    }
}
