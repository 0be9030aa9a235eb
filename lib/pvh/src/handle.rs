//! The UUID of a boot-time domain carries its name.
//!
//! The hypervisor knows no names, and Domain-0 has to learn which of the domains that it finds at boot
//! is which, even when one of the list could not be built. A boot-time domain's handle
//! (`xen_domain_handle_t`) is therefore its name from loader.conf, padded with zeros.

/// The handle of the boot-time domain `name`; names longer than 16 bytes are cut.
#[must_use]
pub fn boot_domain_handle(name: &str) -> [u8; 16] {
    let mut handle = [0; 16];
    for (to, from) in handle.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    handle
}

/// The name in a handle made by [`boot_domain_handle`]; `None` for any other handle.
#[must_use]
pub fn boot_domain_name(handle: &[u8; 16]) -> Option<&str> {
    let length = handle
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(handle.len());
    let (name, padding) = handle.split_at_checked(length)?;
    let plain = name
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    if name.is_empty() || !plain || padding.iter().any(|&byte| byte != 0) {
        return None;
    }
    core::str::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_uuids_are_no_names() {
        for name in ["xenstore", "a", "exactly-16-bytes"] {
            assert_eq!(boot_domain_name(&boot_domain_handle(name)), Some(name));
        }
        assert_eq!(boot_domain_name(&[0; 16]), None);
        assert_eq!(boot_domain_name(b"name\0tail\0\0\0\0\0\0\0"), None);
        assert_eq!(boot_domain_name(&[0x8c; 16]), None);
    }
}
