//! Models as firmware describes the hardware.

use crate::{
    rig::{Rig, Told},
    running::UnitTraits,
};
use ioward::{
    drivers::{riscv, smmuv3},
    spec::amdvi::features::efr,
    types::describe::{AmdVi, RiscV, SmmuV3, VtD},
};
use ioward_models::{
    amdvi::AmdViConfig, riscv::Features as RiscVFeatures, smmuv3::Features, virtio::VirtioIommuConfig,
    vtd::VtdConfig,
};

/// The most StreamID bits that the driver's Stream table is made for here.
const MOST_SOURCE_BITS: u8 = 24;

/// Puts an SMMUv3 on the fabric. What its table does not say (stages, widths, queues) is that of a large SMMUv3.2.
/// `largest`: the largest source that the table names.
pub fn smmu(rig: &mut Rig, id: u32, firmware: &SmmuV3, largest: u32) -> UnitTraits {
    let bits = (32 - largest.leading_zeros()) as u8;
    let usual = Features::default();
    let features = Features {
        coherent: firmware.coherent.unwrap_or(usual.coherent),
        httu: firmware.httu.unwrap_or(usual.httu).min(2),
        sid_bits: usual.sid_bits.max(bits),
        ..usual
    };
    rig.smmu(id, features);
    let source_bits = features.sid_bits.min(MOST_SOURCE_BITS);
    rig.tell(id, Told::Smmu(smmuv3::Config { firmware: *firmware, source_bits, ..Default::default() }));
    UnitTraits { no_stage2: !features.stage2, pasid_bits: features.ssid_bits }
}

/// Puts an AMD-Vi unit on the fabric, with the features that the IVRS images say. `largest`: the largest device ID that it
/// serves.
pub fn amd(rig: &mut Rig, id: u32, described: &AmdVi, largest: u16) -> UnitTraits {
    let config = amd_config(described);
    let pasid_bits = if config.guest_translation { config.pasid_bits } else { 0 };
    rig.amd(id, config);
    rig.tell(id, Told::Amd(*described, largest));
    UnitTraits { no_stage2: false, pasid_bits }
}

/// Puts a VT-d unit on the fabric. What its table does not say (modes, widths) is that of a recent server; addresses are as
/// wide as the table says.
pub fn vtd(rig: &mut Rig, id: u32, described: &VtD) -> UnitTraits {
    let usual = VtdConfig::default();
    let config = VtdConfig {
        interrupt_remapping: described.interrupt_remapping,
        x2apic: described.interrupt_remapping && !described.x2apic_opt_out,
        host_bits: if (32..=52).contains(&described.host_bits) {
            described.host_bits
        } else {
            usual.host_bits
        },
        ..usual
    };
    let pasid_bits = config.pasid_bits;
    rig.vtd(id, config);
    rig.tell(id, Told::Vtd(*described));
    UnitTraits { no_stage2: false, pasid_bits }
}

/// Puts a RISC-V IOMMU on the fabric: a large one, coherent or not as firmware says. `largest`: the largest source that
/// firmware names.
pub fn riscv(rig: &mut Rig, id: u32, firmware: &RiscV, largest: u32) -> UnitTraits {
    let features = RiscVFeatures { coherent: firmware.coherent.unwrap_or(true), ..RiscVFeatures::default() };
    rig.riscv(id, features);
    let config =
        riscv::Config { firmware: *firmware, last_source: largest.max(0xffff), ..Default::default() };
    rig.tell(id, Told::RiscV(config));
    UnitTraits { no_stage2: false, pasid_bits: 20 }
}

/// Puts a virtio-iommu on the fabric, as QEMU makes it.
pub fn virtio(rig: &mut Rig, id: u32) -> UnitTraits {
    rig.virtio(id, VirtioIommuConfig::default());
    UnitTraits { no_stage2: false, pasid_bits: 0 }
}

/// IVHD flags, bit 4: devices may cache translations (48882, table of IVHD flags).
const IOTLB_SUP: u8 = 1 << 4;

fn amd_config(described: &AmdVi) -> AmdViConfig {
    // IVinfo: PASize in 14:8, VASize in 21:15 (48882, IVRS header). Zero where firmware does not say.
    let field = |low: u32| (described.ivinfo >> low & 0x7f) as u8;
    let (physical, virtual_) = (field(8), field(15));
    let minimal = AmdViConfig {
        iotlb: described.flags & IOTLB_SUP != 0,
        // The Coherent flag is what firmware recommends for the control register; walks snoop in either case.
        coherent: true,
        physical_bits: if (32..=52).contains(&physical) { physical } else { 48 },
        virtual_bits: if matches!(virtual_, 32 | 40 | 48 | 64) { virtual_ } else { 64 },
        ..AmdViConfig::minimal()
    };
    match (described.efr, described.features) {
        (Some(image), _) => from_efr(image, minimal),
        (None, Some(field)) => from_features(field, minimal),
        (None, None) => minimal,
    }
}

/// From the image of the extended feature register (blocks 11h and 40h).
fn from_efr(image: u64, minimal: AmdViConfig) -> AmdViConfig {
    let is = |field: ioward::spec::Field| field.of(image) != 0;
    AmdViConfig {
        host_levels: efr::hats_levels(efr::HATS.of(image)),
        guest_translation: is(efr::GT_SUP),
        guest_levels: efr::gats_levels(efr::GATS.of(image)).unwrap_or(4).min(5),
        gcr3_levels: (efr::GLX_SUP.of(image) as u8 + 1).min(3),
        pasid_bits: (efr::PAS_MAX.of(image) as u8 + 1).min(20),
        guest_io: is(efr::GIO_SUP),
        invalidate_all: is(efr::IA_SUP),
        prefetch: is(efr::PREF_SUP),
        page_requests: is(efr::PPR_SUP),
        enhanced_page_requests: is(efr::EPH_SUP),
        accessed: is(efr::HA_SUP),
        dirty: is(efr::HD_SUP),
        attribute_override: is(efr::ATTR_FW_SUP),
        hardware_events: is(efr::HE_SUP),
        device_table_segments: efr::DEV_TBL_SEG_SUP.of(image) as u8,
        ..minimal
    }
}

/// From the feature reporting field of a 10h block: HATS 31:30, GATS 29:28, PASmax 12:8, HESup 7, IASup 5, GLXSup 4:3,
/// GTSup 2 (48882, IVHD type 10h).
fn from_features(field: u32, minimal: AmdViConfig) -> AmdViConfig {
    let bits = |high: u32, low: u32| field >> low & ((1 << (high - low + 1)) - 1);
    AmdViConfig {
        host_levels: efr::hats_levels(bits(31, 30).into()),
        guest_translation: bits(2, 2) != 0,
        guest_levels: efr::gats_levels(bits(29, 28).into()).unwrap_or(4).min(5),
        gcr3_levels: (bits(4, 3) as u8 + 1).min(3),
        pasid_bits: (bits(12, 8) as u8 + 1).min(20),
        invalidate_all: bits(5, 5) != 0,
        hardware_events: bits(7, 7) != 0,
        ..minimal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_the_feature_register_survives_the_model() {
        // A desktop's: PreFSup, PPRSup, NXSup, GTSup, IASup, GASup, HESup, PCSup, HATS 2, GATS 0, GLXSup 1, PASmax 15.
        let image = 0x000f_77ef_2229_4ade;
        let config = from_efr(image, AmdViConfig::minimal());
        for field in [efr::GT_SUP, efr::IA_SUP, efr::HATS, efr::GLX_SUP, efr::PAS_MAX, efr::PPR_SUP] {
            assert_eq!(field.of(config.efr()), field.of(image), "{field:?}");
        }
    }

    #[test]
    fn a_basic_block_says_levels_and_guest_translation() {
        let config = from_features(2 << 30 | 15 << 8 | 1 << 5 | 1 << 3 | 1 << 2, AmdViConfig::minimal());
        assert_eq!(config.host_levels, Some(6));
        assert!(config.guest_translation && config.invalidate_all && !config.hardware_events);
        assert_eq!((config.pasid_bits, config.gcr3_levels), (16, 2));
    }
}
