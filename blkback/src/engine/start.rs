//! A request's beginning: taken from its ring, checked, its pages mapped, turned into work for the disk.

use alloc::vec::Vec;

use domain::SharedMemory;
use domain::ring::RingError;
use xen_abi::io::blkif::BLKIF_SECTOR_SIZE;

use super::connection::{Connection, MAX_PAGES_IN_USE};
use super::{ConnectionId, Engine, Notify};
use crate::check::{Job, Piece, Refused, check, list};
use crate::disk::{Disk, Limits, Segment};
use crate::extents::Extent;
use crate::pages::{Grants, PageUse};
use crate::protocol::Request;
use crate::task::{Jumps, Task, Work};

/// Joins the pieces of a request, whose pages are at `addresses`, where they are neighbours for the device.
fn segments(pieces: &[Piece], addresses: &[u64], limit: u32) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::with_capacity(pieces.len());
    for (piece, address) in pieces.iter().zip(addresses) {
        let gpa = address + u64::from(piece.offset);
        match segments.last_mut() {
            Some(last)
                if last.gpa + u64::from(last.len) == gpa && last.len + piece.len <= limit =>
            {
                last.len += piece.len;
            }
            _ => segments.push(Segment {
                gpa,
                len: piece.len,
            }),
        }
    }
    segments
}

/// Where the data of `segments` goes when it goes to `ranges`, one after the other: the first sector, the segments, and which of
/// them go on at which other sector. A segment across the end of a range is cut there.
fn lay_out(
    segments: Vec<Segment>,
    mut ranges: impl Iterator<Item = Extent>,
) -> (u64, Vec<Segment>, Jumps) {
    const SECTOR: u64 = BLKIF_SECTOR_SIZE as u64;
    let Some(first) = ranges.next() else {
        // No data: nobody looks at the sector.
        return (0, Vec::new(), Jumps::new());
    };
    let Some(second) = ranges.next() else {
        return (first.start, segments, Jumps::new());
    };
    let mut rest = core::iter::once(second).chain(ranges);
    let (mut cut, mut jumps) = (Vec::with_capacity(segments.len() + 2), Jumps::new());
    let mut room = first.sectors.saturating_mul(SECTOR);
    for mut segment in segments {
        while segment.len > 0 {
            if room == 0 {
                let Some(next) = rest.next() else {
                    return (first.start, cut, jumps);
                };
                jumps.push((cut.len(), next.start));
                room = next.sectors.saturating_mul(SECTOR);
            }
            let len = u64::from(segment.len).min(room) as u32;
            cut.push(Segment { len, ..segment });
            segment.gpa += u64::from(len);
            segment.len -= len;
            room -= u64::from(len);
        }
    }
    (first.start, cut, jumps)
}

impl<D: Disk, G: Grants, R: AsRef<SharedMemory>, N: Notify> Engine<D, G, R, N> {
    pub(super) fn take_requests(&mut self, id: ConnectionId) -> Result<(), RingError> {
        let mut queue = 0;
        loop {
            let Some(Some(connection)) = self.connections.get_mut(id) else {
                return Ok(());
            };
            if connection.closing
                || connection.broken
                || connection.barrier.is_some()
                || connection.in_barrier
            {
                return Ok(());
            }
            if connection.pages >= MAX_PAGES_IN_USE {
                connection.wake = true;
                return Ok(());
            }
            let Some(ring) = connection
                .queues
                .get_mut(queue)
                .map(|queue| &mut queue.ring)
            else {
                return Ok(());
            };
            let next = match ring.take() {
                Ok(None) => ring
                    .more()
                    .map(|more| (!more).then(|| queue += 1))
                    .map(|_| None),
                other => other,
            };
            match next {
                Ok(Some(request)) => self.start(id, queue, &request),
                Ok(None) => {}
                Err(error) => {
                    connection.broken = true;
                    return Err(error);
                }
            }
        }
    }

    pub(super) fn start(&mut self, id: ConnectionId, queue: usize, request: &Request) {
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        let can_discard = self.limits.discards(&connection.extents);
        let job = check(request, &connection.extents, can_discard);
        if matches!(job, Ok(Job::Transfer { barrier: true, .. })) && connection.tasks > 0 {
            connection.barrier = Some((queue, *request));
            // Whatever becomes of it, there may be requests behind it.
            connection.wake = true;
            return;
        }
        let mut pages = Vec::new();
        let work = job
            .and_then(|job| Self::read_list(&mut self.grants, connection, job, &mut pages))
            .and_then(|job| {
                Self::prepare(&mut self.grants, &self.limits, connection, &job, &mut pages)
            });
        connection.tasks += 1;
        connection.pages += pages.len();
        let counts = &mut connection.counts;
        let task = match work {
            Ok(work) => {
                match &work {
                    Work::Transfer { before: true, .. } => counts.flushes += 1,
                    Work::Transfer { write: true, .. } => counts.writes += 1,
                    Work::Transfer { .. } => counts.reads += 1,
                    Work::Discard { .. } => counts.discards += 1,
                }
                Task::new(id, queue, request, work, pages)
            }
            Err(refused) => {
                log::debug!(
                    "d{}: request {:#x} refused: {refused:?}",
                    connection.dom,
                    request.id
                );
                Task::refused(id, queue, request, refused.status(), pages)
            }
        };
        connection.in_barrier = task.barrier;
        let index = self.insert(task);
        self.advance(index);
    }

    /// Of a job whose pieces are listed in pages: maps these, which stay mapped as long as the request, and reads the list.
    fn read_list(
        grants: &mut G,
        connection: &mut Connection<G::Page, R, N>,
        job: Job,
        used: &mut Vec<PageUse<G::Page>>,
    ) -> Result<Job, Refused> {
        let Job::Listed {
            write,
            sector,
            count,
            pages,
        } = job
        else {
            return Ok(job);
        };
        let Connection {
            cache,
            dom,
            extents,
            ..
        } = connection;
        if !cache.acquire(grants, *dom, &pages, true, used, &mut Vec::new()) {
            return Err(Refused::Wrong("list not granted"));
        }
        list(
            extents,
            write,
            sector,
            count,
            used.iter().filter_map(|page| cache.memory(page)),
        )
    }

    /// Maps a job's pages and turns it into work for the disk.
    fn prepare(
        grants: &mut G,
        limits: &Limits,
        connection: &mut Connection<G::Page, R, N>,
        job: &Job,
        used: &mut Vec<PageUse<G::Page>>,
    ) -> Result<Work, Refused> {
        match job {
            Job::Transfer {
                write,
                sector,
                pieces,
                before,
                barrier,
            } => {
                let references: Vec<_> = pieces.iter().map(|piece| piece.gref).collect();
                let mut addresses = Vec::with_capacity(pieces.len());
                // To write to the disk is to read the page.
                if !connection.cache.acquire(
                    grants,
                    connection.dom,
                    &references,
                    *write,
                    used,
                    &mut addresses,
                ) {
                    return Err(Refused::Wrong("page not granted"));
                }
                let segments = segments(pieces, &addresses, limits.segment_bytes);
                let count = pieces.iter().map(|piece| u64::from(piece.len)).sum::<u64>();
                let ranges = connection
                    .extents
                    .ranges(*sector, count / BLKIF_SECTOR_SIZE as u64);
                let (sector, segments, jumps) = lay_out(segments, ranges);
                let (write, before) = (*write, *before);
                Ok(Work::Transfer {
                    write,
                    sector,
                    segments,
                    jumps,
                    before,
                    after: *barrier,
                })
            }
            Job::Discard { sector, count } => {
                let zeroes = connection.extents.zeroes;
                let mut ranges = connection.extents.ranges(*sector, *count);
                // Disks of several ranges are not discarded.
                match (ranges.next(), ranges.next()) {
                    (Some(Extent { start, sectors }), None) => Ok(Work::Discard {
                        sector: start,
                        count: sectors,
                        zeroes,
                    }),
                    (None, _) => Ok(Work::Discard {
                        sector: 0,
                        count: 0,
                        zeroes,
                    }),
                    (Some(_), Some(_)) => Err(Refused::Unsupported),
                }
            }
            Job::Listed { .. } => Err(Refused::Wrong("list of lists")),
        }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn data_is_cut_where_a_range_ends() {
        let segment = |gpa, len| Segment { gpa, len };
        let extent = |start, sectors| Extent { start, sectors };
        let data = vec![segment(0x1000, 4096), segment(0x3000, 1024)];
        let one = lay_out(data.clone(), [extent(7, 10)].into_iter());
        assert_eq!(one, (7, data.clone(), vec![]));
        let three = [extent(7, 3), extent(90, 5), extent(50, 2)];
        assert_eq!(
            lay_out(data, three.into_iter()),
            (
                7,
                vec![
                    segment(0x1000, 1536),
                    segment(0x1600, 2560),
                    segment(0x3000, 1024)
                ],
                vec![(1, 90), (2, 50)]
            )
        );
    }

    #[test]
    fn neighbours_are_joined_up_to_the_limit() {
        let piece = |offset, len| Piece {
            gref: 0,
            offset,
            len,
        };
        let pieces = [
            piece(512, 3584),
            piece(0, 4096),
            piece(0, 512),
            piece(1024, 512),
            piece(1536, 512),
        ];
        let addresses = [0x1000, 0x2000, 0x3000, 0x3000, 0x3000];
        let joined = |limit| segments(&pieces, &addresses, limit);
        let segment = |gpa, len| Segment { gpa, len };
        assert_eq!(
            joined(1 << 20),
            [segment(0x1200, 3584 + 4096 + 512), segment(0x3400, 1024)]
        );
        assert_eq!(
            joined(4096),
            [
                segment(0x1200, 3584),
                segment(0x2000, 4096),
                segment(0x3000, 512),
                segment(0x3400, 1024)
            ]
        );
    }
}
