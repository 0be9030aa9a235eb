//! Responses of the receive ring, put together to packets that the NIC is to send.
//!
//! bridge is not trusted more than any other domain: what it writes is checked after one copy.

use crate::pieces::{Piece, Pieces};
use xen_abi::io::netif::{
    ExtraFlags, NetifExtraInfo, NetifRxResponse, NetrxFlags, XEN_NETIF_EXTRA_TYPE_GSO,
    XEN_NETIF_GSO_TYPE_TCPV4,
};
use zerocopy::FromBytes;

/// Bytes of a slot.
pub const SLOT: usize = 8;
const PAGE: u32 = 4096;
/// The least payload of a segment: smaller ones only make work (Linux's least MSS is 48).
const MIN_SEGMENT: u16 = 48;

/// One packet for the NIC.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Packet {
    /// Its bytes.
    pub pieces: Pieces,
    /// The checksum field holds only the pseudo header's sum.
    pub checksum_blank: bool,
    /// It is to be cut into segments with this much payload (TCP over IPv4).
    pub segmentation: Option<u16>,
}

/// What a slot was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Part of a packet that goes on.
    More,
    /// The last part of a good packet.
    Packet(Packet),
    /// The last part of a packet with something wrong: these pages can be used again.
    Dropped(Pieces),
}

/// The other end does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Puts the slots of one ring together.
#[derive(Debug, Default)]
pub struct Assembler {
    packet: Packet,
    bad: bool,
    /// The next slot is extra info; then the packet goes on, or not.
    extra: Option<bool>,
}

impl Assembler {
    /// Takes the next slot, whose buffer is `page`: the one that was offered in its place of the ring.
    ///
    /// # Errors
    /// A packet without end, or an answer for another buffer.
    pub fn push(&mut self, slot: &[u8; SLOT], page: u16) -> Result<Step, Broken> {
        if let Some(more) = self.extra {
            return self.extra(slot, page, more);
        }
        let response = NetifRxResponse::read_from_bytes(slot).map_err(|_| Broken)?;
        if response.id != page {
            return Err(Broken);
        }
        if self.packet.pieces.is_empty() {
            self.packet.checksum_blank = response.flags.contains(NetrxFlags::CSUM_BLANK);
        }
        let first = self.packet.pieces.is_empty();
        let len = match u16::try_from(response.status) {
            Ok(len) if u32::from(response.offset) + u32::from(len) <= PAGE => len,
            _ => {
                self.bad = true;
                0
            }
        };
        self.keep(Piece {
            page,
            offset: if len == 0 { 0 } else { response.offset },
            len,
        })?;
        let more = response.flags.contains(NetrxFlags::MORE_DATA);
        if first && response.flags.contains(NetrxFlags::EXTRA_INFO) {
            self.extra = Some(more);
            return Ok(Step::More);
        }
        Ok(self.step(more))
    }

    /// Pages of a packet that has not come to its end.
    pub fn pages(&self) -> impl Iterator<Item = u16> + '_ {
        self.packet.pieces.iter().map(|piece| piece.page)
    }

    fn extra(&mut self, slot: &[u8; SLOT], page: u16, more: bool) -> Result<Step, Broken> {
        // The buffer whose place the extra info took holds nothing.
        self.keep(Piece {
            page,
            offset: 0,
            len: 0,
        })?;
        let extra = NetifExtraInfo::read_from_bytes(slot).map_err(|_| Broken)?;
        let gso = extra.as_gso();
        match extra.r#type {
            XEN_NETIF_EXTRA_TYPE_GSO
                if gso.r#type == XEN_NETIF_GSO_TYPE_TCPV4 && gso.size >= MIN_SEGMENT =>
            {
                self.packet.segmentation = Some(gso.size);
            }
            _ => self.bad = true,
        }
        if extra.flags.contains(ExtraFlags::MORE) {
            return Ok(Step::More);
        }
        self.extra = None;
        Ok(self.step(more))
    }

    fn keep(&mut self, piece: Piece) -> Result<(), Broken> {
        // One more than slots of data are allowed, for extra info.
        self.packet.pieces.push(piece).map_err(|_| Broken)
    }

    fn step(&mut self, more: bool) -> Step {
        if more {
            return Step::More;
        }
        let packet = core::mem::take(&mut self.packet);
        let bad = core::mem::take(&mut self.bad);
        let blank = packet.checksum_blank || packet.segmentation.is_none();
        if bad || !blank || crate::pieces::len(&packet.pieces) < 14 {
            return Step::Dropped(packet.pieces);
        }
        Step::Packet(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    fn response(id: u16, offset: u16, flags: NetrxFlags, status: i16) -> [u8; SLOT] {
        NetifRxResponse {
            id,
            offset,
            flags,
            status,
        }
        .as_bytes()
        .try_into()
        .unwrap()
    }

    #[test]
    fn packets_are_put_together() {
        let mut assembler = Assembler::default();
        let plain = assembler
            .push(&response(7, 0, NetrxFlags::empty(), 60), 7)
            .unwrap();
        let Step::Packet(packet) = plain else {
            panic!("{plain:?}")
        };
        assert_eq!(
            packet.pieces.as_slice(),
            &[Piece {
                page: 7,
                offset: 0,
                len: 60
            }]
        );
        let flags = NetrxFlags::MORE_DATA | NetrxFlags::EXTRA_INFO | NetrxFlags::CSUM_BLANK;
        assert_eq!(
            assembler.push(&response(1, 0, flags, 4096), 1),
            Ok(Step::More)
        );
        let extra = NetifExtraInfo::gso(XEN_NETIF_GSO_TYPE_TCPV4, 1448);
        assert_eq!(
            assembler.push(extra.as_bytes().try_into().unwrap(), 2),
            Ok(Step::More)
        );
        let last = assembler
            .push(&response(3, 96, NetrxFlags::empty(), 4000), 3)
            .unwrap();
        let Step::Packet(packet) = last else {
            panic!("{last:?}")
        };
        assert_eq!(
            packet.pieces.len(),
            3,
            "the extra slot's buffer comes back with it"
        );
        assert_eq!(crate::pieces::len(&packet.pieces), 8096);
        assert!(packet.checksum_blank);
        assert_eq!(packet.segmentation, Some(1448));
    }

    #[test]
    fn nonsense_is_dropped_and_its_pages_come_back() {
        let dropped = |slot| matches!(Assembler::default().push(&slot, 7), Ok(Step::Dropped(pages)) if pages[0].page == 7);
        assert!(dropped(response(7, 0, NetrxFlags::empty(), -1)));
        assert!(dropped(response(7, 0, NetrxFlags::empty(), 13)));
        assert!(dropped(response(7, 4000, NetrxFlags::empty(), 97)));
        assert!(dropped(response(7, 0, NetrxFlags::empty(), i16::MIN)));
        assert_eq!(
            Assembler::default().push(&response(8, 0, NetrxFlags::empty(), 60), 7),
            Err(Broken)
        );
    }

    #[test]
    fn a_packet_without_end_is_noticed() {
        let mut assembler = Assembler::default();
        let slot = response(7, 0, NetrxFlags::MORE_DATA, 60);
        assert!((0..30).any(|_| assembler.push(&slot, 7) == Err(Broken)));
    }

    proptest! {
        #[test]
        fn whatever_bridge_writes_pieces_are_sound(slots in prop::collection::vec(any::<[u8; SLOT]>(), 1..100)) {
            let mut assembler = Assembler::default();
            for mut slot in slots {
                if assembler.extra.is_none() {
                    slot[..2].copy_from_slice(&7u16.to_le_bytes());
                }
                match assembler.push(&slot, 7) {
                    Ok(Step::Packet(packet)) => {
                        for piece in &packet.pieces {
                            prop_assert!(u32::from(piece.offset) + u32::from(piece.len) <= PAGE);
                        }
                    }
                    Ok(_) => {}
                    Err(Broken) => return Ok(()),
                }
            }
        }
    }
}
