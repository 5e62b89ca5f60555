//! What an IOMMU of the model can do: the choices that `capabilities` tells, and those that only trying tells.

use ioward_spec::riscv::{
    device::{self, iohgatp_mode, iosatp_mode, pdtp_mode},
    registers::capabilities as cap,
};

/// How interrupts are generated (capabilities.IGS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupts {
    /// Messages only.
    Messages,
    /// Wires only.
    Wires,
    /// Either, as fctl.WSI chooses.
    Both,
}

/// What to build. [`Features::default`] is a large IOMMU: every mode but 32-bit ones, MSI page tables, ATS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// Bits of the widest first stage: 0 (none), 39, 48 or 57; narrower ones come with it.
    pub first_bits: u8,
    /// The widest second stage, as the first stage that it extends: 0 (none), 39, 48 or 57. All up to it are there.
    pub second_bits: u8,
    /// Page-based memory types.
    pub svpbmt: bool,
    /// Bits 60:59 of page-table entries are software's.
    pub svrsw: bool,
    /// Hardware updates of accessed and dirty bits.
    pub amo_hwad: bool,
    /// MSI page tables, and so device contexts of extended format.
    pub msi_flat: bool,
    /// MSI page-table entries in MRIF mode.
    pub msi_mrif: bool,
    /// ATS and PRI.
    pub ats: bool,
    /// Guest physical addresses in ATS completions.
    pub t2gpa: bool,
    /// Either byte order (capabilities.END).
    pub both_endian: bool,
    /// The byte order where there is one, and after reset: big-endian.
    pub big_endian: bool,
    /// How interrupts are generated.
    pub interrupts: Interrupts,
    /// Translation requests by register.
    pub debug: bool,
    /// Physical addresses in bits (capabilities.PAS), at most 56.
    pub pas: u8,
    /// Process directories: of 8, 17 and 20 bits.
    pub pd: [bool; 3],
    /// Non-leaf invalidation by address.
    pub non_leaf: bool,
    /// Invalidation of ranges.
    pub ranges: bool,
    /// Device directories: of 1, 2 and 3 levels. Which there are shows when ddtp.iommu_mode is written.
    pub levels: [bool; 3],
    /// log2 of how many interrupt vectors there are, 0 to 4. Shows in which bits of icvec can be written.
    pub vector_bits: u8,
    /// log2 of the most entries of a queue, 1 to 32. Shows in what LOG2SZ-1 keeps.
    pub queue_bits: u8,
    /// The mode after reset is Bare, not Off.
    pub starts_bare: bool,
    /// Accesses to structures, tables and queues snoop CPU caches. No register tells; firmware does.
    pub coherent: bool,
    /// capabilities.version.
    pub version: u8,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            first_bits: 57,
            second_bits: 57,
            svpbmt: true,
            svrsw: false,
            amo_hwad: true,
            msi_flat: true,
            msi_mrif: true,
            ats: true,
            t2gpa: true,
            both_endian: false,
            big_endian: false,
            interrupts: Interrupts::Both,
            debug: true,
            pas: 56,
            pd: [true; 3],
            non_leaf: false,
            ranges: false,
            levels: [true; 3],
            vector_bits: 2,
            queue_bits: 12,
            starts_bare: false,
            coherent: true,
            version: 0x10,
        }
    }
}

impl Features {
    /// As small as the architecture lets one be: Sv39 alone, base format, one level of 128 devices, wires, no ATS, no
    /// PASIDs, one vector, accesses that do not snoop.
    pub fn small() -> Self {
        Self {
            first_bits: 39,
            second_bits: 0,
            svpbmt: false,
            amo_hwad: false,
            msi_flat: false,
            msi_mrif: false,
            ats: false,
            t2gpa: false,
            interrupts: Interrupts::Wires,
            debug: false,
            pas: 40,
            pd: [false; 3],
            levels: [true, false, false],
            vector_bits: 0,
            queue_bits: 8,
            coherent: false,
            ..Self::default()
        }
    }

    /// `capabilities`.
    pub(super) fn capabilities(&self) -> u64 {
        let first = |bits: u8| u64::from(self.first_bits >= bits);
        let second = |bits: u8| u64::from(self.second_bits >= bits);
        let igs = match self.interrupts {
            Interrupts::Messages => cap::igs::MSI,
            Interrupts::Wires => cap::igs::WSI,
            Interrupts::Both => cap::igs::BOTH,
        };
        cap::VERSION.put(self.version.into())
            | cap::SV39.put(first(39))
            | cap::SV48.put(first(48))
            | cap::SV57.put(first(57))
            | cap::SVPBMT.put(self.svpbmt.into())
            | cap::SVRSW60T59B.put(self.svrsw.into())
            | cap::SV39X4.put(second(39))
            | cap::SV48X4.put(second(48))
            | cap::SV57X4.put(second(57))
            | cap::AMO_MRIF.put(self.msi_mrif.into())
            | cap::MSI_FLAT.put(self.msi_flat.into())
            | cap::MSI_MRIF.put(self.msi_mrif.into())
            | cap::AMO_HWAD.put(self.amo_hwad.into())
            | cap::ATS.put(self.ats.into())
            | cap::T2GPA.put(self.t2gpa.into())
            | cap::END.put(self.both_endian.into())
            | cap::IGS.put(igs)
            | cap::DBG.put(self.debug.into())
            | cap::PAS.put(self.pas.into())
            | cap::PD8.put(self.pd[0].into())
            | cap::PD17.put(self.pd[1].into())
            | cap::PD20.put(self.pd[2].into())
            | cap::NL.put(self.non_leaf.into())
            | cap::S.put(self.ranges.into())
    }

    /// Bytes of a device context.
    pub(super) fn context_bytes(&self) -> u64 {
        if self.msi_flat { device::EXTENDED_BYTES as u64 } else { device::BASE_BYTES as u64 }
    }

    /// Bits of a device_id that each level indexes, lowest first.
    pub(super) fn device_index_bits(&self) -> [u32; 3] {
        if self.msi_flat { device::EXTENDED_INDEX_BITS } else { device::BASE_INDEX_BITS }
    }

    /// Width of a first stage's mode; none where it is not supported. 0: Bare.
    pub(super) fn first_width(&self, mode: u64) -> Option<u8> {
        let bits = match mode {
            iosatp_mode::BARE => return Some(0),
            iosatp_mode::SV39 => 39,
            iosatp_mode::SV48 => 48,
            iosatp_mode::SV57 => 57,
            _ => return None,
        };
        (bits <= self.first_bits).then_some(bits)
    }

    /// Width of a second stage's mode, its two more bits included; none where it is not supported. 0: Bare.
    pub(super) fn second_width(&self, mode: u64) -> Option<u8> {
        let bits = match mode {
            iohgatp_mode::BARE => return Some(0),
            iohgatp_mode::SV39X4 => 39,
            iohgatp_mode::SV48X4 => 48,
            iohgatp_mode::SV57X4 => 57,
            _ => return None,
        };
        (bits <= self.second_bits).then_some(bits + 2)
    }

    /// Levels of a process directory's mode; none where it is not supported. 0: Bare.
    pub(super) fn process_levels(&self, mode: u64) -> Option<usize> {
        let levels = match mode {
            pdtp_mode::BARE => return Some(0),
            pdtp_mode::PD8 => 1,
            pdtp_mode::PD17 => 2,
            pdtp_mode::PD20 => 3,
            _ => return None,
        };
        self.pd[levels - 1].then_some(levels)
    }

    /// Bits of the widest process_id; 0: none are supported.
    pub(super) fn process_bits(&self) -> u32 {
        [(2, 20), (1, 17), (0, 8)].into_iter().find(|&(n, _)| self.pd[n]).map_or(0, |(_, bits)| bits)
    }

    /// Bits of a guest physical address (2.1.3.6).
    pub(super) fn guest_bits(&self) -> u8 {
        if self.second_bits == 0 { self.pas } else { self.second_bits + 2 }
    }
}
