//! What one AMD-Vi can do, read once from its extended feature register (MMIO 0030h).

use super::config::{BringUpError, Config};
use ioward_spec::{Field, amdvi::entries::gcr3, amdvi::features::efr};

/// The features that this driver asks about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Features {
    /// The most levels of a host (v1) table; none where host translation is off.
    pub host_levels: Option<u8>,
    /// The most levels of a guest (v2) table; none where requests without a PASID cannot go through one.
    pub guest_levels: Option<u8>,
    /// GVA translation is there at all, so control.GTEn may be set.
    pub guest: bool,
    /// The widest PASID, in bits; zero for none.
    pub pasid_bits: u8,
    /// Hardware sets accessed and dirty bits in host tables.
    pub dirty: bool,
    /// INVALIDATE_IOMMU_ALL is there.
    pub invalidate_all: bool,
    /// Devices may cache translations.
    pub iotlb: bool,
    /// Interrupt table entries can have 128 bits.
    pub wide_interrupts: bool,
    /// And destinations 32.
    pub x2apic: bool,
    /// Entries that are not present are cached.
    pub np_cache: bool,
}

impl Features {
    /// `register` is what MMIO 0030h reads. Of a feature that firmware's image (IVHD 11h, 40h) denies, or gives less of,
    /// no more is used than the image says: either may be the one that knows of an erratum.
    pub fn new(register: u64, config: &Config) -> Result<Self, BringUpError> {
        if register == u64::MAX {
            return Err(BringUpError::Absent);
        }
        let used = match config.described.efr {
            Some(image) => confirm(register, image),
            None => register,
        };
        let contradiction = |what| BringUpError::Features { what, efr: used };
        let guest = efr::GT_SUP.of(used) != 0;
        let mut guest_levels = None;
        let mut pasid_bits = 0;
        if guest {
            let levels = efr::gats_levels(efr::GATS.of(used)).ok_or(contradiction("GATS is reserved"))?;
            let table_levels = efr::GLX_SUP.of(used) as u8 + 1;
            if table_levels > gcr3::LEVELS {
                return Err(contradiction("GLXSup is reserved"));
            }
            let widest = efr::PAS_MAX.of(used) as u8 + 1;
            if widest > 20 {
                return Err(contradiction("PASmax is wider than a PASID"));
            }
            // Without GIoV a request that has no PASID is identity as soon as GV is set, so neither v2 tables for such
            // requests nor a blocked RID beside PASIDs could be had.
            if efr::GIO_SUP.of(used) != 0 {
                guest_levels = Some(levels.min(5));
                pasid_bits = widest.min(table_levels * gcr3::LEVEL_BITS as u8);
            }
        }
        if efr::HD_SUP.of(used) != 0 && efr::HA_SUP.of(used) == 0 {
            return Err(contradiction("HDSup without HASup"));
        }
        let host_levels = efr::hats_levels(efr::HATS.of(used));
        if host_levels.is_none() && guest_levels.is_none() {
            return Err(contradiction("neither host nor guest tables"));
        }
        Ok(Self {
            host_levels,
            guest_levels,
            guest,
            pasid_bits,
            dirty: efr::HD_SUP.of(used) != 0,
            wide_interrupts: efr::GA_SUP.of(used) != 0,
            x2apic: efr::GA_SUP.of(used) != 0 && efr::XT_SUP.of(used) != 0,
            invalidate_all: efr::IA_SUP.of(used) != 0,
            iotlb: config.iotlb(),
            np_cache: config.np_cache(),
        })
    }

    /// Address bits that a host table of the most levels translates.
    pub fn host_bits(&self) -> Option<u8> {
        self.host_levels.map(|levels| (12 + 9 * levels).min(64))
    }

    /// Address bits that a guest table of the most levels translates, the half above included.
    pub fn guest_bits(&self) -> Option<u8> {
        self.guest_levels.map(|levels| 12 + 9 * levels)
    }
}

/// The features that register and image both have.
fn confirm(register: u64, image: u64) -> u64 {
    const SIZES: [Field; 4] = [efr::HATS, efr::GATS, efr::GLX_SUP, efr::PAS_MAX];
    let mut both = register & image;
    for size in SIZES {
        both = size.with(both, size.of(register).min(size.of(image)));
    }
    // The value 3 is no size: it turns host translation off.
    if efr::HATS.of(register).max(efr::HATS.of(image)) == 3 {
        both = efr::HATS.with(both, 3);
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward_types::describe::AmdVi;

    fn config(efr: Option<u64>) -> Config {
        Config::new(AmdVi { efr, ..AmdVi::default() }, 0xffff)
    }

    // A Zen 2's register: PASmax 15, GLXSup 1, GATS 0, HATS 2, GIoSup, IASup, GTSup.
    const ROME: u64 = 0x0001_000f_0000_4850;

    #[test]
    fn a_register_of_ones_is_nobody() {
        assert_eq!(Features::new(u64::MAX, &config(None)), Err(BringUpError::Absent));
    }

    #[test]
    fn widths_come_from_the_register() {
        let features = Features::new(ROME, &config(None)).unwrap();
        assert_eq!((features.host_levels, features.guest_levels), (Some(6), Some(4)));
        assert_eq!((features.host_bits(), features.guest_bits()), (Some(64), Some(48)));
        assert_eq!(features.pasid_bits, 16);
        assert!(features.invalidate_all && features.guest && !features.dirty);
    }

    #[test]
    fn one_level_of_guest_cr3_table_narrows_the_pasids() {
        let features = Features::new(efr::GLX_SUP.with(ROME, 0), &config(None)).unwrap();
        assert_eq!(features.pasid_bits, 9);
    }

    #[test]
    fn without_giov_there_are_no_guest_tables() {
        let features = Features::new(efr::GIO_SUP.with(ROME, 0), &config(None)).unwrap();
        assert_eq!((features.guest_levels, features.pasid_bits, features.guest), (None, 0, true));
    }

    #[test]
    fn firmware_takes_away_and_never_adds() {
        let less = efr::HATS.with(efr::GT_SUP.with(ROME, 0), 0);
        for (register, image) in [(ROME, less), (less, ROME)] {
            let features = Features::new(register, &config(Some(image))).unwrap();
            assert_eq!((features.host_levels, features.guest, features.pasid_bits), (Some(4), false, 0));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for wrong in [
            efr::GATS.with(ROME, 3),
            efr::GLX_SUP.with(ROME, 3),
            efr::PAS_MAX.with(ROME, 20),
            efr::HD_SUP.with(ROME, 1),
        ] {
            assert!(
                matches!(Features::new(wrong, &config(None)), Err(BringUpError::Features { .. })),
                "{wrong:#x}"
            );
        }
        let nothing = efr::HATS.with(efr::GT_SUP.with(ROME, 0), 3);
        assert!(matches!(Features::new(nothing, &config(None)), Err(BringUpError::Features { .. })));
        // What is reserved only says nothing where guest translation is not there.
        let no_guest = efr::GT_SUP.with(efr::GATS.with(ROME, 3), 0);
        assert!(Features::new(no_guest, &config(None)).is_ok());
    }
}
