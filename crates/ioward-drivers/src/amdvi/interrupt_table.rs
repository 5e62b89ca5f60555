//! Interrupt remapping tables (48882 §2.2.5), one for each source that has entries.
//!
//! Entries have 128 bits where the hardware can (GASup), and are stored at once; else 32, of which two share a word that
//! is exchanged whole. Either way hardware sees the old entry or the new one. Without an entry a message is blocked:
//! RemapEn clear target-aborts, and a source that has no table has IntCtl zero, which does too.

use alloc::{vec, vec::Vec};
use ioward_core::driver::{ApicTarget, Delivery};
use ioward_spec::amdvi::{
    dte,
    interrupts::{basic, wide},
};
use ioward_types::{Frames, OutOfMemory, PhysAddr, Platform};

/// A table has `1 << LENGTH` entries: all that there are without EFR2.NumIntRemapSup.
const LENGTH: u32 = 9;
/// Entries of a table.
pub(super) const ENTRIES: u16 = 1 << LENGTH;
/// How an IOMMU's interrupt tables are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kind {
    /// Entries have 128 bits (control.GAEn).
    pub wide: bool,
    /// Destinations have 32 bits (control.XTEn).
    pub x2apic: bool,
}

/// What of bits `[191:128]` of a device table entry is about interrupts.
pub(super) const MASK: u64 = !dte::GUEST_PAGING_MODE.mask();

/// Those bits for a source without a table: every message is target-aborted, but for those that `setting` (the byte of
/// an IVHD device entry) lets pass.
pub(super) fn closed(setting: u8) -> u64 {
    let bit = |at: u8| u64::from(setting >> at & 1);
    dte::IV.put(1)
        | dte::INT_CTL.put(dte::int_control::ABORT)
        | dte::INIT_PASS.put(bit(0))
        | dte::EINT_PASS.put(bit(1))
        | dte::NMI_PASS.put(bit(2))
        | dte::LINT0_PASS.put(bit(6))
        | dte::LINT1_PASS.put(bit(7))
}

/// Whether messages of a source with these bits are only what its entries say.
pub(super) fn isolates(word: u64) -> bool {
    let passes = closed(u8::MAX) & !closed(0);
    dte::IV.of(word) != 0 && dte::INT_CTL.of(word) != dte::int_control::FORWARD && word & passes == 0
}

/// The table of one source.
pub(super) struct InterruptTable<P: Platform> {
    frames: Frames<P>,
    kind: Kind,
    coherent: bool,
    taken: Vec<u64>,
    /// The IOMMU has confirmed that it forgot that there was no table.
    pub told: bool,
}

impl<P: Platform> InterruptTable<P> {
    /// A table in which nothing is remapped.
    pub fn new(platform: &P, kind: Kind, coherent: bool) -> Result<Self, OutOfMemory> {
        let entry = if kind.wide { wide::BYTES } else { basic::BYTES };
        let bytes = (usize::from(ENTRIES) * entry as usize).next_multiple_of(4096);
        let frames = Frames::new(platform, bytes, 4096, PhysAddr(1 << 52))?;
        if !coherent {
            frames.clean(0, bytes);
        }
        Ok(Self { frames, kind, coherent, taken: vec![0; usize::from(ENTRIES) / 64], told: false })
    }

    /// Bits `[191:128]` of a device table entry that leads here; `closed` are those without a table.
    pub fn open(&self, closed: u64) -> u64 {
        let word = dte::INT_CTL.with(closed, dte::int_control::REMAP);
        let word = dte::INT_TAB_LEN.with(word, LENGTH.into());
        word & !dte::INT_TABLE_ROOT.mask() | dte::INT_TABLE_ROOT.in_place(self.frames.phys().0)
    }

    fn is_taken(&self, index: u16) -> bool {
        self.taken[usize::from(index / 64)] >> (index % 64) & 1 != 0
    }

    /// Takes `count` entries that lie together, aligned to `count` rounded up to a power of two.
    pub fn take(&mut self, count: u16) -> Option<u16> {
        let step = count.checked_next_power_of_two().filter(|step| count != 0 && *step <= ENTRIES)?;
        let free = |first: &u16| !(*first..*first + count).any(|index| self.is_taken(index));
        let first = (0..ENTRIES).step_by(step.into()).find(free)?;
        (first..first + count).for_each(|index| self.taken[usize::from(index / 64)] |= 1 << (index % 64));
        Some(first)
    }

    /// Whether these entries are somebody's.
    pub fn holds(&self, first: u32, count: u16) -> bool {
        let end = first.checked_add(count.into()).filter(|end| *end <= u32::from(ENTRIES));
        count > 0 && end.is_some_and(|end| (first..end).all(|index| self.is_taken(index as u16)))
    }

    /// Gives entries back, which are masked and in no cache.
    pub fn give(&mut self, first: u16, count: u16) {
        (first..first + count).for_each(|index| self.taken[usize::from(index / 64)] &= !(1 << (index % 64)));
    }

    /// Makes an entry deliver to a processor.
    pub fn set(&self, index: u16, to: &ApicTarget) {
        self.store(index, if self.kind.wide { wide_entry(to) } else { u128::from(basic_entry(to)) });
    }

    /// Makes an entry block its messages.
    pub fn mask(&self, index: u16) {
        self.store(index, 0);
    }

    fn store(&self, index: u16, entry: u128) {
        let index = usize::from(index);
        let (at, bytes) = if self.kind.wide { (index * 16, 16) } else { ((index * 4) & !7, 8) };
        if !self.kind.wide {
            let shift = index % 2 * 32;
            let (entry, keep) = ((entry as u64) << shift, !(0xffff_ffff << shift));
            let mut old = self.frames.load64(at);
            while let Err(now) = self.frames.cas64(at, old, old & keep | entry) {
                old = now;
            }
        } else if self.frames.store128(at, entry).is_err() {
            // Not reached: bring-up refuses a CPU without the store. RemapEn is in the first word: masked in between.
            self.frames.store64(at, 0);
            self.frames.store64(at + 8, (entry >> 64) as u64);
            self.frames.store64(at, entry as u64);
        }
        if !self.coherent {
            self.frames.clean(at, bytes);
        }
    }
}

/// The two delivery types that an entry has.
fn kind(to: &ApicTarget) -> u64 {
    u64::from(to.delivery == Delivery::LowestPriority)
}

fn basic_entry(to: &ApicTarget) -> u32 {
    use basic::*;
    let entry = REMAP_EN.put(1)
        | INT_TYPE.put(kind(to))
        | RQ_EOI.put(to.level.into())
        | DM.put(to.logical.into())
        | DESTINATION.put(to.destination.into())
        | VECTOR.put(to.vector.into());
    entry as u32
}

fn wide_entry(to: &ApicTarget) -> u128 {
    use wide::*;
    let mut words = [0; 2];
    REMAP_EN.set(&mut words, 1);
    INT_TYPE.set(&mut words, kind(to));
    RQ_EOI.set(&mut words, to.level.into());
    DM.set(&mut words, to.logical.into());
    DESTINATION_23_0.set(&mut words, (to.destination & 0xff_ffff).into());
    DESTINATION_31_24.set(&mut words, (to.destination >> 24).into());
    VECTOR.set(&mut words, to.vector.into());
    u128::from(words[0]) | u128::from(words[1]) << 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_as_the_specification_draws_them() {
        let to = ApicTarget { vector: 0x41, destination: 3, ..ApicTarget::default() };
        assert_eq!(basic_entry(&to), 0x0041_0301);
        let to = ApicTarget {
            vector: 0x42,
            destination: 0x8912_3456,
            logical: true,
            delivery: Delivery::LowestPriority,
            level: true,
        };
        assert_eq!(wide_entry(&to), 0x8900_0000_0000_0042_0000_0000_1234_5665);
    }

    #[test]
    fn closed_is_isolated_but_for_what_firmware_lets_pass() {
        assert_eq!(closed(0), 1);
        assert!(isolates(closed(0)));
        // INITPass, EIntPass, NMIPass, Lint0Pass, Lint1Pass are bits 184 to 186, 190 and 191.
        assert_eq!(closed(0xc7), 0xc700_0000_0000_0001);
        assert!(!isolates(0) && !isolates(closed(0) | 1 << 60));
        for bit in [0, 1, 2, 6, 7] {
            assert!(!isolates(closed(1 << bit)), "setting {bit}");
        }
    }
}
