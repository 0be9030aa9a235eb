//! A port, and a packet of it on its way.

use super::host::{Broken, Rings};
use crate::counters::Counters;
use crate::deliver::Receiver;
use crate::mac::HEADER;
use crate::switch::PortId;
use crate::transmit::{Answers, Assembler, Complete, Packet};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::time::Duration;
use xen_abi::DomId;
use xen_abi::io::netif::NETIF_RSP_NULL;

/// A port.
pub struct Port {
    pub(super) domain: DomId,
    pub(super) rings: Box<dyn Rings>,
    pub(super) assembler: Assembler,
    pub(super) receiver: Receiver,
    pub(super) uplink: bool,
    /// What it has seen.
    pub counters: Counters,
    /// Packets that wait for the uplink to have buffers, and those behind them: nothing overtakes.
    pub(super) waiting: VecDeque<Job>,
    pub(super) active: bool,
    pub(super) broken: Option<Broken>,
}

impl core::fmt::Debug for Port {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Port")
            .field("domain", &self.domain)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// A packet that was taken from its ring and not answered yet.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) port: PortId,
    pub(super) packet: Packet,
    pub(super) answers: Answers,
    pub(super) header: [u8; HEADER],
    /// When it has waited long enough.
    pub(super) deadline: Option<Duration>,
}

impl Port {
    pub(super) fn fail(&mut self, broken: Broken) {
        self.active = false;
        self.broken = Some(broken);
    }

    pub(super) fn next_packet(&mut self) -> Option<Complete> {
        loop {
            match self.rings.next_transmit() {
                Ok(Some(slot)) => match self.assembler.push(&slot) {
                    Ok(Some(complete)) => return Some(complete),
                    Ok(None) => {}
                    Err(fatal) => {
                        self.fail(Broken(fatal.text()));
                        return None;
                    }
                },
                Ok(None) => return None,
                Err(broken) => {
                    self.fail(broken);
                    return None;
                }
            }
        }
    }

    pub(super) fn answer(&mut self, answers: &Answers, status: i16) {
        for answer in answers {
            match answer {
                Some(id) => self.rings.answer_transmit(*id, status),
                None => self.rings.answer_transmit(0, NETIF_RSP_NULL),
            }
        }
    }
}
