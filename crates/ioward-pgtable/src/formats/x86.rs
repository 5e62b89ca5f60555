//! The long-mode format of x86 processors, as AMD-Vi (guest tables, v2) and VT-d (first stage) walk it.

use crate::{
    error::ConfigError,
    format::{Format, Kind, Options, Rules, Shape, Touched, check_bounds},
};
use ioward_spec::{Field, amdvi::entries::v2, vtd::paging::first};
use ioward_types::{Attributes, PhysAddr, TableConfig};

/// Long-mode tables of 4 or 5 levels: [`AmdV2`] and [`VtdFirst`].
///
/// Addresses are canonical. An input width of 48 or 57 bits is the full width of 4 or 5 levels and means both halves;
/// 32 to 47 and 49 to 56 bits mean the lower half alone, which is also what a device without PASIDs can use.
///
/// Whoever may write may read; `write` without `read` is refused. Memory types assume the PAT of reset: write-back where
/// coherent, UC- where not, UC for `mmio`, which is never coherent. Without dirty tracking a leaf is made accessed, and
/// dirty if it is writable, so that hardware never writes it. For `execute` see [`Options::no_execute`].
#[derive(Clone, Copy, Debug)]
pub struct X86<const VTD: bool>;

/// AMD-Vi guest tables (48882 rev 3.10, §2.2.6).
pub type AmdV2 = X86<false>;

/// VT-d first-stage tables (VT-d rev 4.1, 3.6 and 9.7).
///
/// Memory types matter only where hardware has them and the PASID-table entry enables them (ECAP.MTS, EMTE); elsewhere
/// snooping is decided by the PASID-table entry alone, hardware ignores the bits, and they remember what was asked for.
/// The extended-accessed bit is left to hardware: neither set nor taken as a mark of access.
pub type VtdFirst = X86<true>;

const fn same(amd: Field, vtd: Field) -> bool {
    amd.mask() == vtd.mask()
}

// One format by two names: were a position to differ, the code below would serve only one of them.
const _: () = assert!(
    same(v2::P, first::P)
        && same(v2::RW, first::RW)
        && same(v2::US, first::US)
        && same(v2::PWT, first::PWT)
        && same(v2::PCD, first::PCD)
        && same(v2::A, first::A)
        && same(v2::D, first::D)
        && same(v2::PS, first::PS)
        && same(v2::G, first::G)
        && same(v2::PAT_LARGE, first::PAT_LARGE)
        && same(v2::ADDRESS, first::ADDRESS)
        && same(v2::NX, first::XD)
);
/// Free in links of both: AVL of AMD, ignored by VT-d.
const LINK_CLEANED: Field = first::IGNORED_9;
const _: () = assert!(LINK_CLEANED.mask() & v2::AVL.mask() != 0);

/// Links allow what their leaves allow.
const LINK: u64 = v2::P.mask() | v2::RW.mask() | v2::US.mask() | v2::A.mask();

impl<const VTD: bool> Format for X86<VTD> {
    const FORMAT: ioward_types::Format =
        if VTD { ioward_types::Format::VtdFirst } else { ioward_types::Format::AmdV2 };
    const GRANULE_SHIFT: u32 = 12;
    const SIGN_EXTENDED: bool = true;
    const LINK_CLEANED: u64 = LINK_CLEANED.mask();
    const LEAF_ATTRIBUTES: u64 = v2::P.mask()
        | v2::RW.mask()
        | v2::US.mask()
        | v2::PWT.mask()
        | v2::PCD.mask()
        | v2::A.mask()
        | v2::D.mask()
        | v2::G.mask()
        | v2::NX.mask()
        | if VTD { first::EA.mask() } else { 0 };

    fn shape(in_bits: u8) -> Shape {
        Shape { levels: if in_bits <= 48 { 4 } else { 5 }, root_bytes: 4096 }
    }

    fn check(config: &TableConfig) -> Result<(), ConfigError> {
        check_bounds(config, 12, 1 << 12 | 1 << 21 | 1 << 30, (32, 57), (32, 52))
    }

    #[inline(always)]
    fn link(to: PhysAddr, _: u32) -> u64 {
        to.0 | LINK
    }
    #[inline(always)]
    fn link_target(raw: u64) -> PhysAddr {
        PhysAddr(v2::ADDRESS.in_place(raw))
    }
    #[inline(always)]
    fn exact_target(link: u64) -> Option<PhysAddr> {
        // Access is marked in every link from the start; extended access is marked with EAFE alone, which a `TableConfig`
        // rules out.
        Some(PhysAddr(link.wrapping_sub(LINK)))
    }
    #[inline(always)]
    fn is_link(raw: u64, _: u32) -> bool {
        // Links are made accessed, so that hardware changes nothing in the lowest byte; a leaf has its size there.
        raw as u8 == LINK as u8
    }
    #[inline(always)]
    fn is_leaf(raw: u64, _: u32) -> bool {
        raw & v2::PS.mask() != 0
    }

    #[inline(always)]
    fn leaf(to: PhysAddr, level: u32, _: u32, attributes: u64) -> u64 {
        let size = if level == 0 { 0 } else { v2::PS.mask() };
        to.0 | attributes | size
    }
    #[inline(always)]
    fn leaf_shift(_: u64, level: u32) -> u32 {
        Self::entry_shift(level)
    }
    #[inline(always)]
    fn leaf_target(raw: u64, level: u32) -> PhysAddr {
        PhysAddr(v2::ADDRESS.in_place(raw) & !((1 << Self::entry_shift(level)) - 1))
    }

    fn kind(raw: u64, level: u32) -> Kind {
        if raw & v2::P.mask() == 0 {
            return Kind::Absent;
        }
        let own = Self::entry_shift(level);
        match (level, raw & v2::PS.mask() != 0) {
            (0, _) => Kind::Leaf { shift: own },
            (_, false) => Kind::Link { level: level - 1 },
            (1 | 2, true) => match v2::ADDRESS.in_place(raw) & ((1u64 << own) - 1) & !v2::PAT_LARGE.mask() {
                0 => Kind::Leaf { shift: own },
                _ => Kind::Malformed("the page is not aligned to its size"),
            },
            _ => Kind::Malformed("a page at a level that has none"),
        }
    }

    #[inline(always)]
    fn encode(how: Attributes, rules: &Rules) -> Option<u64> {
        if !how.read {
            return None;
        }
        Some(
            v2::P.mask()
                | v2::RW.put(how.write.into())
                | v2::US.put((!how.privileged).into())
                | v2::PCD.put((how.mmio || !how.coherent).into())
                | v2::PWT.put(how.mmio.into())
                | v2::NX.put((rules.no_execute && !how.execute).into())
                | v2::A.put((!rules.dirty).into())
                | v2::D.put((!rules.dirty && how.write).into()),
        )
    }
    #[inline(always)]
    fn decode(raw: u64) -> Attributes {
        Attributes {
            read: true,
            write: raw & v2::RW.mask() != 0,
            execute: raw & v2::NX.mask() == 0,
            privileged: raw & v2::US.mask() == 0,
            coherent: raw & v2::PCD.mask() == 0,
            mmio: raw & v2::PWT.mask() != 0,
        }
    }
    fn restrict(link: u64, how: Attributes) -> Attributes {
        Attributes {
            write: how.write && link & v2::RW.mask() != 0,
            execute: how.execute && link & v2::NX.mask() == 0,
            privileged: how.privileged || link & v2::US.mask() == 0,
            ..how
        }
    }
    fn widen(how: Attributes) -> Attributes {
        Attributes { read: how.read || how.write, coherent: how.coherent && !how.mmio, ..how }
    }

    fn cuts_hitless(_: &Options) -> bool {
        true
    }
    #[inline(always)]
    fn untouched(raw: u64) -> (u64, Touched) {
        let touched = Touched { accessed: raw & v2::A.mask() != 0, dirty: raw & v2::D.mask() != 0 };
        (raw & !(v2::A.mask() | v2::D.mask()), touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { dirty: false, no_execute: true, snoop: false };

    #[test]
    fn literal_entries() {
        // AMD64 manual volume 2, §5.3: what an operating system puts for a user's writable data page: 0x8...067.
        let data = AmdV2::encode(Attributes::READ_WRITE, &RULES).unwrap();
        assert_eq!(AmdV2::leaf(PhysAddr(0x1234_5000), 0, 12, data), 0x8000_0000_1234_5067);
        assert_eq!(AmdV2::leaf(PhysAddr(0x4020_0000), 1, 21, data), 0x8000_0000_4020_00e7);
        assert_eq!(AmdV2::leaf(PhysAddr(0x4000_0000), 2, 30, data), 0x8000_0000_4000_00e7);
        let tracked = Rules { dirty: true, ..Rules::default() };
        assert_eq!(AmdV2::encode(Attributes::READ, &tracked), Some(0x5));
        let doorbell = Attributes { read: true, ..Attributes::DOORBELL };
        assert_eq!(AmdV2::encode(doorbell, &tracked), Some(0x1f));
        assert_eq!(AmdV2::link(PhysAddr(0xabc_d000), 0), 0xabc_d027);
        assert_eq!(AmdV2::encode(Attributes::WRITE, &RULES), None);
    }

    #[test]
    fn literal_entries_of_vt_d() {
        // VT-d 9.7: what Linux's generic_pt puts for IOMMU_READ | IOMMU_WRITE: P, R/W, U/S, A, D.
        let data = VtdFirst::encode(Attributes::READ_WRITE, &Rules::default()).unwrap();
        assert_eq!(VtdFirst::leaf(PhysAddr(0x1234_5000), 0, 12, data), 0x1234_5067);
        assert_eq!(VtdFirst::leaf(PhysAddr(0x4020_0000), 1, 21, data), 0x4020_00e7);
        assert_eq!(VtdFirst::encode(Attributes::READ, &Rules::default()), Some(0x25));
        assert_eq!(VtdFirst::link(PhysAddr(0xabc_d000), 0), 0xabc_d027);
        // A cut keeps the extended-accessed bit; a harvest does not look at it.
        assert_ne!(VtdFirst::LEAF_ATTRIBUTES & 0x400, 0);
        assert_eq!(AmdV2::LEAF_ATTRIBUTES & 0x400, 0);
        assert_eq!(VtdFirst::untouched(0x467), (0x407, Touched { accessed: true, dirty: true }));
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(AmdV2::kind(!1, 3), Kind::Absent);
        assert!(matches!(AmdV2::kind(0x81, 3), Kind::Malformed(_)));
        assert!(matches!(AmdV2::kind(0x81, 4), Kind::Malformed(_)));
        assert!(matches!(AmdV2::kind(0x2081, 1), Kind::Malformed(_)));
        assert_eq!(AmdV2::kind(0x1081, 1), Kind::Leaf { shift: 21 });
        assert_eq!(AmdV2::kind(0x1, 3), Kind::Link { level: 2 });
    }
}
