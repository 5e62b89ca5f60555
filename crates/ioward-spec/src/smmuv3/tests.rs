//! Every field against a mask from outside, else against the specification's table, each a literal.
//!
//! Outside: Linux's `drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h` (commit 0401bbf5), QEMU's
//! `hw/arm/smmuv3-internal.h` (commit f2283360), gem5's `src/dev/arm/smmu_v3_defs.hh` (commit 0f50b625), FreeBSD's
//! `sys/arm64/iommu/smmureg.h` (commit 2f196672). They follow issues of the specification in which addresses end at bit
//! 51; issue G.b extends those to bit 55, bits that were RES0: such fields are [`Width::Widened`].

use super::*;
use Source::*;
use Width::*;

#[derive(Clone, Copy, Debug)]
enum Width {
    /// The mask is the field.
    Same,
    /// The mask is the field without bits 55:52, which issue G.b added.
    Widened,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Linux,
    Qemu,
    Gem5,
    FreeBsd,
    /// ARM IHI 0070 G.b: nobody else has the field.
    Spec,
}

/// Module, field, 64-bit word, mask in that word, how to compare, where the mask is from, its name there.
#[rustfmt::skip]
const OUTSIDE: &[(&str, &str, usize, u64, Width, Source, &str)] = &[
    // registers::idr0
    ("registers::idr0", "S2P", 0, 0x1, Same, Linux, "IDR0_S2P"),
    ("registers::idr0", "S1P", 0, 0x2, Same, Linux, "IDR0_S1P"),
    ("registers::idr0", "TTF", 0, 0xc, Same, Linux, "IDR0_TTF"),
    ("registers::idr0", "COHACC", 0, 0x10, Same, Linux, "IDR0_COHACC"),
    ("registers::idr0", "BTM", 0, 0x20, Same, FreeBsd, "IDR0_BTM"),
    ("registers::idr0", "HTTU", 0, 0xc0, Same, Linux, "IDR0_HTTU"),
    ("registers::idr0", "DORMHINT", 0, 0x100, Same, FreeBsd, "IDR0_DORMHINT"),
    ("registers::idr0", "HYP", 0, 0x200, Same, Linux, "IDR0_HYP"),
    ("registers::idr0", "ATS", 0, 0x400, Same, Linux, "IDR0_ATS"),
    ("registers::idr0", "NS1ATS", 0, 0x800, Same, FreeBsd, "IDR0_NS1ATS"),
    ("registers::idr0", "ASID16", 0, 0x1000, Same, Linux, "IDR0_ASID16"),
    ("registers::idr0", "MSI", 0, 0x2000, Same, Linux, "IDR0_MSI"),
    ("registers::idr0", "SEV", 0, 0x4000, Same, Linux, "IDR0_SEV"),
    ("registers::idr0", "ATOS", 0, 0x8000, Same, FreeBsd, "IDR0_ATOS"),
    ("registers::idr0", "PRI", 0, 0x10000, Same, Linux, "IDR0_PRI"),
    ("registers::idr0", "VMW", 0, 0x20000, Same, FreeBsd, "IDR0_VMW"),
    ("registers::idr0", "VMID16", 0, 0x40000, Same, Linux, "IDR0_VMID16"),
    ("registers::idr0", "CD2L", 0, 0x80000, Same, Linux, "IDR0_CD2L"),
    ("registers::idr0", "VATOS", 0, 0x100000, Same, FreeBsd, "IDR0_VATOS"),
    ("registers::idr0", "TTENDIAN", 0, 0x600000, Same, Linux, "IDR0_TTENDIAN"),
    ("registers::idr0", "STALL_MODEL", 0, 0x300_0000, Same, Linux, "IDR0_STALL_MODEL"),
    ("registers::idr0", "TERM_MODEL", 0, 0x400_0000, Same, Qemu, "IDR0.TERM_MODEL"),
    ("registers::idr0", "ST_LEVEL", 0, 0x1800_0000, Same, Linux, "IDR0_ST_LVL"),
    // registers::idr1
    ("registers::idr1", "SIDSIZE", 0, 0x3f, Same, Linux, "IDR1_SIDSIZE"),
    ("registers::idr1", "SSIDSIZE", 0, 0x7c0, Same, Linux, "IDR1_SSIDSIZE"),
    ("registers::idr1", "PRIQS", 0, 0xf800, Same, Linux, "IDR1_PRIQS"),
    ("registers::idr1", "EVENTQS", 0, 0x1f0000, Same, Linux, "IDR1_EVTQS"),
    ("registers::idr1", "CMDQS", 0, 0x3e0_0000, Same, Linux, "IDR1_CMDQS"),
    ("registers::idr1", "ATTR_PERMS_OVR", 0, 0x400_0000, Same, FreeBsd, "IDR1_ATTR_PERMS_OVR"),
    ("registers::idr1", "ATTR_TYPES_OVR", 0, 0x800_0000, Same, Linux, "IDR1_ATTR_TYPES_OVR"),
    ("registers::idr1", "REL", 0, 0x1000_0000, Same, Linux, "IDR1_REL"),
    ("registers::idr1", "QUEUES_PRESET", 0, 0x2000_0000, Same, Linux, "IDR1_QUEUES_PRESET"),
    ("registers::idr1", "TABLES_PRESET", 0, 0x4000_0000, Same, Linux, "IDR1_TABLES_PRESET"),
    // registers::idr3
    ("registers::idr3", "HAD", 0, 0x4, Same, Qemu, "IDR3.HAD"),
    ("registers::idr3", "RIL", 0, 0x400, Same, Linux, "IDR3_RIL"),
    ("registers::idr3", "BBML", 0, 0x1800, Same, Qemu, "IDR3.BBML"),
    // registers::idr5
    ("registers::idr5", "OAS", 0, 0x7, Same, Linux, "IDR5_OAS"),
    ("registers::idr5", "GRAN4K", 0, 0x10, Same, Linux, "IDR5_GRAN4K"),
    ("registers::idr5", "GRAN16K", 0, 0x20, Same, Linux, "IDR5_GRAN16K"),
    ("registers::idr5", "GRAN64K", 0, 0x40, Same, Linux, "IDR5_GRAN64K"),
    ("registers::idr5", "VAX", 0, 0xc00, Same, Linux, "IDR5_VAX"),
    ("registers::idr5", "STALL_MAX", 0, 0xffff_0000, Same, Linux, "IDR5_STALL_MAX"),
    // registers::iidr
    ("registers::iidr", "IMPLEMENTER", 0, 0xfff, Same, Linux, "IIDR_IMPLEMENTER"),
    ("registers::iidr", "REVISION", 0, 0xf000, Same, Linux, "IIDR_REVISION"),
    ("registers::iidr", "VARIANT", 0, 0xf0000, Same, Linux, "IIDR_VARIANT"),
    ("registers::iidr", "PRODUCT_ID", 0, 0xfff0_0000, Same, Linux, "IIDR_PRODUCTID"),
    // registers::cr0
    ("registers::cr0", "SMMUEN", 0, 0x1, Same, Linux, "CR0_SMMUEN"),
    ("registers::cr0", "PRIQEN", 0, 0x2, Same, Linux, "CR0_PRIQEN"),
    ("registers::cr0", "EVENTQEN", 0, 0x4, Same, Linux, "CR0_EVTQEN"),
    ("registers::cr0", "CMDQEN", 0, 0x8, Same, Linux, "CR0_CMDQEN"),
    ("registers::cr0", "ATSCHK", 0, 0x10, Same, Linux, "CR0_ATSCHK"),
    ("registers::cr0", "VMW", 0, 0x1c0, Same, FreeBsd, "CR0_VMW_M"),
    // registers::cr1
    ("registers::cr1", "QUEUE_IC", 0, 0x3, Same, Linux, "CR1_QUEUE_IC"),
    ("registers::cr1", "QUEUE_OC", 0, 0xc, Same, Linux, "CR1_QUEUE_OC"),
    ("registers::cr1", "QUEUE_SH", 0, 0x30, Same, Linux, "CR1_QUEUE_SH"),
    ("registers::cr1", "TABLE_IC", 0, 0xc0, Same, Linux, "CR1_TABLE_IC"),
    ("registers::cr1", "TABLE_OC", 0, 0x300, Same, Linux, "CR1_TABLE_OC"),
    ("registers::cr1", "TABLE_SH", 0, 0xc00, Same, Linux, "CR1_TABLE_SH"),
    // registers::cr2
    ("registers::cr2", "E2H", 0, 0x1, Same, Linux, "CR2_E2H"),
    ("registers::cr2", "RECINVSID", 0, 0x2, Same, Linux, "CR2_RECINVSID"),
    ("registers::cr2", "PTM", 0, 0x4, Same, Linux, "CR2_PTM"),
    // registers::gbpa
    ("registers::gbpa", "ABORT", 0, 0x100000, Same, Linux, "GBPA_ABORT"),
    ("registers::gbpa", "UPDATE", 0, 0x8000_0000, Same, Linux, "GBPA_UPDATE"),
    // registers::irq_ctrl
    ("registers::irq_ctrl", "GERROR_IRQEN", 0, 0x1, Same, Linux, "IRQ_CTRL_GERROR_IRQEN"),
    ("registers::irq_ctrl", "PRIQ_IRQEN", 0, 0x2, Same, Linux, "IRQ_CTRL_PRIQ_IRQEN"),
    ("registers::irq_ctrl", "EVENTQ_IRQEN", 0, 0x4, Same, Linux, "IRQ_CTRL_EVTQ_IRQEN"),
    // registers::gerror
    ("registers::gerror", "CMDQ_ERR", 0, 0x1, Same, Linux, "GERROR_CMDQ_ERR"),
    ("registers::gerror", "EVENTQ_ABT_ERR", 0, 0x4, Same, Linux, "GERROR_EVTQ_ABT_ERR"),
    ("registers::gerror", "PRIQ_ABT_ERR", 0, 0x8, Same, Linux, "GERROR_PRIQ_ABT_ERR"),
    ("registers::gerror", "MSI_CMDQ_ABT_ERR", 0, 0x10, Same, Linux, "GERROR_MSI_CMDQ_ABT_ERR"),
    ("registers::gerror", "MSI_EVENTQ_ABT_ERR", 0, 0x20, Same, Linux, "GERROR_MSI_EVTQ_ABT_ERR"),
    ("registers::gerror", "MSI_PRIQ_ABT_ERR", 0, 0x40, Same, Linux, "GERROR_MSI_PRIQ_ABT_ERR"),
    ("registers::gerror", "MSI_GERROR_ABT_ERR", 0, 0x80, Same, Linux, "GERROR_MSI_GERROR_ABT_ERR"),
    ("registers::gerror", "SFM_ERR", 0, 0x100, Same, Linux, "GERROR_SFM_ERR"),
    // registers::irq_cfg0
    ("registers::irq_cfg0", "ADDR", 0, 0xf_ffff_ffff_fffc, Widened, Linux, "MSI_CFG0_ADDR_MASK"),
    // registers::irq_cfg2
    ("registers::irq_cfg2", "MEMATTR", 0, 0xf, Same, Linux, "MSI_CFG2_MEMATTR"),
    ("registers::irq_cfg2", "SH", 0, 0x30, Same, Linux, "MSI_CFG2_SH"),
    // registers::strtab_base
    ("registers::strtab_base", "ADDR", 0, 0xf_ffff_ffff_ffc0, Widened, Linux, "STRTAB_BASE_ADDR_MASK"),
    ("registers::strtab_base", "RA", 0, 0x4000_0000_0000_0000, Same, Linux, "STRTAB_BASE_RA"),
    // registers::strtab_base_cfg
    ("registers::strtab_base_cfg", "LOG2SIZE", 0, 0x3f, Same, Linux, "STRTAB_BASE_CFG_LOG2SIZE"),
    ("registers::strtab_base_cfg", "SPLIT", 0, 0x7c0, Same, Linux, "STRTAB_BASE_CFG_SPLIT"),
    ("registers::strtab_base_cfg", "FMT", 0, 0x30000, Same, Linux, "STRTAB_BASE_CFG_FMT"),
    // registers::queue_base
    ("registers::queue_base", "LOG2SIZE", 0, 0x1f, Same, Linux, "Q_BASE_LOG2SIZE"),
    ("registers::queue_base", "ADDR", 0, 0xf_ffff_ffff_ffe0, Widened, Linux, "Q_BASE_ADDR_MASK"),
    ("registers::queue_base", "ALLOCATE", 0, 0x4000_0000_0000_0000, Same, Linux, "Q_BASE_RWA"),
    // registers::cmdq_cons
    ("registers::cmdq_cons", "ERR", 0, 0x7f00_0000, Same, Linux, "CMDQ_CONS_ERR"),
    // registers::output_prod
    ("registers::output_prod", "OVFLG", 0, 0x8000_0000, Same, Linux, "Q_OVERFLOW_FLAG"),
    // registers::output_cons
    ("registers::output_cons", "OVACKFLG", 0, 0x8000_0000, Same, Linux, "Q_OVERFLOW_FLAG"),
    // ste::l1std
    ("ste::l1std", "SPAN", 0, 0x1f, Same, Linux, "STRTAB_L1_DESC_SPAN"),
    ("ste::l1std", "L2PTR", 0, 0xf_ffff_ffff_ffc0, Widened, Linux, "STRTAB_L1_DESC_L2PTR_MASK"),
    // ste
    ("ste", "V", 0, 0x1, Same, Linux, "STRTAB_STE_0_V"),
    ("ste", "CONFIG", 0, 0xe, Same, Linux, "STRTAB_STE_0_CFG"),
    ("ste", "S1FMT", 0, 0x30, Same, Linux, "STRTAB_STE_0_S1FMT"),
    ("ste", "S1CONTEXTPTR", 0, 0xf_ffff_ffff_ffc0, Widened, Linux, "STRTAB_STE_0_S1CTXPTR_MASK"),
    ("ste", "S1CDMAX", 0, 0xf800_0000_0000_0000, Same, Linux, "STRTAB_STE_0_S1CDMAX"),
    ("ste", "S1DSS", 1, 0x3, Same, Linux, "STRTAB_STE_1_S1DSS"),
    ("ste", "S1CIR", 1, 0xc, Same, Linux, "STRTAB_STE_1_S1CIR"),
    ("ste", "S1COR", 1, 0x30, Same, Linux, "STRTAB_STE_1_S1COR"),
    ("ste", "S1CSH", 1, 0xc0, Same, Linux, "STRTAB_STE_1_S1CSH"),
    ("ste", "S2HWU59", 1, 0x100, Same, Gem5, "s2hwu59"),
    ("ste", "S2HWU60", 1, 0x200, Same, Gem5, "s2hwu60"),
    ("ste", "S2HWU61", 1, 0x400, Same, Gem5, "s2hwu61"),
    ("ste", "S2HWU62", 1, 0x800, Same, Gem5, "s2hwu62"),
    ("ste", "DRE", 1, 0x1000, Same, Gem5, "dre"),
    ("ste", "CONT", 1, 0x1e000, Same, Gem5, "cont"),
    ("ste", "DCP", 1, 0x20000, Same, Gem5, "dcp"),
    ("ste", "PPAR", 1, 0x40000, Same, Gem5, "ppar"),
    ("ste", "MEV", 1, 0x80000, Same, Gem5, "mev"),
    ("ste", "S1STALLD", 1, 0x800_0000, Same, Linux, "STRTAB_STE_1_S1STALLD"),
    ("ste", "EATS", 1, 0x3000_0000, Same, Linux, "STRTAB_STE_1_EATS"),
    ("ste", "STRW", 1, 0xc000_0000, Same, Linux, "STRTAB_STE_1_STRW"),
    ("ste", "MEMATTR", 1, 0xf_0000_0000, Same, Gem5, "memattr"),
    ("ste", "MTCFG", 1, 0x10_0000_0000, Same, Gem5, "mtcfg"),
    ("ste", "ALLOCCFG", 1, 0x1e0_0000_0000, Same, Gem5, "alloccfg"),
    ("ste", "SHCFG", 1, 0x3000_0000_0000, Same, Linux, "STRTAB_STE_1_SHCFG"),
    ("ste", "NSCFG", 1, 0xc000_0000_0000, Same, Gem5, "nscfg"),
    ("ste", "PRIVCFG", 1, 0x3_0000_0000_0000, Same, Gem5, "privcfg"),
    ("ste", "INSTCFG", 1, 0xc_0000_0000_0000, Same, Gem5, "instcfg"),
    ("ste", "S2VMID", 2, 0xffff, Same, Linux, "STRTAB_STE_2_S2VMID"),
    ("ste", "S2T0SZ", 2, 0x3f_0000_0000, Same, Gem5, "s2t0sz"),
    ("ste", "S2SL0", 2, 0xc0_0000_0000, Same, Gem5, "s2sl0"),
    ("ste", "S2IR0", 2, 0x300_0000_0000, Same, Gem5, "s2ir0"),
    ("ste", "S2OR0", 2, 0xc00_0000_0000, Same, Gem5, "s2or0"),
    ("ste", "S2SH0", 2, 0x3000_0000_0000, Same, Gem5, "s2sh0"),
    ("ste", "S2TG", 2, 0xc000_0000_0000, Same, Gem5, "s2tg"),
    ("ste", "S2PS", 2, 0x7_0000_0000_0000, Same, Gem5, "s2ps"),
    ("ste", "S2AA64", 2, 0x8_0000_0000_0000, Same, Linux, "STRTAB_STE_2_S2AA64"),
    ("ste", "S2ENDI", 2, 0x10_0000_0000_0000, Same, Linux, "STRTAB_STE_2_S2ENDI"),
    ("ste", "S2AFFD", 2, 0x20_0000_0000_0000, Same, Gem5, "s2affd"),
    ("ste", "S2PTW", 2, 0x40_0000_0000_0000, Same, Linux, "STRTAB_STE_2_S2PTW"),
    ("ste", "S2HD", 2, 0x80_0000_0000_0000, Same, Gem5, "s2hd"),
    ("ste", "S2HA", 2, 0x100_0000_0000_0000, Same, Gem5, "s2ha"),
    ("ste", "S2S", 2, 0x200_0000_0000_0000, Same, Linux, "STRTAB_STE_2_S2S"),
    ("ste", "S2R", 2, 0x400_0000_0000_0000, Same, Linux, "STRTAB_STE_2_S2R"),
    ("ste", "S2TTB", 3, 0xf_ffff_ffff_fff0, Widened, Linux, "STRTAB_STE_3_S2TTB_MASK"),
    // cd::l1cd
    ("cd::l1cd", "V", 0, 0x1, Same, Linux, "CTXDESC_L1_DESC_V"),
    ("cd::l1cd", "L2PTR", 0, 0xf_ffff_ffff_f000, Widened, Linux, "CTXDESC_L1_DESC_L2PTR_MASK"),
    // cd
    ("cd", "T0SZ", 0, 0x3f, Same, Linux, "CTXDESC_CD_0_TCR_T0SZ"),
    ("cd", "TG0", 0, 0xc0, Same, Linux, "CTXDESC_CD_0_TCR_TG0"),
    ("cd", "IR0", 0, 0x300, Same, Linux, "CTXDESC_CD_0_TCR_IRGN0"),
    ("cd", "OR0", 0, 0xc00, Same, Linux, "CTXDESC_CD_0_TCR_ORGN0"),
    ("cd", "SH0", 0, 0x3000, Same, Linux, "CTXDESC_CD_0_TCR_SH0"),
    ("cd", "EPD0", 0, 0x4000, Same, Linux, "CTXDESC_CD_0_TCR_EPD0"),
    ("cd", "ENDI", 0, 0x8000, Same, Linux, "CTXDESC_CD_0_ENDI"),
    ("cd", "T1SZ", 0, 0x3f0000, Same, Gem5, "t1sz"),
    ("cd", "TG1", 0, 0xc00000, Same, Gem5, "tg1"),
    ("cd", "IR1", 0, 0x300_0000, Same, Gem5, "ir1"),
    ("cd", "OR1", 0, 0xc00_0000, Same, Gem5, "or1"),
    ("cd", "SH1", 0, 0x3000_0000, Same, Gem5, "sh1"),
    ("cd", "EPD1", 0, 0x4000_0000, Same, Linux, "CTXDESC_CD_0_TCR_EPD1"),
    ("cd", "V", 0, 0x8000_0000, Same, Linux, "CTXDESC_CD_0_V"),
    ("cd", "IPS", 0, 0x7_0000_0000, Same, Linux, "CTXDESC_CD_0_TCR_IPS"),
    ("cd", "AFFD", 0, 0x8_0000_0000, Same, Gem5, "affd"),
    ("cd", "WXN", 0, 0x10_0000_0000, Same, Gem5, "wxn"),
    ("cd", "UWXN", 0, 0x20_0000_0000, Same, Gem5, "uwxn"),
    ("cd", "TBI0", 0, 0x40_0000_0000, Same, Linux, "CTXDESC_CD_0_TCR_TBI0"),
    ("cd", "TBI1", 0, 0x80_0000_0000, Same, Gem5, "tbi"),
    ("cd", "PAN", 0, 0x100_0000_0000, Same, Gem5, "pan"),
    ("cd", "AA64", 0, 0x200_0000_0000, Same, Linux, "CTXDESC_CD_0_AA64"),
    ("cd", "HD", 0, 0x400_0000_0000, Same, Linux, "CTXDESC_CD_0_TCR_HD"),
    ("cd", "HA", 0, 0x800_0000_0000, Same, Linux, "CTXDESC_CD_0_TCR_HA"),
    ("cd", "S", 0, 0x1000_0000_0000, Same, Linux, "CTXDESC_CD_0_S"),
    ("cd", "R", 0, 0x2000_0000_0000, Same, Linux, "CTXDESC_CD_0_R"),
    ("cd", "A", 0, 0x4000_0000_0000, Same, Linux, "CTXDESC_CD_0_A"),
    ("cd", "ASET", 0, 0x8000_0000_0000, Same, Linux, "CTXDESC_CD_0_ASET"),
    ("cd", "ASID", 0, 0xffff_0000_0000_0000, Same, Linux, "CTXDESC_CD_0_ASID"),
    ("cd", "NSCFG0", 1, 0x1, Same, Gem5, "nscfg0"),
    ("cd", "HAD0", 1, 0x2, Same, Gem5, "had0"),
    ("cd", "TTB0", 1, 0xf_ffff_ffff_fff0, Widened, Linux, "CTXDESC_CD_1_TTB0_MASK"),
    ("cd", "HWU059", 1, 0x1000_0000_0000_0000, Same, Gem5, "hwu0g59"),
    ("cd", "HWU060", 1, 0x2000_0000_0000_0000, Same, Gem5, "hwu0g60"),
    ("cd", "SKL0", 1, 0xc000_0000_0000_0000, Same, Gem5, "hwu0g61 and hwu0g62"),
    ("cd", "NSCFG1", 2, 0x1, Same, Gem5, "nscfg1"),
    ("cd", "HAD1", 2, 0x2, Same, Gem5, "had1"),
    ("cd", "TTB1", 2, 0xf_ffff_ffff_fff0, Widened, Gem5, "ttb1"),
    ("cd", "HWU159", 2, 0x1000_0000_0000_0000, Same, Gem5, "hwu1g59"),
    ("cd", "HWU160", 2, 0x2000_0000_0000_0000, Same, Gem5, "hwu1g60"),
    ("cd", "SKL1", 2, 0xc000_0000_0000_0000, Same, Gem5, "hwu1g61 and hwu1g62"),
    ("cd", "MAIR0", 3, 0xffff_ffff, Same, Gem5, "mair"),
    ("cd", "MAIR1", 3, 0xffff_ffff_0000_0000, Same, Gem5, "mair"),
    // command
    ("command", "OPCODE", 0, 0xff, Same, Linux, "CMDQ_0_OP"),
    ("command", "ATC_GLOBAL", 0, 0x200, Same, Linux, "CMDQ_ATC_0_GLOBAL"),
    ("command", "SSEC", 0, 0x400, Same, Qemu, "CMD_SSEC"),
    ("command", "SSV", 0, 0x800, Same, Linux, "CMDQ_0_SSV"),
    ("command", "SUBSTREAM_ID", 0, 0xffff_f000, Same, Linux, "CMDQ_CFGI_0_SSID"),
    ("command", "STREAM_ID", 0, 0xffff_ffff_0000_0000, Same, Linux, "CMDQ_CFGI_0_SID"),
    ("command", "LEAF", 1, 0x1, Same, Linux, "CMDQ_CFGI_1_LEAF"),
    ("command", "RANGE", 1, 0x1f, Same, Linux, "CMDQ_CFGI_1_RANGE"),
    ("command", "TLBI_NUM", 0, 0x1f000, Same, Linux, "CMDQ_TLBI_0_NUM"),
    ("command", "TLBI_VMID", 0, 0xffff_0000_0000, Same, Linux, "CMDQ_TLBI_0_VMID"),
    ("command", "TLBI_ASID", 0, 0xffff_0000_0000_0000, Same, Linux, "CMDQ_TLBI_0_ASID"),
    ("command", "TLBI_TTL", 1, 0x300, Same, Linux, "CMDQ_TLBI_1_TTL"),
    ("command", "TLBI_TG", 1, 0xc00, Same, Linux, "CMDQ_TLBI_1_TG"),
    ("command", "ADDRESS", 1, 0xffff_ffff_ffff_f000, Same, Linux, "CMDQ_TLBI_1_VA_MASK"),
    ("command", "IPA", 1, 0xf_ffff_ffff_f000, Widened, Linux, "CMDQ_TLBI_1_IPA_MASK"),
    ("command", "ATC_SIZE", 1, 0x3f, Same, Linux, "CMDQ_ATC_1_SIZE"),
    ("command", "PREFETCH_SIZE", 1, 0x1f, Same, Linux, "CMDQ_PREFETCH_1_SIZE"),
    ("command", "PRG_INDEX", 1, 0x1ff, Same, Linux, "CMDQ_PRI_1_GRPID"),
    ("command", "PRI_RESPONSE", 1, 0x3000, Same, Linux, "CMDQ_PRI_1_RESP"),
    ("command", "RESUME_AC", 0, 0x1000, Same, Qemu, "CMD_RESUME_AC"),
    ("command", "RESUME_AB", 0, 0x2000, Same, Qemu, "CMD_RESUME_AB"),
    ("command", "RESUME_STAG", 1, 0xffff, Same, Linux, "CMDQ_RESUME_1_STAG"),
    ("command", "SYNC_CS", 0, 0x3000, Same, Linux, "CMDQ_SYNC_0_CS"),
    ("command", "SYNC_MSH", 0, 0xc00000, Same, Linux, "CMDQ_SYNC_0_MSH"),
    ("command", "SYNC_MSIATTR", 0, 0xf00_0000, Same, Linux, "CMDQ_SYNC_0_MSIATTR"),
    ("command", "SYNC_MSIDATA", 0, 0xffff_ffff_0000_0000, Same, Linux, "CMDQ_SYNC_0_MSIDATA"),
    ("command", "SYNC_MSIADDRESS", 1, 0xf_ffff_ffff_fffc, Widened, Linux, "CMDQ_SYNC_1_MSIADDR_MASK"),
    // event
    ("event", "ID", 0, 0xff, Same, Linux, "EVTQ_0_ID"),
    ("event", "SSV", 0, 0x800, Same, Linux, "EVTQ_0_SSV"),
    ("event", "SUBSTREAM_ID", 0, 0xffff_f000, Same, Linux, "EVTQ_0_SSID"),
    ("event", "STREAM_ID", 0, 0xffff_ffff_0000_0000, Same, Linux, "EVTQ_0_SID"),
    ("event", "STAG", 1, 0xffff, Same, Linux, "EVTQ_1_STAG"),
    ("event", "STALL", 1, 0x8000_0000, Same, Linux, "EVTQ_1_STALL"),
    ("event", "PNU", 1, 0x2_0000_0000, Same, Linux, "EVTQ_1_PnU"),
    ("event", "IND", 1, 0x4_0000_0000, Same, Linux, "EVTQ_1_InD"),
    ("event", "RNW", 1, 0x8_0000_0000, Same, Linux, "EVTQ_1_RnW"),
    ("event", "S2", 1, 0x80_0000_0000, Same, Linux, "EVTQ_1_S2"),
    ("event", "CLASS", 1, 0x300_0000_0000, Same, Linux, "EVTQ_1_CLASS"),
    ("event", "TTRNW", 1, 0x1000_0000_0000, Same, Linux, "EVTQ_1_TT_READ"),
    ("event", "INPUT_ADDR", 2, 0xffff_ffff_ffff_ffff, Same, Linux, "EVTQ_2_ADDR"),
    ("event", "IPA", 3, 0xf_ffff_ffff_f000, Widened, Linux, "EVTQ_3_IPA"),
    // pri
    ("pri", "STREAM_ID", 0, 0xffff_ffff, Same, Linux, "PRIQ_0_SID"),
    ("pri", "SUBSTREAM_ID", 0, 0xf_ffff_0000_0000, Same, Linux, "PRIQ_0_SSID"),
    ("pri", "PRIVILEGED", 0, 0x400_0000_0000_0000, Same, Linux, "PRIQ_0_PERM_PRIV"),
    ("pri", "EXECUTE", 0, 0x800_0000_0000_0000, Same, Linux, "PRIQ_0_PERM_EXEC"),
    ("pri", "READ", 0, 0x1000_0000_0000_0000, Same, Linux, "PRIQ_0_PERM_READ"),
    ("pri", "WRITE", 0, 0x2000_0000_0000_0000, Same, Linux, "PRIQ_0_PERM_WRITE"),
    ("pri", "LAST", 0, 0x4000_0000_0000_0000, Same, Linux, "PRIQ_0_PRG_LAST"),
    ("pri", "SSV", 0, 0x8000_0000_0000_0000, Same, Linux, "PRIQ_0_SSID_V"),
    ("pri", "PRG_INDEX", 1, 0x1ff, Same, Linux, "PRIQ_1_PRG_IDX"),
    ("pri", "PAGE_ADDR", 1, 0xffff_ffff_ffff_f000, Same, Linux, "PRIQ_1_ADDR_MASK"),
    // Fields that only the specification has, copied from its headings and tables, not from the constants.
    ("registers::idr0", "ATSRECERR", 0, 0x80_0000, Same, Spec, "6.3.1 [23]"),
    ("registers::idr0", "RME_IMPL", 0, 0x4000_0000, Same, Spec, "6.3.1 [30]"),
    ("registers::idr1", "ECMDQ", 0, 0x8000_0000, Same, Spec, "6.3.2 [31]"),
    ("registers::idr3", "PBHA", 0, 0x8, Same, Spec, "6.3.4 [3]"),
    ("registers::idr3", "XNX", 0, 0x10, Same, Spec, "6.3.4 [4]"),
    ("registers::idr3", "PPS", 0, 0x20, Same, Spec, "6.3.4 [5]"),
    ("registers::idr3", "MPAM", 0, 0x80, Same, Spec, "6.3.4 [7]"),
    ("registers::idr3", "FWB", 0, 0x100, Same, Spec, "6.3.4 [8]"),
    ("registers::idr3", "STT", 0, 0x200, Same, Spec, "6.3.4 [9]"),
    ("registers::idr3", "E0PD", 0, 0x2000, Same, Spec, "6.3.4 [13]"),
    ("registers::idr3", "PTWNNC", 0, 0x4000, Same, Spec, "6.3.4 [14]"),
    ("registers::idr3", "DPT", 0, 0x8000, Same, Spec, "6.3.4 [15]"),
    ("registers::idr3", "PASIDTT", 0, 0x1_0000, Same, Spec, "6.3.4 [16]"),
    ("registers::idr3", "EPAN", 0, 0x2_0000, Same, Spec, "6.3.4 [17]"),
    ("registers::idr3", "S1PI", 0, 0x4_0000, Same, Spec, "6.3.4 [18]"),
    ("registers::idr3", "S2PI", 0, 0x8_0000, Same, Spec, "6.3.4 [19]"),
    ("registers::idr3", "S2PO", 0, 0x10_0000, Same, Spec, "6.3.4 [20]"),
    ("registers::idr3", "THE", 0, 0x20_0000, Same, Spec, "6.3.4 [21]"),
    ("registers::idr3", "MTEPERM", 0, 0x40_0000, Same, Spec, "6.3.4 [22]"),
    ("registers::idr3", "AIE", 0, 0x80_0000, Same, Spec, "6.3.4 [23]"),
    ("registers::idr5", "DS", 0, 0x80, Same, Spec, "6.3.6 [7]"),
    ("registers::idr5", "D128", 0, 0x100, Same, Spec, "6.3.6 [8]"),
    ("registers::aidr", "ARCH_MINOR_REV", 0, 0xf, Same, Spec, "6.3.8 [3:0]"),
    ("registers::aidr", "ARCH_MAJOR_REV", 0, 0xf0, Same, Spec, "6.3.8 [7:4]"),
    ("registers::cr0", "DPT_WALK_EN", 0, 0x400, Same, Spec, "6.3.9 [10]"),
    ("registers::cr2", "REC_CFG_ATS", 0, 0x8, Same, Spec, "6.3.12 [3]"),
    ("registers::gbpa", "MEMATTR", 0, 0xf, Same, Spec, "6.3.14 [3:0]"),
    ("registers::gbpa", "MTCFG", 0, 0x10, Same, Spec, "6.3.14 [4]"),
    ("registers::gbpa", "ALLOCCFG", 0, 0xf00, Same, Spec, "6.3.14 [11:8]"),
    ("registers::gbpa", "SHCFG", 0, 0x3000, Same, Spec, "6.3.14 [13:12]"),
    ("registers::gbpa", "PRIVCFG", 0, 0x3_0000, Same, Spec, "6.3.14 [17:16]"),
    ("registers::gbpa", "INSTCFG", 0, 0xc_0000, Same, Spec, "6.3.14 [19:18]"),
    ("registers::gerror", "CMDQP_ERR", 0, 0x200, Same, Spec, "6.3.19 [9]"),
    ("registers::gerror", "DPT_ERR", 0, 0x400, Same, Spec, "6.3.19 [10]"),
    ("registers::irq_cfg1", "DATA", 0, 0xffff_ffff, Same, Spec, "6.3.22 [31:0]"),
    ("registers::irq_cfg2", "LO", 0, 0x8000_0000, Same, Spec, "6.3.36 [31]"),
    ("registers::cmdq_prod", "WR", 0, 0xf_ffff, Same, Spec, "6.3.27 [19:0]"),
    ("registers::cmdq_cons", "RD", 0, 0xf_ffff, Same, Spec, "6.3.28 [19:0]"),
    ("registers::output_prod", "WR", 0, 0xf_ffff, Same, Spec, "6.3.95 [19:0]"),
    ("registers::output_cons", "RD", 0, 0xf_ffff, Same, Spec, "6.3.96 [19:0]"),
    ("ste", "SW_RESERVED", 1, 0xf0_0000, Same, Spec, "5.2 [87:84]"),
    ("ste", "S1PIE", 1, 0x100_0000, Same, Spec, "5.2 [88]"),
    ("ste", "S2FWB", 1, 0x200_0000, Same, Spec, "5.2 [89]"),
    ("ste", "S1MPAM", 1, 0x400_0000, Same, Spec, "5.2 [90]"),
    ("ste", "IMPDEF_1", 1, 0xfff0_0000_0000_0000, Same, Spec, "5.2 [127:116]"),
    ("ste", "IMPDEF_2", 2, 0xffff_0000, Same, Spec, "5.2 [159:144]"),
    ("ste", "S2HAFT", 2, 0x800_0000_0000_0000, Same, Spec, "5.2 [187]"),
    ("ste", "S2PIE", 2, 0x1000_0000_0000_0000, Same, Spec, "5.2 [188]"),
    ("ste", "S2POE", 2, 0x2000_0000_0000_0000, Same, Spec, "5.2 [189]"),
    ("ste", "DPT_VMATCH", 2, 0xc000_0000_0000_0000, Same, Spec, "5.2 [191:190]"),
    ("ste", "S2NSW", 3, 0x1, Same, Spec, "5.2 [192]"),
    ("ste", "S2NSA", 3, 0x2, Same, Spec, "5.2 [193]"),
    ("ste", "S2SL0_2", 3, 0x4, Same, Spec, "5.2 [194]"),
    ("ste", "S2DS", 3, 0x8, Same, Spec, "5.2 [195]"),
    ("ste", "S2SKL", 3, 0x6000_0000_0000_0000, Same, Spec, "5.2 [254:253]"),
    ("ste", "PARTID", 4, 0xffff_0000, Same, Spec, "5.2 [287:272]"),
    ("ste", "MECID", 4, 0xffff_0000_0000_0000, Same, Spec, "5.2 [319:304]"),
    ("ste", "PMG", 5, 0xff, Same, Spec, "5.2 [327:320]"),
    ("ste", "MPAM_NS", 5, 0x100, Same, Spec, "5.2 [328]"),
    ("ste", "ASSURED_ONLY", 5, 0x200, Same, Spec, "5.2 [329]"),
    ("ste", "TL0", 5, 0x400, Same, Spec, "5.2 [330]"),
    ("ste", "TL1", 5, 0x800, Same, Spec, "5.2 [331]"),
    ("ste", "VMSPTR", 5, 0xff_ffff_ffff_f000, Same, Spec, "5.2 [375:332]"),
    ("cd", "E0PD0", 1, 0x4, Same, Spec, "5.4 [66]"),
    ("cd", "HAFT", 1, 0x8, Same, Spec, "5.4 [67]"),
    ("cd", "PNCH", 1, 0x400_0000_0000_0000, Same, Spec, "5.4 [122]"),
    ("cd", "EPAN", 1, 0x800_0000_0000_0000, Same, Spec, "5.4 [123]"),
    ("cd", "E0PD1", 2, 0x4, Same, Spec, "5.4 [130]"),
    ("cd", "AIE", 2, 0x8, Same, Spec, "5.4 [131]"),
    ("cd", "DS", 2, 0x400_0000_0000_0000, Same, Spec, "5.4 [186]"),
    ("cd", "PIE", 2, 0x800_0000_0000_0000, Same, Spec, "5.4 [187]"),
    ("cd", "AMAIR0", 4, 0xffff_ffff, Same, Spec, "5.4 [287:256]"),
    ("cd", "AMAIR1", 4, 0xffff_ffff_0000_0000, Same, Spec, "5.4 [319:288]"),
    ("cd", "IMPDEF", 5, 0xffff_ffff, Same, Spec, "5.4 [351:320]"),
    ("cd", "PARTID", 5, 0xffff_0000_0000, Same, Spec, "5.4 [367:352]"),
    ("cd", "PMG", 5, 0xff_0000_0000_0000, Same, Spec, "5.4 [375:368]"),
    ("command", "TLBI_SCALE", 0, 0x3f0_0000, Same, Spec, "4.4.1.1 [25:20]"),
    ("command", "TLBI_TTL128", 1, 0x80, Same, Spec, "4.4.1.1 [71]"),
    ("event", "REASON", 1, 0xffff, Same, Spec, "7.3.2 [79:64]"),
    ("event", "GPCF", 1, 0x1_0000, Same, Spec, "7.3.4 [80]"),
    ("event", "NSIPA", 1, 0x10_0000_0000, Same, Spec, "7.3.13 [100]"),
    ("event", "FETCH_ADDR", 3, 0xff_ffff_ffff_fff8, Same, Spec, "7.3.4 [247:195]"),
];

const MODULES: &[(&str, &[(&str, crate::Field)])] = &[
    ("registers::idr0", registers::idr0::ALL),
    ("registers::idr1", registers::idr1::ALL),
    ("registers::idr3", registers::idr3::ALL),
    ("registers::idr5", registers::idr5::ALL),
    ("registers::iidr", registers::iidr::ALL),
    ("registers::aidr", registers::aidr::ALL),
    ("registers::cr0", registers::cr0::ALL),
    ("registers::cr1", registers::cr1::ALL),
    ("registers::cr2", registers::cr2::ALL),
    ("registers::gbpa", registers::gbpa::ALL),
    ("registers::irq_ctrl", registers::irq_ctrl::ALL),
    ("registers::gerror", registers::gerror::ALL),
    ("registers::irq_cfg0", registers::irq_cfg0::ALL),
    ("registers::irq_cfg1", registers::irq_cfg1::ALL),
    ("registers::irq_cfg2", registers::irq_cfg2::ALL),
    ("registers::strtab_base", registers::strtab_base::ALL),
    ("registers::strtab_base_cfg", registers::strtab_base_cfg::ALL),
    ("registers::queue_base", registers::queue_base::ALL),
    ("registers::cmdq_prod", registers::cmdq_prod::ALL),
    ("registers::cmdq_cons", registers::cmdq_cons::ALL),
    ("registers::output_prod", registers::output_prod::ALL),
    ("registers::output_cons", registers::output_cons::ALL),
    ("ste::l1std", ste::l1std::ALL),
    ("ste", ste::ALL),
    ("cd::l1cd", cd::l1cd::ALL),
    ("cd", cd::ALL),
    ("command", command::ALL),
    ("event", event::ALL),
    ("pri", pri::ALL),
];

#[test]
fn every_field_is_where_others_have_it() {
    for &(module, name, word, mask, width, source, theirs) in OUTSIDE {
        let fields = MODULES.iter().find(|m| m.0 == module).expect("a module of this list").1;
        let field = fields.iter().find(|f| f.0 == name).unwrap_or_else(|| panic!("{module}::{name}")).1;
        let ours = match width {
            Same => field.mask(),
            Widened => field.mask() & !0x00f0_0000_0000_0000,
        };
        assert_eq!((field.word, ours), (word, mask), "{module}::{name}, {source:?} {theirs}");
        if matches!(width, Widened) {
            assert_eq!(field.mask() >> 52, 0xf, "{module}::{name} ends at bit 55");
        }
    }
}

#[test]
fn no_field_is_left_out() {
    for (module, fields) in MODULES {
        for (name, _) in *fields {
            assert_eq!(
                OUTSIDE.iter().filter(|o| o.0 == *module && o.1 == *name).count(),
                1,
                "{module}::{name}"
            );
        }
    }
}

#[test]
fn fields_of_structures_do_not_overlap() {
    for (module, fields) in MODULES {
        // Commands and events share words between kinds of entry, so they overlap by design.
        if matches!(*module, "command" | "event") {
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
    // FreeBSD's smmureg.h; page 1 registers as it gives them, from the start of page 0. IDR6: 6.3.45.
    #[rustfmt::skip]
    let outside = [
        ("IDR0", 0x000), ("IDR1", 0x004), ("IDR2", 0x008), ("IDR3", 0x00c), ("IDR4", 0x010), ("IDR5", 0x014),
        ("IIDR", 0x018), ("AIDR", 0x01c), ("CR0", 0x020), ("CR0ACK", 0x024), ("CR1", 0x028), ("CR2", 0x02c),
        ("STATUSR", 0x040), ("GBPA", 0x044), ("AGBPA", 0x048), ("IRQ_CTRL", 0x050), ("IRQ_CTRLACK", 0x054),
        ("GERROR", 0x060), ("GERRORN", 0x064), ("GERROR_IRQ_CFG0", 0x068), ("GERROR_IRQ_CFG1", 0x070),
        ("GERROR_IRQ_CFG2", 0x074), ("STRTAB_BASE", 0x080), ("STRTAB_BASE_CFG", 0x088), ("CMDQ_BASE", 0x090),
        ("CMDQ_PROD", 0x098), ("CMDQ_CONS", 0x09c), ("EVENTQ_BASE", 0x0a0), ("EVENTQ_IRQ_CFG0", 0x0b0),
        ("EVENTQ_IRQ_CFG1", 0x0b8), ("EVENTQ_IRQ_CFG2", 0x0bc), ("PRIQ_BASE", 0x0c0), ("PRIQ_IRQ_CFG0", 0x0d0),
        ("PRIQ_IRQ_CFG1", 0x0d8), ("PRIQ_IRQ_CFG2", 0x0dc), ("IDR6", 0x190), ("EVENTQ_PROD", 0x100a8),
        ("EVENTQ_CONS", 0x100ac), ("PRIQ_PROD", 0x100c8), ("PRIQ_CONS", 0x100cc),
    ];
    assert_eq!(registers::OFFSETS, outside);
}

#[test]
fn codes_are_what_others_have() {
    use command::opcode::*;
    // QEMU's SMMUCommandType and SMMUEventType.
    let commands = [
        (PREFETCH_CONFIG, 0x01),
        (PREFETCH_ADDR, 0x02),
        (CFGI_STE, 0x03),
        (CFGI_STE_RANGE, 0x04),
        (CFGI_CD, 0x05),
        (CFGI_CD_ALL, 0x06),
        (TLBI_NH_ALL, 0x10),
        (TLBI_NH_ASID, 0x11),
        (TLBI_NH_VA, 0x12),
        (TLBI_NH_VAA, 0x13),
        (TLBI_EL3_ALL, 0x18),
        (TLBI_EL3_VA, 0x1a),
        (TLBI_EL2_ALL, 0x20),
        (TLBI_EL2_ASID, 0x21),
        (TLBI_EL2_VA, 0x22),
        (TLBI_EL2_VAA, 0x23),
        (TLBI_S12_VMALL, 0x28),
        (TLBI_S2_IPA, 0x2a),
        (TLBI_NSNH_ALL, 0x30),
        (ATC_INV, 0x40),
        (PRI_RESP, 0x41),
        (RESUME, 0x44),
        (STALL_TERM, 0x45),
        (SYNC, 0x46),
    ];
    for (ours, theirs) in commands {
        assert_eq!(ours, theirs);
    }
    let events = [
        (0x01, "F_UUT"),
        (0x02, "C_BAD_STREAMID"),
        (0x03, "F_STE_FETCH"),
        (0x04, "C_BAD_STE"),
        (0x05, "F_BAD_ATS_TREQ"),
        (0x06, "F_STREAM_DISABLED"),
        (0x07, "F_TRANSL_FORBIDDEN"),
        (0x08, "C_BAD_SUBSTREAMID"),
        (0x09, "F_CD_FETCH"),
        (0x0a, "C_BAD_CD"),
        (0x0b, "F_WALK_EABT"),
        (0x10, "F_TRANSLATION"),
        (0x11, "F_ADDR_SIZE"),
        (0x12, "F_ACCESS"),
        (0x13, "F_PERMISSION"),
        (0x20, "F_TLB_CONFLICT"),
        (0x21, "F_CFG_CONFLICT"),
        (0x24, "E_PAGE_REQUEST"),
    ];
    for (code, text) in events {
        assert_eq!(event::name(code), Some(text));
    }
    assert_eq!((0..=0xff).filter(|&id| event::name(id).is_some()).count(), 19, "and F_VMS_FETCH, 7.3.20");
}
