//! A stage 2 table as a hypervisor writes it, by hand: three levels, 4 KiB granule, 39 bits.

use ioward::types::{Format, Frames, Iova, OutOfMemory, PhysAddr, Platform, Root, TableConfig};
use ioward_models::SimPlatform;

const PAGE: usize = 4096;
/// Bits 1:0 of an entry that points to a table or, on the last level, is a page (Arm ARM, D8.3).
const VALID: u64 = 0b11;
/// A page's normal write-back memory (MemAttr), read and write (S2AP), inner shareable (SH), accessed (AF).
const PAGE_BITS: u64 = VALID | 0xf << 2 | 0b11 << 6 | 0b11 << 8 | 1 << 10;

/// Tables that lead to one page.
pub struct Stage2 {
    tables: [Frames<SimPlatform>; 3],
}

impl Stage2 {
    /// A table that maps the page `to` at `at`.
    pub fn new(platform: &SimPlatform, at: Iova, to: PhysAddr) -> Result<Self, OutOfMemory> {
        let frames = || Frames::new(platform, PAGE, PAGE, PhysAddr(u64::MAX));
        let tables = [frames()?, frames()?, frames()?];
        let stage2 = Self { tables };
        let [first, second, _] = &stage2.tables;
        first.store64(index(at, 30), stage2.tables[1].phys().0 | VALID);
        second.store64(index(at, 21), stage2.tables[2].phys().0 | VALID);
        stage2.set(at, to.0 | PAGE_BITS);
        platform.publish();
        Ok(stage2)
    }

    /// Takes the page away. Hardware may remember it until it is told to forget.
    pub fn clear(&self, platform: &SimPlatform, at: Iova) {
        self.set(at, 0);
        platform.publish();
    }

    fn set(&self, at: Iova, entry: u64) {
        self.tables[2].store64(index(at, 12), entry);
    }

    /// Where a walk starts.
    pub fn root(&self) -> Root {
        Root { at: self.tables[0].phys(), levels: 3 }
    }

    /// Its shape.
    pub fn config() -> TableConfig {
        let page_sizes = 1 << 12 | 1 << 21 | 1 << 30;
        TableConfig {
            format: Format::ArmStage2,
            in_bits: 39,
            out_bits: 48,
            page_sizes,
            coherent: true,
            dirty: false,
            snoop: false,
        }
    }
}

/// The byte offset of the entry for `at` in the table that resolves the nine bits from `shift` up.
fn index(at: Iova, shift: u32) -> usize {
    (at.0 >> shift & 0x1ff) as usize * 8
}
