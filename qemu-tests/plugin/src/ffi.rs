//! QEMU's side: the functions it offers to plugins, behind safe ones.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use crate::Block;

/// Tells interface 7, whose callback gets (block, our pointer), from older ones with (id, block).
const SENTINEL: usize = 0x4d48;
/// `QEMU_PLUGIN_CB_NO_REGS`: the callback reads no registers.
const NO_REGISTERS: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: u64,
        callback: extern "C" fn(*mut c_void, *mut c_void),
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut c_void,
        callback: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut c_void,
        callback: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_atexit_cb(
        id: u64,
        callback: extern "C" fn(u64, *mut c_void),
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const c_void) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_insn_disas(instruction: *const c_void) -> *mut c_char;
    fn free(pointer: *mut c_void);
}

struct Callbacks {
    translated: fn(&TranslatedBlock),
    vmrun: fn(),
    ended: fn(),
}

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();
static EXECUTED: OnceLock<fn(&'static Block)> = OnceLock::new();

/// Has QEMU call `translated` for each new block, `vmrun` where asked for, and `ended` when it ends.
pub fn register(id: u64, translated: fn(&TranslatedBlock), vmrun: fn(), ended: fn()) {
    let _ = CALLBACKS.set(Callbacks {
        translated,
        vmrun,
        ended,
    });
    // SAFETY: QEMU calls this from qemu_plugin_install with the plugin's own id; the callbacks have the types of its
    // header and live as long as the library, which is never unloaded before QEMU ends.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation, SENTINEL as *mut c_void);
        qemu_plugin_register_atexit_cb(id, on_end, std::ptr::null_mut());
    }
}

extern "C" fn on_translation(first: *mut c_void, second: *mut c_void) {
    let block = if second as usize == SENTINEL {
        first
    } else {
        second
    };
    if let Some(callbacks) = CALLBACKS.get() {
        (callbacks.translated)(&TranslatedBlock(block));
    }
}

extern "C" fn on_end(_: u64, _: *mut c_void) {
    if let Some(callbacks) = CALLBACKS.get() {
        (callbacks.ended)();
    }
}

extern "C" fn on_vmrun(_: c_uint, _: *mut c_void) {
    if let Some(callbacks) = CALLBACKS.get() {
        (callbacks.vmrun)();
    }
}

extern "C" fn on_execution(_: c_uint, data: *mut c_void) {
    if let Some(executed) = EXECUTED.get() {
        // SAFETY: `data` is the `&'static Block` that `TranslatedBlock::on_execution` passed.
        executed(unsafe { &*data.cast::<Block>() });
    }
}

/// A block that QEMU is translating; valid during the callback that gets it.
pub struct TranslatedBlock(*mut c_void);

impl TranslatedBlock {
    /// Its number of instructions.
    pub fn instructions(&self) -> usize {
        // SAFETY: the pointer is the block of the current translation callback.
        unsafe { qemu_plugin_tb_n_insns(self.0) }
    }

    /// The virtual address of its first instruction.
    pub fn address(&self) -> u64 {
        // SAFETY: as above.
        unsafe { qemu_plugin_tb_vaddr(self.0) }
    }

    /// The disassembled instruction `index`, empty if there is none or QEMU has no disassembler.
    pub fn text(&self, index: usize) -> String {
        if index >= self.instructions() {
            return String::new();
        }
        // SAFETY: the block is the current one and the index is in it; the string is ours to free, which QEMU
        // allocates with malloc (g_malloc is malloc since GLib 2.46).
        unsafe {
            let text = qemu_plugin_insn_disas(qemu_plugin_tb_get_insn(self.0, index));
            if text.is_null() {
                return String::new();
            }
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            free(text.cast());
            copy
        }
    }

    /// Has `executed` called with `data` whenever the block is executed.
    pub fn on_execution(&self, executed: fn(&'static Block), data: &'static Block) {
        EXECUTED.get_or_init(|| executed);
        let data: *const Block = data;
        // SAFETY: the block is the current one; `data` lives for ever and is only read.
        unsafe {
            qemu_plugin_register_vcpu_tb_exec_cb(
                self.0,
                on_execution,
                NO_REGISTERS,
                data.cast_mut().cast(),
            );
        }
    }

    /// Has the `vmrun` callback called whenever instruction `index` is executed.
    pub fn on_vmrun(&self, index: usize) {
        if index < self.instructions() {
            // SAFETY: the block is the current one and the index is in it.
            unsafe {
                let instruction = qemu_plugin_tb_get_insn(self.0, index);
                qemu_plugin_register_vcpu_insn_exec_cb(
                    instruction,
                    on_vmrun,
                    NO_REGISTERS,
                    std::ptr::null_mut(),
                );
            }
        }
    }
}
