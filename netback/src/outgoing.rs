//! What the NIC is given for one packet: the packet as it is, with the work left to the device that it can do; or segments made
//! here, each new headers of its own with payload where it lies.

use crate::assemble::Packet;
use crate::header::{self, Header};
use crate::pieces::{Pages, Pieces, for_each_bytes, len, read_start, write_at};
use core::ops::Range;
use packet::checksum::{IP, Layout, Summer, be16, finish, pseudo_header, sum};

/// Bytes of Ethernet, IPv4 and TCP headers at most.
const MAX_HEADERS: usize = 14 + 60 + 60;
/// Bytes before the payload that a frame brings in memory of its own: virtio's header, then protocol headers.
pub const MAX_START: usize = header::LEN + MAX_HEADERS;

/// What the NIC can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Device {
    /// Fill in checksums.
    pub checksum: bool,
    /// Cut TCP over IPv4.
    pub segmentation: bool,
}

/// One frame for the NIC: `start` in memory of its own, then bytes of the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Virtio's header, and protocol headers if they are not the packet's own.
    pub start: heapless::Vec<u8, MAX_START>,
    /// The bytes of the packet that follow.
    pub rest: Range<usize>,
}

/// A packet on its way to the NIC.
#[derive(Debug)]
pub struct Outgoing {
    /// Its bytes.
    pub pieces: Pieces,
    state: State,
}

#[derive(Debug)]
enum State {
    /// One frame, with this header.
    Whole(Header),
    Segments(Segments),
    Done,
}

#[derive(Debug)]
struct Segments {
    headers: heapless::Vec<u8, MAX_HEADERS>,
    layout: Layout,
    size: usize,
    /// Where in the packet the next segment's payload begins, and its number.
    next: usize,
    index: u16,
}

impl Outgoing {
    /// Decides what is to be done; fills in a checksum that the NIC cannot. None: the packet cannot be what it says it is.
    #[must_use]
    pub fn new(packet: Packet, device: Device, pages: &impl Pages) -> Option<Self> {
        let Packet {
            pieces,
            checksum_blank,
            segmentation,
        } = packet;
        if !checksum_blank {
            return Some(Self {
                pieces,
                state: State::Whole(Header::default()),
            });
        }
        let mut headers = [0; MAX_HEADERS];
        let have = read_start(&pieces, pages, &mut headers);
        let layout = Layout::of_headers(&headers[..have], len(&pieces))?;
        let checksum = Some((
            layout.transport as u16,
            (layout.checksum - layout.transport) as u16,
        ));
        let state = match segmentation {
            None if device.checksum => State::Whole(Header {
                checksum,
                ..Header::default()
            }),
            None => {
                fill_in(&pieces, &layout, pages);
                State::Whole(Header::default())
            }
            Some(size) => {
                let data = layout.transport + usize::from(headers[layout.transport + 12] >> 4) * 4;
                if !layout.tcp || data < layout.transport + 20 || data > layout.end || data > have {
                    return None;
                }
                if device.segmentation && device.checksum {
                    let segmentation = Some((data as u16, size));
                    State::Whole(Header {
                        checksum,
                        valid: false,
                        segmentation,
                    })
                } else {
                    let headers = heapless::Vec::from_slice(&headers[..data]).ok()?;
                    State::Segments(Segments {
                        headers,
                        layout,
                        size: size.into(),
                        next: data,
                        index: 0,
                    })
                }
            }
        };
        Some(Self { pieces, state })
    }

    /// The next frame of the packet.
    pub fn next_frame(&mut self, pages: &impl Pages) -> Option<Frame> {
        match &mut self.state {
            State::Done => None,
            State::Whole(header) => {
                let start = heapless::Vec::from_slice(&header.to_bytes()).ok()?;
                self.state = State::Done;
                Some(Frame {
                    start,
                    rest: 0..len(&self.pieces),
                })
            }
            State::Segments(segments) => {
                let frame = segments.next_frame(&self.pieces, pages);
                if segments.next >= segments.layout.end {
                    self.state = State::Done;
                }
                frame
            }
        }
    }
}

/// Fills in the packet's own checksum, in its page.
fn fill_in(pieces: &Pieces, layout: &Layout, pages: &impl Pages) {
    let mut summer = Summer::default();
    for_each_bytes(pieces, pages, layout.transport..layout.end, |bytes| {
        summer.add(bytes)
    });
    let mut value = finish(summer.sum());
    if !layout.tcp && value == 0 {
        value = 0xffff;
    }
    write_at(pieces, pages, layout.checksum, &value.to_be_bytes());
}

impl Segments {
    fn next_frame(&mut self, pieces: &Pieces, pages: &impl Pages) -> Option<Frame> {
        const FIN: u8 = 0x01;
        const PUSH: u8 = 0x08;
        const CONGESTION_WINDOW_REDUCED: u8 = 0x80;
        let layout = &self.layout;
        let data = self.headers.len();
        let rest = self.next..layout.end.min(self.next + self.size);
        let last = rest.end == layout.end;
        let mut headers = self.headers.clone();
        let put = |headers: &mut [u8], at: usize, bytes: &[u8]| {
            if let Some(place) = headers.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        let total = (data - IP + rest.len()) as u16;
        put(&mut headers, IP + 2, &total.to_be_bytes());
        let id = be16(&headers, IP + 4)?.wrapping_add(self.index);
        put(&mut headers, IP + 4, &id.to_be_bytes());
        put(&mut headers, IP + 10, &[0, 0]);
        let checksum = finish(sum(headers.get(IP..layout.transport)?, 0));
        put(&mut headers, IP + 10, &checksum.to_be_bytes());
        let at = layout.transport + 4;
        let sequence = u32::from(be16(&headers, at)?) << 16 | u32::from(be16(&headers, at + 2)?);
        let sequence = sequence.wrapping_add((rest.start - data) as u32);
        put(&mut headers, at, &sequence.to_be_bytes());
        let flags = headers.get_mut(layout.transport + 13)?;
        if self.index > 0 {
            *flags &= !CONGESTION_WINDOW_REDUCED;
        }
        if !last {
            *flags &= !(FIN | PUSH);
        }
        put(&mut headers, layout.checksum, &[0, 0]);
        let transport = headers.get(layout.transport..)?;
        let mut summer = Summer::new(pseudo_header(
            &headers,
            layout,
            transport.len() + rest.len(),
        ));
        summer.add(transport);
        for_each_bytes(pieces, pages, rest.clone(), |bytes| summer.add(bytes));
        put(
            &mut headers,
            layout.checksum,
            &finish(summer.sum()).to_be_bytes(),
        );
        let mut start = heapless::Vec::new();
        start
            .extend_from_slice(&Header::default().to_bytes())
            .ok()?;
        start.extend_from_slice(&headers).ok()?;
        self.next = rest.end;
        self.index = self.index.wrapping_add(1);
        Some(Frame { start, rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::tests::{Fake, scatter};
    use packet::test_frames::{holds, tcp_frame};
    use proptest::prelude::*;

    fn frames(
        bytes: &[u8],
        cut: &[usize],
        size: Option<u16>,
        device: Device,
    ) -> Option<Vec<([u8; header::LEN], Vec<u8>)>> {
        let (pages, pieces) = scatter(bytes, cut);
        let packet = Packet {
            pieces,
            checksum_blank: true,
            segmentation: size,
        };
        let mut outgoing = Outgoing::new(packet, device, &pages)?;
        Some(all(&mut outgoing, &pages))
    }

    fn all(outgoing: &mut Outgoing, pages: &Fake) -> Vec<([u8; header::LEN], Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(frame) = outgoing.next_frame(pages) {
            let mut bytes = frame.start[header::LEN..].to_vec();
            for_each_bytes(&outgoing.pieces, pages, frame.rest, |chunk| {
                bytes.extend_from_slice(chunk)
            });
            all.push((frame.start[..header::LEN].try_into().unwrap(), bytes));
        }
        all
    }

    #[test]
    fn segments_are_those_of_the_plain_algorithm() {
        for len in [1usize, 100, 1448, 1449, 10_001] {
            let payload: Vec<u8> = (0..len).map(|n| ((n * 31) >> 2) as u8).collect();
            let bytes = tcp_frame(&payload, 0x99);
            let mut cut = vec![40];
            let mut left = bytes.len() - 40;
            while left > 0 {
                let part = left.min(if cut.len() % 2 == 1 { 1333 } else { 4096 });
                cut.push(part);
                left -= part;
            }
            let mut expected = Vec::new();
            packet::segment::segment(&bytes, 1448, |frame| expected.push(frame.to_vec()));
            let got = frames(&bytes, &cut, Some(1448), Device::default()).unwrap();
            assert!(
                got.iter()
                    .all(|(header, frame)| *header == [0; header::LEN] && holds(frame))
            );
            assert_eq!(
                got.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>(),
                expected,
                "{len}"
            );
        }
    }

    #[test]
    fn a_checksum_is_filled_in_where_it_lies() {
        let bytes = tcp_frame(&[1, 2, 3, 4, 5], 0x18);
        for cut in [[59, 0, 0], [50, 1, 8], [51, 4, 4], [1, 57, 1]] {
            let got = frames(&bytes, &cut, None, Device::default()).unwrap();
            assert_eq!(got.len(), 1);
            assert!(holds(&got[0].1), "{cut:?}");
        }
    }

    #[test]
    fn the_device_does_what_it_can() {
        let bytes = tcp_frame(&[7; 3000], 0x18);
        let device = Device {
            checksum: true,
            segmentation: true,
        };
        let got = frames(&bytes, &[3054], Some(1448), device).unwrap();
        assert_eq!(
            got,
            vec![([1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0], bytes.clone())]
        );
        let got = frames(&bytes, &[3054], None, device).unwrap();
        assert_eq!(got[0].0, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
        let half = Device {
            checksum: true,
            segmentation: false,
        };
        assert_eq!(frames(&bytes, &[3054], Some(1448), half).unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_tcp_is_not_sent() {
        let mut bytes = tcp_frame(&[7; 100], 0x18);
        bytes[12] = 0x86;
        assert!(frames(&bytes, &[154], Some(50), Device::default()).is_none());
        let mut bytes = tcp_frame(&[7; 100], 0x18);
        bytes[46] = 0x40;
        assert!(frames(&bytes, &[154], Some(50), Device::default()).is_none());
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic_or_loop(
            mut bytes in prop::collection::vec(any::<u8>(), 60..2000),
            size in 1u16..,
            len in any::<u16>(),
            segmented in any::<bool>(),
        ) {
            bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
            bytes[16..18].copy_from_slice(&(len % 2100).to_be_bytes());
            bytes[20] = 0;
            bytes[21] = 0;
            bytes[23] = 6;
            let cut = [30, bytes.len() - 30];
            if let Some(got) = frames(&bytes, &cut, segmented.then_some(size), Device::default()) {
                prop_assert!(got.len() <= bytes.len());
            }
        }
    }
}
