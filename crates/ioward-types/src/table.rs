//! What a page table looks like from outside: its format, widths and root.

use crate::PhysAddr;
use core::fmt;

/// A page-table format, as a specification defines it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Format {
    /// VT-d second stage.
    VtdSecond,
    /// VT-d first stage.
    VtdFirst,
    /// AMD-Vi host tables (v1).
    AmdV1,
    /// AMD-Vi guest tables (v2): the processor's own format.
    AmdV2,
    /// Arm VMSAv8-64, stage 1.
    ArmStage1,
    /// Arm VMSAv8-64, stage 2.
    ArmStage2,
    /// RISC-V Sv39, Sv48, Sv57.
    RiscvFirst,
    /// RISC-V Sv39x4, Sv48x4, Sv57x4.
    RiscvSecond,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::VtdSecond => "VT-d second stage",
            Self::VtdFirst => "VT-d first stage",
            Self::AmdV1 => "AMD v1",
            Self::AmdV2 => "AMD v2",
            Self::ArmStage1 => "Arm stage 1",
            Self::ArmStage2 => "Arm stage 2",
            Self::RiscvFirst => "RISC-V first stage",
            Self::RiscvSecond => "RISC-V second stage",
        })
    }
}

/// Everything that fixes a table's shape. Equal configurations can share one table, whoever walks it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TableConfig {
    /// The format.
    pub format: Format,
    /// IOVAs run from zero to, not including, `1 << in_bits`.
    pub in_bits: u8,
    /// Physical addresses run from zero to, not including, `1 << out_bits`.
    pub out_bits: u8,
    /// The sizes of a leaf entry, in bytes, as a set of powers of two (bit 12: 4 KiB). The smallest is the granule.
    pub page_sizes: u64,
    /// Walkers snoop CPU caches; where false, every store is cleaned.
    pub coherent: bool,
    /// Hardware sets accessed and dirty bits in leaves, and of VT-d's second stage accessed bits in links. In no other link,
    /// and where this is false in no entry at all, does hardware change anything: the engine follows links without a mask. So
    /// who installs a table leaves off what would (Arm: CD.HAFT and STE.S2HAFT; VT-d: EAFE, and SSADE where this is false).
    pub dirty: bool,
    /// A leaf can decide how memory is reached. VT-d second stage: hardware has snoop control, and coherent mappings force
    /// accesses to snoop CPU caches. RISC-V: hardware has Svpbmt, and mappings of registers or of memory that is not
    /// coherent override the attributes of the place. Other formats ignore it.
    pub snoop: bool,
}

impl TableConfig {
    /// The smallest page, in bytes; zero if there is none.
    pub const fn granule(&self) -> u64 {
        self.page_sizes & self.page_sizes.wrapping_neg()
    }

    /// How many bits of IOVA there are from zero up without a hole. One less than `in_bits` where a format that extends
    /// the sign of addresses uses the full width of its levels: the upper half then lies at the top of 64 bits.
    pub const fn flat_bits(&self) -> u8 {
        match (self.format, self.in_bits) {
            (Format::AmdV2 | Format::VtdFirst, 48 | 57) | (Format::RiscvFirst, 39 | 48 | 57) => {
                self.in_bits - 1
            }
            _ => self.in_bits,
        }
    }
}

impl fmt::Display for TableConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}->{}", self.format, self.in_bits, self.out_bits)
    }
}

/// Where hardware starts walking.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Root {
    /// The first byte of the root table (of the first, where several are concatenated).
    pub at: PhysAddr,
    /// How many tables a walk reads from the root to a smallest page, the root included.
    pub levels: u8,
}

/// What the attribute index of a leaf means in [`Format::ArmStage1`] tables: the value that whoever installs one puts
/// into `MAIR` (CD.MAIR0 and CD.MAIR1 of an SMMUv3), and that the page-table engine relies on. Index 0 is normal
/// write-back memory (0xff), 1 device-nGnRE (0x04), 2 normal non-cacheable (0x44); the rest are device-nGnRnE.
pub const ARM_MAIR: u64 = 0x0044_04ff;
