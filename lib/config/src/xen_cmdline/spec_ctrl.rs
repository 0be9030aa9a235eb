//! `spec-ctrl=...`.

use super::{boolean, named_boolean};
use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// What the operator wants done about speculation. `None`: what the CPU says it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecCtrl {
    /// Anything at all (`no` is the only boolean that Xen knows here).
    pub enabled: bool,
    /// Indirect branches of the hypervisor keep away from what guests trained.
    pub ibrs: Option<bool>,
    /// Indirect branches of one thread keep away from what its sibling trained.
    pub stibp: Option<bool>,
    /// A barrier when a CPU changes to another vCPU.
    pub ibpb: Option<bool>,
    /// A barrier at each exit of a guest.
    pub ibpb_entry: Option<bool>,
    /// The return stack is overwritten at each exit of a guest.
    pub rsb: Option<bool>,
    /// Buffers are overwritten before a guest is entered (`md-clear` is its old name).
    pub verw: Option<bool>,
    /// The first-level data cache is flushed before a guest is entered.
    pub l1d_flush: Option<bool>,
    /// Domains' code may run in large pages (`ept=exec-sp`). `enabled` has no say in this.
    pub exec_sp: Option<bool>,
}

impl Default for SpecCtrl {
    fn default() -> Self {
        SpecCtrl {
            enabled: true,
            ibrs: None,
            stibp: None,
            ibpb: None,
            ibpb_entry: None,
            rsb: None,
            verw: None,
            l1d_flush: None,
            exec_sp: None,
        }
    }
}

/// Xen's other sub-options: for kinds of guests, compilers or faults that microhv does not handle.
const WITHOUT_EFFECT: [&str; 16] = [
    "pv",
    "msr-sc",
    "bti-thunk",
    "bhb-seq",
    "bhb-entry",
    "ssbd",
    "psfd",
    "bhi-dis-s",
    "branch-harden",
    "lock-harden",
    "srb-lock",
    "unpriv-mmio",
    "gds-mit",
    "div-scrub",
    "bp-spec-reduce",
    "ibpb-alt",
];

impl SpecCtrl {
    pub(super) fn parse<'a>(
        before: SpecCtrl,
        value: Span<'a>,
        report: &mut dyn FnMut(Diagnostic<'a>),
    ) -> Result<SpecCtrl, Diagnostic<'a>> {
        let mut wish = before;
        for part in value.split(',') {
            if boolean(part.text) == Some(false) {
                wish.enabled = false;
            } else if !wish.set(part.text) {
                let name = part.text.strip_prefix("no-").unwrap_or(part.text);
                let name = name.split('=').next().unwrap_or(name);
                if !WITHOUT_EFFECT.contains(&name) {
                    return Err(Diagnostic::error(
                        "spec-ctrl",
                        part,
                        "expected no, ibrs, stibp, ibpb, ibpb-entry, rsb, verw or l1d-flush (each may have no- before it)",
                    ));
                }
                report(Diagnostic::warning(
                    "spec-ctrl",
                    part,
                    "ignored, because it has no effect in microhv",
                ));
            }
        }
        Ok(wish)
    }

    /// `ept=...`, of which one part is about this.
    pub(super) fn parse_ept<'a>(
        before: SpecCtrl,
        value: Span<'a>,
        report: &mut dyn FnMut(Diagnostic<'a>),
    ) -> Result<SpecCtrl, Diagnostic<'a>> {
        let mut wish = before;
        for part in value.split(',') {
            let named = |name| named_boolean(part.text, name).flatten();
            if let Some(exec_sp) = named("exec-sp") {
                wish.exec_sp = Some(exec_sp);
            } else if named("ad").or(named("pml")).is_some() {
                let reason = "ignored, because it has no effect in microhv";
                report(Diagnostic::warning("ept", part, reason));
            } else {
                let reason = "expected exec-sp (it may have no- before it)";
                return Err(Diagnostic::error("ept", part, reason));
            }
        }
        Ok(wish)
    }

    /// Whether `part` is one of the booleans; sets it.
    fn set(&mut self, part: &str) -> bool {
        let flags = [
            (&["ibrs"][..], &mut self.ibrs),
            (&["stibp"], &mut self.stibp),
            (&["ibpb"], &mut self.ibpb),
            (&["ibpb-entry"], &mut self.ibpb_entry),
            (&["rsb"], &mut self.rsb),
            (&["verw", "md-clear"], &mut self.verw),
            (&["l1d-flush"], &mut self.l1d_flush),
        ];
        for (names, flag) in flags {
            let value = names.iter().find_map(|name| named_boolean(part, name));
            if let Some(Some(value)) = value {
                *flag = Some(value);
                return true;
            }
        }
        false
    }
}
