//! Where the bytes of a packet go in a receiver's buffers.
//!
//! Each part of a packet goes whole into one buffer, so that it is one copy operation; it shares a buffer with the parts
//! before it where it fits. A packet of up to a page therefore always is in one buffer, as receivers without
//! scatter-gather need it.

use crate::transmit::{Fragment, MAX_SLOTS, Offload};
use alloc::vec::Vec;
use xen_abi::DomId;
use xen_abi::grant_table::{GntcopyFlags, GnttabCopy, GnttabCopyPtr};
use xen_abi::io::netif::*;
use zerocopy::IntoBytes;

/// Bytes of a slot of a receive ring.
pub const SLOT: usize = 8;
const PAGE: usize = 4096;

/// What a receiver can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Receiver {
    /// Packets in several buffers (`feature-sg`).
    pub scatter_gather: bool,
    /// Unsegmented TCP over IPv4 (`feature-gso-tcpv4`).
    pub segmentation: bool,
    /// Packets with a blank checksum (no `feature-no-csum-offload`).
    pub blank_checksum: bool,
}

impl Receiver {
    /// Can it take the packet as it is? Else checksum or segmentation must be done here.
    #[must_use]
    pub fn takes(&self, offload: &Offload) -> bool {
        (self.blank_checksum || !offload.checksum_blank)
            && (self.segmentation || offload.segmentation.is_none())
    }

    /// The buffers that the parts take, or `None` if they do not fit.
    #[must_use]
    pub fn buffers(&self, fragments: &[Fragment]) -> Option<usize> {
        let mut buffers = 0;
        let mut room = 0;
        for len in fragments
            .iter()
            .map(|fragment| usize::from(fragment.len))
            .filter(|len| *len > 0)
        {
            if len > room {
                buffers += 1;
                room = PAGE;
            }
            room -= len;
        }
        (buffers <= if self.scatter_gather { MAX_SLOTS } else { 1 }).then_some(buffers)
    }
}

/// A packet on its way into a receiver's buffers.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// For each buffer: the request's id, and how many bytes it got.
    buffers: heapless::Vec<(u16, u16), MAX_SLOTS>,
    /// The request whose slot carries the extra info.
    extra: Option<u16>,
    /// The copy operations that make it, in the batch.
    operations: core::ops::Range<usize>,
    offload: Offload,
}

impl Delivery {
    /// Plans the copies, appending them to `operations`. `requests` gives as many buffers as [`Receiver::buffers`] said,
    /// and one more if the packet is to be segmented. None if it gives fewer.
    #[must_use]
    pub fn plan(
        fragments: &[Fragment],
        offload: Offload,
        receiver: DomId,
        mut requests: impl FnMut() -> Option<NetifRxRequest>,
        operations: &mut Vec<GnttabCopy>,
    ) -> Option<Self> {
        let start = operations.len();
        let mut this = Self {
            buffers: heapless::Vec::new(),
            extra: None,
            operations: start..start,
            offload,
        };
        let mut gref = 0;
        let mut room = 0;
        for fragment in fragments.iter().filter(|fragment| fragment.len > 0) {
            let len = usize::from(fragment.len);
            if len > room {
                let request = requests()?;
                gref = request.gref;
                this.buffers.push((request.id, 0)).ok()?;
                if this.buffers.len() == 1 && offload.segmentation.is_some() {
                    this.extra = Some(requests()?.id);
                }
                room = PAGE;
            }
            let (_, filled) = this.buffers.last_mut()?;
            let mut flags = GntcopyFlags::DEST_GREF;
            flags.set(GntcopyFlags::SOURCE_GREF, fragment.granted);
            operations.push(GnttabCopy {
                source: fragment.pointer(0),
                dest: GnttabCopyPtr::gref(receiver, gref, *filled),
                len: fragment.len,
                flags,
                ..GnttabCopy::default()
            });
            *filled += fragment.len;
            room -= len;
        }
        this.operations.end = operations.len();
        Some(this)
    }

    /// Which operations of the batch are this packet's.
    #[must_use]
    pub fn operations(&self) -> core::ops::Range<usize> {
        self.operations.clone()
    }

    /// Bytes that the receiver gets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffers.iter().map(|(_, len)| usize::from(*len)).sum()
    }

    /// The responses, in the order of the requests. If the copy `failed`, each slot is an error of its own.
    pub fn responses(&self, failed: bool) -> impl Iterator<Item = [u8; SLOT]> + '_ {
        let last = self.buffers.len().saturating_sub(1);
        self.buffers
            .iter()
            .enumerate()
            .flat_map(move |(index, (id, len))| {
                let mut flags = NetrxFlags::empty();
                if !failed {
                    flags.set(NetrxFlags::MORE_DATA, index < last);
                    if index == 0 {
                        flags.set(NetrxFlags::EXTRA_INFO, self.extra.is_some());
                        flags.set(NetrxFlags::CSUM_BLANK, self.offload.checksum_blank);
                        flags.set(
                            NetrxFlags::DATA_VALIDATED,
                            self.offload.checksum_blank || self.offload.validated,
                        );
                    }
                }
                // A buffer is a page, so the length fits.
                let status = if failed { NETIF_RSP_ERROR } else { *len as i16 };
                let extra =
                    self.extra
                        .filter(|_| index == 0)
                        .map(|id| match self.offload.segmentation {
                            Some(segmentation) if !failed => bytes(&NetifExtraInfo::gso(
                                XEN_NETIF_GSO_TYPE_TCPV4,
                                segmentation.size,
                            )),
                            _ => bytes(&NetifRxResponse {
                                id,
                                offset: 0,
                                flags: NetrxFlags::empty(),
                                status: NETIF_RSP_ERROR,
                            }),
                        });
                core::iter::once(bytes(&NetifRxResponse {
                    id: *id,
                    offset: 0,
                    flags,
                    status,
                }))
                .chain(extra)
            })
    }
}

fn bytes(slot: &(impl IntoBytes + zerocopy::Immutable)) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    let from = slot.as_bytes();
    let len = from.len().min(SLOT);
    bytes[..len].copy_from_slice(&from[..len]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transmit::Segmentation;
    use zerocopy::FromBytes;

    const RECEIVER: DomId = 6;
    const ALL: Receiver = Receiver {
        scatter_gather: true,
        segmentation: true,
        blank_checksum: true,
    };

    fn fragments(lens: &[u16]) -> Vec<Fragment> {
        (0u32..)
            .zip(lens)
            .map(|(gref, len)| Fragment::granted(5, gref, 0, *len))
            .collect()
    }

    fn plan(lens: &[u16], offload: Offload, available: u16) -> (Option<Delivery>, Vec<GnttabCopy>) {
        let mut next = 0..available;
        let mut operations = Vec::new();
        let requests = || {
            next.next().map(|id| NetifRxRequest {
                id,
                pad: 0,
                gref: 100 + u32::from(id),
            })
        };
        let delivery = Delivery::plan(
            &fragments(lens),
            offload,
            RECEIVER,
            requests,
            &mut operations,
        );
        (delivery, operations)
    }

    fn responses(delivery: &Delivery, failed: bool) -> Vec<NetifRxResponse> {
        delivery
            .responses(failed)
            .map(|slot| NetifRxResponse::read_from_bytes(&slot).unwrap())
            .collect()
    }

    #[test]
    fn small_parts_share_a_buffer() {
        assert_eq!(ALL.buffers(&fragments(&[66, 1448])), Some(1));
        assert_eq!(ALL.buffers(&fragments(&[66, 4096, 4000])), Some(3));
        assert_eq!(ALL.buffers(&fragments(&[2048, 2048, 0, 1])), Some(2));
        assert_eq!(ALL.buffers(&fragments(&[4096; 18])), Some(18));
        let single = Receiver::default();
        assert_eq!(single.buffers(&fragments(&[66, 1448, 2582])), Some(1));
        assert_eq!(single.buffers(&fragments(&[66, 1448, 2583])), None);
    }

    #[test]
    fn one_part_is_one_copy() {
        let (delivery, operations) = plan(&[66, 1448, 4096], Offload::default(), 10);
        let delivery = delivery.unwrap();
        assert_eq!(operations.len(), 3);
        assert_eq!(operations[1].source, GnttabCopyPtr::gref(5, 1, 0));
        assert_eq!(operations[1].dest, GnttabCopyPtr::gref(RECEIVER, 100, 66));
        assert_eq!(operations[2].dest, GnttabCopyPtr::gref(RECEIVER, 101, 0));
        assert_eq!(
            operations[2].flags,
            GntcopyFlags::SOURCE_GREF | GntcopyFlags::DEST_GREF
        );
        assert_eq!(delivery.bytes(), 66 + 1448 + 4096);
        let responses = responses(&delivery, false);
        assert_eq!(
            (responses[0].id, responses[0].status, responses[0].flags),
            (0, 1514, NetrxFlags::MORE_DATA)
        );
        assert_eq!(
            (responses[1].id, responses[1].status, responses[1].flags),
            (1, 4096, NetrxFlags::empty())
        );
    }

    #[test]
    fn offloads_are_passed_on() {
        let offload = Offload {
            checksum_blank: true,
            validated: false,
            segmentation: Some(Segmentation { size: 1448 }),
        };
        let (delivery, _) = plan(&[4096, 4096], offload, 10);
        let slots: Vec<_> = delivery.unwrap().responses(false).collect();
        assert_eq!(slots.len(), 3);
        let first = NetifRxResponse::read_from_bytes(&slots[0]).unwrap();
        let all = NetrxFlags::MORE_DATA
            | NetrxFlags::EXTRA_INFO
            | NetrxFlags::CSUM_BLANK
            | NetrxFlags::DATA_VALIDATED;
        assert_eq!(first.flags, all);
        let extra = NetifExtraInfo::read_from_bytes(&slots[1]).unwrap();
        assert_eq!(
            (extra.r#type, extra.as_gso().size),
            (XEN_NETIF_EXTRA_TYPE_GSO, 1448)
        );
        assert_eq!(NetifRxResponse::read_from_bytes(&slots[2]).unwrap().id, 2);
    }

    #[test]
    fn a_failed_copy_is_an_error_in_every_slot() {
        let offload = Offload {
            checksum_blank: true,
            validated: false,
            segmentation: Some(Segmentation { size: 1448 }),
        };
        let (delivery, _) = plan(&[4096, 4096], offload, 10);
        for (id, response) in (0..).zip(responses(&delivery.unwrap(), true)) {
            assert_eq!(
                (response.id, response.status, response.flags),
                (id, NETIF_RSP_ERROR, NetrxFlags::empty())
            );
        }
    }

    #[test]
    fn too_few_buffers_are_noticed() {
        assert!(plan(&[4096, 4096], Offload::default(), 1).0.is_none());
        let offload = Offload {
            checksum_blank: true,
            validated: false,
            segmentation: Some(Segmentation { size: 1 }),
        };
        assert!(plan(&[100], offload, 1).0.is_none());
    }

    #[test]
    fn a_receiver_gets_only_what_it_can_take() {
        let blank = Offload {
            checksum_blank: true,
            ..Offload::default()
        };
        let large = Offload {
            segmentation: Some(Segmentation { size: 1 }),
            ..blank
        };
        assert!(ALL.takes(&large) && ALL.takes(&blank));
        assert!(
            !Receiver {
                segmentation: false,
                ..ALL
            }
            .takes(&large)
        );
        assert!(
            !Receiver {
                blank_checksum: false,
                ..ALL
            }
            .takes(&blank)
        );
        assert!(Receiver::default().takes(&Offload::default()));
    }
}
