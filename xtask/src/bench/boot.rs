//! From power-on to Domain-0's prompt.

use std::process::ExitCode;

use anyhow::Result;

use super::{Bench, HANG, line, millions};
use crate::cli;
use crate::output::step;

/// Debian's Xen 4.17 with a Linux Dom0 on the same machine, power-on to control domain ready.
const XEN_BOOT: u64 = 9_898_000_000;
/// What we allow ourselves.
const GOAL_BOOT: u64 = 500_000_000;

/// Counts the instructions from power-on to Domain-0's prompt, on a machine with one CPU so that it repeats.
///
/// # Errors
/// When the machine does not come up.
pub fn boot(arguments: &cli::Bench) -> Result<ExitCode> {
    let bench = Bench::new(arguments, false)?;
    step(
        "Counting",
        "instructions from power-on to Domain-0's prompt",
    );
    let counts = bench.count("boot", bench.machine(|_| {})?, |running| {
        running.wait_prompt(HANG)?;
        // The last of the service domains to be connected with another.
        running.prints("joins bridge0 as uplink").map(drop)
    })?;
    println!("power-on to Domain-0's prompt, 1 CPU, TCG plugin: instructions");
    line("all", millions(counts.all()));
    line("of these in microhv", millions(counts.hypervisor));
    line(
        "repetitions of string instructions",
        millions(counts.repeated),
    );
    line("VMRUNs", counts.vmrun);
    line("goal", millions(GOAL_BOOT));
    line("Xen 4.17 with a Linux Dom0", millions(XEN_BOOT));
    Ok(if counts.all() <= GOAL_BOOT {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
