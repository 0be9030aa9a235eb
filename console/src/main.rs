//! Domain-0: connects the logic of this crate to the hypervisor.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod machine;

#[cfg(target_os = "none")]
domain::entry!(main);

#[cfg(target_os = "none")]
fn main(boot: &'static domain::Boot) {
    let machine = match machine::Real::new() {
        Ok(machine) => machine,
        Err(errno) => {
            log::error!("Domain-0 does not get what it needs: {errno}");
            return;
        }
    };
    let modules = boot.modules.iter();
    let archive =
        console::archive::Archive::of_modules(modules.map(|module| (module.cmdline, module.data)));
    let mut app = console::app::App::new(machine, archive.without_disks(), boot.cmdline);
    app.start();
    loop {
        app.turn();
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("console runs as a domain of microhv: build it for x86_64-unknown-none");
}
