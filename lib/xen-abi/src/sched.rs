//! `HYPERVISOR_sched_op` (`sched.h`).

use crate::xen::DomId;

abi_numbers! { u32;
    SCHEDOP_YIELD = 0;
    /// Blocks until an event is pending; enables the upcall like `sti`.
    SCHEDOP_BLOCK = 1;
    SCHEDOP_SHUTDOWN = 2;
    SCHEDOP_POLL = 3;
    SCHEDOP_REMOTE_SHUTDOWN = 4;
    SCHEDOP_SHUTDOWN_CODE = 5;
    SCHEDOP_WATCHDOG = 6;
    SCHEDOP_PIN_OVERRIDE = 7;
}

abi_numbers! { u32;
    SHUTDOWN_POWEROFF = 0;
    SHUTDOWN_REBOOT = 1;
    SHUTDOWN_SUSPEND = 2;
    SHUTDOWN_CRASH = 3;
    SHUTDOWN_WATCHDOG = 4;
    SHUTDOWN_SOFT_RESET = 5;
    SHUTDOWN_MAX = 5;
}

abi_struct! {
    /// `struct sched_shutdown`.
    pub struct SchedShutdown {
        reason: u32,
    }

    /// `struct sched_poll`.
    pub struct SchedPoll {
        /// Guest address of `nr_ports` 32-bit ports.
        ports: u64,
        nr_ports: u32,
        _pad: u32,
        /// Absolute system time, nanoseconds; zero waits for ever.
        timeout: u64,
    }

    /// `struct sched_remote_shutdown`.
    pub struct SchedRemoteShutdown {
        domain_id: DomId,
        _pad: u16,
        reason: u32,
    }

    /// `struct sched_watchdog`.
    pub struct SchedWatchdog {
        id: u32,
        /// Seconds.
        timeout: u32,
    }

    /// `struct sched_pin_override`.
    pub struct SchedPinOverride {
        pcpu: i32,
    }
}
