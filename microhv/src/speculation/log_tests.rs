//! What the log says of real CPUs.

use super::tests::{
    BROADWELL, BROADWELL_OLD, CASCADE_LAKE, GOLDMONT_PLUS, ICE_LAKE, SAPPHIRE_RAPIDS, SKYLAKE,
    ZEN_2, ZEN_3, ZEN_4, read,
};
use config::xen_cmdline::SpecCtrl;

#[test]
fn what_the_log_says_of_each() {
    let said = |cpu| {
        let (features, measures) = read(cpu, &SpecCtrl::default(), true);
        format!("{features};{measures}")
    };
    let cases = [
        (
            &BROADWELL_OLD,
            " none; EXEC_SP-; Spectre v2: vulnerable, no means; BHI: not affected; L1TF: vulnerable, no means; \
             MDS, TAA, RFDS, TSA: vulnerable, no means; \
             ITLB multihit: handled",
        ),
        (
            &BROADWELL,
            " IBPB IBRS STIBP SSBD L1D_FLUSH MD_CLEAR; IBRS-entry IBPB-ctxt RSB L1D_FLUSH EXEC_SP-; Spectre v2: handled; \
             BHI: not affected; L1TF: handled; MDS, TAA, RFDS, TSA: handled; \
             ITLB multihit: handled",
        ),
        (
            &SKYLAKE,
            " IBPB IBRS STIBP SSBD L1D_FLUSH MD_CLEAR; IBRS-entry IBPB-ctxt RSB L1D_FLUSH EXEC_SP-; Spectre v2: handled; \
             BHI: not affected; L1TF: handled; MDS, TAA, RFDS, TSA: handled; \
             ITLB multihit: handled",
        ),
        (
            &CASCADE_LAKE,
            " RDCL_NO EIBRS SKIP_L1DFL MDS_NO IBPB IBRS STIBP SSBD L1D_FLUSH MD_CLEAR; IBRS+ IBPB-ctxt RSB EXEC_SP-; \
             Spectre v2: handled; BHI: vulnerable, no means; L1TF: not affected; \
             MDS, TAA, RFDS, TSA: vulnerable, no means; \
             ITLB multihit: handled",
        ),
        (
            &ICE_LAKE,
            " RDCL_NO EIBRS SKIP_L1DFL MDS_NO IF_PSCHANGE_MC_NO TAA_NO IBPB IBRS STIBP SSBD L1D_FLUSH MD_CLEAR TSX_CTRL; \
             IBRS+ IBPB-ctxt RSB; Spectre v2: handled; BHI: vulnerable, no means; L1TF: not affected; \
             MDS, TAA, RFDS, TSA: not affected; \
             ITLB multihit: not affected",
        ),
        (
            &SAPPHIRE_RAPIDS,
            " RDCL_NO EIBRS RRSBA SKIP_L1DFL MDS_NO IF_PSCHANGE_MC_NO TAA_NO FBSDP_NO IBPB IBRS STIBP SSBD L1D_FLUSH MD_CLEAR BHI_CTRL \
             TSX_CTRL; IBRS+ BHI_DIS_S+ IBPB-ctxt RSB; Spectre v2: handled; BHI: handled; L1TF: not affected; \
             MDS, TAA, RFDS, TSA: not affected; \
             ITLB multihit: not affected",
        ),
        (
            &GOLDMONT_PLUS,
            " RDCL_NO EIBRS SKIP_L1DFL MDS_NO IF_PSCHANGE_MC_NO IBPB IBRS STIBP SSBD MD_CLEAR; IBRS+ IBPB-ctxt RSB; Spectre v2: handled; \
             BHI: vulnerable, no means; L1TF: not affected; MDS, TAA, RFDS, TSA: not affected; \
             ITLB multihit: not affected",
        ),
        (
            &ZEN_2,
            " STIBP_ALWAYS IBRS_FAST IBPB IBRS STIBP SSBD; STIBP+ IBPB-entry RSB; Spectre v2: handled; \
             BHI: not affected; L1TF: not affected; MDS, TAA, RFDS, TSA: not affected; \
             ITLB multihit: not affected",
        ),
        (
            &ZEN_3,
            " STIBP_ALWAYS IBRS_FAST IBPB IBRS STIBP SSBD; STIBP+ IBPB-entry RSB; Spectre v2: handled; \
             BHI: not affected; L1TF: not affected; MDS, TAA, RFDS, TSA: not affected; \
             ITLB multihit: not affected",
        ),
        (
            &ZEN_4,
            " STIBP_ALWAYS IBRS_FAST BTC_NO IBPB_RET IBPB IBRS AUTO_IBRS STIBP SSBD L1D_FLUSH; \
             AUTO_IBRS STIBP+ IBPB-entry RSB VERW; Spectre v2: handled; BHI: not affected; L1TF: not affected; \
             MDS, TAA, RFDS, TSA: handled; \
             ITLB multihit: not affected",
        ),
    ];
    for (cpu, expected) in cases {
        assert_eq!(said(cpu), expected);
    }
}
