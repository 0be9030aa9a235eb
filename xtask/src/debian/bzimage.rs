//! Takes the ELF kernel out of a bzImage, whatever it was compressed with.
//!
//! Source: Linux, Documentation/x86/boot.rst (setup_sects, payload_offset, payload_length).

use std::io::Read;

use anyhow::{Context, Result, bail};

/// Offset of `setup_sects`, one byte.
const SETUP_SECTS: usize = 0x1f1;
/// Offset of the header's magic "HdrS".
const MAGIC: usize = 0x202;
/// Offset of `payload_offset`, from the end of the setup sectors, 4 bytes.
const PAYLOAD_OFFSET: usize = 0x248;
/// Offset of `payload_length`, 4 bytes.
const PAYLOAD_LENGTH: usize = 0x24c;
/// First bytes of lz4's legacy format, the one the kernel's build uses.
const LZ4_MAGIC: u32 = 0x184c_2102;
/// The most that a block of lz4's legacy format unpacks to.
const LZ4_BLOCK: usize = 8 << 20;

/// The kernel inside `file`: a bzImage, or an ELF file, which is returned as it is.
///
/// # Errors
/// When `file` is neither, is truncated, or its compression is unknown.
pub fn unpack(file: &[u8]) -> Result<Vec<u8>> {
    if file.starts_with(b"\x7fELF") {
        return Ok(file.to_vec());
    }
    if file.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        bail!("neither a bzImage nor an ELF file");
    }
    let sectors = match file[SETUP_SECTS] {
        // For old kernels, says the protocol.
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(file, PAYLOAD_OFFSET)?;
    let payload = start
        .checked_add(word(file, PAYLOAD_LENGTH)?)
        .and_then(|end| file.get(start..end))
        .context("truncated bzImage")?;
    let kernel = decompress(payload)?;
    if !kernel.starts_with(b"\x7fELF") {
        bail!("the bzImage's payload is no ELF file");
    }
    Ok(kernel)
}

/// Unpacks a payload. All formats but gzip have the unpacked size appended by the kernel's build, which the
/// decoders must not take for data.
fn decompress(payload: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match payload {
        [0x1f, 0x8b, ..] => {
            flate2::read::GzDecoder::new(payload)
                .read_to_end(&mut out)
                .context("gzip")?;
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            liblzma::read::XzDecoder::new(payload)
                .read_to_end(&mut out)
                .context("xz")?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(payload).context("zstd")?;
            decoder.read_to_end(&mut out).context("zstd")?;
        }
        [0x02, 0x21, 0x4c, 0x18, ..] => out = lz4_legacy(payload)?,
        _ => bail!(
            "unknown compression, its first bytes are {:02x?}",
            payload.get(..6).unwrap_or(payload)
        ),
    }
    Ok(out)
}

fn lz4_legacy(payload: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = 4;
    // Four bytes left are the appended size, not a block's.
    while payload.len() - at > 4 {
        let size = word(payload, at)?;
        at += 4;
        if size == LZ4_MAGIC as usize {
            continue;
        }
        let block = at
            .checked_add(size)
            .and_then(|end| payload.get(at..end))
            .context("truncated lz4")?;
        out.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).context("lz4")?);
        at += size;
    }
    Ok(out)
}

fn word(file: &[u8], at: usize) -> Result<usize> {
    let bytes = file
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .context("truncated bzImage")?;
    Ok(u32::from_le_bytes(bytes) as usize)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Something like a kernel: an ELF magic, then bytes that compress a little.
    fn kernel() -> Vec<u8> {
        let noise = (0u32..3_000_000).map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as u8);
        b"\x7fELF".iter().copied().chain(noise).collect()
    }

    fn bzimage(compressed: &[u8], append_size: bool) -> Vec<u8> {
        let mut payload = compressed.to_vec();
        if append_size {
            payload.extend(u32::try_from(kernel().len()).unwrap().to_le_bytes());
        }
        let mut file = vec![0; 3 * 512];
        file[SETUP_SECTS] = 2;
        file[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        file[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        file[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        file.extend([0xcc; 16]);
        file.extend(payload);
        file.extend([0xdd; 100]);
        file
    }

    #[test]
    fn gzip() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&kernel()).unwrap();
        assert!(unpack(&bzimage(&encoder.finish().unwrap(), false)).unwrap() == kernel());
    }

    #[test]
    fn xz_with_the_filter_for_x86_code_that_the_kernel_uses() {
        let mut filters = liblzma::stream::Filters::new();
        let options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
        filters.x86().lzma2(&options);
        let stream =
            liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32)
                .unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(&kernel()).unwrap();
        assert!(unpack(&bzimage(&encoder.finish().unwrap(), true)).unwrap() == kernel());
    }

    #[test]
    fn zstd() {
        let packed = ruzstd::encoding::compress_to_vec(
            kernel().as_slice(),
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        assert!(unpack(&bzimage(&packed, true)).unwrap() == kernel());
    }

    #[test]
    fn lz4_of_several_blocks() {
        let mut packed = LZ4_MAGIC.to_le_bytes().to_vec();
        for block in kernel().chunks(1 << 20) {
            let block = lz4_flex::block::compress(block);
            packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
            packed.extend(block);
        }
        assert!(unpack(&bzimage(&packed, true)).unwrap() == kernel());
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!(unpack(b"MZ").is_err());
        assert!(unpack(&bzimage(b"BZh91AY", true)).is_err());
        let mut cut = bzimage(&[0x1f, 0x8b], false);
        cut.truncate(3 * 512 + 17);
        assert!(unpack(&cut).is_err());
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"not ELF").unwrap();
        assert!(unpack(&bzimage(&encoder.finish().unwrap(), false)).is_err());
    }
}
