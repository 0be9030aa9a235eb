//! `do=cpu` (`do=second-vcpu`: one check of them): what a virtual CPU must and must not do, tried from inside. One line a check, then
//! `N of M CPU checks passed, domain D`.

mod apic;
mod instructions;
mod other;
mod state;
mod traps;

type Check = (&'static str, fn() -> Result<(), &'static str>);

const CHECKS: &[Check] = &[
    ("CPUID hides what is not there", instructions::cpuid),
    (
        "virtualisation instructions are undefined",
        instructions::virtualisation,
    ),
    ("unknown MSRs fault", instructions::unknown_msrs),
    ("illegal MSR values fault", instructions::illegal_values),
    ("MSRs keep their values", instructions::kept_values),
    ("ports nobody owns", instructions::ports),
    ("string I/O", instructions::string_io),
    ("XSETBV is checked", instructions::xsetbv),
    ("single steps are traps", instructions::single_step),
    ("interrupts come by priority", apic::priority),
    ("CR8 holds interrupts back until it falls", apic::cr8),
    ("an interrupt waits for IF", apic::window_opens),
    ("one-shot timer wakes HLT", apic::one_shot),
    ("periodic timer", apic::periodic),
    ("NMI to oneself", apic::nmi),
    (
        "a second vCPU and interrupts between the two",
        other::second_vcpu,
    ),
    ("events come as local APIC interrupts", apic::upcall),
    (
        "vector and debug registers survive other domains",
        state::registers,
    ),
];

/// Runs the checks with `wanted` in their names.
pub fn check(wanted: &str) {
    traps::install();
    let checks = || CHECKS.iter().filter(|(name, _)| name.contains(wanted));
    let mut passed = 0;
    for (name, check) in checks() {
        match check() {
            Ok(()) => {
                passed += 1;
                log::info!("CPU check {name}: passed");
            }
            Err(what) => log::error!("CPU check {name}: FAILED: {what}"),
        }
    }
    let domain = domain::domid().unwrap_or_default();
    log::info!(
        "{passed} of {} CPU checks passed, domain {domain}",
        checks().count()
    );
}

/// The condition or the text.
fn ensure(condition: bool, what: &'static str) -> Result<(), &'static str> {
    if condition { Ok(()) } else { Err(what) }
}
