//! Taking packets out of the rings, and their headers.

use super::host::Host;
use super::port::Job;
use super::{Engine, HEADER_SLOT, PASS_BUDGET, PORT_BUDGET};
use crate::mac::HEADER;
use crate::switch::PortId;
use crate::transmit::{Fragment, Packet};
use alloc::vec::Vec;
use xen_abi::grant_table::{GNTST_OKAY, GntcopyFlags, GnttabCopy};
use xen_abi::io::netif::NETIF_RSP_ERROR;

impl Engine {
    /// Takes packets from active ports, and their headers.
    pub(super) fn gather(&mut self, host: &mut impl Host) -> Vec<Option<Job>> {
        let mut jobs = Vec::new();
        let mut fetched = 0;
        let first = PortId(self.turn);
        let order: Vec<PortId> = self
            .ports
            .range(first..)
            .chain(self.ports.range(..first))
            .filter(|(_, p)| p.active)
            .map(|(id, _)| *id)
            .collect();
        self.turn = order.first().map_or(0, |id| id.0.wrapping_add(1));
        let mut operations = Vec::new();
        for id in order {
            let Some(port) = self.ports.get_mut(&id) else {
                continue;
            };
            if !port.waiting.is_empty() {
                let room = PASS_BUDGET - jobs.len();
                let again = port.waiting.len().min(room);
                jobs.extend(port.waiting.drain(..again).map(Some));
                continue;
            }
            for _ in 0..PORT_BUDGET {
                if jobs.len() >= PASS_BUDGET {
                    break;
                }
                let Some(complete) = port.next_packet() else {
                    break;
                };
                let answers = complete.answers;
                match complete.packet {
                    Ok(packet) => {
                        let slot = (jobs.len() * HEADER_SLOT) as u16;
                        push_header_copies(&packet, host.scratch_frame(0), slot, &mut operations);
                        jobs.push(Some(Job {
                            port: id,
                            packet,
                            answers,
                            header: [0; HEADER],
                            deadline: None,
                        }));
                        fetched += 1;
                    }
                    Err(_) => {
                        port.counters.in_errors += 1;
                        port.answer(&answers, NETIF_RSP_ERROR);
                    }
                }
            }
        }
        if fetched > 0 {
            host.copy(&mut operations);
            self.read_headers(&mut jobs, &operations, host);
        }
        jobs
    }

    pub(super) fn read_headers(
        &mut self,
        jobs: &mut [Option<Job>],
        operations: &[GnttabCopy],
        host: &impl Host,
    ) {
        // The page that a copy went to says whose it was: several may make one header.
        let mut failed = [false; PASS_BUDGET];
        for operation in operations
            .iter()
            .filter(|operation| operation.status != GNTST_OKAY)
        {
            if let Some(failed) = failed.get_mut(usize::from(operation.dest.offset) / HEADER_SLOT) {
                *failed = true;
            }
        }
        let mut fetched = [false; PASS_BUDGET];
        for operation in operations {
            if let Some(fetched) = fetched.get_mut(usize::from(operation.dest.offset) / HEADER_SLOT)
            {
                *fetched = true;
            }
        }
        for (index, place) in jobs
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| fetched[*index])
        {
            if failed[index] {
                if let Some(job) = place.take() {
                    self.finish(&job, NETIF_RSP_ERROR, |counters| counters.in_errors += 1);
                }
            } else if let Some(job) = place {
                host.read(index * HEADER_SLOT, &mut job.header);
            }
        }
    }
}

pub(super) fn copy_here(
    fragment: &Fragment,
    skip: u16,
    frame: u64,
    offset: u16,
    len: u16,
) -> GnttabCopy {
    let mut flags = GntcopyFlags::empty();
    flags.set(GntcopyFlags::SOURCE_GREF, fragment.granted);
    GnttabCopy {
        source: fragment.pointer(skip),
        dest: Fragment::own(frame, offset, len).pointer(0),
        len,
        flags,
        ..GnttabCopy::default()
    }
}

/// The copies that bring a packet's first bytes to `slot` of the header page.
fn push_header_copies(packet: &Packet, frame: u64, slot: u16, operations: &mut Vec<GnttabCopy>) {
    let mut have = 0;
    for fragment in &packet.fragments {
        if have >= HEADER as u16 {
            break;
        }
        let len = fragment.len.min(HEADER as u16 - have);
        if len > 0 {
            operations.push(copy_here(fragment, 0, frame, slot + have, len));
            have += len;
        }
    }
}
