//! Every field against a mask from outside, else against the specification's table, each a literal.
//!
//! Outside: Linux's `drivers/iommu/intel/iommu.h` (commit 037dd130), `drivers/iommu/intel/pasid.h` (02f9d76a) and
//! `include/linux/dmar.h` (02d715b4); QEMU's `hw/i386/intel_iommu_internal.h` (0192d667, and version 10 for scalable
//! mode and page requests); FreeBSD's `sys/x86/iommu/intel_reg.h` (08e99af3); Intel's register pages of the processors
//! of document 795258 (host bridge, VTDBAR).

use super::*;
use Source::*;

#[derive(Clone, Copy, Debug)]
enum Source {
    Linux,
    Qemu,
    FreeBsd,
    /// Intel's register pages of a processor.
    Datasheet,
    /// Revision 4.1: nobody else has the field.
    Spec,
}

/// Module, field, 64-bit word, mask in that word, where the mask is from, its name there.
#[rustfmt::skip]
const OUTSIDE: &[(&str, &str, usize, u64, Source, &str)] = &[
    ("capability::cap", "ND", 0, 0x7, Linux, "cap_ndoms"),
    ("capability::cap", "AFL", 0, 0x8, Linux, "cap_afl"),
    ("capability::cap", "RWBF", 0, 0x10, Linux, "cap_rwbf"),
    ("capability::cap", "PLMR", 0, 0x20, Linux, "cap_plmr"),
    ("capability::cap", "PHMR", 0, 0x40, Linux, "cap_phmr"),
    ("capability::cap", "CM", 0, 0x80, Qemu, "VTD_CAP_CM"),
    ("capability::cap", "SAGAW", 0, 0x1f00, Qemu, "VTD_CAP_SAGAW_MASK"),
    ("capability::cap", "MGAW", 0, 0x3f_0000, Linux, "cap_mgaw"),
    ("capability::cap", "ZLR", 0, 0x40_0000, Linux, "cap_zlr"),
    ("capability::cap", "ISOCH", 0, 0x80_0000, Linux, "cap_isoch"),
    ("capability::cap", "FRO", 0, 0x3_ff00_0000, Linux, "cap_fault_reg_offset"),
    ("capability::cap", "SSLPS", 0, 0x3c_0000_0000, Linux, "cap_super_page_val"),
    ("capability::cap", "PSI", 0, 0x80_0000_0000, Qemu, "VTD_CAP_PSI"),
    ("capability::cap", "NFR", 0, 0xff00_0000_0000, Linux, "cap_num_fault_regs"),
    ("capability::cap", "MAMV", 0, 0x3f_0000_0000_0000, Linux, "cap_max_amask_val"),
    ("capability::cap", "DWD", 0, 0x40_0000_0000_0000, Qemu, "VTD_CAP_DRAIN_WRITE"),
    ("capability::cap", "DRD", 0, 0x80_0000_0000_0000, Qemu, "VTD_CAP_DRAIN_READ"),
    ("capability::cap", "FS1GP", 0, 0x100_0000_0000_0000, Linux, "cap_fl1gp_support"),
    ("capability::cap", "PI", 0, 0x800_0000_0000_0000, Linux, "cap_pi_support"),
    ("capability::cap", "FS5LP", 0, 0x1000_0000_0000_0000, Linux, "cap_fl5lp_support"),
    ("capability::cap", "ECMDS", 0, 0x2000_0000_0000_0000, Linux, "cap_ecmds"),
    ("capability::cap", "ESIRTPS", 0, 0x4000_0000_0000_0000, Linux, "cap_esirtps"),
    ("capability::cap", "ESRTPS", 0, 0x8000_0000_0000_0000, Linux, "cap_esrtps"),
    ("capability::ecap", "C", 0, 0x1, Linux, "ecap_coherent"),
    ("capability::ecap", "QI", 0, 0x2, Qemu, "VTD_ECAP_QI"),
    ("capability::ecap", "DT", 0, 0x4, Qemu, "VTD_ECAP_DT"),
    ("capability::ecap", "IR", 0, 0x8, Qemu, "VTD_ECAP_IR"),
    ("capability::ecap", "EIM", 0, 0x10, Qemu, "VTD_ECAP_EIM"),
    ("capability::ecap", "PT", 0, 0x40, Qemu, "VTD_ECAP_PT"),
    ("capability::ecap", "SC", 0, 0x80, Linux, "ecap_sc_support"),
    ("capability::ecap", "IRO", 0, 0x3_ff00, Linux, "ecap_iotlb_offset"),
    ("capability::ecap", "MHMV", 0, 0xf0_0000, Qemu, "VTD_ECAP_MHMV"),
    ("capability::ecap", "ECS", 0, 0x100_0000, FreeBsd, "DMAR_ECAP_ECS"),
    ("capability::ecap", "MTS", 0, 0x200_0000, Linux, "ecap_mts"),
    ("capability::ecap", "NEST", 0, 0x400_0000, Linux, "ecap_nest"),
    ("capability::ecap", "DIS", 0, 0x800_0000, Linux, "ecap_dis"),
    ("capability::ecap", "PASID_28", 0, 0x1000_0000, Linux, "ecap_broken_pasid"),
    ("capability::ecap", "PRS", 0, 0x2000_0000, Linux, "ecap_prs"),
    ("capability::ecap", "ERS", 0, 0x4000_0000, Linux, "ecap_ers"),
    ("capability::ecap", "SRS", 0, 0x8000_0000, Qemu, "VTD_ECAP_SRS"),
    ("capability::ecap", "NWFS", 0, 0x2_0000_0000, Linux, "ecap_nwfs"),
    ("capability::ecap", "EAFS", 0, 0x4_0000_0000, Linux, "ecap_eafs"),
    ("capability::ecap", "PSS", 0, 0xf8_0000_0000, Linux, "ecap_pss"),
    ("capability::ecap", "PASID", 0, 0x100_0000_0000, Linux, "ecap_pasid"),
    ("capability::ecap", "DIT", 0, 0x200_0000_0000, Linux, "ecap_dit"),
    ("capability::ecap", "PDS", 0, 0x400_0000_0000, Linux, "ecap_pds"),
    ("capability::ecap", "SMTS", 0, 0x800_0000_0000, Qemu, "VTD_ECAP_SMTS"),
    ("capability::ecap", "VCS", 0, 0x1000_0000_0000, Linux, "ecap_vcs"),
    ("capability::ecap", "SSADS", 0, 0x2000_0000_0000, Linux, "ecap_slads"),
    ("capability::ecap", "SSTS", 0, 0x4000_0000_0000, Qemu, "VTD_ECAP_SLTS"),
    ("capability::ecap", "FSTS", 0, 0x8000_0000_0000, Linux, "ecap_flts"),
    ("capability::ecap", "SMPWCS", 0, 0x1_0000_0000_0000, Linux, "ecap_smpwc"),
    ("capability::ecap", "RPS", 0, 0x2_0000_0000_0000, Linux, "ecap_rps"),
    ("capability::ecap", "PMS", 0, 0x8_0000_0000_0000, Linux, "ecap_pms"),
    ("capability::ecap", "ADMS", 0, 0x10_0000_0000_0000, Datasheet, "ADMS"),
    ("capability::ecap", "RPRIVS", 0, 0x20_0000_0000_0000, Datasheet, "RPRIVS"),
    ("registers::ver", "MIN", 0, 0xf, Linux, "DMAR_VER_MINOR"),
    ("registers::ver", "MAX", 0, 0xf0, Linux, "DMAR_VER_MAJOR"),
    ("registers::gcmd", "CFI", 0, 0x80_0000, Linux, "DMA_GCMD_CFI"),
    ("registers::gcmd", "SIRTP", 0, 0x100_0000, Linux, "DMA_GCMD_SIRTP"),
    ("registers::gcmd", "IRE", 0, 0x200_0000, Linux, "DMA_GCMD_IRE"),
    ("registers::gcmd", "QIE", 0, 0x400_0000, Linux, "DMA_GCMD_QIE"),
    ("registers::gcmd", "WBF", 0, 0x800_0000, Linux, "DMA_GCMD_WBF"),
    ("registers::gcmd", "EAFL", 0, 0x1000_0000, Linux, "DMA_GCMD_EAFL"),
    ("registers::gcmd", "SFL", 0, 0x2000_0000, Linux, "DMA_GCMD_SFL"),
    ("registers::gcmd", "SRTP", 0, 0x4000_0000, Linux, "DMA_GCMD_SRTP"),
    ("registers::gcmd", "TE", 0, 0x8000_0000, Linux, "DMA_GCMD_TE"),
    ("registers::gsts", "CFIS", 0, 0x80_0000, Linux, "DMA_GSTS_CFIS"),
    ("registers::gsts", "IRTPS", 0, 0x100_0000, Linux, "DMA_GSTS_IRTPS"),
    ("registers::gsts", "IRES", 0, 0x200_0000, Linux, "DMA_GSTS_IRES"),
    ("registers::gsts", "QIES", 0, 0x400_0000, Linux, "DMA_GSTS_QIES"),
    ("registers::gsts", "WBFS", 0, 0x800_0000, Linux, "DMA_GSTS_WBFS"),
    ("registers::gsts", "AFLS", 0, 0x1000_0000, Linux, "DMA_GSTS_AFLS"),
    ("registers::gsts", "FLS", 0, 0x2000_0000, Linux, "DMA_GSTS_FLS"),
    ("registers::gsts", "RTPS", 0, 0x4000_0000, Linux, "DMA_GSTS_RTPS"),
    ("registers::gsts", "TES", 0, 0x8000_0000, Linux, "DMA_GSTS_TES"),
    // Linux and QEMU have the lower bit alone, DMA_RTADDR_SMT.
    ("registers::rtaddr", "TTM", 0, 0xc00, Spec, "11.4.5"),
    ("registers::rtaddr", "RTA", 0, 0xffff_ffff_ffff_f000, FreeBsd, "DMAR_RTADDR_RTA_MASK"),
    ("registers::ccmd", "DID", 0, 0xffff, Linux, "DMA_CCMD_DID"),
    ("registers::ccmd", "SID", 0, 0xffff_0000, Linux, "DMA_CCMD_SID"),
    ("registers::ccmd", "FM", 0, 0x3_0000_0000, Linux, "DMA_CCMD_FM"),
    ("registers::ccmd", "CAIG", 0, 0x1800_0000_0000_0000, Qemu, "VTD_CCMD_CAIG_MASK"),
    ("registers::ccmd", "CIRG", 0, 0x6000_0000_0000_0000, Qemu, "VTD_CCMD_CIRG_MASK"),
    ("registers::ccmd", "ICC", 0, 0x8000_0000_0000_0000, Linux, "DMA_CCMD_ICC"),
    ("registers::iotlb", "DID", 0, 0xffff_0000_0000, Linux, "DMA_TLB_DID"),
    ("registers::iotlb", "DW", 0, 0x1_0000_0000_0000, Linux, "DMA_TLB_WRITE_DRAIN"),
    ("registers::iotlb", "DR", 0, 0x2_0000_0000_0000, Linux, "DMA_TLB_READ_DRAIN"),
    ("registers::iotlb", "IAIG", 0, 0x600_0000_0000_0000, Qemu, "VTD_TLB_FLUSH_GRANU_MASK_A"),
    ("registers::iotlb", "IIRG", 0, 0x3000_0000_0000_0000, Qemu, "VTD_TLB_FLUSH_GRANU_MASK"),
    ("registers::iotlb", "IVT", 0, 0x8000_0000_0000_0000, Linux, "DMA_TLB_IVT"),
    ("registers::iva", "AM", 0, 0x3f, Qemu, "VTD_IVA_AM"),
    ("registers::iva", "IH", 0, 0x40, Linux, "DMA_TLB_IH_NONLEAF"),
    ("registers::iva", "ADDR", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_IVA_ADDR"),
    ("registers::fsts", "PFO", 0, 0x1, Linux, "DMA_FSTS_PFO"),
    ("registers::fsts", "PPF", 0, 0x2, Linux, "DMA_FSTS_PPF"),
    ("registers::fsts", "AFO", 0, 0x4, FreeBsd, "DMAR_FSTS_AFO"),
    ("registers::fsts", "APF", 0, 0x8, FreeBsd, "DMAR_FSTS_APF"),
    ("registers::fsts", "IQE", 0, 0x10, Linux, "DMA_FSTS_IQE"),
    ("registers::fsts", "ICE", 0, 0x20, Linux, "DMA_FSTS_ICE"),
    ("registers::fsts", "ITE", 0, 0x40, Linux, "DMA_FSTS_ITE"),
    ("registers::fsts", "PRO", 0, 0x80, Linux, "DMA_FSTS_PRO"),
    ("registers::fsts", "FRI", 0, 0xff00, Qemu, "VTD_FSTS_FRI_MASK"),
    ("registers::event_control", "IP", 0, 0x4000_0000, Qemu, "VTD_FECTL_IP"),
    ("registers::event_control", "IM", 0, 0x8000_0000, Qemu, "VTD_FECTL_IM"),
    ("registers::event_address", "MA", 0, 0xffff_fffc, Datasheet, "MA"),
    ("registers::pmen", "PRS", 0, 0x1, Linux, "DMA_PMEN_PRS"),
    ("registers::pmen", "EPM", 0, 0x8000_0000, Linux, "DMA_PMEN_EPM"),
    ("registers::iqh", "QH", 0, 0x7_fff0, Qemu, "VTD_IQH_QH_MASK"),
    ("registers::iqt", "QT", 0, 0x7_fff0, Qemu, "VTD_IQT_QT"),
    ("registers::iqa", "QS", 0, 0x7, Qemu, "VTD_IQA_QS"),
    ("registers::iqa", "DW", 0, 0x800, Qemu, "VTD_IQA_DW_MASK"),
    ("registers::iqa", "IQA", 0, 0xffff_ffff_ffff_f000, Spec, "11.4.9.3"),
    ("registers::ics", "IWC", 0, 0x1, Qemu, "VTD_ICS_IWC"),
    ("registers::iqercd", "IQEI", 0, 0xf, Linux, "DMAR_IQER_REG_IQEI"),
    ("registers::iqercd", "ITESID", 0, 0xffff_0000_0000, Linux, "DMAR_IQER_REG_ITESID"),
    ("registers::iqercd", "ICESID", 0, 0xffff_0000_0000_0000, Linux, "DMAR_IQER_REG_ICESID"),
    ("registers::irta", "S", 0, 0xf, Qemu, "VTD_IRTA_SIZE_MASK"),
    ("registers::irta", "EIME", 0, 0x800, Qemu, "VTD_IRTA_EIME"),
    ("registers::irta", "IRTA", 0, 0xffff_ffff_ffff_f000, Spec, "11.4.10"),
    // Linux masks PQH and PQT with PRQ_RING_MASK, whose lowest bit is 5.
    ("registers::pqh", "PQH", 0, 0x7_ffe0, Spec, "11.4.11.1"),
    ("registers::pqt", "PQT", 0, 0x7_ffe0, Spec, "11.4.11.2"),
    ("registers::pqa", "PQS", 0, 0x7, Qemu, "VTD_PQA_SIZE"),
    ("registers::pqa", "PQA", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_PQA_ADDR"),
    ("registers::prs", "PPR", 0, 0x1, Linux, "DMA_PRS_PPR"),
    ("registers::prs", "PRO", 0, 0x2, Linux, "DMA_PRS_PRO"),
    ("root::legacy", "P", 0, 0x1, Qemu, "VTD_ROOT_ENTRY_P"),
    ("root::legacy", "CTP", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_ROOT_ENTRY_CTP"),
    ("root::scalable", "LP", 0, 0x1, Qemu, "VTD_ROOT_ENTRY_P, of lo"),
    ("root::scalable", "LCTP", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_ROOT_ENTRY_CTP, of lo"),
    ("root::scalable", "UP", 1, 0x1, Qemu, "VTD_ROOT_ENTRY_P, of hi"),
    ("root::scalable", "UCTP", 1, 0xffff_ffff_ffff_f000, Qemu, "VTD_ROOT_ENTRY_CTP, of hi"),
    ("context::legacy", "P", 0, 0x1, Qemu, "VTD_CONTEXT_ENTRY_P"),
    ("context::legacy", "FPD", 0, 0x2, Qemu, "VTD_CONTEXT_ENTRY_FPD"),
    ("context::legacy", "TT", 0, 0xc, Qemu, "VTD_CONTEXT_ENTRY_TT"),
    ("context::legacy", "SSPTPTR", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_CONTEXT_ENTRY_SLPTPTR"),
    ("context::legacy", "AW", 1, 0x7, Qemu, "VTD_CONTEXT_ENTRY_AW"),
    ("context::legacy", "IGN", 1, 0x78, Linux, "struct context_entry, aval"),
    ("context::legacy", "DID", 1, 0xff_ff00, Qemu, "VTD_CONTEXT_ENTRY_DID"),
    ("context::scalable", "P", 0, 0x1, Qemu, "VTD_CONTEXT_ENTRY_P"),
    ("context::scalable", "FPD", 0, 0x2, Qemu, "VTD_CONTEXT_ENTRY_FPD"),
    ("context::scalable", "DTE", 0, 0x4, Spec, "9.4"),
    ("context::scalable", "PASIDE", 0, 0x8, Linux, "CONTEXT_PASIDE"),
    ("context::scalable", "PRE", 0, 0x10, Qemu, "VTD_SM_CONTEXT_ENTRY_PRE"),
    ("context::scalable", "PDTS", 0, 0xe00, Linux, "get_pasid_dir_size"),
    ("context::scalable", "PASIDDIRPTR", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_PASID_DIR_BASE_ADDR_MASK"),
    ("context::scalable", "RID_PASID", 1, 0xf_ffff, Qemu, "VTD_SM_CONTEXT_ENTRY_RID2PASID_MASK"),
    ("context::scalable", "RID_PRIV", 1, 0x10_0000, Spec, "9.4"),
    ("pasid::directory", "P", 0, 0x1, Linux, "PASID_PTE_PRESENT"),
    ("pasid::directory", "FPD", 0, 0x2, Qemu, "VTD_PASID_DIR_FPD"),
    ("pasid::directory", "SMPTBLPTR", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_PASID_TABLE_BASE_ADDR_MASK"),
    ("pasid::entry", "P", 0, 0x1, Qemu, "VTD_PASID_ENTRY_P"),
    ("pasid::entry", "FPD", 0, 0x2, Qemu, "VTD_PASID_ENTRY_FPD"),
    ("pasid::entry", "AW", 0, 0x1c, Linux, "pasid_set_address_width"),
    ("pasid::entry", "SSEE", 0, 0x20, Spec, "9.6"),
    ("pasid::entry", "PGTT", 0, 0x1c0, Qemu, "VTD_SM_PASID_ENTRY_PGTT"),
    ("pasid::entry", "SSADE", 0, 0x200, Linux, "pasid_set_ssade"),
    ("pasid::entry", "SSPTPTR", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_SM_PASID_ENTRY_SLPTPTR"),
    ("pasid::entry", "DID", 1, 0xffff, Linux, "pasid_set_domain_id"),
    ("pasid::entry", "PWSNP", 1, 0x80_0000, Linux, "pasid_set_page_snoop"),
    ("pasid::entry", "PGSNP", 1, 0x100_0000, Linux, "pasid_set_pgsnp"),
    ("pasid::entry", "CD", 1, 0x200_0000, Spec, "9.6"),
    ("pasid::entry", "EMTE", 1, 0x400_0000, Spec, "9.6"),
    ("pasid::entry", "EMT", 1, 0x3800_0000, Linux, "pasid_set_emt"),
    ("pasid::entry", "PWT", 1, 0x4000_0000, Spec, "9.6"),
    ("pasid::entry", "PCD", 1, 0x8000_0000, Spec, "9.6"),
    ("pasid::entry", "PAT", 1, 0xffff_ffff_0000_0000, Linux, "pasid_set_pat"),
    ("pasid::entry", "SRE", 2, 0x1, Linux, "pasid_set_sre"),
    ("pasid::entry", "ERE", 2, 0x2, Spec, "9.6"),
    ("pasid::entry", "FSPM", 2, 0xc, Linux, "pasid_set_flpm"),
    ("pasid::entry", "WPE", 2, 0x10, Linux, "pasid_set_wpe"),
    ("pasid::entry", "NXE", 2, 0x20, Spec, "9.6"),
    ("pasid::entry", "SMEP", 2, 0x40, Spec, "9.6"),
    ("pasid::entry", "EAFE", 2, 0x80, Linux, "pasid_set_eafe"),
    ("pasid::entry", "FSPTPTR", 2, 0xffff_ffff_ffff_f000, Linux, "pasid_set_flptr"),
    ("descriptor", "TYPE", 0, 0xf, Qemu, "VTD_INV_DESC_TYPE"),
    ("descriptor", "TYPE_HIGH", 0, 0xe00, Spec, "6.5.2"),
    ("descriptor::context_cache", "G", 0, 0x30, Qemu, "VTD_INV_DESC_CC_G"),
    ("descriptor::context_cache", "DID", 0, 0xffff_0000, Linux, "QI_CC_DID"),
    ("descriptor::context_cache", "SID", 0, 0xffff_0000_0000, Linux, "QI_CC_SID"),
    ("descriptor::context_cache", "FM", 0, 0x3_0000_0000_0000, Linux, "QI_CC_FM"),
    ("descriptor::pasid_cache", "G", 0, 0x30, Qemu, "VTD_INV_DESC_PASIDC_G"),
    ("descriptor::pasid_cache", "DID", 0, 0xffff_0000, Qemu, "VTD_INV_DESC_PASIDC_DID"),
    ("descriptor::pasid_cache", "PASID", 0, 0xf_ffff_0000_0000, Qemu, "VTD_INV_DESC_PASIDC_PASID"),
    ("descriptor::iotlb", "G", 0, 0x30, Qemu, "VTD_INV_DESC_IOTLB_G"),
    ("descriptor::iotlb", "DW", 0, 0x40, Linux, "DMA_ID_TLB_WRITE_DRAIN"),
    ("descriptor::iotlb", "DR", 0, 0x80, Linux, "DMA_ID_TLB_READ_DRAIN"),
    ("descriptor::iotlb", "DID", 0, 0xffff_0000, Linux, "DMA_ID_TLB_DID"),
    ("descriptor::iotlb", "AM", 1, 0x3f, Qemu, "VTD_INV_DESC_IOTLB_AM"),
    ("descriptor::iotlb", "IH", 1, 0x40, Linux, "QI_IOTLB_IH"),
    ("descriptor::iotlb", "ADDR", 1, 0xffff_ffff_ffff_f000, Qemu, "VTD_INV_DESC_IOTLB_ADDR"),
    ("descriptor::pasid_iotlb", "G", 0, 0x30, Linux, "QI_EIOTLB_GRAN"),
    ("descriptor::pasid_iotlb", "DID", 0, 0xffff_0000, Linux, "QI_EIOTLB_DID"),
    ("descriptor::pasid_iotlb", "PASID", 0, 0xf_ffff_0000_0000, Linux, "QI_EIOTLB_PASID"),
    ("descriptor::pasid_iotlb", "AM", 1, 0x3f, Linux, "QI_EIOTLB_AM"),
    ("descriptor::pasid_iotlb", "IH", 1, 0x40, Linux, "QI_EIOTLB_IH"),
    ("descriptor::pasid_iotlb", "ADDR", 1, 0xffff_ffff_ffff_f000, Linux, "QI_EIOTLB_ADDR"),
    ("descriptor::device_tlb", "PFSID_3_0", 0, 0xf000, Linux, "QI_DEV_IOTLB_PFSID"),
    ("descriptor::device_tlb", "MAX_INVS_PEND", 0, 0x1f_0000, Linux, "QI_DEV_IOTLB_QDEP"),
    ("descriptor::device_tlb", "SID", 0, 0xffff_0000_0000, Linux, "QI_DEV_IOTLB_SID"),
    ("descriptor::device_tlb", "PFSID_15_4", 0, 0xfff0_0000_0000_0000, Linux, "QI_DEV_IOTLB_PFSID"),
    ("descriptor::device_tlb", "S", 1, 0x1, Linux, "QI_DEV_IOTLB_SIZE"),
    ("descriptor::device_tlb", "ADDR", 1, 0xffff_ffff_ffff_f000, Linux, "QI_DEV_IOTLB_ADDR"),
    ("descriptor::pasid_device_tlb", "MAX_INVS_PEND", 0, 0x1f0, Linux, "QI_DEV_EIOTLB_QDEP"),
    ("descriptor::pasid_device_tlb", "PFSID_3_0", 0, 0xf000, Linux, "QI_DEV_EIOTLB_PFSID"),
    ("descriptor::pasid_device_tlb", "SID", 0, 0xffff_0000, Linux, "QI_DEV_EIOTLB_SID"),
    ("descriptor::pasid_device_tlb", "PASID", 0, 0xf_ffff_0000_0000, Linux, "QI_DEV_EIOTLB_PASID"),
    ("descriptor::pasid_device_tlb", "PFSID_15_4", 0, 0xfff0_0000_0000_0000, Linux, "QI_DEV_EIOTLB_PFSID"),
    ("descriptor::pasid_device_tlb", "G", 1, 0x1, Spec, "6.5.2.6"),
    ("descriptor::pasid_device_tlb", "S", 1, 0x800, Linux, "QI_DEV_EIOTLB_SIZE"),
    ("descriptor::pasid_device_tlb", "ADDR", 1, 0xffff_ffff_ffff_f000, Linux, "QI_DEV_EIOTLB_ADDR"),
    ("descriptor::interrupt_entry_cache", "G", 0, 0x10, Linux, "QI_IEC_SELECTIVE"),
    ("descriptor::interrupt_entry_cache", "IM", 0, 0xf800_0000, Linux, "QI_IEC_IM"),
    ("descriptor::interrupt_entry_cache", "IIDX", 0, 0xffff_0000_0000, Linux, "QI_IEC_IIDEX"),
    ("descriptor::wait", "IF", 0, 0x10, Qemu, "VTD_INV_DESC_WAIT_IF"),
    ("descriptor::wait", "SW", 0, 0x20, Linux, "QI_IWD_STATUS_WRITE"),
    ("descriptor::wait", "FN", 0, 0x40, Linux, "QI_IWD_FENCE"),
    ("descriptor::wait", "PD", 0, 0x80, Linux, "QI_IWD_PRQ_DRAIN"),
    ("descriptor::wait", "STATUS_DATA", 0, 0xffff_ffff_0000_0000, Linux, "QI_IWD_STATUS_DATA"),
    // QEMU: VTD_INV_DESC_WAIT_RSVD_HI is the rest, 0x3.
    ("descriptor::wait", "STATUS_ADDR", 1, 0xffff_ffff_ffff_fffc, Qemu, "VTD_INV_DESC_WAIT_RSVD_HI"),
    ("descriptor::page_group_response", "PP", 0, 0x10, Linux, "QI_PGRP_PASID_P"),
    ("descriptor::page_group_response", "PDP", 0, 0x20, Linux, "QI_PGRP_PDP"),
    ("descriptor::page_group_response", "RC", 0, 0xf000, Qemu, "VTD_INV_DESC_PGRESP_RC"),
    ("descriptor::page_group_response", "RID", 0, 0xffff_0000, Qemu, "VTD_INV_DESC_PGRESP_RID"),
    ("descriptor::page_group_response", "PASID", 0, 0xf_ffff_0000_0000, Qemu, "VTD_INV_DESC_PGRESP_PASID"),
    ("descriptor::page_group_response", "LPIG", 1, 0x4, Linux, "QI_PGRP_LPIG"),
    ("descriptor::page_group_response", "PRGI", 1, 0xff8, Qemu, "VTD_INV_DESC_PGRESP_PRGI"),
    ("fault::record", "FI", 0, 0xffff_ffff_ffff_f000, Qemu, "VTD_FRCD_FI"),
    ("fault::record", "SID", 1, 0xffff, Qemu, "VTD_FRCD_SID"),
    ("fault::record", "T2", 1, 0x1000_0000, Spec, "11.4.7.6"),
    ("fault::record", "PRIV", 1, 0x2000_0000, Spec, "11.4.7.6"),
    ("fault::record", "EXE", 1, 0x4000_0000, Spec, "11.4.7.6"),
    ("fault::record", "PP", 1, 0x8000_0000, Qemu, "VTD_FRCD_PP"),
    ("fault::record", "FR", 1, 0xff_0000_0000, Qemu, "VTD_FRCD_FR"),
    ("fault::record", "PV", 1, 0xfff_ff00_0000_0000, Linux, "dma_frcd_pasid_value"),
    ("fault::record", "AT", 1, 0x3000_0000_0000_0000, FreeBsd, "DMAR_FRCD2_AT"),
    ("fault::record", "T1", 1, 0x4000_0000_0000_0000, Qemu, "VTD_FRCD_T"),
    ("fault::record", "F", 1, 0x8000_0000_0000_0000, Qemu, "VTD_FRCD_F"),
    ("prq", "TYPE", 0, 0xff, Spec, "7.4.1"),
    ("prq", "PP", 0, 0x100, Qemu, "VTD_PRD_PP"),
    ("prq", "PDP", 0, 0x200, Linux, "decode_prq_descriptor"),
    ("prq", "RID", 0, 0xffff_0000, Qemu, "VTD_PRD_RID"),
    ("prq", "PASID", 0, 0xf_ffff_0000_0000, Qemu, "VTD_PRD_PASID"),
    ("prq", "EXR", 0, 0x10_0000_0000_0000, Qemu, "VTD_PRD_EXR"),
    ("prq", "PMR", 0, 0x20_0000_0000_0000, Qemu, "VTD_PRD_PMR"),
    ("prq", "RD", 1, 0x1, Qemu, "VTD_PRD_RDR"),
    ("prq", "WR", 1, 0x2, Qemu, "VTD_PRD_WRR"),
    ("prq", "LPIG", 1, 0x4, Qemu, "VTD_PRD_LPIG"),
    ("prq", "PRGI", 1, 0xff8, Qemu, "VTD_PRD_PRGI"),
    ("prq", "ADDR", 1, 0xffff_ffff_ffff_f000, Qemu, "VTD_PRD_ADDR"),
    ("interrupts::irte", "P", 0, 0x1, FreeBsd, "DMAR_IRTE1_P"),
    ("interrupts::irte", "FPD", 0, 0x2, FreeBsd, "DMAR_IRTE1_FPD"),
    ("interrupts::irte", "DM", 0, 0x4, FreeBsd, "DMAR_IRTE1_DM_LOGICAL"),
    ("interrupts::irte", "RH", 0, 0x8, FreeBsd, "DMAR_IRTE1_RH_SELECT"),
    ("interrupts::irte", "TM", 0, 0x10, FreeBsd, "DMAR_IRTE1_TM_LEVEL"),
    ("interrupts::irte", "DLM", 0, 0xe0, FreeBsd, "DMAR_IRTE1_DLM_ExtINT"),
    ("interrupts::irte", "AVAIL", 0, 0xf00, Linux, "struct irte, avail"),
    ("interrupts::irte", "IM", 0, 0x8000, FreeBsd, "DMAR_IRTE1_IM_POSTED"),
    ("interrupts::irte", "V", 0, 0xff_0000, FreeBsd, "DMAR_IRTE1_V"),
    ("interrupts::irte", "DST", 0, 0xffff_ffff_0000_0000, FreeBsd, "DMAR_IRTE1_DST_x2APIC"),
    ("interrupts::irte", "DST_XAPIC", 0, 0xff00_0000_0000, FreeBsd, "DMAR_IRTE1_DST_xAPIC"),
    ("interrupts::irte", "SID", 1, 0xffff, FreeBsd, "DMAR_IRTE2_SID_RID"),
    ("interrupts::irte", "SQ", 1, 0x3_0000, FreeBsd, "DMAR_IRTE2_SQ_RID_N210"),
    ("interrupts::irte", "SVT", 1, 0xc_0000, Linux, "struct irte, svt"),
    ("interrupts::posted", "URG", 0, 0x4000, Linux, "struct irte, p_urgent"),
    ("interrupts::posted", "VV", 0, 0xff_0000, Linux, "struct irte, p_vector"),
    ("interrupts::posted", "PDAL", 0, 0xffff_ffc0_0000_0000, Linux, "struct irte, pda_l"),
    ("interrupts::posted", "PDAH", 1, 0xffff_ffff_0000_0000, Linux, "struct irte, pda_h"),
    // Linux, arch/x86/include/asm/msi.h, struct dmar_subhandle of an MSI's address.
    ("interrupts::address", "HANDLE_15", 0, 0x4, Linux, "dmar_index_15"),
    ("interrupts::address", "SHV", 0, 0x8, Linux, "dmar_subhandle_valid"),
    ("interrupts::address", "FORMAT", 0, 0x10, Linux, "dmar_format"),
    ("interrupts::address", "HANDLE_14_0", 0, 0xf_ffe0, Linux, "dmar_index_0_14"),
    ("interrupts::address", "HEAD", 0, 0xfff0_0000, Linux, "dmar_base_address"),
    ("interrupts::address::compatibility", "DM", 0, 0x4, Linux, "dest_mode_logical"),
    ("interrupts::address::compatibility", "RH", 0, 0x8, Linux, "redirect_hint"),
    ("interrupts::address::compatibility", "DST", 0, 0xf_f000, Linux, "destid_0_7"),
    ("interrupts::data", "SUBHANDLE", 0, 0xffff, Linux, "dmar_subhandle"),
    ("interrupts::data::compatibility", "V", 0, 0xff, Linux, "vector"),
    ("interrupts::data::compatibility", "DLM", 0, 0x700, Linux, "delivery_mode"),
    ("interrupts::data::compatibility", "LEVEL", 0, 0x4000, Linux, "active_low"),
    ("interrupts::data::compatibility", "TM", 0, 0x8000, Linux, "is_level"),
];

const MODULES: &[(&str, &[(&str, crate::Field)])] = &[
    ("capability::cap", capability::cap::ALL),
    ("capability::ecap", capability::ecap::ALL),
    ("registers::ver", registers::ver::ALL),
    ("registers::gcmd", registers::gcmd::ALL),
    ("registers::gsts", registers::gsts::ALL),
    ("registers::rtaddr", registers::rtaddr::ALL),
    ("registers::ccmd", registers::ccmd::ALL),
    ("registers::iotlb", registers::iotlb::ALL),
    ("registers::iva", registers::iva::ALL),
    ("registers::fsts", registers::fsts::ALL),
    ("registers::event_control", registers::event_control::ALL),
    ("registers::event_address", registers::event_address::ALL),
    ("registers::pmen", registers::pmen::ALL),
    ("registers::iqh", registers::iqh::ALL),
    ("registers::iqt", registers::iqt::ALL),
    ("registers::iqa", registers::iqa::ALL),
    ("registers::ics", registers::ics::ALL),
    ("registers::iqercd", registers::iqercd::ALL),
    ("registers::irta", registers::irta::ALL),
    ("registers::pqh", registers::pqh::ALL),
    ("registers::pqt", registers::pqt::ALL),
    ("registers::pqa", registers::pqa::ALL),
    ("registers::prs", registers::prs::ALL),
    ("root::legacy", root::legacy::ALL),
    ("root::scalable", root::scalable::ALL),
    ("context::legacy", context::legacy::ALL),
    ("context::scalable", context::scalable::ALL),
    ("pasid::directory", pasid::directory::ALL),
    ("pasid::entry", pasid::entry::ALL),
    ("descriptor", descriptor::ALL),
    ("descriptor::context_cache", descriptor::context_cache::ALL),
    ("descriptor::pasid_cache", descriptor::pasid_cache::ALL),
    ("descriptor::iotlb", descriptor::iotlb::ALL),
    ("descriptor::pasid_iotlb", descriptor::pasid_iotlb::ALL),
    ("descriptor::device_tlb", descriptor::device_tlb::ALL),
    ("descriptor::pasid_device_tlb", descriptor::pasid_device_tlb::ALL),
    ("descriptor::interrupt_entry_cache", descriptor::interrupt_entry_cache::ALL),
    ("descriptor::wait", descriptor::wait::ALL),
    ("descriptor::page_group_response", descriptor::page_group_response::ALL),
    ("fault::record", fault::record::ALL),
    ("prq", prq::ALL),
    ("interrupts::irte", interrupts::irte::ALL),
    ("interrupts::posted", interrupts::posted::ALL),
    ("interrupts::address", interrupts::address::ALL),
    ("interrupts::address::compatibility", interrupts::address::compatibility::ALL),
    ("interrupts::data", interrupts::data::ALL),
    ("interrupts::data::compatibility", interrupts::data::compatibility::ALL),
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
            let count = OUTSIDE.iter().filter(|o| o.0 == *module && o.1 == *name).count();
            assert_eq!(count, 1, "{module}::{name}");
        }
    }
}

#[test]
fn fields_of_a_structure_do_not_overlap() {
    for (module, fields) in MODULES {
        for (n, (a, left)) in fields.iter().enumerate() {
            for (b, right) in &fields[n + 1..] {
                if (*a, *b) != ("DST", "DST_XAPIC") {
                    let apart = left.word != right.word || left.mask() & right.mask() == 0;
                    assert!(apart, "{module}: {a} and {b}");
                }
            }
        }
    }
}

/// The bits of fields in a word.
fn covered(fields: &[(&str, crate::Field)], word: usize) -> u64 {
    fields.iter().filter(|f| f.1.word == word).fold(0, |mask, f| mask | f.1.mask())
}

#[test]
fn every_bit_of_an_entry_is_a_field_or_reserved() {
    let entries: [(&str, &[_], &[u64]); 7] = [
        ("root::legacy", root::legacy::ALL, &root::legacy::RESERVED),
        ("root::scalable", root::scalable::ALL, &root::scalable::RESERVED),
        ("context::legacy", context::legacy::ALL, &context::legacy::RESERVED),
        ("context::scalable", context::scalable::ALL, &context::scalable::RESERVED),
        ("pasid::directory", pasid::directory::ALL, &[pasid::directory::RESERVED]),
        ("pasid::entry", pasid::entry::ALL, &pasid::entry::RESERVED),
        ("interrupts::irte", interrupts::irte::ALL, &interrupts::irte::RESERVED),
    ];
    for (name, fields, reserved) in entries {
        for (word, reserved) in reserved.iter().enumerate() {
            assert_eq!(covered(fields, word), !reserved, "{name}, word {word}");
        }
    }
}

#[test]
fn every_bit_of_a_descriptor_is_a_field_or_reserved() {
    let kinds: [(&str, &[_], &[u64; descriptor::WORDS]); 9] = [
        ("context_cache", descriptor::context_cache::ALL, &descriptor::context_cache::RESERVED),
        ("pasid_cache", descriptor::pasid_cache::ALL, &descriptor::pasid_cache::RESERVED),
        ("iotlb", descriptor::iotlb::ALL, &descriptor::iotlb::RESERVED),
        ("pasid_iotlb", descriptor::pasid_iotlb::ALL, &descriptor::pasid_iotlb::RESERVED),
        ("device_tlb", descriptor::device_tlb::ALL, &descriptor::device_tlb::RESERVED),
        ("pasid_device_tlb", descriptor::pasid_device_tlb::ALL, &descriptor::pasid_device_tlb::RESERVED),
        ("iec", descriptor::interrupt_entry_cache::ALL, &descriptor::interrupt_entry_cache::RESERVED),
        ("wait", descriptor::wait::ALL, &descriptor::wait::RESERVED),
        ("response", descriptor::page_group_response::ALL, &descriptor::page_group_response::RESERVED),
    ];
    for (name, fields, reserved) in kinds {
        // The type's two halves are in every descriptor.
        assert_eq!(covered(fields, 0) | 0xe0f, !reserved[0], "{name}");
        assert_eq!(covered(fields, 1), !reserved[1], "{name}");
    }
    // QEMU's masks of reserved bits; those of the newer descriptors have the type's high half among them.
    assert_eq!(descriptor::context_cache::RESERVED[0] | 0xe00, 0xfffc_0000_0000_ffc0);
    assert_eq!(descriptor::iotlb::RESERVED[0] | 0xe00, 0xffff_ffff_0000_ff00);
    assert_eq!(descriptor::iotlb::RESERVED[1], 0xf80);
    assert_eq!(descriptor::pasid_iotlb::RESERVED[..2], [0xfff0_0000_0000_f1c0, 0xf80]);
    assert_eq!(descriptor::pasid_cache::RESERVED[0], 0xfff0_0000_0000_f1c0);
    assert_eq!(descriptor::pasid_device_tlb::RESERVED[1], 0x7fe);
    assert_eq!(descriptor::device_tlb::RESERVED[1], 0xffe);
    assert_eq!(descriptor::page_group_response::RESERVED[1], 0xffff_ffff_ffff_f003);
}

#[test]
fn reserved_bits_of_context_entries_are_what_others_check() {
    // QEMU: VTD_CONTEXT_ENTRY_RSVD_LO and _HI, VTD_SM_CONTEXT_ENTRY_RSVD_VAL0 and _VAL1, VTD_ROOT_ENTRY_RSVD.
    assert_eq!(context::legacy::RESERVED, [0xff0, 0xffff_ffff_ff00_0080]);
    assert_eq!(context::scalable::RESERVED[..2], [0x1e0, 0xffff_ffff_ffe0_0000]);
    assert_eq!(root::legacy::RESERVED[0], 0xffe);
}

#[test]
fn offsets_are_where_others_have_them() {
    // Linux's DMAR_*_REG; IECTL and its neighbours as QEMU has them.
    #[rustfmt::skip]
    let outside = [
        ("VER", 0x0), ("CAP", 0x8), ("ECAP", 0x10), ("GCMD", 0x18), ("GSTS", 0x1c), ("RTADDR", 0x20), ("CCMD", 0x28),
        ("FSTS", 0x34), ("FECTL", 0x38), ("FEDATA", 0x3c), ("FEADDR", 0x40), ("FEUADDR", 0x44), ("AFLOG", 0x58),
        ("PMEN", 0x64), ("PLMBASE", 0x68), ("PLMLIMIT", 0x6c), ("PHMBASE", 0x70), ("PHMLIMIT", 0x78), ("IQH", 0x80),
        ("IQT", 0x88), ("IQA", 0x90), ("ICS", 0x9c), ("IECTL", 0xa0), ("IEDATA", 0xa4), ("IEADDR", 0xa8),
        ("IEUADDR", 0xac), ("IQERCD", 0xb0), ("IRTA", 0xb8), ("PQH", 0xc0), ("PQT", 0xc8), ("PQA", 0xd0), ("PRS", 0xdc),
        ("PECTL", 0xe0), ("PEDATA", 0xe4), ("PEADDR", 0xe8), ("PEUADDR", 0xec),
    ];
    assert_eq!(registers::OFFSETS, outside);
    // FreeBSD: DMAR_IVA_REG_OFF, DMAR_IOTLB_REG_OFF.
    assert_eq!((registers::IVA_FROM_IRO, registers::IOTLB_FROM_IRO), (0, 8));
}

#[test]
fn codes_are_what_others_have() {
    use descriptor::kind::*;
    // Linux: QI_*_TYPE.
    let kinds = [CONTEXT_CACHE, IOTLB, DEVICE_TLB, INTERRUPT_ENTRY_CACHE, WAIT, PASID_IOTLB, PASID_CACHE];
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!([PASID_DEVICE_TLB, PAGE_GROUP_RESPONSE], [8, 9]);
    // Linux: DMA_CCMD_*_INVL, DMA_TLB_*_FLUSH, QI_PC_*, QI_GRAN_*, CONTEXT_TT_*, PASID_ENTRY_PGTT_*, QI_RESP_*.
    use registers::granularity;
    assert_eq!(
        [granularity::GLOBAL, granularity::DOMAIN, granularity::DEVICE, granularity::PAGE],
        [1, 2, 3, 3]
    );
    use descriptor::{page_group_response::response, pasid_cache, pasid_iotlb};
    let pasids =
        [pasid_cache::granularity::DOMAIN, pasid_cache::granularity::PASID, pasid_cache::granularity::GLOBAL];
    assert_eq!(pasids, [0, 1, 3]);
    assert_eq!([pasid_iotlb::granularity::PASID, pasid_iotlb::granularity::PAGE], [2, 3]);
    use context::legacy::tt;
    assert_eq!([tt::UNTRANSLATED, tt::DEVICE_TLB, tt::PASS_THROUGH], [0, 1, 2]);
    use pasid::entry::pgtt;
    assert_eq!([pgtt::FIRST, pgtt::SECOND, pgtt::NESTED, pgtt::PASS_THROUGH], [1, 2, 3, 4]);
    assert_eq!([response::SUCCESS, response::INVALID, response::FAILURE], [0, 1, 0xf]);
    // FreeBSD: DMAR_CTX2_AW_3LVL to _5LVL, DMAR_CAP_SAGAW_*, DMAR_CAP_SPS_*, DMAR_IRTE1_DLM_*, DMAR_IRTE2_SVT_*.
    use capability::cap::{sagaw, sslps};
    assert_eq!([context::aw::BITS_39, context::aw::BITS_48, context::aw::BITS_57], [1, 2, 3]);
    assert_eq!([sagaw::BITS_39, sagaw::BITS_48, sagaw::BITS_57], [2, 4, 8]);
    assert_eq!([sslps::MIB_2, sslps::GIB_1], [1, 2]);
    use interrupts::{delivery::*, irte::*};
    assert_eq!([FIXED, LOWEST, SMI, NMI, INIT, EXT_INT], [0, 1, 2, 4, 5, 7]);
    assert_eq!([svt::NONE, svt::SID_SQ, svt::BUS], [0, 1, 2]);
    assert_eq!([sq::ALL, sq::NOT_2, sq::NOT_2_1, sq::NOT_2_1_0], [0, 1, 2, 3]);
    // QEMU: VTD_INTERRUPT_ADDR_FIRST and _LAST, VTD_RTADDR_SMT.
    assert_eq!(interrupts::RANGE, 0xfee0_0000..=0xfeef_ffff);
    assert_eq!(registers::rtaddr::TTM.put(registers::rtaddr::ttm::SCALABLE), 1 << 10);
}

#[test]
fn fault_reasons_are_what_others_have() {
    use fault::{condition, reason::*};
    // QEMU's VTDFaultReason.
    let qemu = [
        (ROOT_NOT_PRESENT, 1),
        (CONTEXT_NOT_PRESENT, 2),
        (CONTEXT_INVALID, 3),
        (ADDRESS_BEYOND, 4),
        (WRITE, 5),
        (READ, 6),
        (PAGING_ACCESS, 7),
        (ROOT_ACCESS, 8),
        (CONTEXT_ACCESS, 9),
        (ROOT_RESERVED, 10),
        (CONTEXT_RESERVED, 11),
        (PAGING_RESERVED, 12),
        (TRANSLATION_BLOCKED, 13),
        (OUTPUT_INTERRUPT, 14),
        (INTERRUPT_REQUEST_RESERVED, 0x20),
        (INTERRUPT_INDEX, 0x21),
        (INTERRUPT_NOT_PRESENT, 0x22),
        (INTERRUPT_ACCESS, 0x23),
        (INTERRUPT_RESERVED, 0x24),
        (INTERRUPT_COMPATIBILITY, 0x25),
        (INTERRUPT_SOURCE, 0x26),
        (RTADDR_PASID, 0x31),
        (SM_CONTEXT_PRE, 0x47),
        (SM_DIRECTORY_ACCESS, 0x50),
        (SM_DIRECTORY_NOT_PRESENT, 0x51),
        (SM_PASID_ACCESS, 0x58),
        (SM_PASID_NOT_PRESENT, 0x59),
        (SM_PASID_INVALID, 0x5b),
        (FS_ACCESS, 0x70),
        (FS_NOT_PRESENT, 0x71),
        (FS_RESERVED, 0x72),
        (FS_TOP_ACCESS, 0x73),
        (NOT_CANONICAL, 0x80),
        (USER_SUPERVISOR, 0x81),
        (SM_WRITE, 0x85),
        (SM_OUTPUT_INTERRUPT, 0x87),
        (FS_ACCESSED_ACCESS, 0x91),
    ];
    // The rest as Linux's drivers/iommu/intel/dmar.c lists their texts, from 30h on.
    let linux = [
        (RTADDR_INVALID, 0x30),
        (RTADDR_PAGE_REQUEST, 0x32),
        (SM_ROOT_ACCESS, 0x38),
        (SM_ROOT_NOT_PRESENT, 0x39),
        (SM_ROOT_RESERVED, 0x3a),
        (SM_CONTEXT_ACCESS, 0x40),
        (SM_CONTEXT_NOT_PRESENT, 0x41),
        (SM_CONTEXT_RESERVED, 0x42),
        (SM_CONTEXT_INVALID, 0x43),
        (SM_CONTEXT_DTE, 0x44),
        (SM_CONTEXT_PASIDE, 0x45),
        (SM_CONTEXT_PASID_BEYOND, 0x46),
        (SM_CONTEXT_RID_PASID, 0x48),
        (SM_DIRECTORY_RESERVED, 0x52),
        (SM_PASID_RESERVED, 0x5a),
        (SM_PASID_ERE, 0x5c),
        (SM_PASID_SRE, 0x5d),
        (FS_NESTED_BEYOND, 0x74),
        (FS_NESTED_TOP_READ, 0x75),
        (FS_NESTED_READ, 0x76),
        (FS_NESTED_WRITE, 0x77),
        (SS_ACCESS, 0x78),
        (SS_PERMISSION, 0x79),
        (SS_RESERVED, 0x7a),
        (SS_TOP_ACCESS, 0x7b),
        (SS_ACCESSED_NO_SNOOP, 0x7c),
        (EXECUTE, 0x82),
        (BEYOND_HARDWARE, 0x83),
        (BEYOND_SECOND, 0x84),
        (SM_READ, 0x86),
        (FS_ACCESSED_NO_SNOOP, 0x90),
    ];
    for (ours, theirs) in qemu.into_iter().chain(linux) {
        assert_eq!(ours, theirs);
        assert!(condition(ours).is_some());
    }
    // QEMU names three conditions in comments.
    assert_eq!(
        [condition(0x47), condition(0x80), condition(0x91)],
        [Some("SCT.8"), Some("SGN.1"), Some("SFS.10")]
    );
    let known = (0..=0xff).filter(|code| condition(*code).is_some()).count();
    assert_eq!(known, qemu.len() + linux.len() + 2, "and IRT.8 and IRT.9, which neither has");
}
