//! Files as guests and archives have them.

/// A kernel: 64-bit ELF with one segment at 16 MiB and the PVH note.
pub fn kernel() -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for wide in [0_u64, 64, 0] {
        file.extend(wide.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut note = Vec::new();
    for word in [4_u32, 4, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(0x100_0000_u32.to_le_bytes());
    let data = 64 + 2 * 56;
    for (kind, offset, address, size, memory) in [
        (1_u32, data + 20, 0x100_0000_u64, 4_u64, 0x10_0000_u64),
        (4, data, 0, 20, 20),
    ] {
        file.extend(kind.to_le_bytes());
        file.extend(7_u32.to_le_bytes());
        for wide in [offset, 0, address, size, memory, 4] {
            file.extend(wide.to_le_bytes());
        }
    }
    file.extend(note);
    file.extend(b"code");
    file
}
