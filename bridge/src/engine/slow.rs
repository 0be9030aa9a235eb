//! Packets that come through this domain's memory: for receivers without offloads, and of bridge0's own interface.

use super::Engine;
use super::gather::copy_here;
use super::host::{FRAMES, Host, PACKET, SCRATCH_PAGES};
use super::port::Job;
use crate::mac::{Addresses, HEADER};
use crate::switch::{LOCAL, PortId, Verdict};
use crate::transmit::{Fragment, Offload, Packet};
use alloc::vec::Vec;
use packet::segment;
use xen_abi::grant_table::GNTST_OKAY;

impl Engine {
    /// Copies a whole packet into scratch memory; None if it cannot be read.
    pub(super) fn fetch(packet: &Packet, host: &mut impl Host) -> Option<Vec<u8>> {
        let mut operations = Vec::new();
        let mut at = PACKET;
        for fragment in &packet.fragments {
            let mut done = 0;
            while done < fragment.len {
                let room = 4096 - at % 4096;
                let len = room.min(usize::from(fragment.len - done)) as u16;
                operations.push(copy_here(
                    fragment,
                    done,
                    host.scratch_frame(at / 4096),
                    (at % 4096) as u16,
                    len,
                ));
                done += len;
                at += usize::from(len);
            }
        }
        host.copy(&mut operations);
        if operations
            .iter()
            .any(|operation| operation.status != GNTST_OKAY)
        {
            return None;
        }
        let mut bytes = alloc::vec![0; packet.len];
        host.read(PACKET, &mut bytes);
        Some(bytes)
    }

    /// Gives a packet to bridge0's own interface.
    pub(super) fn hand_to_interface(&mut self, job: &Job, host: &mut impl Host) -> bool {
        // The interface's own stack takes ordinary frames only.
        if job.packet.len > crate::interface::MAX_FRAME {
            return false;
        }
        let Some(mut bytes) = Self::fetch(&job.packet, host) else {
            return false;
        };
        if job.packet.offload.checksum_blank {
            packet::checksum::fill_in(&mut bytes);
        }
        host.local_frame(&bytes);
        true
    }

    /// Does in software what the receiver cannot, and delivers the frames that come out.
    pub(super) fn convert(
        &mut self,
        to: PortId,
        job: &Job,
        jobs: &mut [Option<Job>],
        host: &mut impl Host,
    ) -> bool {
        // The scratch memory for frames is used by one packet at a time.
        self.commit(jobs, host);
        let Some(mut bytes) = Self::fetch(&job.packet, host) else {
            return false;
        };
        let Some(port) = self.ports.get_mut(&to) else {
            return false;
        };
        let size = job
            .packet
            .offload
            .segmentation
            .filter(|_| !port.receiver.segmentation)
            .map(|s| s.size);
        let mut at = FRAMES;
        let mut frames = Vec::new();
        let mut emit = |frame: &[u8], host: &mut dyn FnMut(usize, &[u8])| {
            // A frame does not cross a page.
            if at % 4096 + frame.len() > 4096 {
                at = at.next_multiple_of(4096);
            }
            if frame.len() <= 4096 && at + frame.len() <= SCRATCH_PAGES * 4096 {
                host(at, frame);
                frames.push((at, frame.len()));
                at += frame.len();
            }
        };
        let mut write = |at: usize, frame: &[u8]| host.write(at, frame);
        let done = match job.packet.offload {
            Offload {
                checksum_blank: false,
                segmentation: None,
                ..
            } => false,
            _ => segment::without_offload(&mut bytes, size, |frame| emit(frame, &mut write)),
        };
        if !done {
            port.counters.out_errors += 1;
            return false;
        }
        let mut reached = false;
        for (at, len) in frames {
            let fragment = Fragment::own(
                host.scratch_frame(at / 4096),
                (at % 4096) as u16,
                len as u16,
            );
            let offload = Offload {
                validated: true,
                ..Offload::default()
            };
            reached |= self.batch.plan(to, port, &[fragment], offload, None, false);
        }
        self.commit(jobs, host);
        reached
    }

    /// Sends a frame of bridge0's own interface; `frame` has no offloads.
    pub fn send_local(&mut self, frame: &[u8], host: &mut impl Host) {
        let Some(header) = frame
            .first_chunk::<HEADER>()
            .filter(|_| frame.len() <= 4096)
        else {
            return;
        };
        let now = host.now();
        let verdict = self.switch.decide(LOCAL, Addresses::of(header), now);
        host.write(FRAMES, frame);
        let fragment = Fragment::own(host.scratch_frame(FRAMES / 4096), 0, frame.len() as u16);
        let targets: Vec<PortId> = match verdict {
            Verdict::One(to) => alloc::vec![to],
            Verdict::Flood { .. } => self.ports.keys().copied().collect(),
            Verdict::Drop(_) => return,
        };
        for to in targets {
            if let Some(port) = self.ports.get_mut(&to) {
                self.batch
                    .plan(to, port, &[fragment], Offload::default(), None, false);
            }
        }
        self.commit(&mut [], host);
        for port in self.ports.values_mut() {
            port.rings.flush();
        }
    }
}
