//! Deliveries planned, and their copies: made with one hypercall, then answered.

use super::Engine;
use super::host::{Broken, Host};
use super::port::{Job, Port};
use crate::deliver::Delivery;
use crate::switch::PortId;
use crate::transmit::{Fragment, Offload};
use alloc::vec::Vec;
use xen_abi::grant_table::{GNTST_OKAY, GnttabCopy};
use xen_abi::io::netif::{NETIF_RSP_ERROR, NETIF_RSP_OKAY};

/// A planned delivery: to whom, and of which job (an index), if its outcome matters to that.
pub(super) struct Planned {
    to: PortId,
    delivery: Delivery,
    job: Option<usize>,
    unknown: bool,
}

#[derive(Debug, Default)]
pub(super) struct Batch {
    operations: Vec<GnttabCopy>,
    planned: Vec<Planned>,
}

impl core::fmt::Debug for Planned {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Planned(to {:?})", self.to)
    }
}

impl Batch {
    pub(super) fn plan(
        &mut self,
        to: PortId,
        port: &mut Port,
        fragments: &[Fragment],
        offload: Offload,
        job: Option<usize>,
        unknown: bool,
    ) -> bool {
        let wanted = port.receiver.buffers(fragments).unwrap_or(usize::MAX);
        let extra = usize::from(offload.segmentation.is_some());
        match port.rings.receive_buffers() {
            Ok(there) if there as usize >= wanted.saturating_add(extra) => {}
            Ok(_) => {
                port.counters.out_dropped += 1;
                return false;
            }
            Err(broken) => {
                port.fail(broken);
                return false;
            }
        }
        let rings = &mut port.rings;
        match Delivery::plan(
            fragments,
            offload,
            port.domain,
            || rings.next_receive(),
            &mut self.operations,
        ) {
            Some(delivery) => {
                self.planned.push(Planned {
                    to,
                    delivery,
                    job,
                    unknown,
                });
                true
            }
            None => {
                // The ring said that there were enough buffers and had fewer.
                port.fail(Broken("receive buffers vanished"));
                false
            }
        }
    }
}

impl Engine {
    /// Makes the planned copies and answers everybody they concern.
    pub(super) fn commit(&mut self, jobs: &mut [Option<Job>], host: &mut impl Host) {
        let Batch {
            operations,
            planned,
        } = &mut self.batch;
        if !operations.is_empty() {
            host.copy(operations);
        }
        let mut outcome = alloc::vec![None; jobs.len()];
        for Planned {
            to,
            delivery,
            job,
            unknown,
        } in planned.drain(..)
        {
            let failed = operations[delivery.operations()]
                .iter()
                .any(|operation| operation.status != GNTST_OKAY);
            if let Some(port) = self.ports.get_mut(&to) {
                for slot in delivery.responses(failed) {
                    port.rings.answer_receive(&slot);
                }
                if failed {
                    port.counters.out_errors += 1;
                } else {
                    port.counters.out_frames += 1;
                    port.counters.out_bytes += delivery.bytes() as u64;
                    port.counters.out_flooded += u64::from(unknown);
                }
            }
            if let Some(outcome) = job.and_then(|job| outcome.get_mut(job)) {
                *outcome = Some(outcome.unwrap_or(false) || !failed);
            }
        }
        operations.clear();
        for (place, outcome) in jobs.iter_mut().zip(outcome) {
            if let Some(outcome) = outcome
                && let Some(job) = place.take()
            {
                let bytes = job.packet.len as u64;
                let status = if outcome {
                    NETIF_RSP_OKAY
                } else {
                    NETIF_RSP_ERROR
                };
                self.finish(&job, status, |counters| {
                    if outcome {
                        counters.in_frames += 1;
                        counters.in_bytes += bytes;
                    } else {
                        counters.in_errors += 1;
                    }
                });
            }
        }
    }
}
