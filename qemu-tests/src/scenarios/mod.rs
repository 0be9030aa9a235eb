//! The stories that are told about microhv, by subject.

mod acs;
mod amdvi;
mod bochs;
mod boot;
mod bootdisk;
mod debian;
mod disk;
mod exits;
mod faults;
mod flags;
mod handles;
mod hotplug;
mod input;
mod isolation;
mod life;
mod logs;
mod machines;
mod memory_disk;
mod net;
mod pygrub;
mod remote;
mod vtd;
mod xl;

use crate::scenario::Scenario;

/// The scenarios that are played in Bochs.
#[must_use]
pub fn bochs() -> Vec<Scenario> {
    [bochs::SCENARIOS, exits::SCENARIOS].concat()
}

/// Every scenario that is played in QEMU, the quick ones first.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        boot::SCENARIOS,
        handles::SCENARIOS,
        bootdisk::SCENARIOS,
        machines::SCENARIOS,
        input::SCENARIOS,
        isolation::SCENARIOS,
        acs::SCENARIOS,
        amdvi::SCENARIOS,
        vtd::SCENARIOS,
        faults::SCENARIOS,
        flags::SCENARIOS,
        debian::SCENARIOS,
        pygrub::SCENARIOS,
        disk::SCENARIOS,
        memory_disk::SCENARIOS,
        hotplug::SCENARIOS,
        life::SCENARIOS,
        logs::SCENARIOS,
        net::SCENARIOS,
        xl::SCENARIOS,
        remote::SCENARIOS,
    ]
    .concat()
}
