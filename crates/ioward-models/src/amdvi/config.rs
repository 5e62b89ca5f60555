//! What an AMD-Vi unit can do: its extended feature registers and its capability block.

use ioward_spec::amdvi::{capability, features::efr};

/// What a model offers. [`AmdViConfig::default`] is a unit of a recent server.
#[derive(Clone, Debug)]
pub struct AmdViConfig {
    /// Names it in violations.
    pub name: String,
    /// Levels of host tables, 4 to 6; none: host translation is off (EFR.HATS).
    pub host_levels: Option<u8>,
    /// Guest translation (EFR.GTSup).
    pub guest_translation: bool,
    /// Levels of guest tables, 4 or 5 (EFR.GATS).
    pub guest_levels: u8,
    /// Levels of guest CR3 tables, 1 to 3 (EFR.GLXSup).
    pub gcr3_levels: u8,
    /// PASID bits, 1 to 20 (EFR.PASmax).
    pub pasid_bits: u8,
    /// Requests without PASID may use guest tables (EFR.GIoSup).
    pub guest_io: bool,
    /// INVALIDATE_IOMMU_ALL (EFR.IASup).
    pub invalidate_all: bool,
    /// PREFETCH_IOMMU_PAGES (EFR.PreFSup).
    pub prefetch: bool,
    /// Page requests (EFR.PPRSup).
    pub page_requests: bool,
    /// Enhanced page request handling: DTE.PPR (EFR.EPHSup).
    pub enhanced_page_requests: bool,
    /// Accessed bits in host tables (EFR.HASup).
    pub accessed: bool,
    /// Dirty bits in host tables (EFR.HDSup).
    pub dirty: bool,
    /// DTE.AttrV and SnoopAttribute (EFR.AttrFWSup).
    pub attribute_override: bool,
    /// Interrupt table entries of 128 bits (EFR.GASup).
    pub wide_interrupts: bool,
    /// Destinations of 32 bits, x2APIC (EFR.XTSup).
    pub x2apic: bool,
    /// Hardware event registers (EFR.HESup).
    pub hardware_events: bool,
    /// Device table segments, as a power of two, 0 to 3 (EFR.DevTblSegSup).
    pub device_table_segments: u8,
    /// Devices may cache translations (capability IotlbSup).
    pub iotlb: bool,
    /// Not-present entries are cached (capability NpCache).
    pub np_cache: bool,
    /// Physical address bits (capability PAsize).
    pub physical_bits: u8,
    /// Virtual address bits: 32, 40, 48 or 64 (capability VAsize).
    pub virtual_bits: u8,
    /// The unit's own reads snoop CPU caches, as far as control.Coherent and DTE.SD let them.
    pub coherent: bool,
    /// Invalidations take effect when a COMPLETION_WAIT completes, and not at once.
    pub lazy: bool,
}

impl Default for AmdViConfig {
    fn default() -> Self {
        Self {
            name: "AMD-Vi".into(),
            host_levels: Some(6),
            guest_translation: true,
            guest_levels: 5,
            gcr3_levels: 3,
            pasid_bits: 16,
            guest_io: true,
            invalidate_all: true,
            prefetch: true,
            page_requests: true,
            enhanced_page_requests: true,
            accessed: true,
            dirty: true,
            attribute_override: true,
            wide_interrupts: true,
            x2apic: true,
            hardware_events: true,
            device_table_segments: 3,
            iotlb: true,
            np_cache: false,
            physical_bits: 52,
            virtual_bits: 64,
            coherent: true,
            lazy: true,
        }
    }
}

impl AmdViConfig {
    /// The least that a unit can be: no extended features, four levels.
    pub fn minimal() -> Self {
        Self {
            host_levels: Some(4),
            guest_translation: false,
            guest_levels: 4,
            gcr3_levels: 1,
            pasid_bits: 1,
            guest_io: false,
            invalidate_all: false,
            prefetch: false,
            page_requests: false,
            enhanced_page_requests: false,
            accessed: false,
            dirty: false,
            attribute_override: false,
            wide_interrupts: false,
            x2apic: false,
            hardware_events: false,
            device_table_segments: 0,
            iotlb: false,
            ..Self::default()
        }
    }

    /// The extended feature register (MMIO 0030h).
    pub fn efr(&self) -> u64 {
        let flags = [
            (efr::PREF_SUP, self.prefetch),
            (efr::PPR_SUP, self.page_requests),
            (efr::NX_SUP, self.guest_translation),
            (efr::GT_SUP, self.guest_translation),
            (efr::US_SUP, self.guest_translation),
            (efr::IA_SUP, self.invalidate_all),
            (efr::HE_SUP, self.hardware_events),
            (efr::GA_SUP, self.wide_interrupts),
            (efr::XT_SUP, self.x2apic),
            (efr::GIO_SUP, self.guest_io),
            (efr::HA_SUP, self.accessed),
            (efr::HD_SUP, self.dirty),
            (efr::EPH_SUP, self.enhanced_page_requests),
            (efr::ATTR_FW_SUP, self.attribute_override),
        ];
        let flags = flags.into_iter().fold(0, |word, (field, on)| field.with(word, on.into()));
        let levels = self.host_levels.map_or(3, |levels| u64::from(levels.clamp(4, 6)) - 4);
        flags
            | efr::HATS.put(levels)
            | efr::GATS.put(u64::from(self.guest_levels.clamp(4, 5)) - 4)
            | efr::GLX_SUP.put(u64::from(self.gcr3_levels.clamp(1, 3)) - 1)
            | efr::PAS_MAX.put(u64::from(self.pasid_bits.clamp(1, 20)) - 1)
            | efr::DEV_TBL_SEG_SUP.put(self.device_table_segments.min(3).into())
    }

    /// The capability block in configuration space, its base address registers zero.
    pub fn capability(&self) -> [u32; 6] {
        use capability::{CAP_ID_SECURE_DEVICE, CAP_TYPE_IOMMU, header, misc0};
        let header = header::CAP_ID.put(CAP_ID_SECURE_DEVICE)
            | header::CAP_TYPE.put(CAP_TYPE_IOMMU)
            | header::CAP_REV.put(1)
            | header::IOTLB_SUP.put(self.iotlb.into())
            | header::NP_CACHE.put(self.np_cache.into())
            | header::EFR_SUP.put(1)
            | header::CAP_EXT.put(1);
        let misc = misc0::GVA_SIZE.put(2)
            | misc0::PA_SIZE.put(self.physical_bits.into())
            | misc0::VA_SIZE.put(self.virtual_bits.into());
        [header as u32, 0, 0, 0, misc as u32, 0]
    }
}
