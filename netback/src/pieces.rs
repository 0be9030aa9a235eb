//! Packets whose bytes lie in several pages.

use core::ops::Range;

/// Pages of one packet at most: as many slots as netif allows.
pub const MAX_PIECES: usize = xen_abi::io::netif::XEN_NETIF_NR_SLOTS_MIN + 1;

/// Bytes in one page of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which page.
    pub page: u16,
    /// First byte in it.
    pub offset: u16,
    /// Bytes; with `offset` at most a page.
    pub len: u16,
}

/// Bytes of a packet, in order.
pub type Pieces = heapless::Vec<Piece, MAX_PIECES>;

/// Where pages are read and written.
pub trait Pages {
    /// Reads `out.len()` bytes from `offset` of a page on.
    fn read(&self, page: u16, offset: u16, out: &mut [u8]);
    /// Writes them.
    fn write(&self, page: u16, offset: u16, data: &[u8]);
}

/// The parts of `pieces` that make the bytes `range` of the packet.
pub fn part(pieces: &[Piece], range: Range<usize>) -> impl Iterator<Item = Piece> + '_ {
    let mut at = 0;
    pieces.iter().filter_map(move |piece| {
        let start = at;
        at += usize::from(piece.len);
        let from = range.start.clamp(start, at);
        let to = range.end.clamp(start, at);
        // Both are within the piece, whose length is 16 bits wide.
        (from < to).then(|| Piece {
            page: piece.page,
            offset: piece.offset + (from - start) as u16,
            len: (to - from) as u16,
        })
    })
}

/// How many bytes the pieces are.
#[must_use]
pub fn len(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| usize::from(piece.len)).sum()
}

/// Reads the packet's first bytes; gives how many there were.
pub fn read_start(pieces: &[Piece], pages: &impl Pages, out: &mut [u8]) -> usize {
    let mut done = 0;
    for piece in part(pieces, 0..out.len()) {
        let end = done + usize::from(piece.len);
        pages.read(piece.page, piece.offset, &mut out[done..end]);
        done = end;
    }
    done
}

/// Writes bytes of the packet from `at` on.
pub fn write_at(pieces: &[Piece], pages: &impl Pages, at: usize, data: &[u8]) {
    let mut done = 0;
    for piece in part(pieces, at..at + data.len()) {
        let end = done + usize::from(piece.len);
        pages.write(piece.page, piece.offset, &data[done..end]);
        done = end;
    }
}

/// Calls `each` with the bytes of a range of the packet, some at a time.
pub fn for_each_bytes(
    pieces: &[Piece],
    pages: &impl Pages,
    range: Range<usize>,
    mut each: impl FnMut(&[u8]),
) {
    let mut buffer = [0; 2048];
    for piece in part(pieces, range) {
        let mut done = 0;
        while done < piece.len {
            let len = (piece.len - done).min(buffer.len() as u16);
            let chunk = &mut buffer[..usize::from(len)];
            pages.read(piece.page, piece.offset + done, chunk);
            each(chunk);
            done += len;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Pages in memory.
    pub(crate) struct Fake(pub RefCell<Vec<[u8; 4096]>>);

    impl Pages for Fake {
        fn read(&self, page: u16, offset: u16, out: &mut [u8]) {
            out.copy_from_slice(
                &self.0.borrow()[usize::from(page)][usize::from(offset)..][..out.len()],
            );
        }
        fn write(&self, page: u16, offset: u16, data: &[u8]) {
            self.0.borrow_mut()[usize::from(page)][usize::from(offset)..][..data.len()]
                .copy_from_slice(data);
        }
    }

    /// Puts `bytes` into pages, cut as `lens` says, each part at its own offset.
    pub(crate) fn scatter(bytes: &[u8], lens: &[usize]) -> (Fake, Pieces) {
        let pages = Fake(RefCell::new(vec![[0; 4096]; lens.len()]));
        let mut pieces = Pieces::new();
        let mut at = 0;
        for (page, len) in (0u16..).zip(lens) {
            let offset = (page * 3).min(4096 - *len as u16);
            pages.write(page, offset, &bytes[at..at + len]);
            at += len;
            pieces
                .push(Piece {
                    page,
                    offset,
                    len: *len as u16,
                })
                .unwrap();
        }
        assert_eq!(at, bytes.len());
        (pages, pieces)
    }

    #[test]
    fn parts_are_found_across_pages() {
        let bytes: Vec<u8> = (0..100).collect();
        let (pages, pieces) = scatter(&bytes, &[10, 0, 50, 40]);
        assert_eq!(len(&pieces), 100);
        for range in [0..100, 5..15, 10..10, 59..61, 99..100, 0..1] {
            let mut got = Vec::new();
            for_each_bytes(&pieces, &pages, range.clone(), |chunk| {
                got.extend_from_slice(chunk)
            });
            assert_eq!(got, &bytes[range]);
        }
        assert_eq!(part(&pieces, 100..200).count(), 0);
        let mut start = [0; 20];
        assert_eq!(read_start(&pieces, &pages, &mut start), 20);
        assert_eq!(&start, &bytes[..20]);
        write_at(&pieces, &pages, 9, &[0xaa, 0xbb]);
        let mut start = [0; 12];
        read_start(&pieces, &pages, &mut start);
        assert_eq!(&start[8..], &[8, 0xaa, 0xbb, 11]);
    }
}
