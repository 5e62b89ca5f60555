//! What `capabilities` says (5.3), checked.

use super::config::{BringUpError, Config};
use ioward_spec::{
    Field,
    riscv::registers::capabilities::{self as spec, igs},
};
use ioward_types::PhysAddr;

/// What one IOMMU can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Features {
    /// The most levels of a first stage: 3 to 5 for Sv39 to Sv57, 0 for none.
    pub first_levels: u8,
    /// The most levels of a second stage: 3 to 5 for Sv39x4 to Sv57x4, 0 for none.
    pub second_levels: u8,
    /// Physical address bits.
    pub pas: u8,
    /// Walks, queues and structures are coherent.
    pub coherent: bool,
    /// Accessed and dirty bits can be updated by hardware, coherently.
    pub dirty: bool,
    pub ats: bool,
    /// MSI page tables, and so device contexts of extended format.
    pub msi_flat: bool,
    /// MSI page-table entries in MRIF mode.
    pub msi_mrif: bool,
    /// Which process directories there are: of one, two and three levels.
    pub directories: [bool; 3],
    /// IOTINVAL can name non-leaf entries by address.
    pub non_leaf: bool,
    /// IOTINVAL can name ranges.
    pub ranges: bool,
    pub wires: bool,
    pub messages: bool,
    /// Leaves say how their memory is reached.
    pub svpbmt: bool,
    /// 64 KiB leaves are planned for.
    pub napot: bool,
}

/// Bits of a process_id that a process directory of one, two and three levels takes (2.1.3.4).
pub(super) const PROCESS_ID_BITS: [u8; 3] = [8, 17, 20];

impl Features {
    /// Checks the value of `capabilities`.
    pub fn new(value: u64, config: &Config) -> Result<Self, BringUpError> {
        if value == u64::MAX {
            return Err(BringUpError::Absent);
        }
        let contradiction = |what| Err(BringUpError::Contradiction { register: "capabilities", value, what });
        let unsupported = |what| Err(BringUpError::Unsupported { register: "capabilities", value, what });
        let has = |field: Field| field.of(value) != 0;

        // Minor versions add to it (5.3).
        if spec::VERSION.of(value) >> 4 != 1 {
            return unsupported("a version other than 1");
        }
        let pas = spec::PAS.of(value) as u8;
        if pas > 56 {
            return contradiction("PAS is more than the 56 bits that a page number holds");
        }
        if pas < 32 {
            return contradiction("PAS is less than 32 bits");
        }
        let levels = |narrow, middle, wide| match (has(narrow), has(middle), has(wide)) {
            (false, false, false) => Some(0),
            (true, false, false) => Some(3),
            (true, true, false) => Some(4),
            (true, true, true) => Some(5),
            _ => None,
        };
        let Some(first_levels) = levels(spec::SV39, spec::SV48, spec::SV57) else {
            return contradiction("a wider first stage without the narrower ones");
        };
        let Some(second_levels) = levels(spec::SV39X4, spec::SV48X4, spec::SV57X4) else {
            return contradiction("a wider second stage without the narrower ones");
        };
        if first_levels == 0 && second_levels == 0 {
            return unsupported("no page table of 39 bits or more");
        }
        if has(spec::MSI_MRIF) && !has(spec::MSI_FLAT) {
            return contradiction("MSI_MRIF without MSI_FLAT");
        }
        if has(spec::T2GPA) && !has(spec::ATS) {
            return contradiction("T2GPA without ATS");
        }
        let (wires, messages) = match spec::IGS.of(value) {
            igs::MSI => (false, true),
            igs::WSI => (true, false),
            igs::BOTH => (true, true),
            _ => return contradiction("IGS is reserved"),
        };
        let coherent = config.firmware.coherent.unwrap_or(true);
        Ok(Self {
            first_levels,
            second_levels,
            pas,
            coherent,
            // Updates are atomic with those of CPUs, which takes a walker that snoops.
            dirty: has(spec::AMO_HWAD) && coherent,
            ats: has(spec::ATS),
            msi_flat: has(spec::MSI_FLAT),
            msi_mrif: has(spec::MSI_MRIF),
            directories: [spec::PD8, spec::PD17, spec::PD20].map(|field| first_levels != 0 && has(field)),
            non_leaf: has(spec::NL),
            ranges: has(spec::S),
            wires,
            messages,
            svpbmt: has(spec::SVPBMT),
            napot: config.napot,
        })
    }

    /// The first physical address that the IOMMU's own accesses cannot reach.
    pub fn below(&self) -> PhysAddr {
        PhysAddr(1 << self.pas)
    }

    /// The widest PASID that process directories take.
    pub fn pasid_bits(&self) -> u8 {
        let pairs = PROCESS_ID_BITS.iter().zip(self.directories);
        pairs.filter(|(_, has)| *has).map(|(bits, _)| *bits).max().unwrap_or(0)
    }

    /// Bits of a guest physical address, which the MSI address mask and pattern are of (2.1.3.6, MGPAW).
    pub fn guest_bits(&self) -> u8 {
        match self.second_levels {
            0 => self.pas,
            levels => super::plan::second_bits(levels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1.0, Sv39 to Sv57 and every x4, MSI_FLAT, ATS, IGS both, PAS 56, PD8 to PD20.
    const FULL: u64 = 0x0000_01f8_224f_0e10;

    fn read(value: u64) -> Result<Features, BringUpError> {
        Features::new(value, &Config::default())
    }

    #[test]
    fn what_is_there_is_found() {
        let full = read(FULL).unwrap();
        assert_eq!((full.first_levels, full.second_levels, full.pas), (5, 5, 56));
        assert!(full.ats && full.msi_flat && full.wires && full.messages);
        assert!(!full.msi_mrif && !full.dirty && !full.ranges && !full.non_leaf);
        assert_eq!((full.pasid_bits(), full.guest_bits()), (20, 59));
        assert_eq!(read(FULL & !(1 << 40)).unwrap().pasid_bits(), 17);
        assert_eq!(read(FULL & !(0xf << 16)).unwrap().guest_bits(), 56);
        // A directory is of no use without a first stage.
        assert_eq!(read(FULL & !0xf00).unwrap().pasid_bits(), 0);
        assert!(read(FULL | 1 << 24).unwrap().dirty);
        let mut config = Config::default();
        config.firmware.coherent = Some(false);
        assert!(!Features::new(FULL | 1 << 24, &config).unwrap().dirty);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        assert_eq!(read(u64::MAX), Err(BringUpError::Absent));
        for (value, says) in [
            (0, "a version other than 1"),
            (FULL & !0xf0 | 0x20, "a version other than 1"),
            (FULL | 63 << 32, "PAS is more than the 56 bits that a page number holds"),
            (FULL & !(63 << 32) | 31 << 32, "PAS is less than 32 bits"),
            (FULL & !(1 << 9), "a wider first stage without the narrower ones"),
            (FULL & !(1 << 18), "a wider second stage without the narrower ones"),
            (FULL & !0xe_0e00, "no page table of 39 bits or more"),
            (FULL & !(1 << 22) | 1 << 23, "MSI_MRIF without MSI_FLAT"),
            (FULL & !(1 << 25) | 1 << 26, "T2GPA without ATS"),
            (FULL | 3 << 28, "IGS is reserved"),
        ] {
            let (BringUpError::Contradiction { what, value: seen, .. }
            | BringUpError::Unsupported { what, value: seen, .. }) = read(value).unwrap_err()
            else {
                panic!("{value:#x}")
            };
            assert_eq!((what, seen), (says, value));
        }
        // A later minor version is taken.
        assert!(read(FULL | 3).is_ok());
    }
}
