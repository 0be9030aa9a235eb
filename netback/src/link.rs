//! The connection with bridge: two rings in our memory, and our DMA buffers granted to it.

use crate::nic::{Nic, POOL, Received};
use alloc::vec::Vec;
use domain::event::Port;
use domain::grant::{Grant, GrantedPages};
use domain::ring::{FrontRing, RingError};
use domain::{DomId, Errno, PageRange};
use netback::assemble::{Assembler, SLOT, Step};
use xen_abi::io::netif::{NetifRxRequest, NetifTxRequest, NetifTxResponse, NettxFlags};

/// bridge broke the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Broken(pub &'static str);

impl From<RingError> for Broken {
    fn from(_: RingError) -> Self {
        Self("an impossible ring index")
    }
}

impl From<netback::assemble::Broken> for Broken {
    fn from(_: netback::assemble::Broken) -> Self {
        Self("a packet that makes no sense")
    }
}

/// The connection.
pub struct Link {
    /// Frames from the NIC to bridge.
    transmit: FrontRing<NetifTxRequest, NetifTxResponse, GrantedPages>,
    /// Buffers for frames from bridge to the NIC.
    receive: FrontRing<NetifRxRequest, [u8; SLOT], GrantedPages>,
    port: Port,
    /// Of each page of the NIC's two pools.
    transmit_grants: Vec<Grant>,
    receive_grants: Vec<Grant>,
    /// Pages of the receive pool (the NIC's) that bridge has.
    lent: Vec<bool>,
    /// The page offered in each place of the receive ring, and which is answered next.
    offered: Vec<u16>,
    next_answer: u32,
    next_offer: u32,
    assembler: Assembler,
}

fn grants(domain: DomId, range: &PageRange, readonly: bool) -> Result<Vec<Grant>, Errno> {
    (0..POOL)
        .map(|page| Grant::access(domain, range.gfn(page), readonly))
        .collect()
}

impl Link {
    /// Makes rings and an event channel for bridge in domain `bridge`, and grants it the NIC's buffers.
    pub fn new(bridge: DomId, nic: &Nic) -> Result<Self, Errno> {
        Ok(Self {
            transmit: FrontRing::init(GrantedPages::new(bridge, 1, false)?)?,
            receive: FrontRing::init(GrantedPages::new(bridge, 1, false)?)?,
            port: Port::alloc_unbound(bridge)?,
            // bridge reads what came in and writes what goes out.
            transmit_grants: grants(bridge, &nic.receive_pages, true)?,
            receive_grants: grants(bridge, &nic.transmit_pages.0, false)?,
            lent: alloc::vec![false; POOL],
            offered: alloc::vec![0; POOL],
            next_answer: 0,
            next_offer: 0,
            assembler: Assembler::default(),
        })
    }

    /// What the store is to say: references of both rings, and the event channel.
    pub fn references(&self) -> (u32, u32, u32) {
        let first = |pages: &GrantedPages| pages.references().next().unwrap_or_default();
        (
            first(self.transmit.memory()),
            first(self.receive.memory()),
            self.port.number(),
        )
    }

    /// Moves everything there is to move; true if it moved something.
    pub fn work(&mut self, nic: &mut Nic) -> Result<bool, Broken> {
        let mut moved = false;
        while let Some(response) = self.transmit.next_response()? {
            moved = true;
            match self.lent.get_mut(usize::from(response.id)) {
                Some(lent) if *lent => *lent = false,
                _ => return Err(Broken("an answer for a frame it was not given")),
            }
            nic.give_back(response.id);
        }
        while let Some(slot) = self.receive.next_response()? {
            moved = true;
            let page = self.offered[self.next_answer as usize % POOL];
            self.next_answer = self.next_answer.wrapping_add(1);
            match self.assembler.push(&slot, page)? {
                Step::More => {}
                Step::Packet(packet) => nic.send(packet),
                Step::Dropped(pieces) => pieces.iter().for_each(|piece| nic.unused(piece.page)),
            }
        }
        nic.pump();
        while self.transmit.free_requests() > 0
            && let Some(received) = nic.received()
        {
            moved = true;
            self.pass_on(&received)?;
        }
        nic.refill();
        self.offer(nic)?;
        let transmit = self.transmit.flush();
        let receive = self.receive.flush();
        if (transmit || receive)
            && let Err(errno) = self.port.notify()
        {
            log::debug!("bridge's event channel: {errno}");
        }
        Ok(moved)
    }

    /// Gives a frame to bridge.
    fn pass_on(&mut self, received: &Received) -> Result<(), Broken> {
        let mut flags = NettxFlags::empty();
        flags.set(NettxFlags::CSUM_BLANK, received.header.checksum.is_some());
        flags.set(
            NettxFlags::DATA_VALIDATED,
            received.header.valid || received.header.checksum.is_some(),
        );
        let page = usize::from(received.page);
        let (Some(grant), Some(lent)) = (self.transmit_grants.get(page), self.lent.get_mut(page))
        else {
            return Err(Broken("no such page"));
        };
        *lent = true;
        let request = NetifTxRequest {
            gref: grant.reference(),
            offset: received.offset,
            flags,
            id: received.page,
            size: received.len,
        };
        self.transmit.push_request(&request)?;
        Ok(())
    }

    /// Offers pages that the NIC is done with.
    fn offer(&mut self, nic: &mut Nic) -> Result<(), Broken> {
        while self.receive.free_requests() > 0
            && let Some(page) = nic.take_returned()
        {
            let gref = self
                .receive_grants
                .get(usize::from(page))
                .map_or(0, Grant::reference);
            self.receive.push_request(&NetifRxRequest {
                id: page,
                pad: 0,
                gref,
            })?;
            self.offered[self.next_offer as usize % POOL] = page;
            self.next_offer = self.next_offer.wrapping_add(1);
        }
        Ok(())
    }

    /// Has bridge something for us? If not, it will notify: of packets to send; of frames it is done with only when so many
    /// are out that the NIC may come to want their pages.
    pub fn has_news(&mut self) -> bool {
        let out = self.transmit.size() - self.transmit.free_requests();
        let short = out > self.transmit.size() / 2;
        // What is wrong with a ring is noticed by `work`.
        short && self.transmit.more_responses().unwrap_or(true)
            || self.receive.more_responses().unwrap_or(true)
    }

    /// Ends the connection; all pages are the NIC's again.
    pub fn end(self, nic: &mut Nic) {
        // Revoked first: bridge, if it lives, cannot write to them any more.
        drop(self.transmit_grants);
        drop(self.receive_grants);
        for (page, _) in (0u16..).zip(&self.lent).filter(|(_, lent)| **lent) {
            nic.give_back(page);
        }
        let mut at = self.next_answer;
        while at != self.next_offer {
            nic.unused(self.offered[at as usize % POOL]);
            at = at.wrapping_add(1);
        }
        for page in self.assembler.pages() {
            nic.unused(page);
        }
    }
}
