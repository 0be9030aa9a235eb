//! Delivery to a domain's ports, and its switch to the FIFO scheme.

use xen_abi::Errno;
use xen_abi::event_channel::{EVTCHN_FIFO_PRIORITY_DEFAULT, EVTCHN_FIFO_PRIORITY_MIN};

use super::channel::{Channel, State};
use super::fifo::{Fifo, WORDS_PER_PAGE};
use super::table::{Table, VirqType, virq_type};
use super::{MAX_PORTS, Notify};
use crate::mm::{FrameRef, PageBox};
use crate::types::DomId;

/// What is left to do to send.
#[must_use = "the event has not been delivered yet"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// The channel ends in the same domain.
    Local(Notify),
    /// [`Table::receive`] on this domain's table for this port of it.
    Remote(DomId, u32),
}

impl Table {
    /// Sends on `port`.
    ///
    /// # Errors
    /// `EINVAL` if it is no port to send on.
    pub fn send(&mut self, port: u32) -> Result<Send, Errno> {
        let channel = self.channels.get(port).ok_or(Errno::EINVAL)?;
        match channel.state {
            State::Interdomain {
                remote,
                port: remote_port,
            } if remote == self.owner => Ok(Send::Local(self.receive(remote_port, remote, port))),
            State::Interdomain { remote, port } => Ok(Send::Remote(remote, port)),
            State::Ipi => Ok(Send::Local(self.set_pending(port))),
            State::Unbound { .. } => Ok(Send::Local(Notify::NONE)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `remote` has sent on its `remote_port`, which it believes to be connected to `port` here.
    pub fn receive(&mut self, port: u32, remote: DomId, remote_port: u32) -> Notify {
        if self.names(port, remote, remote_port) {
            self.set_pending(port)
        } else {
            Notify::NONE
        }
    }

    /// Raises VIRQ `virq`: of `vcpu` if it is a per-vCPU one, else the domain's.
    pub fn raise_virq(&mut self, virq: u32, vcpu: u32) -> Notify {
        let vcpu = if virq_type(virq) == VirqType::Vcpu {
            vcpu
        } else {
            0
        };
        let port = self
            .vcpu(vcpu)
            .and_then(|events| events.virqs.get(virq as usize))
            .copied();
        match port {
            Some(port) if port != 0 => self.set_pending(u32::from(port)),
            _ => Notify::NONE,
        }
    }

    /// The device number `device` has raised its interrupt, which was bound to `port`.
    pub fn raise_device(&mut self, port: u32, device: u32) -> Notify {
        match self.channels.get(port) {
            Some(channel) if channel.state == State::Device(device) => self.set_pending(port),
            _ => Notify::NONE,
        }
    }

    pub(super) fn set_pending(&mut self, port: u32) -> Notify {
        self.deliver(port, false)
    }

    /// Clears the mask of `port` and delivers what waited for that.
    ///
    /// # Errors
    /// `EINVAL` if the port never existed.
    pub fn unmask(&mut self, port: u32) -> Result<Notify, Errno> {
        self.channels.get(port).ok_or(Errno::EINVAL)?;
        Ok(self.deliver(port, true))
    }

    fn deliver(&mut self, port: u32, unmask: bool) -> Notify {
        let Some(channel) = self.channels.get_mut(port) else {
            return Notify::NONE;
        };
        let vcpu = u32::from(channel.vcpu);
        let Some(events) = self.vcpus.get(vcpu as usize).and_then(Option::as_ref) else {
            return Notify::NONE;
        };
        match (&mut self.fifo, unmask) {
            (None, false) => self.two_level.set_pending(port, vcpu, &events.info),
            (None, true) => self.two_level.unmask(port, vcpu, &events.info),
            (Some(fifo), false) => fifo.set_pending(port, channel, &events.info),
            (Some(fifo), true) => fifo.unmask(port, channel, &events.info),
        }
    }

    /// Is an event pending at `port`?
    pub fn is_pending(&self, port: u32) -> bool {
        match &self.fifo {
            None => self.two_level.is_pending(port),
            Some(fifo) => fifo.is_pending(port),
        }
    }

    // FIFO set-up.

    /// Registers the FIFO control block of `vcpu`; the first one switches the domain from 2-level to FIFO. What is
    /// pending then is kept for the time when the port gets its event word.
    ///
    /// # Errors
    /// `ENOENT` for no such vCPU, `EINVAL` for no page, or a block that does not fit it or exists already, `ENOMEM`.
    pub fn init_control(
        &mut self,
        vcpu: u32,
        frame: Option<FrameRef>,
        offset: u32,
    ) -> Result<(), Errno> {
        self.vcpu(vcpu).ok_or(Errno::ENOENT)?;
        let offset = Fifo::check_offset(offset)?;
        let frame = frame.ok_or(Errno::EINVAL)?;
        if let Some(fifo) = &mut self.fifo {
            return fifo.set_control(vcpu, frame, offset);
        }
        let mut fifo = PageBox::new(Fifo::new()).ok_or(Errno::ENOMEM)?;
        fifo.set_control(vcpu, frame, offset)?;
        for port in 1..MAX_PORTS {
            if let Some(channel) = self.channels.get_mut(port) {
                channel.pending = self.two_level.is_pending(port);
                channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT as u8;
                (channel.last_vcpu, channel.last_priority) = (0, 0);
            }
        }
        self.fifo = Some(fifo);
        Ok(())
    }

    /// Adds a page of event words and raises what was pending for it; gives the vCPUs to notify, a bit each.
    ///
    /// # Errors
    /// `EOPNOTSUPP` on 2-level, `ENOSPC` when all ports have words, `EINVAL` for no page.
    pub fn expand_array(&mut self, frame: Option<FrameRef>) -> Result<u32, Errno> {
        let fifo = self.fifo.as_mut().ok_or(Errno::EOPNOTSUPP)?;
        let first = fifo.add_words(frame)?;
        let mut vcpus = 0;
        for port in first..first + WORDS_PER_PAGE {
            let waited = self
                .channels
                .get_mut(port)
                .is_some_and(|c: &mut Channel| core::mem::take(&mut c.pending));
            if waited && let Some(vcpu) = self.set_pending(port).upcall {
                vcpus |= 1 << vcpu;
            }
        }
        Ok(vcpus)
    }

    /// Queues future events of `port` at `priority`, 0 (first) to 15.
    ///
    /// # Errors
    /// `EINVAL` for no such port or priority, `ENOSYS` on 2-level.
    pub fn set_priority(&mut self, port: u32, priority: u32) -> Result<(), Errno> {
        let channel = self.channels.get_mut(port).ok_or(Errno::EINVAL)?;
        if self.fifo.is_none() {
            return Err(Errno::ENOSYS);
        }
        if priority > EVTCHN_FIFO_PRIORITY_MIN {
            return Err(Errno::EINVAL);
        }
        channel.priority = priority as u8;
        Ok(())
    }
}
