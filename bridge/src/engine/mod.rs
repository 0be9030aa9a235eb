//! The work itself: takes packets out of the ports' transmit rings, decides, and has them copied into the receivers'
//! buffers, many with one hypercall.
//!
//! A pass costs two hypercalls whatever it moves: one copies the Ethernet headers here, one copies all packets from the
//! senders' pages to the receivers'. Only packets that a receiver cannot take as they are (checksum, segmentation)
//! and those for bridge0's own interface come through this domain's memory.

mod batch;
mod gather;
mod host;
mod port;
mod slow;

pub use host::{Broken, Host, Rings, SCRATCH_PAGES};
pub use port::Port;

use crate::counters::Counters;
use crate::deliver::Receiver;
use crate::mac::{Addresses, Mac};
use crate::switch::{DropReason, LOCAL, PortId, Switch, Verdict};
use crate::transmit::Assembler;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use batch::Batch;
use core::time::Duration;
use port::Job;
use xen_abi::DomId;
use xen_abi::io::netif::{NETIF_RSP_DROPPED, NETIF_RSP_OKAY};

/// Packets taken from one port in a pass.
pub const PORT_BUDGET: usize = 64;
/// Packets of all ports in a pass: as many as their headers fit in a page.
pub const PASS_BUDGET: usize = 4096 / HEADER_SLOT;
/// Bytes set aside for each header.
const HEADER_SLOT: usize = 16;
/// How long packets for the uplink may wait for it to have buffers. For guests none waits: a guest that takes nothing
/// must not hold up those who send.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// The switch with its ports.
#[derive(Debug, Default)]
pub struct Engine {
    /// The address table.
    pub switch: Switch,
    ports: BTreeMap<PortId, Port>,
    batch: Batch,
    /// Where the next pass begins, for fairness.
    turn: u16,
}

impl Engine {
    /// Adds a connected port. False: another port has its address already.
    pub fn add(
        &mut self,
        id: PortId,
        domain: DomId,
        mac: Option<Mac>,
        uplink: bool,
        receiver: Receiver,
        rings: Box<dyn Rings>,
    ) -> bool {
        let unique = self.switch.add_port(id, mac, uplink);
        let port = Port {
            domain,
            rings,
            assembler: Assembler::new(domain),
            receiver,
            uplink,
            counters: Counters::default(),
            waiting: VecDeque::new(),
            active: true,
            broken: None,
        };
        self.ports.insert(id, port);
        unique
    }

    /// bridge0's own interface has the address `mac`.
    pub fn set_local_address(&mut self, mac: Mac) {
        self.switch.remove_port(LOCAL);
        self.switch.table.add_static(mac, LOCAL);
    }

    /// Removes a port, its rings with it.
    pub fn remove(&mut self, id: PortId) -> Option<Counters> {
        self.switch.remove_port(id);
        self.ports.remove(&id).map(|port| port.counters)
    }

    /// The other end of the port's event channel has notified.
    pub fn notified(&mut self, id: PortId) {
        if let Some(port) = self.ports.get_mut(&id) {
            port.active = true;
            if port.uplink {
                // It may have new buffers: whoever waits for them tries again.
                for port in self
                    .ports
                    .values_mut()
                    .filter(|port| !port.waiting.is_empty())
                {
                    port.active = true;
                }
            }
        }
    }

    /// A port whose other end broke the rules, once for each.
    pub fn take_broken(&mut self) -> Option<(PortId, Broken)> {
        self.ports
            .iter_mut()
            .find_map(|(id, port)| Some((*id, port.broken.take()?)))
    }

    /// Counters by port.
    pub fn counters(&self) -> impl Iterator<Item = (PortId, &Counters)> {
        self.ports.iter().map(|(id, port)| (*id, &port.counters))
    }

    /// When the next packet that waits is to be dropped.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.ports
            .values()
            .filter_map(|port| port.waiting.front()?.deadline)
            .min()
    }

    /// One pass over the active ports; true if there is more to do right away.
    pub fn pass(&mut self, host: &mut impl Host) -> bool {
        let now = host.now();
        for port in self.ports.values_mut() {
            port.active |= port
                .waiting
                .front()
                .is_some_and(|job| job.deadline.is_some_and(|at| now >= at));
        }
        let mut jobs = self.gather(host);
        if jobs.iter().all(Option::is_none) && self.ports.values().all(|port| !port.active) {
            return false;
        }
        for index in 0..jobs.len() {
            self.forward(index, &mut jobs, now, host);
        }
        self.commit(&mut jobs, host);
        for place in &mut jobs {
            // Delivered already, or to bridge0 itself.
            if let Some(job) = place.take() {
                self.finish(&job, NETIF_RSP_OKAY, |counters| {
                    counters.in_frames += 1;
                    counters.in_bytes += job.packet.len as u64;
                });
            }
        }
        self.rest()
    }

    /// Answers a job's requests.
    fn finish(&mut self, job: &Job, status: i16, count: impl FnOnce(&mut Counters)) {
        if let Some(port) = self.ports.get_mut(&job.port) {
            count(&mut port.counters);
            port.answer(&job.answers, status);
        }
    }

    /// Decides about one packet and plans its deliveries.
    fn forward(
        &mut self,
        index: usize,
        jobs: &mut [Option<Job>],
        now: Duration,
        host: &mut impl Host,
    ) {
        let Some(job) = jobs[index].take() else {
            return;
        };
        if let Some(port) = self
            .ports
            .get_mut(&job.port)
            .filter(|port| !port.waiting.is_empty())
        {
            return port.waiting.push_back(job);
        }
        match self
            .switch
            .decide(job.port, Addresses::of(&job.header), now)
        {
            Verdict::Drop(reason) => {
                self.finish(&job, NETIF_RSP_OKAY, |counters| match reason {
                    DropReason::Forged => counters.in_forged += 1,
                    DropReason::LinkLocal | DropReason::SamePort => counters.in_dropped += 1,
                });
            }
            Verdict::One(to) => {
                if self.must_wait(to, &job, now) {
                    return self.wait(job, now);
                }
                let reached = self.plan(to, &job, Some(index), false, jobs, host);
                self.settle(index, job, reached, jobs);
            }
            Verdict::Flood { unknown } => {
                let targets: Vec<PortId> = self
                    .ports
                    .keys()
                    .copied()
                    .filter(|id| *id != job.port)
                    .collect();
                let mut reached = false;
                for to in core::iter::once(LOCAL).chain(targets) {
                    reached |= self.plan(to, &job, Some(index), unknown, jobs, host);
                }
                self.settle(index, job, reached, jobs);
            }
        }
    }

    /// Puts a job whose packet is planned back until the copies are made; answers one that nobody takes.
    fn settle(&mut self, index: usize, job: Job, reached: bool, jobs: &mut [Option<Job>]) {
        if reached {
            jobs[index] = Some(job);
        } else {
            self.finish(&job, NETIF_RSP_DROPPED, |counters| counters.in_dropped += 1);
        }
    }

    /// Should the packet wait until the uplink has buffers? What comes from an uplink never waits.
    fn must_wait(&mut self, to: PortId, job: &Job, now: Duration) -> bool {
        if job.deadline.is_some_and(|at| now >= at)
            || self.ports.get(&job.port).is_none_or(|port| port.uplink)
        {
            return false;
        }
        let Some(port) = self.ports.get_mut(&to).filter(|port| port.uplink) else {
            return false;
        };
        let offload = &job.packet.offload;
        let Some(wanted) = port
            .receiver
            .buffers(&job.packet.fragments)
            .filter(|_| port.receiver.takes(offload))
        else {
            return false;
        };
        let wanted = wanted + usize::from(offload.segmentation.is_some());
        loop {
            match port.rings.receive_buffers() {
                Ok(there) if (there as usize) < wanted => match port.rings.more_receive(there) {
                    Ok(false) => return true,
                    // More have come: look again. It ends, for there are never more than the ring's size.
                    Ok(true) => {}
                    Err(_) => return false,
                },
                _ => return false,
            }
        }
    }

    fn wait(&mut self, mut job: Job, now: Duration) {
        if let Some(port) = self.ports.get_mut(&job.port) {
            job.deadline.get_or_insert(now + PATIENCE);
            port.active = false;
            port.waiting.push_back(job);
        }
    }

    /// Plans the delivery of a job's packet to one port. False: it does not get it.
    fn plan(
        &mut self,
        to: PortId,
        job: &Job,
        index: Option<usize>,
        unknown: bool,
        jobs: &mut [Option<Job>],
        host: &mut impl Host,
    ) -> bool {
        if to == LOCAL {
            return self.hand_to_interface(job, host);
        }
        let Some(port) = self.ports.get_mut(&to) else {
            return false;
        };
        if port.receiver.takes(&job.packet.offload)
            && port.receiver.buffers(&job.packet.fragments).is_some()
        {
            return self.batch.plan(
                to,
                port,
                &job.packet.fragments,
                job.packet.offload,
                index,
                unknown,
            );
        }
        self.convert(to, job, jobs, host)
    }

    /// Publishes all answers; true if some port has more to give.
    fn rest(&mut self) -> bool {
        let mut more = false;
        for port in self.ports.values_mut() {
            port.rings.flush();
            if port.active && port.broken.is_none() {
                match port.rings.more_transmit() {
                    Ok(waiting) => port.active = waiting,
                    Err(broken) => port.fail(broken),
                }
                more |= port.active;
            }
        }
        more
    }
}

#[cfg(test)]
mod tests;
