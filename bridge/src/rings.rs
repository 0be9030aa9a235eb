//! A port's two rings in memory that its frontend granted.

use bridge::engine::{Broken, Rings};
use bridge::{deliver, transmit};
use core::sync::atomic::{Ordering, fence};
use domain::grant::MappedRange;
use domain::ring::{BackRing, RingError};
use domain::{Port, SharedMemory};
use xen_abi::io::netif::{NetifRxRequest, NetifTxResponse};
use xen_abi::io::ring::{REQ_EVENT, REQ_PROD};

/// Slots are taken as bytes: what they are depends on the slot before.
type TransmitRing = BackRing<[u8; transmit::SLOT], NetifTxResponse, MappedRange>;
type ReceiveRing = BackRing<NetifRxRequest, [u8; deliver::SLOT], MappedRange>;

/// The rings, and the event channels of each (one for both, unless the frontend wants two).
pub struct GrantedRings {
    transmit: TransmitRing,
    receive: ReceiveRing,
    transmit_port: Port,
    receive_port: Option<Port>,
}

impl GrantedRings {
    /// Takes over rings that a frontend has set up.
    ///
    /// # Errors
    /// The pages are too small for a ring.
    pub fn new(
        transmit: MappedRange,
        receive: MappedRange,
        transmit_port: Port,
        receive_port: Option<Port>,
    ) -> Result<Self, RingError> {
        Ok(Self {
            transmit: BackRing::attach(transmit)?,
            receive: BackRing::attach(receive)?,
            transmit_port,
            receive_port,
        })
    }
}

fn broken(error: RingError) -> Broken {
    match error {
        RingError::Overrun { .. } => Broken("an impossible ring index"),
        RingError::Full | RingError::TooSmall => Broken("a ring that cannot be used"),
    }
}

impl Rings for GrantedRings {
    fn next_transmit(&mut self) -> Result<Option<[u8; transmit::SLOT]>, Broken> {
        self.transmit.next_request().map_err(broken)
    }

    fn answer_transmit(&mut self, id: u16, status: i16) {
        // Each answer is for a slot that was taken.
        let _ = self.transmit.push_response(&NetifTxResponse { id, status });
    }

    fn receive_buffers(&mut self) -> Result<u32, Broken> {
        self.receive.unconsumed().map_err(broken)
    }

    fn next_receive(&mut self) -> Option<NetifRxRequest> {
        self.receive.next_request().ok().flatten()
    }

    fn answer_receive(&mut self, slot: &[u8; deliver::SLOT]) {
        let _ = self.receive.push_response(slot);
    }

    fn flush(&mut self) {
        let transmit = self.transmit.flush();
        let receive = self.receive.flush();
        let notify = |port: &Port| {
            if let Err(errno) = port.notify() {
                log::debug!("event channel {}: {errno}", port.number());
            }
        };
        match &self.receive_port {
            Some(port) => {
                if receive {
                    notify(port);
                }
                if transmit {
                    notify(&self.transmit_port);
                }
            }
            None if transmit || receive => notify(&self.transmit_port),
            None => {}
        }
    }

    fn more_transmit(&mut self) -> Result<bool, Broken> {
        self.transmit.more_requests().map_err(broken)
    }

    fn more_receive(&mut self, have: u32) -> Result<bool, Broken> {
        let memory: &SharedMemory = self.receive.memory().memory();
        if let (Ok(producer), Ok(event)) =
            (memory.atomic_u32(REQ_PROD), memory.atomic_u32(REQ_EVENT))
        {
            event.store(
                producer.load(Ordering::Acquire).wrapping_add(1),
                Ordering::Release,
            );
            // The frontend sees the wish, or we see what it has put in before.
            fence(Ordering::SeqCst);
        }
        Ok(self.receive.unconsumed().map_err(broken)? > have)
    }
}
