//! What a format is to the engine: constants and a few functions on one 64-bit entry.

use crate::error::ConfigError;
use ioward_types::{Attributes, PhysAddr, TableConfig};

/// What an IOMMU offers beyond what [`TableConfig`] says. The default is what every IOMMU has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Options {
    /// Arm: a block may be replaced by a table of smaller pages, and a contiguous set by its single entries, while DMA
    /// runs (FEAT_BBM level 2; SMMU_IDR3.BBML is 2). Formats that always allow it, and those that never do, ignore it.
    pub hitless_cut: bool,
    /// AMD v2: the no-execute bit exists (extended feature NXSup). VT-d first stage: the PASID-table entry enables it
    /// (NXE). Where it does not exist, the bit is reserved, and a mapping without [`Attributes::execute`] does not keep a
    /// device from fetching what it may read.
    pub no_execute: bool,
}

/// What the encoding of a leaf depends on besides attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Hardware sets accessed and dirty bits: a new leaf is neither.
    pub dirty: bool,
    /// See [`Options::no_execute`].
    pub no_execute: bool,
    /// See [`TableConfig::snoop`].
    pub snoop: bool,
}

/// The root of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// How many tables a walk reads from the root to a smallest page, the root included.
    pub levels: u32,
    /// Bytes of the root, concatenated tables together; it is aligned to as many.
    pub root_bytes: usize,
}

/// What hardware did to a page since it was asked last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Touched {
    /// It was read or written.
    pub accessed: bool,
    /// It was written.
    pub dirty: bool,
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Not valid; hardware faults.
    Absent,
    /// Leads to another table, of the level given, which is lower than the entry's own.
    Link {
        /// Level of the table that it leads to.
        level: u32,
    },
    /// Maps `1 << shift` bytes.
    Leaf {
        /// Base-2 logarithm of the page's bytes.
        shift: u32,
    },
    /// No entry that the specification defines.
    Malformed(&'static str),
}

/// A page-table format. Levels count from zero, which is the level of tables whose entries map a granule; the engine
/// never hands in an entry of one level as that of another.
///
/// A page larger than what one entry of its level maps (Arm's contiguous hint, AMD's page sizes by next level 7, RISC-V's
/// NAPOT) takes `1 << (shift - Self::entry_shift(level))` neighbouring entries, each made by [`Format::leaf`].
///
/// An entry that is zero must mean absent, and so must one with bits 2 to 0 zero: the chain of detached tables uses that.
pub trait Format: Sized + Send + Sync + 'static {
    /// Which.
    const FORMAT: ioward_types::Format;
    /// Base-2 logarithm of the granule, which is the bytes of a smallest page and of a table.
    const GRANULE_SHIFT: u32;
    /// Address bits that one level translates.
    const INDEX_BITS: u32 = Self::GRANULE_SHIFT - 3;
    /// Address bits 63 to `width` repeat bit `width - 1`, `width` being that of all levels together. With an input width
    /// of just so many bits both halves can be mapped; with fewer, only the lower half from zero.
    const SIGN_EXTENDED: bool = false;
    /// Address bits that a root may translate beyond what its level does elsewhere, by concatenation or by being larger.
    const ROOT_EXTRA_BITS: u32 = 0;
    /// A new root can be put above the old one while DMA runs.
    const GROWS: bool = false;
    /// Hardware ignores it in a link; set once the link has been cleaned.
    const LINK_CLEANED: u64;
    /// Hardware sets an accessed bit in links where it tracks what is dirty.
    const LINKS_MARKED: bool = false;
    /// The bits of a leaf that do not depend on address and size.
    const LEAF_ATTRIBUTES: u64;

    /// Base-2 logarithm of what one entry of `level` maps.
    #[inline(always)]
    fn entry_shift(level: u32) -> u32 {
        Self::GRANULE_SHIFT + level * Self::INDEX_BITS
    }

    /// The shape of the root that `in_bits` needs.
    fn shape(in_bits: u8) -> Shape {
        let levels = (u32::from(in_bits) - Self::GRANULE_SHIFT).div_ceil(Self::INDEX_BITS).max(1);
        Shape { levels, root_bytes: 1 << Self::GRANULE_SHIFT }
    }

    /// Whether this format can have such a table.
    fn check(config: &TableConfig) -> Result<(), ConfigError>;

    /// A link to the table `to`, of level `below`.
    fn link(to: PhysAddr, below: u32) -> u64;
    /// Where a link leads.
    fn link_target(raw: u64) -> PhysAddr;
    /// Where a link leads that is as [`Format::link`] made it: by a subtraction, which the load behind it does by itself. None
    /// where the bits besides the address are not the same in every link.
    #[inline(always)]
    fn exact_target(link: u64) -> Option<PhysAddr> {
        let _ = link;
        None
    }
    /// Where the entry for the IOVA `at` stands in the table of `level` that a link, made by the engine, leads to; `None`
    /// where table and index are as well worked out apart.
    #[inline(always)]
    fn entry_below(link: u64, level: u32, at: u64) -> Option<PhysAddr> {
        let _ = (link, level, at);
        None
    }
    /// Whether an entry of `level`, made by the engine, is a link; zero is none. It is asked at levels above zero only. A
    /// single comparison of a byte, or of a bit, is what every walk is made of.
    fn is_link(raw: u64, level: u32) -> bool;
    /// Whether an entry of `level`, made by the engine, is a leaf; zero is none. It is asked at levels above zero only.
    #[inline(always)]
    fn is_leaf(raw: u64, level: u32) -> bool {
        raw != 0 && !Self::is_link(raw, level)
    }

    /// The entry that maps the granule or block at `to` as part of a page of `1 << shift` bytes.
    fn leaf(to: PhysAddr, level: u32, shift: u32, attributes: u64) -> u64;
    /// Whether an entry of level zero, made by the engine, is a page of its own and not a part of a set; zero is none.
    #[inline(always)]
    fn is_granule(raw: u64) -> bool {
        raw != 0 && Self::leaf_shift(raw, 0) == Self::GRANULE_SHIFT
    }
    /// Base-2 logarithm of the bytes of the page that a leaf belongs to.
    fn leaf_shift(raw: u64, level: u32) -> u32;
    /// Where the page that a leaf belongs to starts.
    fn leaf_target(raw: u64, level: u32) -> PhysAddr;

    /// Where the byte at the IOVA `at` is, which this leaf of `level`, made by the engine, maps.
    #[inline(always)]
    fn output(raw: u64, level: u32, at: u64) -> PhysAddr {
        PhysAddr(Self::leaf_target(raw, level).0 | at & ((1 << Self::leaf_shift(raw, level)) - 1))
    }

    /// [`Format::output`] at level zero, where that takes one comparison and the entry is not zero.
    #[inline(always)]
    fn output_of_granule(raw: u64, at: u64) -> Option<PhysAddr> {
        (raw != 0).then(|| Self::output(raw, 0, at))
    }

    /// What any 64 bits are in a table of `level`; for memory that the engine did not write.
    fn kind(raw: u64, level: u32) -> Kind;

    /// The bits of a leaf that allow `how`; `None` where no leaf can.
    fn encode(how: Attributes, rules: &Rules) -> Option<u64>;
    /// What a leaf allows.
    fn decode(raw: u64) -> Attributes;
    /// What is left of `how` behind a link. Links of the engine's own leave everything.
    fn restrict(link: u64, how: Attributes) -> Attributes {
        let _ = link;
        how
    }
    /// The attributes closest to `how` that a leaf can have and that allow everything that `how` does.
    fn widen(how: Attributes) -> Attributes {
        how
    }

    /// Whether a page split in place never faults a running DMA.
    fn cuts_hitless(options: &Options) -> bool;
    /// The leaf as if hardware had not touched it, and how it had.
    fn untouched(raw: u64) -> (u64, Touched);
}

pub(crate) use ioward_types::hint::seldom;

/// The checks that formats share: widths within bounds, and page sizes out of a set.
pub(crate) fn check_bounds(
    config: &TableConfig,
    granule_shift: u32,
    sizes: u64,
    in_bits: (u8, u8),
    out_bits: (u8, u8),
) -> Result<(), ConfigError> {
    let format = config.format;
    if config.granule() != 1 << granule_shift {
        return Err(ConfigError::Granule { format, granule: config.granule() });
    }
    if !(in_bits.0..=in_bits.1).contains(&config.in_bits) {
        return Err(ConfigError::InBits { format, bits: config.in_bits, min: in_bits.0, max: in_bits.1 });
    }
    if !(out_bits.0..=out_bits.1).contains(&config.out_bits) {
        return Err(ConfigError::OutBits { format, bits: config.out_bits, min: out_bits.0, max: out_bits.1 });
    }
    let odd = config.page_sizes & !sizes;
    if odd != 0 {
        return Err(ConfigError::PageSize { format, bytes: odd & odd.wrapping_neg() });
    }
    Ok(())
}
