//! From what the CPU says to what is done. Checked against Xen's xen/arch/x86/spec_ctrl.c and Linux's
//! arch/x86/kernel/cpu/{bugs,common}.c, but by capability alone: there are no lists of models.
#![forbid(unsafe_code)]

use super::features::*;
use config::xen_cmdline::SpecCtrl;
use core::fmt::{self, Display};

/// IA32_SPEC_CTRL and its bits (Intel SDM volume 4, table 2-2).
pub const MSR_SPEC_CTRL: u32 = 0x48;
pub const SPEC_CTRL_IBRS: u32 = 1 << 0;
pub const SPEC_CTRL_STIBP: u32 = 1 << 1;
pub const SPEC_CTRL_BHI_DIS_S: u32 = 1 << 10;
/// IA32_PRED_CMD and its IBPB.
pub const MSR_PRED_CMD: u32 = 0x49;
pub const PRED_CMD_IBPB: u32 = 1 << 0;

/// A register and what to write into it. Register 0: nothing.
pub type Write = (u32, u32);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measures {
    /// IA32_SPEC_CTRL from boot on, if the CPU has it. Guests do not reach it, so it holds for them too.
    pub spec_ctrl: Option<u32>,
    /// EFER.AIBRSE is set.
    pub auto_ibrs: bool,
    /// Transactions are off, of which guests are not told anyway.
    pub tsx_off: bool,
    /// A barrier when another vCPU gets the CPU.
    pub ibpb: bool,
    /// The return stack is overwritten right behind an exit.
    pub rsb: bool,
    /// Written right behind an exit.
    pub at_exit: Write,
    /// Written right before an entry.
    pub at_entry: Write,
    /// Buffers are overwritten before an entry.
    pub verw: bool,
    /// The first-level data cache is flushed before an entry.
    pub l1d_flush: bool,
    /// Domains' code runs in small pages: a CPU that finds the same code in a small and in a large one may stop the machine.
    pub small_code: bool,
    /// How it stands with: indirect branches that guests trained (Spectre v2, BTC, SRSO); the history of branches (BHI); the
    /// first-level data cache (L1TF); buffers and registers inside the CPU (MDS, TAA, MMIO stale data, RFDS, TSA);
    /// code in pages of two sizes (ITLB multihit).
    pub standing: [Standing; 5],
}

/// How it stands with a fault of CPUs, for the log.
pub type Standing = &'static str;
pub const NOT_AFFECTED: Standing = "not affected";
pub const HANDLED: Standing = "handled";
pub const BELOW: Standing = "left to the hypervisor below";
/// The operator does not want what the CPU needs.
pub const UNWANTED: Standing = "vulnerable by spec-ctrl";
/// The same by another option.
pub const EXEC_SP: Standing = "vulnerable by ept=exec-sp";
/// Neither the CPU nor microhv has what would help.
pub const NO_MEANS: Standing = "vulnerable, no means";

fn standing(affected: bool, means: bool, handled: bool) -> Standing {
    match (affected, means, handled) {
        (false, ..) => NOT_AFFECTED,
        (_, false, _) => NO_MEANS,
        (_, _, true) => HANDLED,
        _ => UNWANTED,
    }
}

/// What this CPU needs and has the means for. `wish` overrules the need; `covered`: see [`super::cover`].
pub fn decide(cpu: &Features, wish: &SpecCtrl, covered: bool) -> Measures {
    let has = |fact| cpu.has(fact);
    let on = |wish_for: Option<bool>, need| wish.enabled && wish_for.unwrap_or(need);
    let checks_first = has(&CHECKS_FIRST);

    // A return may go where another kind of branch was trained to go (BTC), or where calls that never happened left it
    // (SRSO); then only a barrier at each exit helps. Whether microcode made it one for SRSO, a CPU does not say.
    let always = has(&EIBRS) || has(&IBRS) && has(&IBRS_ALWAYS);
    let returns = checks_first && !(has(&BTC_NO) && has(&SRSO_NO));
    let ibrs = on(wish.ibrs, true);
    let barrier = covered && has(&IBPB) && on(wish.ibpb_entry, returns);
    let legacy = covered && ibrs && has(&IBRS) && !always && !has(&AUTO_IBRS) && !barrier;
    let ibpb = has(&IBPB) && on(wish.ibpb, !barrier);
    // As Xen: on every CPU, for where enhanced IBRS does not need it, one entry may be left over all the same (PBRSB).
    let rsb = covered && on(wish.rsb, has(&IBPB));
    let history = has(&EIBRS) && !checks_first && !has(&BHI_NO);
    let bits = [
        (SPEC_CTRL_IBRS, ibrs && always),
        (
            SPEC_CTRL_STIBP,
            has(&STIBP) && on(wish.stibp, has(&STIBP_CHEAP)),
        ),
        (SPEC_CTRL_BHI_DIS_S, ibrs && history && has(&BHI_CTRL)),
    ];
    let spec_ctrl: u32 = bits.iter().filter(|bit| bit.1).map(|bit| bit.0).sum();
    let apart = barrier || !returns && (legacy || ibrs && (always || has(&AUTO_IBRS)));
    let branches = standing(
        true,
        covered && has(&IBPB) && (returns || has(&IBRS) || has(&AUTO_IBRS)),
        apart && rsb && (ibpb || barrier),
    );

    let l1tf = !checks_first && !has(&RDCL_NO);
    let l1d_flush = has(&L1D_FLUSH) && on(wish.l1d_flush, l1tf && !has(&SKIP_L1DFL));
    let cache = match standing(l1tf, has(&L1D_FLUSH), l1d_flush) {
        NO_MEANS | UNWANTED if has(&SKIP_L1DFL) => BELOW,
        other => other,
    };

    let mds = !checks_first && !has(&MDS_NO);
    let taa = !checks_first && has(&MDS_NO) && !has(&TAA_NO) && (has(&RTM) || has(&TSX_CTRL));
    // The last: CPUs of these years have it unless they deny it, and do not say whether VERW helps.
    let stale = has(&FB_CLEAR)
        || has(&RFDS_CLEAR)
        || has(&VERW_CLEAR)
        || checks_first && has(&BTC_NO) && !has(&TSA_SQ_NO) && !has(&TSA_L1_NO);
    // Where nothing but the first buffers need it, flushing the cache does it too.
    let verw = on(wish.verw, stale || mds && has(&MD_CLEAR) && !l1d_flush);
    let tsx_off = wish.enabled && taa && has(&TSX_CTRL);
    let buffers = standing(
        mds || taa || stale,
        (!mds || has(&MD_CLEAR)) && (!taa || has(&TSX_CTRL)),
        (verw || !stale && (l1d_flush || !mds)) && (!taa || tsx_off),
    );

    // A hypervisor below walks tables of its own.
    let pages = !checks_first && !has(&IF_PSCHANGE_MC_NO);
    let needed = pages && !has(&VIRTUALISED);
    let small_code = !checks_first && wish.exec_sp.map_or(needed, |large| !large);
    let code = match (pages, small_code, needed) {
        (false, ..) => NOT_AFFECTED,
        (_, true, _) => HANDLED,
        (_, _, true) => EXEC_SP,
        _ => BELOW,
    };

    let (at_exit, at_entry) = match (barrier, legacy) {
        (true, _) => ((MSR_PRED_CMD, PRED_CMD_IBPB), (0, 0)),
        // It counts from a write behind the change of mode, and a guest that ran with it would be slow.
        (_, true) => (
            (MSR_SPEC_CTRL, spec_ctrl | SPEC_CTRL_IBRS),
            (MSR_SPEC_CTRL, spec_ctrl),
        ),
        _ => ((0, 0), (0, 0)),
    };
    Measures {
        spec_ctrl: (has(&IBRS) || has(&STIBP)).then_some(spec_ctrl),
        auto_ibrs: ibrs && has(&AUTO_IBRS),
        tsx_off,
        ibpb,
        rsb,
        at_exit,
        at_entry,
        verw,
        l1d_flush,
        small_code,
        standing: [
            branches,
            standing(history, has(&BHI_CTRL), ibrs),
            cache,
            buffers,
            code,
        ],
    }
}

impl Measures {
    /// A guest may read what is not its own, or stop the machine.
    pub fn is_open(&self) -> bool {
        let mut standings = self.standing.iter();
        standings.any(|one| [UNWANTED, EXEC_SP, NO_MEANS].contains(one))
    }
}

/// What is done, in Xen's words, and what comes of it.
impl Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.spec_ctrl.unwrap_or(0);
        let done = [
            ("IBRS+", value & SPEC_CTRL_IBRS != 0),
            ("IBRS-entry", self.at_exit.0 == MSR_SPEC_CTRL),
            ("AUTO_IBRS", self.auto_ibrs),
            ("STIBP+", value & SPEC_CTRL_STIBP != 0),
            ("BHI_DIS_S+", value & SPEC_CTRL_BHI_DIS_S != 0),
            ("TSX-", self.tsx_off),
            ("IBPB-ctxt", self.ibpb),
            ("IBPB-entry", self.at_exit.0 == MSR_PRED_CMD),
            ("RSB", self.rsb),
            ("L1D_FLUSH", self.l1d_flush),
            ("VERW", self.verw),
            ("EXEC_SP-", self.small_code),
        ];
        super::list(f, "None", done.into_iter())?;
        let [branches, history, cache, buffers, code] = self.standing;
        write!(
            f,
            "; Spectre v2: {branches}; BHI: {history}; L1TF: {cache}; MDS, TAA, RFDS, TSA: {buffers}; \
             ITLB multihit: {code}"
        )
    }
}
