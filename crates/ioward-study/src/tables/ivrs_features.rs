//! The feature fields of an IVRS's hardware definitions.

use super::part::{Layout, bit, bits};
use ioward_spec::{
    Field,
    amdvi::features::{efr, efr2},
};

/// A field whose place `ioward-spec` knows.
const fn at(field: Field, name: &'static str) -> Layout {
    let mask = field.mask();
    bits(63 - mask.leading_zeros() as u8, mask.trailing_zeros() as u8, name)
}

const LEVELS: &[&str] = &["4 levels", "5 levels", "6 levels", "none"];
const CR3_LEVELS: &[&str] = &["1 level", "2 levels", "3 levels", "reserved"];

/// IVinfo (table 82).
pub const IV_INFO: [Layout; 6] = [
    bit(0, "EFRSup"),
    bit(1, "DMA Remap Support").values(&["", "firmware asks for DMA remapping before it hands over"]),
    bits(7, 5, "GVASize").values(&["", "", "48 bits", "", "57 bits"]),
    bits(14, 8, "PASize"),
    bits(21, 15, "VASize"),
    bit(22, "HtAtsResv").values(&["", "the HyperTransport range is not to be used with ATS"]),
];

/// Flags of type 10h, of which types 11h and 40h have the lower six (tables 83 and 84).
pub const FLAGS: [Layout; 8] = [
    bit(0, "HtTunEn"),
    bit(1, "PassPW"),
    bit(2, "ResPassPW"),
    bit(3, "Isoc"),
    bit(4, "IotlbSup"),
    bit(5, "Coherent"),
    bit(6, "PreFSup"),
    bit(7, "PPRSup"),
];

/// IOMMU info (table 85).
pub const INFO: [Layout; 2] = [bits(4, 0, "MsiNum"), bits(12, 8, "UnitID")];

/// Feature reporting of type 10h (table 86).
pub const FEATURES: [Layout; 13] = [
    bit(0, "XTSup"),
    bit(1, "NXSup"),
    bit(2, "GTSup"),
    bits(4, 3, "GLXSup").values(CR3_LEVELS),
    bit(5, "IASup"),
    bit(6, "GASup"),
    bit(7, "HESup"),
    bits(12, 8, "PASmax"),
    bits(16, 13, "PNCounters"),
    bits(22, 17, "PNBanks"),
    bits(27, 23, "MsiNumPPR"),
    bits(29, 28, "GATS").values(LEVELS),
    bits(31, 30, "HATS").values(LEVELS),
];

/// Attributes of types 11h and 40h (table 87).
pub const ATTRIBUTES: [Layout; 3] =
    [bits(16, 13, "PNCounters"), bits(22, 17, "PNBanks"), bits(27, 23, "MsiNumPPR")];

/// The image of the extended feature register.
pub const EFR: [Layout; 42] = [
    at(efr::PREF_SUP, "PreFSup"),
    at(efr::PPR_SUP, "PPRSup"),
    at(efr::XT_SUP, "XTSup"),
    at(efr::NX_SUP, "NXSup"),
    at(efr::GT_SUP, "GTSup"),
    at(efr::GAPPI_SUP, "GAPPISup"),
    at(efr::IA_SUP, "IASup"),
    at(efr::GA_SUP, "GASup"),
    at(efr::HE_SUP, "HESup"),
    at(efr::PC_SUP, "PCSup"),
    at(efr::HATS, "HATS").values(LEVELS),
    at(efr::GATS, "GATS").values(LEVELS),
    at(efr::GLX_SUP, "GLXSup").values(CR3_LEVELS),
    at(efr::SMIF_SUP, "SmiFSup"),
    at(efr::SMIF_RC, "SmiFRC"),
    at(efr::GAM_SUP, "GAMSup"),
    at(efr::DUAL_PPR_LOG_SUP, "DualPprLogSup"),
    at(efr::DUAL_EVENT_LOG_SUP, "DualEventLogSup"),
    at(efr::SATS_SUP, "SATSSup"),
    at(efr::PAS_MAX, "PASmax"),
    at(efr::US_SUP, "USSup"),
    at(efr::DEV_TBL_SEG_SUP, "DevTblSegSup"),
    at(efr::PPR_OVRFLW_EARLY_SUP, "PprOvrflwEarlySup"),
    at(efr::PPR_AUTO_RSP_SUP, "PPRAutoRspSup"),
    at(efr::MARC_SUP, "MarcSup"),
    at(efr::BLK_STOP_MRK_SUP, "BlkStopMrkSup"),
    at(efr::PERF_OPT_SUP, "PerfOptSup"),
    at(efr::MSI_CAP_MMIO_SUP, "MsiCapMmioSup"),
    at(efr::GIO_SUP, "GIoSup"),
    at(efr::HA_SUP, "HASup"),
    at(efr::EPH_SUP, "EPHSup"),
    at(efr::ATTR_FW_SUP, "AttrFWSup"),
    at(efr::HD_SUP, "HDSup"),
    at(efr::INV_IOTLB_TYPE_SUP, "InvIotlbTypeSup"),
    at(efr::VIOMMU_SUP, "vIommuSup"),
    at(efr::VM_GUARD_IO_SUP, "VMGuardIOSup"),
    at(efr::VM_TABLE_SIZE, "VMTableSize"),
    at(efr::GA_UPDATE_DIS_SUP, "GAUpdateDisSup"),
    at(efr::SNP_SUP, "SNPSup"),
    // Between those above, without a field of its own there.
    bit(47, "reserved"),
    bit(53, "reserved"),
    bit(62, "ForcePhyDestSup"),
];

/// The image of the second extended feature register.
pub const EFR2: [Layout; 6] = [
    at(efr2::TMPM_SUP, "TMPMSup"),
    at(efr2::GCR3_TRP_MODE_SUP, "GCR3TRPModeSup"),
    at(efr2::GAPPI_DIS_SUP, "GAPPIDisSup"),
    at(efr2::SNP_AVIC_SUP, "SnpAvicSup"),
    at(efr2::NUM_INT_REMAP_SUP, "NumIntRemapSup").values(&["512 interrupts", "2048 interrupts"]),
    at(efr2::HT_RANGE_IGNORE, "HtRangeIgnore"),
];

/// The data-setting byte of a device entry (table 97).
pub const SETTING: [Layout; 6] = [
    bit(0, "INITPass"),
    bit(1, "EIntPass"),
    bit(2, "NMIPass"),
    bits(5, 4, "SysMgt").values(&[
        "",
        "system management messages pass if posted",
        "system management messages are interrupts",
        "system management messages are translated",
    ]),
    bit(6, "Lint0Pass"),
    bit(7, "Lint1Pass"),
];

/// Flags of a memory definition (table 99).
pub const MEMORY_FLAGS: [Layout; 4] = [
    bit(0, "Unity").values(&["", "mapped one to one"]),
    bit(1, "IR").values(&["", "readable"]),
    bit(2, "IW").values(&["", "writable"]),
    bit(3, "ExclRange").values(&["", "not translated"]),
];
