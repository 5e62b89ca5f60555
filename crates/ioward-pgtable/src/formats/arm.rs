//! Arm VMSAv8-64 tables, stage 1 and stage 2.

use crate::{
    error::ConfigError,
    format::{Format, Kind, Options, Rules, Shape, Touched, check_bounds},
};
use ioward_spec::lpae;
use ioward_types::{Attributes, PhysAddr, TableConfig};

/// Arm VMSAv8-64 tables (DDI 0487 J.a, D8.3): [`ArmStage1`] and [`ArmStage2`]. The granule is `1 << SHIFT` bytes, 12, 14
/// or 16. Page sizes that are not a block's own are contiguous sets. `mmio` is nGnRE and never coherent.
#[derive(Clone, Copy, Debug)]
pub struct Arm<const STAGE: u8, const SHIFT: u32>;

/// Arm VMSAv8-64 stage 1 as TTBR0 of EL1&0 walks it (DDI 0487 J.a, D8.3); the granule is `1 << SHIFT` bytes.
///
/// Leaves are non-global, with memory types by [`ARM_MAIR`](ioward_types::table::ARM_MAIR). `write` without `read` is
/// refused. Execution is forbidden, to both privileges, unless asked for, and then allowed to the one that may access.
pub type ArmStage1<const SHIFT: u32> = Arm<1, SHIFT>;

/// Arm VMSAv8-64 stage 2 (DDI 0487 J.a, D8.3); the granule is `1 << SHIFT` bytes.
///
/// Where the topmost level would hold 16 entries or fewer, as many tables of the level below are concatenated instead, as
/// the architecture wants it. Memory types assume no FEAT_S2FWB. `privileged` is refused.
pub type ArmStage2<const SHIFT: u32> = Arm<2, SHIFT>;

/// A bit that is ignored in links (58:51).
const LINK_CLEANED: u64 = 1 << 55;

/// Levels that have blocks, the pages' own not counted.
const fn block_levels(shift: u32) -> u32 {
    if shift == 12 { 2 } else { 1 }
}

fn sizes(shift: u32) -> u64 {
    let bits = shift - 3;
    (0..=block_levels(shift)).fold(0, |sizes, level| {
        let own = shift + level * bits;
        sizes | 1 << own | 1 << (own + lpae::contiguous_bits(shift, own))
    })
}

impl<const STAGE: u8, const SHIFT: u32> Arm<STAGE, SHIFT> {
    #[inline(always)]
    fn address(to: PhysAddr) -> u64 {
        match SHIFT {
            16 => lpae::ADDRESS.in_place(to.0) | lpae::ADDRESS_HIGH_64K.put(to.0 >> 48),
            _ => to.0,
        }
    }

    /// Where an entry that leads to `1 << shift` bytes leads.
    #[inline(always)]
    fn target(raw: u64, shift: u32) -> PhysAddr {
        let low = lpae::ADDRESS.in_place(raw) & !((1u64 << shift) - 1);
        PhysAddr(match SHIFT {
            16 => low | lpae::ADDRESS_HIGH_64K.of(raw) << 48,
            _ => low,
        })
    }
}

impl<const STAGE: u8, const SHIFT: u32> Format for Arm<STAGE, SHIFT> {
    const FORMAT: ioward_types::Format =
        if STAGE == 1 { ioward_types::Format::ArmStage1 } else { ioward_types::Format::ArmStage2 };
    const GRANULE_SHIFT: u32 = SHIFT;
    const ROOT_EXTRA_BITS: u32 = if STAGE == 1 { 0 } else { 4 };
    const LINK_CLEANED: u64 = LINK_CLEANED;
    const LEAF_ATTRIBUTES: u64 = if STAGE == 1 { stage_1::ATTRIBUTES } else { stage_2::ATTRIBUTES };

    fn shape(in_bits: u8) -> Shape {
        let bits = u32::from(in_bits) - SHIFT;
        let (levels, top) = (bits / Self::INDEX_BITS, bits % Self::INDEX_BITS);
        match top {
            0..=4 if levels > 0 && STAGE != 1 => Shape { levels, root_bytes: 1 << (SHIFT + top) },
            0 if levels > 0 => Shape { levels, root_bytes: 1 << SHIFT },
            _ => Shape { levels: levels + 1, root_bytes: 1 << SHIFT },
        }
    }

    fn check(config: &TableConfig) -> Result<(), ConfigError> {
        // The narrowest of stage 1 without FEAT_TTST: CD.T0SZ is at most 39. Narrower ones of stage 2 start at levels that
        // not every granule has.
        let min = if STAGE == 1 { 25 } else { 32 };
        // 52 bits need FEAT_LPA or FEAT_LVA with 64 KiB. With 4 and 16 KiB they need FEAT_LPA2, other descriptors: refused.
        let max = if SHIFT == 16 { 52 } else { 48 };
        check_bounds(config, SHIFT, sizes(SHIFT), (min, max), (32, max))
    }

    #[inline(always)]
    fn link(to: PhysAddr, _: u32) -> u64 {
        Self::address(to) | lpae::VALID.mask() | lpae::TABLE_OR_PAGE.mask()
    }
    #[inline(always)]
    fn link_target(raw: u64) -> PhysAddr {
        Self::target(raw, SHIFT)
    }
    #[inline(always)]
    fn exact_target(link: u64) -> Option<PhysAddr> {
        // Access is marked in links with HAFT alone, which a `TableConfig` rules out. With 64 KiB a part of the address may
        // stand below the rest.
        let bits = lpae::VALID.mask() | lpae::TABLE_OR_PAGE.mask();
        if SHIFT < 16 { Some(PhysAddr(link.wrapping_sub(bits))) } else { None }
    }
    #[inline(always)]
    fn is_link(raw: u64, _: u32) -> bool {
        raw & lpae::TABLE_OR_PAGE.mask() != 0
    }
    #[inline(always)]
    fn is_leaf(raw: u64, _: u32) -> bool {
        raw & (lpae::VALID.mask() | lpae::TABLE_OR_PAGE.mask()) == lpae::VALID.mask()
    }

    #[inline(always)]
    fn leaf(to: PhysAddr, level: u32, shift: u32, attributes: u64) -> u64 {
        Self::address(to)
            | attributes
            | lpae::TABLE_OR_PAGE.put((level == 0).into())
            | lpae::CONTIGUOUS.put((shift != Self::entry_shift(level)).into())
    }
    #[inline(always)]
    fn leaf_shift(raw: u64, level: u32) -> u32 {
        let own = Self::entry_shift(level);
        match raw & lpae::CONTIGUOUS.mask() {
            0 => own,
            _ => own + lpae::contiguous_bits(SHIFT, own),
        }
    }
    #[inline(always)]
    fn leaf_target(raw: u64, level: u32) -> PhysAddr {
        let page = Self::leaf_shift(raw, level);
        PhysAddr(Self::target(raw, Self::entry_shift(level)).0 & !((1 << page) - 1))
    }

    #[inline(always)]
    fn output(raw: u64, level: u32, at: u64) -> PhysAddr {
        // Each entry of a set has its own address, so that sets need not be told from single entries.
        let own = Self::entry_shift(level);
        PhysAddr(Self::target(raw, own).0 | at & ((1 << own) - 1))
    }

    fn kind(raw: u64, level: u32) -> Kind {
        if raw & lpae::VALID.mask() == 0 {
            return Kind::Absent;
        }
        match (level, raw & lpae::TABLE_OR_PAGE.mask() != 0) {
            (0, false) => Kind::Malformed("a block at the last level"),
            (1.., true) => Kind::Link { level: level - 1 },
            (_, false) if level > block_levels(SHIFT) => Kind::Malformed("a block at a level that has none"),
            _ => Kind::Leaf { shift: Self::leaf_shift(raw, level) },
        }
    }

    #[inline(always)]
    fn encode(how: Attributes, rules: &Rules) -> Option<u64> {
        if STAGE == 1 { stage_1::encode(how, rules) } else { stage_2::encode(how, rules) }
    }
    #[inline(always)]
    fn decode(raw: u64) -> Attributes {
        if STAGE == 1 { stage_1::decode(raw) } else { stage_2::decode(raw) }
    }
    fn restrict(link: u64, how: Attributes) -> Attributes {
        if STAGE == 1 { stage_1::restrict(link, how) } else { how }
    }
    fn widen(how: Attributes) -> Attributes {
        Attributes {
            read: how.read || how.write && STAGE == 1,
            privileged: how.privileged && STAGE == 1,
            coherent: how.coherent && !how.mmio,
            ..how
        }
    }

    fn cuts_hitless(options: &Options) -> bool {
        options.hitless_cut
    }
    #[inline(always)]
    fn untouched(raw: u64) -> (u64, Touched) {
        if STAGE == 1 { stage_1::untouched(raw) } else { stage_2::untouched(raw) }
    }
}

/// What a leaf of stage 1 says about access.
mod stage_1 {
    use super::*;

    /// [`lpae::ATTR_INDX`] of [`ARM_MAIR`](ioward_types::table::ARM_MAIR).
    const INDEX_WRITE_BACK: u64 = 0;
    const INDEX_DEVICE: u64 = 1;
    const INDEX_NOT_CACHED: u64 = 2;

    pub const ATTRIBUTES: u64 = lpae::VALID.mask()
        | lpae::ATTR_INDX.mask()
        | lpae::NS.mask()
        | lpae::AP_UNPRIVILEGED.mask()
        | lpae::AP_READ_ONLY.mask()
        | lpae::SH.mask()
        | lpae::AF.mask()
        | lpae::NG.mask()
        | lpae::DBM.mask()
        | lpae::PXN.mask()
        | lpae::UXN.mask();

    #[inline(always)]
    pub fn encode(how: Attributes, rules: &Rules) -> Option<u64> {
        if !how.read {
            return None;
        }
        let (index, sh) = match (how.mmio, how.coherent) {
            (true, _) => (INDEX_DEVICE, lpae::SH_OUTER),
            (false, true) => (INDEX_WRITE_BACK, lpae::SH_INNER),
            (false, false) => (INDEX_NOT_CACHED, lpae::SH_OUTER),
        };
        // Tracked: writable but clean is read-only with the modifier, and not accessed yet.
        let tracked = rules.dirty && how.write;
        Some(
            lpae::VALID.mask()
                | lpae::ATTR_INDX.put(index)
                | lpae::AP_UNPRIVILEGED.put((!how.privileged).into())
                | lpae::AP_READ_ONLY.put((!how.write || tracked).into())
                | lpae::SH.put(sh)
                | lpae::AF.put((!rules.dirty).into())
                | lpae::NG.mask()
                | lpae::DBM.put(tracked.into())
                | lpae::PXN.put((!how.execute || !how.privileged).into())
                | lpae::UXN.put((!how.execute || how.privileged).into()),
        )
    }

    #[inline(always)]
    pub fn decode(raw: u64) -> Attributes {
        let privileged = raw & lpae::AP_UNPRIVILEGED.mask() == 0;
        let never = if privileged { lpae::PXN } else { lpae::UXN };
        let index = lpae::ATTR_INDX.of(raw);
        Attributes {
            read: true,
            write: raw & lpae::AP_READ_ONLY.mask() == 0 || raw & lpae::DBM.mask() != 0,
            execute: raw & never.mask() == 0,
            privileged,
            coherent: index == INDEX_WRITE_BACK,
            mmio: index != INDEX_WRITE_BACK && index != INDEX_NOT_CACHED,
        }
    }

    pub fn restrict(link: u64, how: Attributes) -> Attributes {
        // With rights for one privilege only, hierarchical execute-never of either forbids it.
        let never = lpae::UXN_TABLE.mask() | lpae::PXN_TABLE.mask();
        Attributes {
            write: how.write && link & lpae::AP_TABLE_READ_ONLY.mask() == 0,
            privileged: how.privileged || link & lpae::AP_TABLE_PRIVILEGED.mask() != 0,
            execute: how.execute && link & never == 0,
            ..how
        }
    }

    #[inline(always)]
    pub fn untouched(raw: u64) -> (u64, Touched) {
        let dirty = raw & lpae::DBM.mask() != 0 && raw & lpae::AP_READ_ONLY.mask() == 0;
        let touched = Touched { accessed: raw & lpae::AF.mask() != 0, dirty };
        (raw & !lpae::AF.mask() | lpae::AP_READ_ONLY.put(dirty.into()), touched)
    }
}

/// What a leaf of stage 2 says about access.
mod stage_2 {
    use super::*;

    pub const ATTRIBUTES: u64 = lpae::VALID.mask()
        | lpae::MEM_ATTR.mask()
        | lpae::S2AP_READ.mask()
        | lpae::S2AP_WRITE.mask()
        | lpae::SH.mask()
        | lpae::AF.mask()
        | lpae::DBM.mask()
        | lpae::S2_XN.mask();

    #[inline(always)]
    pub fn encode(how: Attributes, rules: &Rules) -> Option<u64> {
        if how.privileged || !(how.read || how.write) {
            return None;
        }
        let (kind, sh) = match (how.mmio, how.coherent) {
            (true, _) => (lpae::MEM_ATTR_DEVICE_NGNRE, lpae::SH_OUTER),
            (false, true) => (lpae::MEM_ATTR_NORMAL_WB, lpae::SH_INNER),
            (false, false) => (lpae::MEM_ATTR_NORMAL_NC, lpae::SH_OUTER),
        };
        let tracked = rules.dirty && how.write;
        Some(
            lpae::VALID.mask()
                | lpae::MEM_ATTR.put(kind)
                | lpae::S2AP_READ.put(how.read.into())
                | lpae::S2AP_WRITE.put((how.write && !tracked).into())
                | lpae::SH.put(sh)
                | lpae::AF.put((!rules.dirty).into())
                | lpae::DBM.put(tracked.into())
                | lpae::S2_XN.put(if how.execute { 0b00 } else { 0b10 }),
        )
    }

    #[inline(always)]
    pub fn decode(raw: u64) -> Attributes {
        let kind = lpae::MEM_ATTR.of(raw);
        Attributes {
            read: raw & lpae::S2AP_READ.mask() != 0,
            write: raw & (lpae::S2AP_WRITE.mask() | lpae::DBM.mask()) != 0,
            execute: lpae::S2_XN.of(raw) == 0b00,
            privileged: false,
            coherent: kind == lpae::MEM_ATTR_NORMAL_WB,
            // MemAttr[3:2] is zero for every kind of device memory.
            mmio: kind >> 2 == 0,
        }
    }

    #[inline(always)]
    pub fn untouched(raw: u64) -> (u64, Touched) {
        let dirty = raw & lpae::DBM.mask() != 0 && raw & lpae::S2AP_WRITE.mask() != 0;
        let touched = Touched { accessed: raw & lpae::AF.mask() != 0, dirty };
        (raw & !(lpae::AF.mask() | lpae::S2AP_WRITE.put(dirty.into())), touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { dirty: false, no_execute: false, snoop: false };
    const TRACKED: Rules = Rules { dirty: true, ..RULES };

    type S1 = ArmStage1<12>;
    type S2 = ArmStage2<12>;

    #[test]
    fn literal_entries_of_stage_1() {
        let how = S1::encode(Attributes::READ_WRITE, &RULES).unwrap();
        // D8.3.2: UXN, PXN, nG, AF, inner shareable, AP 01, index 0.
        assert_eq!(S1::leaf(PhysAddr(0x1234_5000), 0, 12, how), 0x0060_0000_1234_5f43);
        assert_eq!(S1::leaf(PhysAddr(0x4020_0000), 1, 21, how), 0x0060_0000_4020_0f41);
        assert_eq!(S1::leaf(PhysAddr(0x1234_5000), 0, 16, how), 0x0070_0000_1234_5f43);
        assert_eq!(S1::link(PhysAddr(0xabc_d000), 0), 0xabc_d003);
        assert_eq!(S1::encode(Attributes::READ, &RULES), Some(0x0060_0000_0000_0fc1));
        assert_eq!(S1::encode(Attributes::WRITE, &RULES), None);
        let privileged = Attributes { privileged: true, execute: true, ..Attributes::READ };
        assert_eq!(S1::encode(privileged, &RULES), Some(0x0040_0000_0000_0f81));
        let registers = Attributes { read: true, ..Attributes::DOORBELL };
        assert_eq!(S1::encode(registers, &RULES), Some(0x0060_0000_0000_0e45));
        let streaming = Attributes { coherent: false, ..Attributes::READ_WRITE };
        assert_eq!(S1::encode(streaming, &RULES), Some(0x0060_0000_0000_0e49));
        assert_eq!(S1::encode(Attributes::READ_WRITE, &TRACKED), Some(0x0068_0000_0000_0bc1));
        // 64 KiB: bits 15:12 are address bits 51:48.
        assert_eq!(ArmStage1::<16>::link(PhysAddr(0xa_bcde_f012_0000), 0), 0xbcde_f012_a003);
        assert_eq!(ArmStage1::<16>::link_target(0xbcde_f012_a003), PhysAddr(0xa_bcde_f012_0000));
    }

    #[test]
    fn literal_entries_of_stage_2() {
        let how = S2::encode(Attributes::READ_WRITE, &RULES).unwrap();
        // D8.3.2: XN 10, AF, inner shareable, S2AP 11, write-back.
        assert_eq!(S2::leaf(PhysAddr(0x1234_5000), 0, 12, how), 0x0040_0000_1234_57ff);
        assert_eq!(S2::leaf(PhysAddr(0x4000_0000), 2, 30, how), 0x0040_0000_4000_07fd);
        assert_eq!(S2::encode(Attributes::WRITE, &RULES), Some(0x0040_0000_0000_07bd));
        assert_eq!(S2::encode(Attributes::READ, &RULES), Some(0x0040_0000_0000_077d));
        assert_eq!(S2::encode(Attributes::DOORBELL, &RULES), Some(0x0040_0000_0000_0685));
        assert_eq!(S2::encode(Attributes::READ_WRITE, &TRACKED), Some(0x0048_0000_0000_037d));
        assert_eq!(S2::encode(Attributes { privileged: true, ..Attributes::READ }, &RULES), None);
    }

    #[test]
    fn dirty_is_the_modifier_and_a_right() {
        let clean = S1::encode(Attributes::READ_WRITE, &TRACKED).unwrap();
        assert_eq!(S1::untouched(clean), (clean, Touched::default()));
        let written = clean & !lpae::AP_READ_ONLY.mask() | lpae::AF.mask();
        assert_eq!(S1::untouched(written), (clean, Touched { accessed: true, dirty: true }));
        assert!(S1::decode(clean).write && S1::decode(written).write);
        let clean = S2::encode(Attributes::WRITE, &TRACKED).unwrap();
        let written = clean | lpae::S2AP_WRITE.mask() | lpae::AF.mask();
        assert_eq!(S2::untouched(written), (clean, Touched { accessed: true, dirty: true }));
        assert!(S2::decode(clean).write && !S2::decode(clean).read);
    }

    #[test]
    fn stage_2_concatenates_what_the_architecture_wants() {
        // D8.2.9, the tables of start levels: 4 KiB granule, level 1 serves 31 to 43 bits, level 0 44 to 48.
        let shape = |bits| (S2::shape(bits).levels, S2::shape(bits).root_bytes >> 12);
        assert_eq!(shape(32), (2, 4));
        assert_eq!(shape(34), (2, 16));
        assert_eq!(shape(35), (3, 1));
        assert_eq!(shape(39), (3, 1));
        assert_eq!(shape(40), (3, 2));
        assert_eq!(shape(43), (3, 16));
        assert_eq!(shape(44), (4, 1));
        assert_eq!(shape(48), (4, 1));
        assert_eq!(ArmStage2::<14>::shape(48), Shape { levels: 3, root_bytes: 2 << 14 });
        assert_eq!(ArmStage2::<16>::shape(46), Shape { levels: 2, root_bytes: 16 << 16 });
        assert_eq!(ArmStage2::<16>::shape(52), Shape { levels: 3, root_bytes: 1 << 16 });
        assert_eq!(S1::shape(40).levels, 4);
        assert_eq!(ArmStage1::<14>::shape(48).levels, 4);
    }
}
