//! A plugin of QEMU that counts what the machine's CPUs execute: `cargo xtask bench` loads it.
//!
//! Arguments: `out=FILE` gets one line of totals when QEMU ends; `hv=LOW:HIGH`, hexadecimal, is the window of virtual
//! addresses in which microhv runs. Counting is by translated block: a block left half way by a fault counts whole.
//! Source of all names: QEMU, include/qemu/qemu-plugin.h.

mod ffi;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The version of QEMU's plugin interface that this file is built for; xtask asks QEMU and sets the variable.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = match option_env!("QEMU_PLUGIN_API") {
    Some(text) => match text.as_bytes() {
        [digit @ b'1'..=b'9'] => (*digit - b'0') as c_int,
        _ => 1,
    },
    None => 1,
};

/// What is told apart.
#[derive(Clone, Copy)]
enum Class {
    /// microhv itself.
    Hypervisor,
    /// Everything else: firmware, domains.
    Other,
    /// Repetitions of string instructions, each of which QEMU executes as a block of its own.
    Repeated,
}

static COUNTS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static VMRUNS: AtomicU64 = AtomicU64::new(0);
static WINDOW: OnceLock<Range<u64>> = OnceLock::new();
static OUT: OnceLock<String> = OnceLock::new();

/// What executing one translated block adds; lives as long as QEMU.
struct Block {
    class: Class,
    instructions: u64,
}

/// Called by QEMU when it loads the plugin.
///
/// # Safety
/// QEMU passes `count` pointers to C strings in `arguments`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: by this function's contract the pointer is one of `count` to C strings.
        let argument = unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy();
        if let Some(file) = argument.strip_prefix("out=") {
            let _ = OUT.set(file.to_owned());
        } else if let Some((low, high)) = argument
            .strip_prefix("hv=")
            .and_then(|hv| hv.split_once(':'))
        {
            let (Ok(low), Ok(high)) = (u64::from_str_radix(low, 16), u64::from_str_radix(high, 16))
            else {
                return -1;
            };
            let _ = WINDOW.set(low..high);
        }
    }
    ffi::register(id, translated, executed_vmrun, ended);
    0
}

/// QEMU has translated a block: decide once what its execution adds.
fn translated(block: &ffi::TranslatedBlock) {
    let instructions = block.instructions();
    let in_window = WINDOW
        .get()
        .is_some_and(|window| window.contains(&block.address()));
    let repeated = instructions == 1 && block.text(0).starts_with("rep");
    let class = match (repeated, in_window) {
        (true, _) => Class::Repeated,
        (_, true) => Class::Hypervisor,
        _ => Class::Other,
    };
    block.on_execution(
        executed,
        Box::leak(Box::new(Block {
            class,
            instructions: instructions as u64,
        })),
    );
    for index in 0..instructions {
        if block.text(index).starts_with("vmrun") {
            block.on_vmrun(index);
        }
    }
}

fn executed(block: &'static Block) {
    COUNTS[block.class as usize].fetch_add(block.instructions, Ordering::Relaxed);
}

fn executed_vmrun() {
    VMRUNS.fetch_add(1, Ordering::Relaxed);
}

fn ended() {
    let count = |class: Class| COUNTS[class as usize].load(Ordering::Relaxed);
    let mut line = String::new();
    let _ = writeln!(
        line,
        "hypervisor={} other={} repeated={} vmrun={}",
        count(Class::Hypervisor),
        count(Class::Other),
        count(Class::Repeated),
        VMRUNS.load(Ordering::Relaxed)
    );
    match OUT.get() {
        Some(file) => {
            if let Err(error) = std::fs::write(file, line) {
                eprintln!("count-plugin: {file}: {error}");
            }
        }
        None => eprint!("{line}"),
    }
}
