//! Encoding of device table entries (48882 §2.2.2.1).
//!
//! Blocked is never V=0, which passes through. It is V=1, TV=1, no rights (IR=IW=0), *and* a host table of one level in
//! which nothing is present, so that two independent fields must be misread before anything is reachable; the fault is
//! logged as any other. What is said of interrupts is merged in where the entry is stored.
//!
//! All that translation depends on is in bits `[127:0]`, which are stored at once, but for the guest paging mode in
//! `[183:182]`, which matters only with GV set.

use ioward_spec::amdvi::dte;
use ioward_types::PhysAddr;

/// One entry, as hardware reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Entry(pub [u64; dte::WORDS]);

/// A host (v1) table as an entry holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HostTable {
    pub root: PhysAddr,
    pub levels: u8,
    pub dirty: bool,
}

/// A guest CR3 table as an entry holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GuestTables {
    pub root: PhysAddr,
    /// Levels of the guest CR3 table, 1 to 3.
    pub levels: u8,
    /// The guest page tables have five levels, not four.
    pub five: bool,
    /// Requests without a PASID are those of PASID zero (GIoV). Otherwise they are identity: with Mode zero and rights
    /// there is no third thing for them to be.
    pub rid: bool,
}

impl Entry {
    /// Reaches nothing. `nothing` is a page of zeroes, `levels` is 1, or 0 where the hardware has no host tables.
    pub fn blocked(domain: u16, nothing: PhysAddr, levels: u8) -> Self {
        let mut entry = Self::valid(domain);
        dte::MODE.set(&mut entry.0, levels.into());
        dte::HOST_PAGE_TABLE_ROOT.set_in_place(&mut entry.0, nothing.0);
        entry
    }

    /// Reaches everything, untranslated.
    pub fn identity(domain: u16, ats: bool) -> Self {
        Self::valid(domain).with_rights(ats)
    }

    /// Through a v1 table.
    pub fn host(domain: u16, table: &HostTable, ats: bool) -> Self {
        let mut entry = Self::valid(domain).with_rights(ats);
        dte::MODE.set(&mut entry.0, table.levels.into());
        dte::HOST_PAGE_TABLE_ROOT.set_in_place(&mut entry.0, table.root.0);
        if table.dirty {
            dte::HAD.set(&mut entry.0, dte::had::ACCESSED_AND_DIRTY);
        }
        entry
    }

    /// Through the v2 tables behind a guest CR3 table.
    pub fn guest(domain: u16, tables: &GuestTables, ats: bool) -> Self {
        let mut entry = Self::valid(domain).with_rights(ats);
        let words = &mut entry.0;
        dte::GV.set(words, 1);
        dte::GIOV.set(words, tables.rid.into());
        dte::GLX.set(words, u64::from(tables.levels) - 1);
        dte::GCR3_TRP_14_12.set(words, tables.root.0 >> 12);
        dte::GCR3_TRP_30_15.set(words, tables.root.0 >> 15);
        dte::GCR3_TRP_51_31.set(words, tables.root.0 >> 31);
        dte::GUEST_PAGING_MODE.set(words, tables.five.into());
        entry
    }

    fn valid(domain: u16) -> Self {
        let mut entry = Self::default();
        dte::V.set(&mut entry.0, 1);
        dte::TV.set(&mut entry.0, 1);
        dte::DOMAIN_ID.set(&mut entry.0, domain.into());
        entry
    }

    fn with_rights(mut self, ats: bool) -> Self {
        dte::IR.set(&mut self.0, 1);
        dte::IW.set(&mut self.0, 1);
        dte::I.set(&mut self.0, ats.into());
        self
    }

    /// Bits `[127:0]`.
    pub fn lower(&self) -> u128 {
        u128::from(self.0[0]) | u128::from(self.0[1]) << 64
    }

    /// Bits `[255:128]`.
    pub fn upper(&self) -> u128 {
        u128::from(self.0[2]) | u128::from(self.0[3]) << 64
    }

    /// Whether translation depends on bits `[255:128]`.
    pub fn is_guest(&self) -> bool {
        dte::GV.is_set(&self.0)
    }

    /// Whether it reaches nothing by its own rights.
    pub fn is_blocked(&self) -> bool {
        dte::V.is_set(&self.0)
            && dte::TV.is_set(&self.0)
            && !dte::IR.is_set(&self.0)
            && !dte::IW.is_set(&self.0)
            && !dte::GV.is_set(&self.0)
    }

    /// Whether the device may cache translations.
    pub fn is_ats(&self) -> bool {
        dte::I.is_set(&self.0)
    }

    /// Under which ID the IOMMU caches its translations.
    pub fn domain(&self) -> u16 {
        dte::DOMAIN_ID.get(&self.0) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Literal words, from Table 7 of 48882 by hand: V and TV are bits 0 and 1, Mode 11:9, rights 61 and 62.
    const RIGHTS: u64 = 0x6000_0000_0000_0000;

    #[test]
    fn entries_as_the_specification_draws_them() {
        assert_eq!(Entry::blocked(1, PhysAddr(0x7000), 1).0, [0x7203, 1, 0, 0]);
        assert_eq!(Entry::identity(2, false).0, [RIGHTS | 3, 2, 0, 0]);
        assert_eq!(Entry::identity(2, true).0, [RIGHTS | 3, 0x1_0000_0002, 0, 0]);
        let host = HostTable { root: PhysAddr(0x1234_5000), levels: 4, dirty: false };
        assert_eq!(Entry::host(5, &host, false).0, [RIGHTS | 0x1234_5803, 5, 0, 0]);
        let host = HostTable { dirty: true, ..host };
        assert_eq!(Entry::host(5, &host, false).0, [RIGHTS | 0x1234_5983, 5, 0, 0]);
    }

    #[test]
    fn the_guest_table_root_is_in_three_pieces() {
        let all = PhysAddr(0x000f_ffff_ffff_f000);
        let tables = GuestTables { root: all, levels: 2, five: true, rid: true };
        let entry = Entry::guest(0, &tables, false);
        assert_eq!(
            entry.0,
            [RIGHTS | 0x1dc0_0000_0000_0003, 0xffff_f800_ffff_0000, 0x0040_0000_0000_0000, 0]
        );
        let tables = GuestTables { root: PhysAddr(0x8000_9000), levels: 1, five: false, rid: false };
        // Bits 14:12 of the root are 1, bits 30:15 are 1, bits 51:31 are 1.
        assert_eq!(
            Entry::guest(3, &tables, true).0,
            [RIGHTS | 0x0480_0000_0000_0003, 0x0000_0801_0001_0003, 0, 0]
        );
    }

    #[test]
    fn only_blocked_is_blocked() {
        assert!(Entry::blocked(1, PhysAddr(0), 1).is_blocked());
        assert!(!Entry::identity(1, false).is_blocked());
        assert!(!Entry([0; 4]).is_blocked());
        // V without TV terminates table walks, but not what needs none.
        assert!(!Entry([1, 0, 0, 0]).is_blocked());
    }
}
