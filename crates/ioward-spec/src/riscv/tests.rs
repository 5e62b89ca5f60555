//! Every field against a mask from outside, else against the specification's table, each a literal.
//!
//! Outside: Linux's `drivers/iommu/riscv/iommu-bits.h` (commit 296fba6e), QEMU's `hw/riscv/riscv-iommu-bits.h` (commit
//! 045b19af), names without `RISCV_IOMMU_`; the reference model of the specification's authors,
//! `iommu_ref_model/libiommu/include` (commit 14fd391).

use super::*;
use Source::*;

#[derive(Clone, Copy, Debug)]
enum Source {
    Linux,
    Qemu,
    RefModel,
    /// The specification: nobody else has the field.
    Spec,
}

/// Module, field, 64-bit word, mask in that word, where the mask is from, its name there.
#[rustfmt::skip]
const OUTSIDE: &[(&str, &str, usize, u64, Source, &str)] = &[
    ("registers::capabilities", "VERSION", 0, 0xff, Linux, "CAPABILITIES_VERSION"),
    ("registers::capabilities", "SV32", 0, 0x100, Linux, "CAPABILITIES_SV32"),
    ("registers::capabilities", "SV39", 0, 0x200, Linux, "CAPABILITIES_SV39"),
    ("registers::capabilities", "SV48", 0, 0x400, Linux, "CAPABILITIES_SV48"),
    ("registers::capabilities", "SV57", 0, 0x800, Linux, "CAPABILITIES_SV57"),
    ("registers::capabilities", "SVPBMT", 0, 0x8000, Linux, "CAPABILITIES_SVPBMT"),
    ("registers::capabilities", "SV32X4", 0, 0x10000, Linux, "CAPABILITIES_SV32X4"),
    ("registers::capabilities", "SV39X4", 0, 0x20000, Linux, "CAPABILITIES_SV39X4"),
    ("registers::capabilities", "SV48X4", 0, 0x40000, Linux, "CAPABILITIES_SV48X4"),
    ("registers::capabilities", "SV57X4", 0, 0x80000, Linux, "CAPABILITIES_SV57X4"),
    ("registers::capabilities", "AMO_MRIF", 0, 0x20_0000, Linux, "CAPABILITIES_AMO_MRIF"),
    ("registers::capabilities", "MSI_FLAT", 0, 0x40_0000, Linux, "CAPABILITIES_MSI_FLAT"),
    ("registers::capabilities", "MSI_MRIF", 0, 0x80_0000, Linux, "CAPABILITIES_MSI_MRIF"),
    ("registers::capabilities", "AMO_HWAD", 0, 0x100_0000, Linux, "CAPABILITIES_AMO_HWAD"),
    ("registers::capabilities", "ATS", 0, 0x200_0000, Linux, "CAPABILITIES_ATS"),
    ("registers::capabilities", "T2GPA", 0, 0x400_0000, Linux, "CAPABILITIES_T2GPA"),
    ("registers::capabilities", "END", 0, 0x800_0000, Linux, "CAPABILITIES_END"),
    ("registers::capabilities", "IGS", 0, 0x3000_0000, Linux, "CAPABILITIES_IGS"),
    ("registers::capabilities", "HPM", 0, 0x4000_0000, Linux, "CAPABILITIES_HPM"),
    ("registers::capabilities", "DBG", 0, 0x8000_0000, Linux, "CAPABILITIES_DBG"),
    ("registers::capabilities", "PAS", 0, 0x3f_0000_0000, Linux, "CAPABILITIES_PAS"),
    ("registers::capabilities", "PD8", 0, 0x40_0000_0000, Linux, "CAPABILITIES_PD8"),
    ("registers::capabilities", "PD17", 0, 0x80_0000_0000, Linux, "CAPABILITIES_PD17"),
    ("registers::capabilities", "PD20", 0, 0x100_0000_0000, Linux, "CAPABILITIES_PD20"),
    ("registers::capabilities", "QOSID", 0, 0x200_0000_0000, Spec, "5.3 41"),
    ("registers::capabilities", "NL", 0, 0x400_0000_0000, Spec, "release 2026-02-22, 5.3 42"),
    ("registers::capabilities", "S", 0, 0x800_0000_0000, Spec, "release 2026-02-22, 5.3 43"),
    ("registers::capabilities", "SVRSW60T59B", 0, 0x4000, Spec, "release 2026-02-22, 5.3 14"),
    ("registers::fctl", "BE", 0, 0x1, Qemu, "FCTL_BE"),
    ("registers::fctl", "WSI", 0, 0x2, Qemu, "FCTL_WSI"),
    ("registers::fctl", "GXL", 0, 0x4, Qemu, "FCTL_GXL"),
    ("registers::ddtp", "IOMMU_MODE", 0, 0xf, Linux, "DDTP_IOMMU_MODE"),
    ("registers::ddtp", "BUSY", 0, 0x10, Qemu, "DDTP_BUSY"),
    ("registers::ddtp", "PPN", 0, 0x3f_ffff_ffff_fc00, Linux, "DDTP_PPN"),
    ("registers::queue_base", "LOG2SZ_1", 0, 0x1f, Qemu, "QUEUE_LOGSZ_FIELD"),
    ("registers::queue_base", "PPN", 0, 0x3f_ffff_ffff_fc00, Qemu, "CQB_PPN"),
    ("registers::queue_index", "INDEX", 0, 0xffff_ffff, Linux, "QUEUE_INDEX_FIELD"),
    ("registers::cqcsr", "CQEN", 0, 0x1, Linux, "CQCSR_CQEN"),
    ("registers::cqcsr", "CIE", 0, 0x2, Linux, "CQCSR_CIE"),
    ("registers::cqcsr", "CQMF", 0, 0x100, Linux, "CQCSR_CQMF"),
    ("registers::cqcsr", "CMD_TO", 0, 0x200, Linux, "CQCSR_CMD_TO"),
    ("registers::cqcsr", "CMD_ILL", 0, 0x400, Linux, "CQCSR_CMD_ILL"),
    ("registers::cqcsr", "FENCE_W_IP", 0, 0x800, Linux, "CQCSR_FENCE_W_IP"),
    ("registers::cqcsr", "CQON", 0, 0x10000, Linux, "CQCSR_CQON"),
    ("registers::cqcsr", "BUSY", 0, 0x20000, Linux, "CQCSR_BUSY"),
    ("registers::fqcsr", "FQEN", 0, 0x1, Qemu, "FQCSR_FQEN"),
    ("registers::fqcsr", "FIE", 0, 0x2, Qemu, "FQCSR_FIE"),
    ("registers::fqcsr", "FQMF", 0, 0x100, Qemu, "FQCSR_FQMF"),
    ("registers::fqcsr", "FQOF", 0, 0x200, Qemu, "FQCSR_FQOF"),
    ("registers::fqcsr", "FQON", 0, 0x10000, Qemu, "FQCSR_FQON"),
    ("registers::fqcsr", "BUSY", 0, 0x20000, Qemu, "FQCSR_BUSY"),
    ("registers::pqcsr", "PQEN", 0, 0x1, Qemu, "PQCSR_PQEN"),
    ("registers::pqcsr", "PIE", 0, 0x2, Qemu, "PQCSR_PIE"),
    ("registers::pqcsr", "PQMF", 0, 0x100, Qemu, "PQCSR_PQMF"),
    ("registers::pqcsr", "PQOF", 0, 0x200, Qemu, "PQCSR_PQOF"),
    ("registers::pqcsr", "PQON", 0, 0x10000, Qemu, "PQCSR_PQON"),
    ("registers::pqcsr", "BUSY", 0, 0x20000, Qemu, "PQCSR_BUSY"),
    ("registers::ipsr", "CIP", 0, 0x1, Linux, "IPSR_CIP"),
    ("registers::ipsr", "FIP", 0, 0x2, Linux, "IPSR_FIP"),
    ("registers::ipsr", "PMIP", 0, 0x4, Linux, "IPSR_PMIP"),
    ("registers::ipsr", "PIP", 0, 0x8, Linux, "IPSR_PIP"),
    ("registers::iocount", "CY", 0, 0x1, Linux, "IOCOUNTOVF_CY"),
    ("registers::iocount", "HPM", 0, 0xffff_fffe, Linux, "IOCOUNTOVF_HPM"),
    ("registers::iohpmcycles", "COUNTER", 0, 0x7fff_ffff_ffff_ffff, Qemu, "IOHPMCYCLES_COUNTER"),
    ("registers::iohpmcycles", "OF", 0, 0x8000_0000_0000_0000, Qemu, "IOHPMCYCLES_OVF"),
    ("registers::iohpmevt", "EVENT_ID", 0, 0x7fff, Linux, "IOHPMEVT_EVENTID"),
    ("registers::iohpmevt", "DMASK", 0, 0x8000, Linux, "IOHPMEVT_DMASK"),
    ("registers::iohpmevt", "PID_PSCID", 0, 0xf_ffff_0000, Linux, "IOHPMEVT_PID_PSCID"),
    ("registers::iohpmevt", "DID_GSCID", 0, 0xfff_fff0_0000_0000, Linux, "IOHPMEVT_DID_GSCID"),
    ("registers::iohpmevt", "PV_PSCV", 0, 0x1000_0000_0000_0000, Linux, "IOHPMEVT_PV_PSCV"),
    ("registers::iohpmevt", "DV_GSCV", 0, 0x2000_0000_0000_0000, Linux, "IOHPMEVT_DV_GSCV"),
    ("registers::iohpmevt", "IDT", 0, 0x4000_0000_0000_0000, Linux, "IOHPMEVT_IDT"),
    ("registers::iohpmevt", "OF", 0, 0x8000_0000_0000_0000, Linux, "IOHPMEVT_OF"),
    ("registers::tr_req_iova", "VPN", 0, 0xffff_ffff_ffff_f000, Linux, "TR_REQ_IOVA_VPN"),
    ("registers::tr_req_ctl", "GO_BUSY", 0, 0x1, Linux, "TR_REQ_CTL_GO_BUSY"),
    ("registers::tr_req_ctl", "PRIV", 0, 0x2, Linux, "TR_REQ_CTL_PRIV"),
    ("registers::tr_req_ctl", "EXE", 0, 0x4, Linux, "TR_REQ_CTL_EXE"),
    ("registers::tr_req_ctl", "NW", 0, 0x8, Linux, "TR_REQ_CTL_NW"),
    ("registers::tr_req_ctl", "PID", 0, 0xffff_f000, Linux, "TR_REQ_CTL_PID"),
    ("registers::tr_req_ctl", "PV", 0, 0x1_0000_0000, Linux, "TR_REQ_CTL_PV"),
    ("registers::tr_req_ctl", "DID", 0, 0xffff_ff00_0000_0000, Linux, "TR_REQ_CTL_DID"),
    ("registers::tr_response", "FAULT", 0, 0x1, Linux, "TR_RESPONSE_FAULT"),
    ("registers::tr_response", "PBMT", 0, 0x180, Linux, "TR_RESPONSE_PBMT"),
    ("registers::tr_response", "S", 0, 0x200, Linux, "TR_RESPONSE_SZ"),
    ("registers::tr_response", "PPN", 0, 0x3f_ffff_ffff_fc00, Linux, "TR_RESPONSE_PPN"),
    ("registers::iommu_qosid", "RCID", 0, 0xfff, Spec, "5.27 11:0"),
    ("registers::iommu_qosid", "MCID", 0, 0xfff_0000, Spec, "5.27 27:16"),
    ("registers::icvec", "CIV", 0, 0xf, Qemu, "ICVEC_CIV"),
    ("registers::icvec", "FIV", 0, 0xf0, Qemu, "ICVEC_FIV"),
    ("registers::icvec", "PMIV", 0, 0xf00, Qemu, "ICVEC_PMIV"),
    ("registers::icvec", "PIV", 0, 0xf000, Qemu, "ICVEC_PIV"),
    ("registers::msi_addr", "ADDR", 0, 0xff_ffff_ffff_fffc, Linux, "MSI_CFG_TBL_ADDR"),
    ("registers::msi_data", "DATA", 0, 0xffff_ffff, Linux, "MSI_CFG_TBL_DATA"),
    ("registers::msi_vec_ctl", "M", 0, 0x1, Linux, "MSI_CFG_TBL_CTRL_M"),
    ("device::ddte", "V", 0, 0x1, Linux, "DDTE_V"),
    ("device::ddte", "PPN", 0, 0x3f_ffff_ffff_fc00, Linux, "DDTE_PPN"),
    ("device", "V", 0, 0x1, Linux, "DC_TC_V"),
    ("device", "EN_ATS", 0, 0x2, Linux, "DC_TC_EN_ATS"),
    ("device", "EN_PRI", 0, 0x4, Linux, "DC_TC_EN_PRI"),
    ("device", "T2GPA", 0, 0x8, Linux, "DC_TC_T2GPA"),
    ("device", "DTF", 0, 0x10, Linux, "DC_TC_DTF"),
    ("device", "PDTV", 0, 0x20, Linux, "DC_TC_PDTV"),
    ("device", "PRPR", 0, 0x40, Linux, "DC_TC_PRPR"),
    ("device", "GADE", 0, 0x80, Linux, "DC_TC_GADE"),
    ("device", "SADE", 0, 0x100, Linux, "DC_TC_SADE"),
    ("device", "DPE", 0, 0x200, Linux, "DC_TC_DPE"),
    ("device", "SBE", 0, 0x400, Linux, "DC_TC_SBE"),
    ("device", "SXL", 0, 0x800, Linux, "DC_TC_SXL"),
    ("device", "CUSTOM", 0, 0xff00_0000, RefModel, "tc_t.custom"),
    ("device", "IOHGATP_PPN", 1, 0xfff_ffff_ffff, Qemu, "DC_IOHGATP_PPN"),
    ("device", "GSCID", 1, 0xfff_f000_0000_0000, Qemu, "DC_IOHGATP_GSCID"),
    ("device", "IOHGATP_MODE", 1, 0xf000_0000_0000_0000, Qemu, "DC_IOHGATP_MODE"),
    ("device", "PSCID", 2, 0xffff_f000, Qemu, "DC_TA_PSCID"),
    ("device", "RCID", 2, 0xf_ff00_0000_0000, Spec, "2.1.3.3 51:40"),
    ("device", "MCID", 2, 0xfff0_0000_0000_0000, Spec, "2.1.3.3 63:52"),
    ("device", "FSC_PPN", 3, 0xfff_ffff_ffff, Linux, "DC_FSC_PPN"),
    ("device", "FSC_MODE", 3, 0xf000_0000_0000_0000, Linux, "DC_FSC_MODE"),
    ("device", "MSIPTP_PPN", 4, 0xfff_ffff_ffff, Linux, "DC_MSIPTP_PPN"),
    ("device", "MSIPTP_MODE", 4, 0xf000_0000_0000_0000, Linux, "DC_MSIPTP_MODE"),
    ("device", "MSI_ADDR_MASK", 5, 0xf_ffff_ffff_ffff, Linux, "DC_MSI_ADDR_MASK"),
    ("device", "MSI_ADDR_PATTERN", 6, 0xf_ffff_ffff_ffff, Linux, "DC_MSI_PATTERN"),
    ("process::pdte", "V", 0, 0x1, RefModel, "pdte_t.V"),
    ("process::pdte", "PPN", 0, 0x3f_ffff_ffff_fc00, RefModel, "pdte_t.PPN"),
    ("process", "V", 0, 0x1, Linux, "PC_TA_V"),
    ("process", "ENS", 0, 0x2, Linux, "PC_TA_ENS"),
    ("process", "SUM", 0, 0x4, Linux, "PC_TA_SUM"),
    ("process", "PSCID", 0, 0xffff_f000, Linux, "PC_TA_PSCID"),
    ("process", "FSC_PPN", 1, 0xfff_ffff_ffff, Qemu, "PC_FSC_PPN"),
    ("process", "FSC_MODE", 1, 0xf000_0000_0000_0000, Linux, "PC_FSC_MODE"),
    ("msi", "V", 0, 0x1, Qemu, "MSI_PTE_V"),
    ("msi", "M", 0, 0x6, Qemu, "MSI_PTE_M"),
    ("msi", "PPN", 0, 0x3f_ffff_ffff_fc00, Qemu, "MSI_PTE_PPN"),
    ("msi", "MRIF_ADDRESS", 0, 0x3f_ffff_ffff_ff80, Qemu, "MSI_PTE_MRIF_ADDR"),
    ("msi", "C", 0, 0x8000_0000_0000_0000, Qemu, "MSI_PTE_C"),
    ("msi", "NID", 1, 0x3ff, Qemu, "MSI_MRIF_NID"),
    ("msi", "NPPN", 1, 0x3f_ffff_ffff_fc00, Qemu, "MSI_MRIF_NPPN"),
    ("msi", "NID_10", 1, 0x1000_0000_0000_0000, Qemu, "MSI_MRIF_NID_MSB"),
    ("command", "OPCODE", 0, 0x7f, Linux, "CMD_OPCODE"),
    ("command", "FUNC3", 0, 0x380, Linux, "CMD_FUNC"),
    ("command", "IOTINVAL_AV", 0, 0x400, Linux, "CMD_IOTINVAL_AV"),
    ("command", "IOTINVAL_PSCID", 0, 0xffff_f000, Linux, "CMD_IOTINVAL_PSCID"),
    ("command", "IOTINVAL_PSCV", 0, 0x1_0000_0000, Linux, "CMD_IOTINVAL_PSCV"),
    ("command", "IOTINVAL_GV", 0, 0x2_0000_0000, Linux, "CMD_IOTINVAL_GV"),
    ("command", "IOTINVAL_NL", 0, 0x4_0000_0000, RefModel, "command_t.iotinval.nl"),
    ("command", "IOTINVAL_GSCID", 0, 0xfff_f000_0000_0000, Linux, "CMD_IOTINVAL_GSCID"),
    ("command", "IOTINVAL_S", 1, 0x200, RefModel, "command_t.iotinval.s"),
    ("command", "IOTINVAL_ADDR", 1, 0x3fff_ffff_ffff_fc00, Linux, "CMD_IOTINVAL_ADDR"),
    ("command", "IOFENCE_AV", 0, 0x400, Linux, "CMD_IOFENCE_AV"),
    ("command", "IOFENCE_WSI", 0, 0x800, Linux, "CMD_IOFENCE_WSI"),
    ("command", "IOFENCE_PR", 0, 0x1000, Linux, "CMD_IOFENCE_PR"),
    ("command", "IOFENCE_PW", 0, 0x2000, Linux, "CMD_IOFENCE_PW"),
    ("command", "IOFENCE_DATA", 0, 0xffff_ffff_0000_0000, Linux, "CMD_IOFENCE_DATA"),
    ("command", "IOFENCE_ADDR", 1, 0x3fff_ffff_ffff_ffff, RefModel, "command_t.iofence.addr_63_2"),
    ("command", "IODIR_PID", 0, 0xffff_f000, Qemu, "CMD_IODIR_PID"),
    ("command", "IODIR_DV", 0, 0x2_0000_0000, Qemu, "CMD_IODIR_DV"),
    ("command", "IODIR_DID", 0, 0xffff_ff00_0000_0000, Qemu, "CMD_IODIR_DID"),
    ("command", "ATS_PID", 0, 0xffff_f000, Qemu, "CMD_ATS_PID"),
    ("command", "ATS_PV", 0, 0x1_0000_0000, Qemu, "CMD_ATS_PV"),
    ("command", "ATS_DSV", 0, 0x2_0000_0000, Qemu, "CMD_ATS_DSV"),
    ("command", "ATS_RID", 0, 0xff_ff00_0000_0000, Qemu, "CMD_ATS_RID"),
    ("command", "ATS_DSEG", 0, 0xff00_0000_0000_0000, Qemu, "CMD_ATS_DSEG"),
    ("command", "INVAL_G", 1, 0x1, Linux, "CMD_ATS_INVAL_G"),
    ("command", "INVAL_S", 1, 0x800, Linux, "CMD_ATS_INVAL_S"),
    ("command", "INVAL_ADDR", 1, 0xffff_ffff_ffff_f000, Linux, "CMD_ATS_INVAL_UADDR"),
    ("command", "PRGR_INDEX", 1, 0x1ff_0000_0000, Linux, "CMD_ATS_PRGR_PRG_INDEX"),
    ("command", "PRGR_CODE", 1, 0xf000_0000_0000, Linux, "CMD_ATS_PRGR_RESP_CODE"),
    ("fault", "CAUSE", 0, 0xfff, Qemu, "FQ_HDR_CAUSE"),
    ("fault", "PID", 0, 0xffff_f000, Qemu, "FQ_HDR_PID"),
    ("fault", "PV", 0, 0x1_0000_0000, Qemu, "FQ_HDR_PV"),
    ("fault", "PRIV", 0, 0x2_0000_0000, Linux, "FQ_HDR_PRIV"),
    ("fault", "TTYP", 0, 0xfc_0000_0000, Qemu, "FQ_HDR_TTYPE"),
    ("fault", "DID", 0, 0xffff_ff00_0000_0000, Qemu, "FQ_HDR_DID"),
    ("fault", "CUSTOM", 1, 0xffff_ffff, Spec, "3.2 95:64"),
    ("fault", "IOTVAL", 2, 0xffff_ffff_ffff_ffff, Linux, "struct riscv_iommu_fq_record"),
    ("fault", "IOTVAL2", 3, 0xffff_ffff_ffff_ffff, Linux, "struct riscv_iommu_fq_record"),
    ("page_request", "PID", 0, 0xffff_f000, Linux, "PQ_HDR_PID"),
    ("page_request", "PV", 0, 0x1_0000_0000, Linux, "PQ_HDR_PV"),
    ("page_request", "PRIV", 0, 0x2_0000_0000, Linux, "PQ_HDR_PRIV"),
    ("page_request", "EXEC", 0, 0x4_0000_0000, Linux, "PQ_HDR_EXEC"),
    ("page_request", "DID", 0, 0xffff_ff00_0000_0000, Linux, "PQ_HDR_DID"),
    ("page_request", "R", 1, 0x1, Linux, "PQ_PAYLOAD_R"),
    ("page_request", "W", 1, 0x2, Linux, "PQ_PAYLOAD_W"),
    ("page_request", "L", 1, 0x4, Linux, "PQ_PAYLOAD_L"),
    ("page_request", "PRGI", 1, 0xff8, Linux, "PQ_PAYLOAD_PRGI"),
    ("page_request", "ADDR", 1, 0xffff_ffff_ffff_f000, Linux, "PQ_PAYLOAD_ADDR"),
];

const MODULES: &[(&str, &[(&str, crate::Field)])] = &[
    ("registers::capabilities", registers::capabilities::ALL),
    ("registers::fctl", registers::fctl::ALL),
    ("registers::ddtp", registers::ddtp::ALL),
    ("registers::queue_base", registers::queue_base::ALL),
    ("registers::queue_index", registers::queue_index::ALL),
    ("registers::cqcsr", registers::cqcsr::ALL),
    ("registers::fqcsr", registers::fqcsr::ALL),
    ("registers::pqcsr", registers::pqcsr::ALL),
    ("registers::ipsr", registers::ipsr::ALL),
    ("registers::iocount", registers::iocount::ALL),
    ("registers::iohpmcycles", registers::iohpmcycles::ALL),
    ("registers::iohpmevt", registers::iohpmevt::ALL),
    ("registers::tr_req_iova", registers::tr_req_iova::ALL),
    ("registers::tr_req_ctl", registers::tr_req_ctl::ALL),
    ("registers::tr_response", registers::tr_response::ALL),
    ("registers::iommu_qosid", registers::iommu_qosid::ALL),
    ("registers::icvec", registers::icvec::ALL),
    ("registers::msi_addr", registers::msi_addr::ALL),
    ("registers::msi_data", registers::msi_data::ALL),
    ("registers::msi_vec_ctl", registers::msi_vec_ctl::ALL),
    ("device::ddte", device::ddte::ALL),
    ("device", device::ALL),
    ("process::pdte", process::pdte::ALL),
    ("process", process::ALL),
    ("msi", msi::ALL),
    ("command", command::ALL),
    ("fault", fault::ALL),
    ("page_request", page_request::ALL),
];

#[test]
fn every_field_is_where_others_have_it() {
    for &(module, name, word, mask, source, theirs) in OUTSIDE {
        let fields = MODULES.iter().find(|m| m.0 == module).expect("a module of this list").1;
        let field = fields.iter().find(|f| f.0 == name).unwrap_or_else(|| panic!("{module}::{name}")).1;
        assert_eq!((field.word, field.mask()), (word, mask), "{module}::{name}, {source:?} {theirs}");
    }
}

#[test]
fn no_field_is_left_out() {
    for (module, fields) in MODULES {
        for (name, _) in *fields {
            let times = OUTSIDE.iter().filter(|o| o.0 == *module && o.1 == *name).count();
            assert_eq!(times, 1, "{module}::{name}");
        }
    }
}

#[test]
fn fields_of_structures_do_not_overlap() {
    for (module, fields) in MODULES {
        // Commands share words between functions, MSI entries between modes: they overlap by design.
        if matches!(*module, "command" | "msi") {
            continue;
        }
        for (n, (a, left)) in fields.iter().enumerate() {
            for (b, right) in &fields[n + 1..] {
                assert!(left.word != right.word || left.mask() & right.mask() == 0, "{module}: {a} and {b}");
            }
        }
    }
}

#[test]
fn offsets_are_where_others_have_them() {
    // Linux's RISCV_IOMMU_REG_*; IOMMU_QOSID: 5.1, offset 624.
    #[rustfmt::skip]
    let outside = [
        ("CAPABILITIES", 0x0000), ("FCTL", 0x0008), ("DDTP", 0x0010), ("CQB", 0x0018), ("CQH", 0x0020),
        ("CQT", 0x0024), ("FQB", 0x0028), ("FQH", 0x0030), ("FQT", 0x0034), ("PQB", 0x0038), ("PQH", 0x0040),
        ("PQT", 0x0044), ("CQCSR", 0x0048), ("FQCSR", 0x004c), ("PQCSR", 0x0050), ("IPSR", 0x0054),
        ("IOCOUNTOVF", 0x0058), ("IOCOUNTINH", 0x005c), ("IOHPMCYCLES", 0x0060), ("IOHPMCTR1", 0x0068),
        ("IOHPMEVT1", 0x0160), ("TR_REQ_IOVA", 0x0258), ("TR_REQ_CTL", 0x0260), ("TR_RESPONSE", 0x0268),
        ("IOMMU_QOSID", 624), ("ICVEC", 0x02f8), ("MSI_CFG_TBL", 0x0300),
    ];
    assert_eq!(registers::OFFSETS, outside);
    let entry = (registers::MSI_CFG_BYTES, registers::MSI_ADDR, registers::MSI_DATA, registers::MSI_VEC_CTL);
    assert_eq!(entry, (0x10, 0x0, 0x8, 0xc), "Linux's REG_MSI_CFG_TBL_ADDR, _DATA, _CTRL");
    assert_eq!(registers::MSI_CFG_ENTRIES * registers::MSI_CFG_BYTES, 256, "5.1");
    assert_eq!(registers::BLOCK_BYTES, 0x1000, "Linux's REG_SIZE");
    assert_eq!(registers::IOHPMCTR1 + 8 * registers::HPM_COUNTERS, registers::IOHPMEVT1);
}

#[test]
fn sizes_are_what_others_have() {
    // QEMU's structs riscv_iommu_dc, riscv_iommu_command, riscv_iommu_fq_record, riscv_iommu_pq_record and
    // riscv_iommu_msi_pte; Linux's riscv_iommu_pc; 2.1 for the identifiers.
    assert_eq!((device::BASE_BYTES, device::EXTENDED_BYTES, process::BYTES), (32, 64, 16));
    assert_eq!((command::BYTES, fault::BYTES, page_request::BYTES, msi::BYTES), (16, 32, 16, 16));
    assert_eq!(device::BASE_INDEX_BITS.iter().sum::<u32>(), device::DEVICE_ID_BITS);
    assert_eq!(device::EXTENDED_INDEX_BITS.iter().sum::<u32>(), device::DEVICE_ID_BITS);
    assert_eq!(
        (device::BASE_BYTES << device::BASE_INDEX_BITS[0], process::BYTES << process::INDEX_BITS[0]),
        (4096, 4096)
    );
    assert_eq!(device::EXTENDED_BYTES << device::EXTENDED_INDEX_BITS[0], 4096);
    assert_eq!(process::INDEX_BITS.iter().sum::<u32>(), 20);
}

#[test]
fn codes_are_what_others_have() {
    use registers::{capabilities::igs, ddtp};
    // Linux's enumerations.
    assert_eq!((igs::MSI, igs::WSI, igs::BOTH), (0, 1, 2));
    let modes = [
        ddtp::mode::OFF,
        ddtp::mode::BARE,
        ddtp::mode::ONE_LEVEL,
        ddtp::mode::TWO_LEVEL,
        ddtp::mode::THREE_LEVEL,
    ];
    assert_eq!(modes, [0, 1, 2, 3, 4]);
    {
        use device::iohgatp_mode::*;
        assert_eq!((BARE, SV32X4, SV39X4, SV48X4, SV57X4), (0, 8, 8, 9, 10));
    }
    {
        use device::iosatp_mode::*;
        assert_eq!((BARE, SV32, SV39, SV48, SV57), (0, 8, 8, 9, 10));
    }
    {
        use device::pdtp_mode::*;
        assert_eq!((BARE, PD8, PD17, PD20), (0, 1, 2, 3));
    }
    assert_eq!((device::msiptp_mode::OFF, device::msiptp_mode::FLAT), (0, 1));
    assert_eq!((msi::mode::MRIF, msi::mode::BASIC), (1, 3), "QEMU's MSI_PTE_M_*");
    {
        use command::{func3::*, opcode::*};
        assert_eq!((IOTINVAL, IOFENCE, IODIR, ATS), (1, 2, 3, 4));
        assert_eq!((VMA, GVMA, C, INVAL_DDT, INVAL_PDT, INVAL, PRGR), (0, 1, 0, 0, 1, 0, 1));
    }
    {
        use fault::ttyp::*;
        assert_eq!((NONE, UNTRANSLATED_EXECUTE, UNTRANSLATED_READ, UNTRANSLATED_WRITE), (0, 1, 2, 3));
        assert_eq!((TRANSLATED_EXECUTE, TRANSLATED_READ, TRANSLATED_WRITE), (5, 6, 7));
        assert_eq!((ATS_REQUEST, MESSAGE), (8, 9));
    }
    {
        use fault::cause::*;
        let low = [INSTRUCTION_ACCESS, READ_MISALIGNED, READ_ACCESS, WRITE_MISALIGNED, WRITE_ACCESS];
        assert_eq!(low, [1, 4, 5, 6, 7]);
        assert_eq!([INSTRUCTION_PAGE, READ_PAGE, WRITE_PAGE], [12, 13, 15]);
        assert_eq!([INSTRUCTION_GUEST_PAGE, READ_GUEST_PAGE, WRITE_GUEST_PAGE], [20, 21, 23]);
        let high = [
            ALL_DISALLOWED,
            DDT_ACCESS,
            DDT_NOT_VALID,
            DDT_MISCONFIGURED,
            TYPE_DISALLOWED,
            MSI_PTE_ACCESS,
            MSI_PTE_NOT_VALID,
            MSI_PTE_MISCONFIGURED,
            MRIF_ACCESS,
            PDT_ACCESS,
            PDT_NOT_VALID,
            PDT_MISCONFIGURED,
            DDT_CORRUPTION,
            PDT_CORRUPTION,
            MSI_PT_CORRUPTION,
            MRIF_CORRUPTION,
            INTERNAL,
            MSI_WRITE_ACCESS,
            PT_CORRUPTION,
        ];
        assert!(high.into_iter().eq(256..=274));
    }
    assert_eq!((0..4096).filter(|&code| fault::name(code).is_some()).count(), 11 + 19);
    // 3.2, the last column of the table of causes.
    let always = (0..4096).filter(|&code| fault::reported_despite_dtf(code));
    assert!(always.eq([256, 257, 258, 259, 268, 272, 273]));
}
