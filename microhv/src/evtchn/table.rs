//! A domain's ports: what each is bound to, and delivery to it.

use xen_abi::Errno;
use xen_abi::event_channel::EVTCHN_FIFO_PRIORITY_DEFAULT;
use xen_abi::xen::{NR_VIRQS, VIRQ_ARGO, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU};

use super::channel::{Channel, Channels, State};
use super::fifo::Fifo;
use super::two_level::TwoLevel;
use super::vcpu_info::{VCPU_INFO_SIZE, VcpuInfoRef};
use super::{MAX_PORTS, MAX_VCPUS, Notify};
use crate::mm::{FrameRef, PageBox};
use crate::types::DomId;

/// Who gets a VIRQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VirqType {
    /// Each vCPU binds its own, for good.
    Vcpu,
    /// One for the domain.
    Domain,
    /// One for the machine: the control domain's.
    Global,
}

/// The types that `public/xen.h` lists.
pub(super) const fn virq_type(virq: u32) -> VirqType {
    match virq {
        VIRQ_TIMER | VIRQ_DEBUG | VIRQ_XENOPROF | VIRQ_XENPMU => VirqType::Vcpu,
        VIRQ_ARGO => VirqType::Domain,
        _ => VirqType::Global,
    }
}

/// What is left to do after a port was closed, with the table unlocked.
#[must_use = "the other end has to learn of it"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nothing.
    Local,
    /// [`Table::peer_closed`] on this domain's table for this port of it.
    Peer(DomId, u32),
    /// The device interrupt with this number must be unbound.
    Device(u32),
}

/// One vCPU's part of the table.
pub(super) struct VcpuEvents {
    pub info: VcpuInfoRef,
    /// The `vcpu_info` has left `shared_info`.
    moved: bool,
    /// The port of each VIRQ; 0 for none. Domain-wide and global ones are all at vCPU 0.
    pub virqs: [u16; NR_VIRQS as usize],
}

/// A domain's event channels.
pub struct Table {
    pub(super) owner: DomId,
    pub(super) channels: Channels,
    pub(super) two_level: TwoLevel,
    pub(super) fifo: Option<PageBox<Fifo>>,
    pub(super) vcpus: PageBox<[Option<VcpuEvents>; MAX_VCPUS]>,
    dying: bool,
}

impl Table {
    /// An empty table of domain `owner`, which sees `shared_info` as its `shared_info`; none if memory is out.
    pub fn new(owner: DomId, shared_info: FrameRef) -> Option<Self> {
        let mut channels = Channels::default();
        channels.reach(0, |_| Channel::FREE)?.state = State::Reserved;
        Some(Self {
            owner,
            channels,
            two_level: TwoLevel(shared_info),
            fifo: None,
            vcpus: PageBox::new([const { None }; MAX_VCPUS])?,
            dying: false,
        })
    }

    /// Makes room for vCPU number `vcpu`, whose `vcpu_info` lies in `shared_info` at first.
    ///
    /// # Errors
    /// `ENOENT` for a number that is too large.
    pub fn add_vcpu(&mut self, vcpu: u32) -> Result<(), Errno> {
        let slot = self.vcpus.get_mut(vcpu as usize).ok_or(Errno::ENOENT)?;
        if slot.is_none() {
            let info = VcpuInfoRef::new(self.two_level.0.clone(), vcpu as usize * VCPU_INFO_SIZE)
                .ok_or(Errno::ENOENT)?;
            *slot = Some(VcpuEvents {
                info,
                moved: false,
                virqs: [0; NR_VIRQS as usize],
            });
        }
        Ok(())
    }

    /// Moves the vCPU's `vcpu_info` to `offset` in `frame` (`VCPUOP_register_vcpu_info`), once. The vCPU is told to
    /// look at everything.
    ///
    /// # Errors
    /// `ENOENT` for no such vCPU, `EINVAL` if it has moved before or the place does not fit.
    pub fn register_vcpu_info(
        &mut self,
        vcpu: u32,
        frame: FrameRef,
        offset: u32,
    ) -> Result<Notify, Errno> {
        let events = self.vcpu_mut(vcpu).ok_or(Errno::ENOENT)?;
        if events.moved {
            return Err(Errno::EINVAL);
        }
        let new = VcpuInfoRef::new(frame, offset as usize).ok_or(Errno::EINVAL)?;
        let newly = new.succeed(&events.info);
        events.info = new;
        events.moved = true;
        Ok(Notify::new(newly.then_some(vcpu), None))
    }

    pub(super) fn vcpu(&self, vcpu: u32) -> Option<&VcpuEvents> {
        self.vcpus.get(vcpu as usize)?.as_ref()
    }

    fn vcpu_mut(&mut self, vcpu: u32) -> Option<&mut VcpuEvents> {
        self.vcpus.get_mut(vcpu as usize)?.as_mut()
    }

    /// The state and vCPU of `port`; none if it never existed.
    pub fn status(&self, port: u32) -> Option<(State, u32)> {
        let channel = self.channels.get(port)?;
        Some((channel.state, u32::from(channel.vcpu)))
    }

    // Binding.

    fn allocate(&mut self, state: State, vcpu: u32) -> Result<u32, Errno> {
        if self.dying {
            return Err(Errno::EINVAL);
        }
        for port in 1..MAX_PORTS {
            let channel = self.channels.reach(port, |_| Channel::FREE);
            let channel = channel.ok_or(Errno::ENOMEM)?;
            let linked = self.fifo.as_ref().is_some_and(|fifo| fifo.is_linked(port));
            if channel.state == State::Free && !linked {
                channel.state = state;
                channel.vcpu = vcpu as u8;
                channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT as u8;
                return Ok(port);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// A fresh port to which `remote` may bind.
    ///
    /// # Errors
    /// `ENOSPC`, `ENOMEM`, or `EINVAL` if the domain is dying; so for all that need a fresh port.
    pub fn alloc_unbound(&mut self, remote: DomId) -> Result<u32, Errno> {
        self.allocate(State::Unbound { remote }, 0)
    }

    /// First step of binding to `port` of `remote`: a fresh port here. Then [`Self::accept_interdomain`] there, then
    /// [`Self::set_pending`], for the event that may have been sent before, or [`Self::abort_interdomain`] here.
    ///
    /// # Errors
    /// As [`Self::alloc_unbound`].
    pub fn begin_interdomain(&mut self, remote: DomId, port: u32) -> Result<u32, Errno> {
        self.allocate(State::Interdomain { remote, port }, 0)
    }

    /// Second step, on the other side: connects `port` here to `remote_port` of `remote`.
    ///
    /// # Errors
    /// `EINVAL` if the port does not wait for `remote`.
    pub fn accept_interdomain(
        &mut self,
        port: u32,
        remote: DomId,
        remote_port: u32,
    ) -> Result<(), Errno> {
        let channel = self.channels.get_mut(port).ok_or(Errno::EINVAL)?;
        if channel.state != (State::Unbound { remote }) {
            return Err(Errno::EINVAL);
        }
        channel.state = State::Interdomain {
            remote,
            port: remote_port,
        };
        Ok(())
    }

    /// Last step, if the other side refused.
    pub fn abort_interdomain(&mut self, port: u32, remote: DomId, remote_port: u32) {
        if self.names(port, remote, remote_port) {
            self.free(port);
        }
    }

    /// Is `port` connected to `remote_port` of `remote`, as far as this side knows?
    pub(super) fn names(&self, port: u32, remote: DomId, remote_port: u32) -> bool {
        let wanted = State::Interdomain {
            remote,
            port: remote_port,
        };
        self.channels
            .get(port)
            .is_some_and(|channel| channel.state == wanted)
    }

    /// A fresh port for VIRQ `virq` of `vcpu`; global ones only if `global` allows.
    ///
    /// # Errors
    /// `EINVAL` for no such VIRQ or one that must be bound at vCPU 0, `ENOENT` for no such vCPU, `EBUSY` for a global
    /// one that belongs to another domain, `EEXIST`, and as [`Self::alloc_unbound`].
    pub fn bind_virq(&mut self, virq: u32, vcpu: u32, global: bool) -> Result<u32, Errno> {
        if virq >= NR_VIRQS || (virq_type(virq) != VirqType::Vcpu && vcpu != 0) {
            return Err(Errno::EINVAL);
        }
        let events = self.vcpu(vcpu).ok_or(Errno::ENOENT)?;
        if virq_type(virq) == VirqType::Global && !global {
            return Err(Errno::EBUSY);
        }
        if events.virqs[virq as usize] != 0 {
            return Err(Errno::EEXIST);
        }
        let port = self.allocate(State::Virq(virq), vcpu)?;
        if let Some(events) = self.vcpu_mut(vcpu) {
            events.virqs[virq as usize] = port as u16; // MAX_PORTS fits.
        }
        Ok(port)
    }

    /// A fresh port by which a vCPU of the domain interrupts `vcpu`.
    ///
    /// # Errors
    /// `ENOENT` for no such vCPU, and as [`Self::alloc_unbound`].
    pub fn bind_ipi(&mut self, vcpu: u32) -> Result<u32, Errno> {
        self.vcpu(vcpu).ok_or(Errno::ENOENT)?;
        self.allocate(State::Ipi, vcpu)
    }

    /// A fresh port that [`Self::raise`] raises for a device; closing it gives `device` back.
    ///
    /// # Errors
    /// As [`Self::alloc_unbound`].
    pub fn bind_device(&mut self, device: u32) -> Result<u32, Errno> {
        self.allocate(State::Device(device), 0)
    }

    /// Makes `port` notify `vcpu` from now on.
    ///
    /// # Errors
    /// `ENOENT` for no such vCPU, `EINVAL` for a port whose vCPU is fixed or that is not in use.
    pub fn bind_vcpu(&mut self, port: u32, vcpu: u32) -> Result<(), Errno> {
        self.vcpu(vcpu).ok_or(Errno::ENOENT)?;
        let channel = self.channels.get_mut(port).ok_or(Errno::EINVAL)?;
        match channel.state {
            State::Unbound { .. } | State::Interdomain { .. } | State::Device(_) => {}
            State::Virq(virq) if virq_type(virq) != VirqType::Vcpu => {}
            _ => return Err(Errno::EINVAL),
        }
        channel.vcpu = vcpu as u8;
        Ok(())
    }

    // Closing.

    /// Closes `port` on this side.
    ///
    /// # Errors
    /// `EINVAL` if it is not in use.
    pub fn close(&mut self, port: u32) -> Result<Closed, Errno> {
        let channel = self.channels.get(port).ok_or(Errno::EINVAL)?;
        let closed = match channel.state {
            State::Free | State::Reserved => return Err(Errno::EINVAL),
            State::Unbound { .. } | State::Ipi => Closed::Local,
            State::Interdomain { remote, port } => Closed::Peer(remote, port),
            State::Device(device) => Closed::Device(device),
            State::Virq(virq) => {
                for events in self.vcpus.iter_mut().flatten() {
                    let bound = &mut events.virqs[virq as usize];
                    if u32::from(*bound) == port {
                        *bound = 0;
                    }
                }
                Closed::Local
            }
        };
        self.free(port);
        Ok(closed)
    }

    /// The other end of `port`, `remote_port` of `remote`, has been closed: wait for another binding.
    pub fn peer_closed(&mut self, port: u32, remote: DomId, remote_port: u32) {
        if self.names(port, remote, remote_port)
            && let Some(channel) = self.channels.get_mut(port)
        {
            channel.state = State::Unbound { remote };
        }
    }

    fn free(&mut self, port: u32) {
        match &self.fifo {
            None => self.two_level.clear_pending(port),
            Some(fifo) => fifo.clear_pending(port),
        }
        if let Some(channel) = self.channels.get_mut(port) {
            channel.free();
        }
    }

    /// Allows no new ports: the domain dies. Then close them all.
    pub fn begin_death(&mut self) {
        self.dying = true;
    }

    /// The first port in use from `from` on.
    pub fn next_in_use(&self, from: u32) -> Option<u32> {
        (from..MAX_PORTS).find(|&port| {
            let state = self.channels.get(port).map(|channel| channel.state);
            !matches!(state, None | Some(State::Free | State::Reserved))
        })
    }

    /// How many ports are in use.
    pub fn ports_in_use(&self) -> u32 {
        let ports = core::iter::successors(self.next_in_use(0), |&port| self.next_in_use(port + 1));
        ports.map(|_| 1).sum()
    }

    /// Back to the 2-level scheme, all FIFO pages released. All ports are closed.
    pub fn forget_fifo(&mut self) {
        self.fifo = None;
    }
}
