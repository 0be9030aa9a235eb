//! `HYPERVISOR_event_channel_op`: decoding, privilege, and the steps between two domains' tables.

use xen_abi::Errno;
use xen_abi::event_channel::*;

use super::{Closed, Notify, Send, State, Table};
use crate::guest_args::{GuestArgs, Progress};
use crate::mm::FrameRef;
use crate::types::{DomId, Gfn};

/// What event channel operations need from the rest of the hypervisor. No method is called with a table locked, and
/// none is called by `with_table`'s closure.
pub trait Environment {
    /// The calling domain.
    fn caller(&self) -> DomId;
    /// May the caller act for other domains?
    fn privileged(&self) -> bool;
    /// Locks the table of `domain` and calls `f`; none if there is no such domain.
    fn with_table<R>(&self, domain: DomId, f: impl FnOnce(&mut Table) -> R) -> Option<R>;
    /// Does what `notify` says about `domain`'s vCPUs.
    fn notify(&self, domain: DomId, notify: Notify);
    /// The caller's own, writable page of memory at `gfn`.
    fn frame(&self, gfn: Gfn) -> Option<FrameRef>;
    /// Binds physical interrupt `pirq` to a new port of the caller.
    ///
    /// # Errors
    /// `EINVAL`: the caller has no such interrupt. `EEXIST`: bound already. `ENOSPC`: no port is free.
    fn bind_pirq(&self, pirq: u32) -> Result<u32, Errno>;
    /// The port of device interrupt `device` is closed.
    fn unbind_device(&self, domain: DomId, device: u32);
    /// Does something more urgent wait for this CPU?
    fn preempt(&self) -> bool;
}

/// Ports closed between two looks at [`Environment::preempt`].
const CLOSE_BATCH: u32 = 64;

/// Carries out operation `cmd` with the structure at `args`.
///
/// # Errors
/// Xen's error number for each case; `ENOSYS` for an unknown operation.
pub fn op(env: &impl Environment, cmd: u32, args: &mut impl GuestArgs) -> Result<Progress, Errno> {
    match cmd {
        EVTCHNOP_ALLOC_UNBOUND => {
            let mut arg: EvtchnAllocUnbound = args.get(0)?;
            let domain = target(env, arg.dom)?;
            let remote = DomId::named(arg.remote_dom, env.caller());
            arg.port = with(env, domain, |table| table.alloc_unbound(remote))?;
            args.put(0, &arg)?;
        }
        EVTCHNOP_BIND_INTERDOMAIN => {
            let mut arg: EvtchnBindInterdomain = args.get(0)?;
            arg.local_port = bind_interdomain(
                env,
                DomId::named(arg.remote_dom, env.caller()),
                arg.remote_port,
            )?;
            args.put(0, &arg)?;
        }
        EVTCHNOP_BIND_VIRQ => {
            let mut arg: EvtchnBindVirq = args.get(0)?;
            arg.port = own(env, |table| {
                table.bind_virq(arg.virq, arg.vcpu, env.privileged())
            })?;
            args.put(0, &arg)?;
        }
        EVTCHNOP_BIND_IPI => {
            let mut arg: EvtchnBindIpi = args.get(0)?;
            arg.port = own(env, |table| table.bind_ipi(arg.vcpu))?;
            args.put(0, &arg)?;
        }
        EVTCHNOP_BIND_PIRQ => {
            let mut arg: EvtchnBindPirq = args.get(0)?;
            arg.port = env.bind_pirq(arg.pirq)?;
            args.put(0, &arg)?;
        }
        EVTCHNOP_CLOSE => {
            let arg: EvtchnClose = args.get(0)?;
            close(env, env.caller(), arg.port)?;
        }
        EVTCHNOP_SEND => {
            let arg: EvtchnSend = args.get(0)?;
            send(env, env.caller(), arg.port)?;
        }
        EVTCHNOP_STATUS => {
            let mut arg: EvtchnStatus = args.get(0)?;
            let domain = target(env, arg.dom)?;
            let status = |table: &mut Table| table.status(arg.port).ok_or(Errno::EINVAL);
            let (state, vcpu) = with(env, domain, status)?;
            (arg.status, arg.u) = describe(state);
            arg.vcpu = vcpu;
            args.put(0, &arg)?;
        }
        EVTCHNOP_BIND_VCPU => {
            let arg: EvtchnBindVcpu = args.get(0)?;
            own(env, |table| table.bind_vcpu(arg.port, arg.vcpu))?;
        }
        EVTCHNOP_UNMASK => {
            let arg: EvtchnUnmask = args.get(0)?;
            let notify = own(env, |table| table.unmask(arg.port))?;
            env.notify(env.caller(), notify);
        }
        EVTCHNOP_RESET => {
            let arg: EvtchnReset = args.get(0)?;
            // Xen resets another domain's channels only while its toolstack holds it paused; ours destroys it.
            if target(env, arg.dom)? != env.caller() {
                return Err(Errno::EINVAL);
            }
            if !close_all(env, env.caller()) {
                return Ok(Progress::Preempted(0));
            }
            own(env, |table| {
                table.forget_fifo();
                Ok(())
            })?;
        }
        EVTCHNOP_INIT_CONTROL => {
            let mut arg: EvtchnInitControl = args.get(0)?;
            arg.link_bits = EVTCHN_FIFO_LINK_BITS as u8;
            let frame = env.frame(Gfn(arg.control_gfn));
            own(env, |table| table.init_control(arg.vcpu, frame, arg.offset))?;
            args.put(0, &arg)?;
        }
        EVTCHNOP_EXPAND_ARRAY => {
            let arg: EvtchnExpandArray = args.get(0)?;
            let frame = env.frame(Gfn(arg.array_gfn));
            let vcpus = own(env, |table| table.expand_array(frame))?;
            for vcpu in (0..u32::BITS).filter(|vcpu| vcpus & 1 << vcpu != 0) {
                env.notify(env.caller(), Notify::new(Some(vcpu), None));
            }
        }
        EVTCHNOP_SET_PRIORITY => {
            let arg: EvtchnSetPriority = args.get(0)?;
            own(env, |table| table.set_priority(arg.port, arg.priority))?;
        }
        _ => return Err(Errno::ENOSYS),
    }
    Ok(Progress::Done(0))
}

/// Changes a domain's table.
fn with<T>(
    env: &impl Environment,
    domain: DomId,
    f: impl FnOnce(&mut Table) -> Result<T, Errno>,
) -> Result<T, Errno> {
    env.with_table(domain, f).ok_or(Errno::ESRCH)?
}

/// Changes the caller's.
fn own<T>(
    env: &impl Environment,
    f: impl FnOnce(&mut Table) -> Result<T, Errno>,
) -> Result<T, Errno> {
    with(env, env.caller(), f)
}

/// The domain that a `domid` argument names, which is the caller's own unless it is privileged.
fn target(env: &impl Environment, domain: u16) -> Result<DomId, Errno> {
    let domain = DomId::named(domain, env.caller());
    if domain == env.caller() || env.privileged() {
        return Ok(domain);
    }
    // Xen looks for the domain before it asks whether the caller may know of it.
    env.with_table(domain, |_| ()).ok_or(Errno::ESRCH)?;
    Err(Errno::EPERM)
}

fn describe(state: State) -> (u32, [u32; 2]) {
    match state {
        State::Free | State::Reserved => (EVTCHNSTAT_CLOSED, [0; 2]),
        State::Unbound { remote } => (EVTCHNSTAT_UNBOUND, [u32::from(remote.0), 0]),
        State::Interdomain { remote, port } => {
            (EVTCHNSTAT_INTERDOMAIN, [u32::from(remote.0), port])
        }
        State::Virq(virq) => (EVTCHNSTAT_VIRQ, [virq, 0]),
        State::Ipi => (EVTCHNSTAT_IPI, [0; 2]),
        State::Device(device) => (EVTCHNSTAT_PIRQ, [device, 0]),
    }
}

fn bind_interdomain(env: &impl Environment, remote: DomId, remote_port: u32) -> Result<u32, Errno> {
    let local = env.caller();
    env.with_table(remote, |_| ()).ok_or(Errno::ESRCH)?;
    let port = own(env, |table| table.begin_interdomain(remote, remote_port))?;
    let accepted = env.with_table(remote, |table| {
        table.accept_interdomain(remote_port, local, port)
    });
    if let Some(Ok(())) = accepted {
        let notify = own(env, |table| Ok(table.set_pending(port)))?;
        env.notify(local, notify);
        return Ok(port);
    }
    own(env, |table| {
        table.abort_interdomain(port, remote, remote_port);
        Ok(())
    })?;
    Err(accepted.map_or(Errno::ESRCH, |_| Errno::EINVAL))
}

/// Sends on `port` of `domain`.
///
/// # Errors
/// `EINVAL` if it is no port to send on.
pub fn send(env: &impl Environment, domain: DomId, port: u32) -> Result<(), Errno> {
    match with(env, domain, |table| table.send(port))? {
        Send::Local(notify) => env.notify(domain, notify),
        Send::Remote(remote, remote_port) => {
            let notify = env.with_table(remote, |table| table.receive(remote_port, domain, port));
            env.notify(remote, notify.unwrap_or_default());
        }
    }
    Ok(())
}

/// Closes `port` of `domain`, and tells the other end.
///
/// # Errors
/// `EINVAL` if it is not in use.
pub fn close(env: &impl Environment, domain: DomId, port: u32) -> Result<(), Errno> {
    match with(env, domain, |table| table.close(port))? {
        Closed::Local => {}
        Closed::Peer(remote, remote_port) => {
            // A peer that is gone needs no telling.
            let _ = env.with_table(remote, |table| table.peer_closed(remote_port, domain, port));
        }
        Closed::Device(device) => env.unbind_device(domain, device),
    }
    Ok(())
}

/// Closes all ports of `domain`; false if it was interrupted and must be called again. For a dying domain, call
/// [`Table::begin_death`] first, so that no new port appears.
pub fn close_all(env: &impl Environment, domain: DomId) -> bool {
    let mut from = 0;
    let mut closed = 0;
    while let Some(Some(port)) = env.with_table(domain, |table| table.next_in_use(from)) {
        // Another vCPU may have closed it in the meantime.
        let _ = close(env, domain, port);
        from = port + 1;
        closed += 1;
        if closed % CLOSE_BATCH == 0 && env.preempt() {
            return false;
        }
    }
    true
}
