//! A domain that does wrong things on purpose, by its command line: `do=panic`, `do=triple-fault`, `do=hypercalls`,
//! `do=dma`, `do=store`, `do=stack-overflow`, `do=write-text`, `do=use-up-memory`, `do=refused`,
//! `do=places`. Everyone else must keep running.
//! `do=runtime` and `do=cpu` do right things: they try lib/domain and the virtual CPU against the hypervisor;
//! `do=sleep` does nothing.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
mod dma;
#[cfg(target_os = "none")]
mod hypercalls;
#[cfg(target_os = "none")]
mod places;
#[cfg(target_os = "none")]
mod refused;
#[cfg(target_os = "none")]
mod runtime;
#[cfg(target_os = "none")]
mod store;

/// After this long something hangs: the machine may be emulated, and slow.
#[cfg(target_os = "none")]
const HANG: core::time::Duration = core::time::Duration::from_secs(60);

#[cfg(target_os = "none")]
domain::entry!(main);

#[cfg(target_os = "none")]
fn main(boot: &'static domain::Boot) {
    let what = boot.argument("do").unwrap_or_default();
    log::info!("faulty: {what}");
    match what {
        "panic" => crash::panic(),
        "triple-fault" => crash::triple_fault(),
        "stack-overflow" => crash::stack_overflow(),
        "write-text" => crash::write_text(),
        "use-up-memory" => crash::use_up_memory(),
        "dma" => dma::attack(boot),
        "places" => places::map_everywhere(),
        "hypercalls" => hypercalls::check_all(),
        "runtime" => runtime::check_all(),
        "refused" => refused::start(boot.argument("field").unwrap_or_default()),
        "store" => store::check_all(),
        "cpu" => cpu::check(""),
        "second-vcpu" => cpu::check("second vCPU"),
        "sleep" => {}
        _ => log::error!("faulty: do={what}?"),
    }
    loop {
        // Taken, or the wait ends at once, for ever.
        domain::event::take_pending().for_each(drop);
        domain::event::wait(None);
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("faulty runs as a domain of microhv: build it for x86_64-unknown-none");
}
