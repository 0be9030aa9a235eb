//! `HYPERVISOR_event_channel_op` (`event_channel.h`).

use crate::xen::DomId;

/// An event channel's number within its domain. Zero is never valid.
pub type EvtchnPort = u32;

abi_numbers! { u32;
    EVTCHNOP_BIND_INTERDOMAIN = 0;
    EVTCHNOP_BIND_VIRQ = 1;
    EVTCHNOP_BIND_PIRQ = 2;
    EVTCHNOP_CLOSE = 3;
    EVTCHNOP_SEND = 4;
    EVTCHNOP_STATUS = 5;
    EVTCHNOP_ALLOC_UNBOUND = 6;
    EVTCHNOP_BIND_IPI = 7;
    EVTCHNOP_BIND_VCPU = 8;
    EVTCHNOP_UNMASK = 9;
    EVTCHNOP_RESET = 10;
    EVTCHNOP_INIT_CONTROL = 11;
    EVTCHNOP_EXPAND_ARRAY = 12;
    EVTCHNOP_SET_PRIORITY = 13;
}

abi_numbers! { u32;
    EVTCHNSTAT_CLOSED = 0;
    EVTCHNSTAT_UNBOUND = 1;
    EVTCHNSTAT_INTERDOMAIN = 2;
    EVTCHNSTAT_PIRQ = 3;
    EVTCHNSTAT_VIRQ = 4;
    EVTCHNSTAT_IPI = 5;
}

/// Ports of the 2-level layout, 64-bit domain: 64 words of 64 bits.
pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;

abi_numbers! { u32;
    EVTCHN_FIFO_PRIORITY_MAX = 0;
    EVTCHN_FIFO_PRIORITY_DEFAULT = 7;
    EVTCHN_FIFO_PRIORITY_MIN = 15;
    /// Queues of each vCPU.
    EVTCHN_FIFO_MAX_QUEUES = 16;
    /// Bit numbers in an event word.
    EVTCHN_FIFO_PENDING = 31;
    EVTCHN_FIFO_MASKED = 30;
    EVTCHN_FIFO_LINKED = 29;
    EVTCHN_FIFO_BUSY = 28;
    EVTCHN_FIFO_LINK_BITS = 17;
    EVTCHN_FIFO_LINK_MASK = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
    EVTCHN_FIFO_NR_CHANNELS = 1 << EVTCHN_FIFO_LINK_BITS;
}

abi_struct! {
    /// `struct evtchn_alloc_unbound`: `dom` in, `remote_dom` in, `port` out.
    pub struct EvtchnAllocUnbound {
        dom: DomId,
        remote_dom: DomId,
        port: EvtchnPort,
    }

    /// `struct evtchn_bind_interdomain`: `local_port` out.
    pub struct EvtchnBindInterdomain {
        remote_dom: DomId,
        _pad: u16,
        remote_port: EvtchnPort,
        local_port: EvtchnPort,
    }

    /// `struct evtchn_bind_virq`: `port` out.
    pub struct EvtchnBindVirq {
        virq: u32,
        vcpu: u32,
        port: EvtchnPort,
    }

    /// `struct evtchn_bind_pirq`: `port` out.
    pub struct EvtchnBindPirq {
        pirq: u32,
        flags: u32,
        port: EvtchnPort,
    }

    /// `struct evtchn_bind_ipi`: `port` out.
    pub struct EvtchnBindIpi {
        vcpu: u32,
        port: EvtchnPort,
    }

    /// `struct evtchn_close`.
    pub struct EvtchnClose {
        port: EvtchnPort,
    }

    /// `struct evtchn_send`.
    pub struct EvtchnSend {
        port: EvtchnPort,
    }

    /// `struct evtchn_status`: `dom` and `port` in, the rest out.
    pub struct EvtchnStatus {
        dom: DomId,
        _pad: u16,
        port: EvtchnPort,
        status: u32,
        vcpu: u32,
        /// The union: see [`EvtchnStatus::unbound_dom`] and the like.
        u: [u32; 2],
    }

    /// `struct evtchn_bind_vcpu`.
    pub struct EvtchnBindVcpu {
        port: EvtchnPort,
        vcpu: u32,
    }

    /// `struct evtchn_unmask`.
    pub struct EvtchnUnmask {
        port: EvtchnPort,
    }

    /// `struct evtchn_reset`.
    pub struct EvtchnReset {
        dom: DomId,
    }

    /// `struct evtchn_init_control`: `link_bits` out.
    pub struct EvtchnInitControl {
        control_gfn: u64,
        offset: u32,
        vcpu: u32,
        link_bits: u8,
        _pad: [u8; 7],
    }

    /// `struct evtchn_expand_array`.
    pub struct EvtchnExpandArray {
        array_gfn: u64,
    }

    /// `struct evtchn_set_priority`.
    pub struct EvtchnSetPriority {
        port: EvtchnPort,
        priority: u32,
    }

    /// `struct evtchn_fifo_control_block`: one vCPU's queues.
    pub struct EvtchnFifoControlBlock {
        /// Bit per non-empty queue.
        ready: u32,
        _rsvd: u32,
        head: [u32; 16],
    }
}

impl EvtchnStatus {
    /// With status `UNBOUND` or `INTERDOMAIN`: the domain at the other end.
    pub const fn remote_dom(&self) -> DomId {
        self.u[0] as u16
    }

    /// With status `INTERDOMAIN`: the other end's port.
    pub const fn remote_port(&self) -> EvtchnPort {
        self.u[1]
    }

    /// With status `VIRQ` or `PIRQ`: the number.
    pub const fn irq(&self) -> u32 {
        self.u[0]
    }
}
