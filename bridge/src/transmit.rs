//! Requests of a frontend's transmit ring, put together to packets.
//!
//! The ring is the frontend's to write, so every field is checked here after one copy. What breaks the framing of the
//! ring ends the port ([`Fatal`]); what is wrong with one packet costs that packet ([`Reject`]).

use xen_abi::DomId;
use xen_abi::grant_table::{GnttabCopyPtr, GrantRef};
use xen_abi::io::netif::*;
use zerocopy::FromBytes;

/// Bytes of a slot: the larger of request and extra info.
pub const SLOT: usize = 12;
/// Slots of data of one packet.
pub const MAX_SLOTS: usize = XEN_NETIF_NR_SLOTS_MIN;
/// Slots of data after which the frontend is taken for broken (Linux's netback: `max_skb_slots` 20).
const FATAL_SLOTS: usize = 20;
/// Extra slots: one of each type.
const MAX_EXTRAS: usize = XEN_NETIF_EXTRA_TYPE_MAX as usize - 1;
/// Responses that one packet needs.
const MAX_ANSWERS: usize = FATAL_SLOTS + 1;
const PAGE: u32 = 4096;
/// The least payload of a segment: smaller ones only make work (Linux's least MSS is 48).
const MIN_SEGMENT: u16 = 48;
/// The smallest frame: an Ethernet header.
const MIN_FRAME: usize = crate::mac::HEADER;

/// Where bytes of a packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Whose page, and whether `page` is a grant reference of that domain (else our own frame number).
    pub domain: DomId,
    /// See `domain`.
    pub granted: bool,
    /// Grant reference or frame number.
    pub page: u64,
    /// First byte in the page.
    pub offset: u16,
    /// Bytes; with `offset` at most a page.
    pub len: u16,
}

impl Fragment {
    /// Bytes in a page that `domain` granted.
    #[must_use]
    pub const fn granted(domain: DomId, gref: GrantRef, offset: u16, len: u16) -> Self {
        Self {
            domain,
            granted: true,
            page: gref as u64,
            offset,
            len,
        }
    }

    /// Bytes in a frame of our own.
    #[must_use]
    pub const fn own(gfn: u64, offset: u16, len: u16) -> Self {
        Self {
            domain: xen_abi::DOMID_SELF,
            granted: false,
            page: gfn,
            offset,
            len,
        }
    }

    /// The end of a copy that starts `skip` bytes into this fragment.
    #[must_use]
    pub const fn pointer(&self, skip: u16) -> GnttabCopyPtr {
        let offset = self.offset + skip;
        if self.granted {
            GnttabCopyPtr::gref(self.domain, self.page as GrantRef, offset)
        } else {
            GnttabCopyPtr::gmfn(self.domain, self.page, offset)
        }
    }
}

/// Segmentation that the sender asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Bytes of payload of each segment.
    pub size: u16,
}

/// Things about a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offload {
    /// The checksum field holds only the pseudo header's sum.
    pub checksum_blank: bool,
    /// The sender vouches for the data.
    pub validated: bool,
    /// It is to be segmented (TCP over IPv4).
    pub segmentation: Option<Segmentation>,
}

/// One packet of a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its bytes.
    pub fragments: heapless::Vec<Fragment, MAX_SLOTS>,
    /// How many bytes.
    pub len: usize,
    /// Offloads.
    pub offload: Offload,
}

/// The responses a packet needs, in the ring's order: the request's id, or `None` for an extra slot.
pub type Answers = heapless::Vec<Option<u16>, { MAX_ANSWERS + MAX_EXTRAS }>;

/// What is wrong with one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The total is less than an Ethernet header, or less than its parts.
    Size,
    /// A part reaches beyond its page.
    CrossesPage,
    /// More parts than a packet may have.
    Slots,
    /// Extra info of a kind that was not offered.
    Extra,
    /// Segmentation without a sensible size, of another protocol, or without a blank checksum.
    Segmentation,
}

/// What is wrong with the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// A packet without end.
    Slots,
    /// Extra info without end.
    Extras,
}

impl Fatal {
    /// In words, for the log.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Slots => "a packet of more slots than any may have",
            Self::Extras => "more extra slots than there are types",
        }
    }
}

/// A packet whose last slot has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// The packet, or why it is dropped.
    pub packet: Result<Packet, Reject>,
    /// What to answer.
    pub answers: Answers,
}

/// Puts one ring's slots together.
#[derive(Debug)]
pub struct Assembler {
    domain: DomId,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The next slot begins a packet.
    Idle,
    /// The next slot is extra info; then data follow if `more`.
    Extra { building: Building, more: bool },
    /// The next slot is more data.
    Data(Building),
}

#[derive(Debug)]
struct Building {
    packet: Packet,
    answers: Answers,
    reject: Option<Reject>,
    slots: usize,
    extras: usize,
    /// What the first request says is the whole.
    total: usize,
    /// What the requests after the first add up to.
    rest: usize,
}

impl Assembler {
    /// For the ring of `domain`.
    #[must_use]
    pub const fn new(domain: DomId) -> Self {
        Self {
            domain,
            state: State::Idle,
        }
    }

    /// Takes the next slot; gives a packet if it was the packet's last.
    ///
    /// # Errors
    /// The frontend is broken: close the port.
    pub fn push(&mut self, slot: &[u8; SLOT]) -> Result<Option<Complete>, Fatal> {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                let request = request_in(slot);
                let mut building = Building::first(&request);
                building.data(self.domain, &request, true)?;
                self.after_data(
                    building,
                    &request,
                    request.flags.contains(NettxFlags::EXTRA_INFO),
                )
            }
            State::Data(mut building) => {
                let request = request_in(slot);
                building.data(self.domain, &request, false)?;
                self.after_data(building, &request, false)
            }
            State::Extra { mut building, more } => {
                if building.extra(slot)? {
                    self.state = State::Extra { building, more };
                    return Ok(None);
                }
                if more {
                    self.state = State::Data(building);
                    return Ok(None);
                }
                Ok(Some(building.finish()))
            }
        }
    }

    fn after_data(
        &mut self,
        building: Building,
        request: &NetifTxRequest,
        extra: bool,
    ) -> Result<Option<Complete>, Fatal> {
        let more = request.flags.contains(NettxFlags::MORE_DATA);
        if extra {
            self.state = State::Extra { building, more };
        } else if more {
            self.state = State::Data(building);
        } else {
            return Ok(Some(building.finish()));
        }
        Ok(None)
    }
}

/// Any twelve bytes are a request.
fn request_in(slot: &[u8; SLOT]) -> NetifTxRequest {
    NetifTxRequest::read_from_bytes(slot).unwrap_or_default()
}

impl Building {
    fn first(request: &NetifTxRequest) -> Self {
        Self {
            packet: Packet {
                fragments: heapless::Vec::new(),
                len: 0,
                offload: Offload {
                    checksum_blank: request.flags.contains(NettxFlags::CSUM_BLANK),
                    validated: request.flags.contains(NettxFlags::DATA_VALIDATED),
                    segmentation: None,
                },
            },
            answers: Answers::new(),
            reject: None,
            slots: 0,
            extras: 0,
            total: usize::from(request.size),
            rest: 0,
        }
    }

    fn reject(&mut self, why: Reject) {
        self.reject.get_or_insert(why);
    }

    fn data(&mut self, domain: DomId, request: &NetifTxRequest, first: bool) -> Result<(), Fatal> {
        self.slots += 1;
        if self.slots > FATAL_SLOTS || self.answers.push(Some(request.id)).is_err() {
            return Err(Fatal::Slots);
        }
        let size = if first {
            0 // Known when the rest is.
        } else {
            self.rest += usize::from(request.size);
            request.size
        };
        if u32::from(request.offset) + u32::from(size) > PAGE {
            self.reject(Reject::CrossesPage);
        }
        let fragment = Fragment::granted(domain, request.gref, request.offset, size);
        if self.packet.fragments.push(fragment).is_err() {
            self.reject(Reject::Slots);
        }
        Ok(())
    }

    /// True if another extra slot follows.
    fn extra(&mut self, slot: &[u8; SLOT]) -> Result<bool, Fatal> {
        self.extras += 1;
        if self.extras > MAX_EXTRAS || self.answers.push(None).is_err() {
            return Err(Fatal::Extras);
        }
        let extra = NetifExtraInfo::read_from_bytes(&slot[..8]).unwrap_or_default();
        match extra.r#type {
            XEN_NETIF_EXTRA_TYPE_GSO => {
                let gso = extra.as_gso();
                if gso.size < MIN_SEGMENT
                    || gso.r#type != XEN_NETIF_GSO_TYPE_TCPV4
                    || !self.packet.offload.checksum_blank
                {
                    self.reject(Reject::Segmentation);
                } else {
                    self.packet.offload.segmentation = Some(Segmentation { size: gso.size });
                }
            }
            // The receiver may ignore a hash.
            XEN_NETIF_EXTRA_TYPE_HASH => {}
            _ => self.reject(Reject::Extra),
        }
        Ok(extra.flags.contains(ExtraFlags::MORE))
    }

    fn finish(mut self) -> Complete {
        match self.total.checked_sub(self.rest) {
            Some(first) if self.total >= MIN_FRAME && first > 0 => {
                if let Some(fragment) = self.packet.fragments.first_mut() {
                    // `total` is 16 bits wide, so is what is left of it.
                    fragment.len = first as u16;
                    if u32::from(fragment.offset) + first as u32 > PAGE {
                        self.reject.get_or_insert(Reject::CrossesPage);
                    }
                }
                self.packet.len = self.total;
            }
            _ => self.reject(Reject::Size),
        }
        let packet = match self.reject {
            Some(why) => Err(why),
            None => Ok(self.packet),
        };
        Complete {
            packet,
            answers: self.answers,
        }
    }
}

#[cfg(test)]
#[path = "transmit_tests.rs"]
mod tests;
