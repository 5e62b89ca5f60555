//! What the capability registers say (11.4.2, 11.4.3), checked.

use super::config::{BringUpError, Config, Mode};
use ioward_spec::{
    Field,
    vtd::{
        capability::{cap, ecap},
        registers as spec,
    },
};
use ioward_types::{Mmio, PhysAddr};

/// Where registers of fixed place end: those that CAP and ECAP place lie behind.
const PLACED: usize = 0xf0;
/// Most address bits that any table entry has room for.
const ADDRESS_BITS: u8 = 52;

/// What one unit can do in the mode that it is driven in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Features {
    /// Scalable mode is used, and not legacy mode.
    pub scalable: bool,
    /// Queued invalidation.
    pub queued: bool,
    /// Second-stage tables can be used.
    pub second: bool,
    /// First-stage tables can be used.
    pub first: bool,
    /// And may have five levels.
    pub first_five: bool,
    /// Levels that second-stage tables may have: a set of 3, 4 and 5.
    pub second_levels: u8,
    /// Second-stage input addresses have at most so many bits.
    pub input_bits: u8,
    /// Physical addresses have so many bits.
    pub host_bits: u8,
    /// Leaves of either stage: sets of powers of two.
    pub second_sizes: u64,
    pub first_sizes: u64,
    pub pass_through: bool,
    pub nested: bool,
    pub snoop_control: bool,
    /// Accesses to the driver's structures snoop CPU caches.
    pub structures_coherent: bool,
    /// Walks of page tables do.
    pub walks_coherent: bool,
    pub caching_mode: bool,
    pub write_buffer: bool,
    /// Page-selective invalidation, and its largest address mask.
    pub page_selective: Option<u8>,
    pub manner: Manner,
    pub domain_bits: u8,
    pub device_tlb: bool,
    /// The widest PASID; zero in legacy mode.
    pub pasid_bits: u8,
    pub page_requests: bool,
    /// Accessed and dirty bits in second-stage tables.
    pub second_dirty: bool,
    /// Interrupts can be remapped, and with 32-bit destinations.
    pub remapping: bool,
    pub wide_destination: bool,
    /// Largest index mask of interrupt entry cache invalidations.
    pub index_mask: u8,
    /// SRTP and SIRTP invalidate by themselves.
    pub root_invalidates: bool,
    pub interrupt_root_invalidates: bool,
    /// Offset of the IVA register, and of the fault records.
    pub iotlb_at: usize,
    pub faults_at: usize,
    pub faults: usize,
}

/// What every invalidation descriptor is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Manner {
    pub drain_reads: bool,
    pub drain_writes: bool,
    /// Device-TLB invalidations name the physical function (ECAP.DIT).
    pub throttle: bool,
}

impl Features {
    /// Reads and checks both registers. `found`: the mode that the unit translates in now, which it keeps.
    pub fn read(registers: &impl Mmio, config: &Config, found: Option<Mode>) -> Result<Self, BringUpError> {
        let (low, high) = (registers.read64(spec::CAP), registers.read64(spec::ECAP));
        if low == u64::MAX || high == u64::MAX {
            return Err(BringUpError::Absent);
        }
        let has = |field: Field| field.of(low) != 0;
        let can = |field: Field| field.of(high) != 0;
        let cap_is_wrong = |what| BringUpError::Contradiction { register: "CAP", value: low, what };
        let ecap_is_wrong = |what| BringUpError::Contradiction { register: "ECAP", value: high, what };
        if cap::ND.of(low) == 7 {
            return Err(cap_is_wrong("ND is reserved"));
        }
        let queued = can(ecap::QI);
        for (field, what) in [
            (ecap::DT, "device TLBs without queued invalidation"),
            (ecap::IR, "interrupt remapping without queued invalidation"),
            (ecap::SMTS, "scalable mode without queued invalidation"),
        ] {
            if can(field) && !queued {
                return Err(ecap_is_wrong(what));
            }
        }
        if can(ecap::SMTS) && can(ecap::PASID) && ecap::PSS.of(high) > 19 {
            return Err(ecap_is_wrong("PSS is wider than a PASID"));
        }
        let faults_at = cap::FRO.of(low) as usize * 16;
        if faults_at < PLACED {
            return Err(cap_is_wrong("FRO places fault records over other registers"));
        }
        let iotlb_at = ecap::IRO.of(high) as usize * 16;
        if !queued && iotlb_at < PLACED {
            return Err(ecap_is_wrong("IRO places the IOTLB registers over others"));
        }
        let input_bits = cap::MGAW.of(low) as u8 + 1;
        let second_levels = (cap::SAGAW.of(low) as u8 & 0b1110) << 2;
        if second_levels != 0 && input_bits <= 12 {
            return Err(cap_is_wrong("MGAW leaves no address bits"));
        }
        let second_in_scalable = can(ecap::SSTS) && second_levels != 0;
        let scalable_works = can(ecap::SMTS) && (second_in_scalable || can(ecap::FSTS));
        let scalable = match (found, config.mode) {
            (Some(Mode::Best), Mode::Legacy) => {
                let what = "it translates in scalable mode, and would bypass while that changes";
                return Err(BringUpError::Unsupported { register: "RTADDR", value: 1, what });
            }
            (Some(Mode::Best), _) if !scalable_works => {
                return Err(ecap_is_wrong("it translates in scalable mode and has no stage of it"));
            }
            (Some(Mode::Best), _) => true,
            (Some(Mode::Legacy), _) | (None, Mode::Legacy) => false,
            (None, Mode::Best) => scalable_works,
        };
        if !scalable && second_levels == 0 {
            return Err(BringUpError::Unsupported {
                register: "CAP",
                value: low,
                what: "no table width that SAGAW has",
            });
        }
        let gib = |field: bool, shift: u32| u64::from(field) << shift;
        let sizes = cap::SSLPS.of(low);
        let device_tlb = can(ecap::DT);
        Ok(Self {
            scalable,
            queued,
            second: if scalable { second_in_scalable } else { true },
            first: scalable && can(ecap::FSTS),
            first_five: has(cap::FS5LP),
            second_levels,
            input_bits,
            host_bits: match config.described.host_bits {
                0 => ADDRESS_BITS,
                bits => bits.min(ADDRESS_BITS),
            },
            second_sizes: 1 << 12
                | gib(sizes & cap::sslps::MIB_2 != 0, 21)
                | gib(sizes & cap::sslps::GIB_1 != 0, 30),
            first_sizes: 1 << 12 | 1 << 21 | gib(has(cap::FS1GP), 30),
            pass_through: can(ecap::PT),
            nested: scalable && can(ecap::NEST),
            snoop_control: can(ecap::SC),
            structures_coherent: can(ecap::C),
            walks_coherent: if scalable { can(ecap::SMPWCS) } else { can(ecap::C) },
            caching_mode: has(cap::CM),
            write_buffer: has(cap::RWBF),
            // No block is as large as all of the addresses.
            page_selective: has(cap::PSI).then(|| cap::MAMV.of(low).min(51) as u8),
            manner: Manner {
                drain_reads: has(cap::DRD),
                drain_writes: has(cap::DWD),
                throttle: can(ecap::DIT),
            },
            domain_bits: 4 + 2 * cap::ND.of(low) as u8,
            device_tlb,
            pasid_bits: if scalable && can(ecap::PASID) { ecap::PSS.of(high) as u8 + 1 } else { 0 },
            page_requests: scalable && device_tlb && can(ecap::PRS),
            second_dirty: scalable && can(ecap::SSADS),
            remapping: can(ecap::IR) && config.described.interrupt_remapping,
            wide_destination: can(ecap::EIM),
            index_mask: ecap::MHMV.of(high) as u8,
            root_invalidates: has(cap::ESRTPS),
            interrupt_root_invalidates: has(cap::ESIRTPS),
            iotlb_at,
            faults_at,
            faults: cap::NFR.of(low) as usize + 1,
        })
    }

    /// The first physical address that the unit's own accesses cannot reach.
    pub fn below(&self) -> PhysAddr {
        PhysAddr(1 << self.host_bits)
    }

    /// Whether a second-stage table may have so many levels.
    pub fn has_levels(&self, levels: u8) -> bool {
        (3..=5).contains(&levels) && self.second_levels & 1 << levels != 0
    }

    /// The most levels of a second-stage table.
    pub fn most_levels(&self) -> u8 {
        (3..=5).rev().find(|levels| self.has_levels(*levels)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward_types::describe::VtD;

    struct Two(u64, u64);

    impl Mmio for Two {
        fn read32(&self, _: usize) -> u32 {
            0
        }
        fn write32(&self, _: usize, _: u32) {}
        fn read64(&self, at: usize) -> u64 {
            if at == 0x08 { self.0 } else { self.1 }
        }
        fn write64(&self, _: usize, _: u64) {}
    }

    // QEMU 10's intel-iommu of 48 bits: ND 6, SAGAW 39 and 48, MGAW 47, FRO 0x22, SSLPS 2 MiB and 1 GiB, PSI, MAMV 18,
    // DWD, DRD.
    const CAP: u64 = 0x00d2_008c_222f_0606;
    // IRO 0xf, QI, IR, EIM, MHMV 15, PT.
    const ECAP: u64 = 0x00f0_0f5a;
    // SMTS, SSTS, PASID of 20 bits, SMPWCS.
    const SCALABLE: u64 = ECAP | 1 << 43 | 1 << 46 | 1 << 40 | 19 << 35 | 1 << 48;

    fn config() -> Config {
        Config::new(VtD { host_bits: 39, interrupt_remapping: true, ..VtD::default() })
    }

    fn read(cap: u64, ecap: u64) -> Result<Features, BringUpError> {
        Features::read(&Two(cap, ecap), &config(), None)
    }

    #[test]
    fn an_emulated_unit_decodes() {
        let features = read(CAP, ECAP).unwrap();
        assert!(!features.scalable && features.queued && features.second && !features.first);
        assert_eq!(
            (features.second_levels, features.input_bits, features.host_bits),
            (1 << 3 | 1 << 4, 48, 39)
        );
        assert_eq!(features.second_sizes, 1 << 12 | 1 << 21 | 1 << 30);
        assert_eq!((features.domain_bits, features.page_selective), (16, Some(18)));
        assert_eq!((features.faults_at, features.faults), (0x220, 1));
        assert!(features.remapping && features.wide_destination && features.index_mask == 15);
        assert!(!features.walks_coherent && features.pasid_bits == 0 && features.most_levels() == 4);
    }

    #[test]
    fn scalable_mode_is_chosen_where_it_works_and_is_not_forbidden() {
        let features = read(CAP, SCALABLE).unwrap();
        assert!(features.scalable && features.second && !features.first && features.walks_coherent);
        assert_eq!(features.pasid_bits, 20);
        assert!(!read(CAP, ecap::SSTS.with(SCALABLE, 0)).unwrap().scalable, "no stage to use");
        let first = ecap::FSTS.with(ecap::SSTS.with(SCALABLE, 0), 1);
        let features = read(cap::SAGAW.with(CAP, 0), first).unwrap();
        assert!(features.scalable && features.first && !features.second);
        let legacy = Config { mode: Mode::Legacy, ..config() };
        assert!(!Features::read(&Two(CAP, SCALABLE), &legacy, None).unwrap().scalable);
        // What translates keeps its mode.
        assert!(!Features::read(&Two(CAP, SCALABLE), &config(), Some(Mode::Legacy)).unwrap().scalable);
        let kept = Features::read(&Two(CAP, SCALABLE), &legacy, Some(Mode::Best));
        assert!(matches!(kept, Err(BringUpError::Unsupported { register: "RTADDR", .. })));
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        assert_eq!(read(u64::MAX, ECAP), Err(BringUpError::Absent));
        assert_eq!(read(CAP, u64::MAX), Err(BringUpError::Absent));
        for (cap, ecap) in [
            (cap::ND.with(CAP, 7), ECAP),
            (cap::FRO.with(CAP, 0), ECAP),
            (cap::MGAW.with(CAP, 10), ECAP),
            (CAP, ecap::QI.with(ECAP, 0)),
            (CAP, ecap::QI.with(ecap::IR.with(SCALABLE, 0), 0)),
            (CAP, ecap::DT.with(ecap::QI.with(ecap::IR.with(ECAP, 0), 0), 1)),
            (CAP, ecap::IRO.with(ecap::QI.with(ecap::IR.with(ECAP, 0), 0), 1)),
            (CAP, ecap::PSS.with(SCALABLE, 20)),
        ] {
            let refused = read(cap, ecap);
            assert!(matches!(refused, Err(BringUpError::Contradiction { .. })), "{cap:#x} {ecap:#x}");
        }
        // Six levels and two, which no revision in use has.
        for sagaw in [0, 1, 16, 17] {
            let refused = read(cap::SAGAW.with(CAP, sagaw), ECAP);
            assert!(matches!(refused, Err(BringUpError::Unsupported { register: "CAP", .. })), "{sagaw}");
        }
    }

    #[test]
    fn firmware_can_take_interrupt_remapping_away() {
        let config = Config::new(VtD::default());
        assert!(!Features::read(&Two(CAP, ECAP), &config, None).unwrap().remapping);
        let narrow = Config::new(VtD { host_bits: 20, ..VtD::default() });
        assert!(matches!(narrow.check(), Err(BringUpError::Config(_))));
    }
}
