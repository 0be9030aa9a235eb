use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

const SETUP_SECTS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const LZ4_MAGIC: u32 = 0x184c_2102;

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

fn gzipped(kernel: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(kernel).unwrap();
    encoder.finish().unwrap()
}

fn xzed(kernel: &[u8]) -> Vec<u8> {
    let mut filters = liblzma::stream::Filters::new();
    let options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    filters.x86().lzma2(&options);
    let stream =
        liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32)
            .unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(kernel).unwrap();
    encoder.finish().unwrap()
}

fn zstded(kernel: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(kernel, ruzstd::encoding::CompressionLevel::Fastest)
}

fn lz4ed(kernel: &[u8]) -> Vec<u8> {
    let mut packed = LZ4_MAGIC.to_le_bytes().to_vec();
    for block in kernel.chunks(1 << 20) {
        let block = lz4_flex::block::compress(block);
        packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        packed.extend(block);
    }
    packed
}

#[test]
fn gzip() {
    assert!(unpack(&bzimage(&gzipped(&kernel()), false)).unwrap() == kernel());
}

#[test]
fn gzip_with_a_name_and_all_else_that_a_header_may_have() {
    let mut encoder = flate2::GzBuilder::new()
        .filename("vmlinux.bin")
        .comment("none")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&kernel()).unwrap();
    assert!(unpack(&bzimage(&encoder.finish().unwrap(), false)).unwrap() == kernel());
}

#[test]
fn xz_with_the_filter_for_x86_code_that_the_kernel_uses() {
    assert!(unpack(&bzimage(&xzed(&kernel()), true)).unwrap() == kernel());
}

#[test]
fn zstd() {
    assert!(unpack(&bzimage(&zstded(&kernel()), true)).unwrap() == kernel());
}

#[test]
fn lz4_of_several_blocks() {
    assert!(unpack(&bzimage(&lz4ed(&kernel()), true)).unwrap() == kernel());
}

#[test]
fn an_elf_file_is_what_it_is() {
    assert!(unpack(&kernel()).unwrap() == kernel());
}

#[test]
fn what_is_no_kernel_is_refused() {
    assert_eq!(unpack(b"MZ"), Err(Error::NotKernel));
    assert_eq!(unpack(b""), Err(Error::NotKernel));
    assert_eq!(
        unpack(&bzimage(b"BZh91AY", true)),
        Err(Error::Compression(*b"BZh91A"))
    );
    let mut cut = bzimage(&[0x1f, 0x8b], false);
    cut.truncate(3 * 512 + 17);
    assert_eq!(unpack(&cut), Err(Error::Truncated));
    let other = gzipped(b"not ELF");
    assert_eq!(unpack(&bzimage(&other, false)), Err(Error::NotElf));
}

#[test]
fn a_damaged_byte_is_found_by_the_checksum() {
    for (packed, format) in [(gzipped(&kernel()), "gzip"), (xzed(&kernel()), "xz")] {
        let mut file = bzimage(&packed, format == "xz");
        let middle = file.len() / 2;
        file[middle] ^= 0x10;
        assert!(unpack(&file).is_err(), "{format}");
    }
    // The encoder here makes blocks in which a changed byte is mostly noticed without a checksum, so it is the checksum that is
    // changed; behind it is the appended size.
    let packed = zstded(&kernel());
    assert_eq!(packed[4] & 4, 4, "the frame has a checksum");
    for back in 1..=4 {
        let mut damaged = packed.clone();
        let at = damaged.len() - back;
        damaged[at] ^= 0x10;
        assert_eq!(
            unpack(&bzimage(&damaged, true)),
            Err(Error::Corrupt("zstd"))
        );
    }
}

#[test]
fn a_window_that_nobody_has_memory_for_is_refused_by_its_size() {
    // zstd, a window of 2^40 bytes.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 30 << 3, 1, 0, 0, 0, 0, 0, 0, 0];
    let error = unpack(&bzimage(&frame, true)).unwrap_err();
    assert_eq!(
        error,
        Error::Memory {
            format: "zstd",
            needed: Some(1 << 40)
        }
    );
    assert_eq!(
        error.to_string(),
        "not enough memory to unpack zstd data: 1048576 MiB at once"
    );
}

/// A source that counts how often it is asked.
struct Counted<'a>(&'a [u8], Rc<Cell<usize>>);

impl Source for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        self.1.set(self.1.get() + 1);
        self.0.read(into)
    }
}

#[test]
fn a_source_is_not_asked_for_every_byte() {
    let empty_blocks = [&[0x02, 0x21, 0x4c, 0x18][..], &[0; 400_000]].concat();
    let mut named = gzipped(&kernel());
    named[3] |= 8;
    named.splice(10..10, vec![b'x'; 400_000]);
    for (packed, whole) in [
        (gzipped(&kernel()), true),
        (xzed(&kernel()), true),
        (zstded(&kernel()), true),
        (lz4ed(&kernel()), true),
        (empty_blocks, false),
        (named, false),
    ] {
        let file = bzimage(&packed, true);
        let asked = Rc::new(Cell::new(0));
        let source = Counted(&file, asked.clone());
        let result = Kernel::open(Box::new(source)).and_then(|mut kernel| {
            while !kernel.peek()?.is_empty() {
                let count = kernel.peek()?.len();
                kernel.consume(count);
            }
            Ok(())
        });
        assert_eq!(result.is_ok(), whole, "{result:?}");
        let (asked, least) = (asked.get(), file.len() / (32 << 10));
        assert!(asked < 2 * least + 8, "{asked} for {} bytes", file.len());
    }
}

/// A source that fails after some bytes.
struct Failing(Vec<u8>, usize);

impl Source for Failing {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        if self.1 >= self.0.len() {
            return Err("input/output error".to_string());
        }
        let rest = &self.0[self.1..];
        // Few at a time: nobody may rely on full reads.
        let count = rest.len().min(into.len()).min(1000);
        into[..count].copy_from_slice(&rest[..count]);
        self.1 += count;
        Ok(count)
    }
}

#[test]
fn the_reason_of_a_failed_read_is_not_lost() {
    for packed in [
        gzipped(&kernel()),
        xzed(&kernel()),
        zstded(&kernel()),
        lz4ed(&kernel()),
    ] {
        let mut file = bzimage(&packed, true);
        file.truncate(file.len() / 2);
        let result = Kernel::open(Box::new(Failing(file, 0))).and_then(|mut kernel| {
            loop {
                let count = kernel.peek()?.len();
                if count == 0 {
                    return Ok(());
                }
                kernel.consume(count);
            }
        });
        assert_eq!(result, Err(Error::Source("input/output error".to_string())));
    }
}

/// Files of which some bytes are changed: a few formats of a small kernel.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let small: Vec<u8> = kernel().into_iter().take(70_000).collect();
    let files = vec![
        bzimage(&gzipped(&small), false),
        bzimage(&xzed(&small), true),
        bzimage(&zstded(&small), true),
        bzimage(&lz4ed(&small), true),
    ];
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (
        prop::sample::select(files),
        prop::collection::vec(change, 1..20),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut file, changes, cut, head)| {
            for (place, byte) in changes {
                // Near the beginning of the data is where decoders believe most.
                let area = if head {
                    1700.min(file.len())
                } else {
                    file.len()
                };
                let place = place.index(area);
                file[place] = byte;
            }
            let keep = cut.index(file.len() * 4).min(file.len());
            file.truncate(keep);
            file
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_it_panic(file in damaged()) {
        let _ = unpack(&file);
    }

    #[test]
    fn nor_do_payloads_of_any_bytes(
        magic in prop::sample::select(vec![
            vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0],
            vec![0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1, 0x69, 0x22, 0xde, 0x36],
            vec![0x28, 0xb5, 0x2f, 0xfd],
            vec![0x02, 0x21, 0x4c, 0x18],
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let payload: Vec<u8> = magic.into_iter().chain(rest).collect();
        let _ = unpack(&bzimage(&payload, false));
    }
}
