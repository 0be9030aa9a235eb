//! Reading a loader's little-endian structures.

/// The number at byte `at`; 0 beyond the end.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = at
        .checked_add(4)
        .and_then(|end| bytes.get(at..end)?.try_into().ok());
    field.map_or(0, u32::from_le_bytes)
}

/// The number at byte `at`; what is beyond the end counts as 0.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at.saturating_add(4))) << 32
}

/// The text up to the first zero; nothing if that is no UTF-8 or there is no zero.
pub(super) fn text(bytes: &[u8]) -> &str {
    core::ffi::CStr::from_bytes_until_nul(bytes)
        .ok()
        .and_then(|text| text.to_str().ok())
        .unwrap_or("")
}
