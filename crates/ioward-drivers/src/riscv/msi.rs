//! MSI page tables (2.1.3.5, 2.3.3; Advanced Interrupt Architecture 1.0, 9.5).
//!
//! An address space of a guest contains interrupt files: pages that its devices write messages to. Beside a second stage a
//! device context can name an MSI page table, which says for each of them which interrupt file of the machine it is, or
//! which memory-resident one. What it says goes before what the second stage says.

use super::memory::{Reach, Shared};
use core::sync::atomic::AtomicBool;
use ioward_spec::riscv::{
    PAGE_BITS,
    msi::{self as spec, BYTES, MRIF_BYTES, mode},
};
use ioward_types::{IommuId, Iova, OutOfMemory, PhysAddr, Platform};

/// The most bits of an interrupt file's number: a table of 1 MiB.
const FILE_BITS: u32 = 16;

/// Which guest pages are interrupt files: those whose page number is `pattern` in every bit that is clear in `mask`. The
/// bits that are set in `mask`, put together, are the file's number (2.1.3.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MsiWindow {
    /// `msi_addr_mask`, of page numbers.
    pub mask: u64,
    /// `msi_addr_pattern`, of page numbers.
    pub pattern: u64,
}

impl MsiWindow {
    /// How many files there are.
    pub const fn files(&self) -> u64 {
        1u64 << self.mask.count_ones()
    }

    /// The number of the file that a guest physical address is in; none where it is in none.
    pub fn file_of(&self, at: Iova) -> Option<u32> {
        let page = at.0 >> PAGE_BITS;
        if (page ^ self.pattern) & !self.mask != 0 {
            return None;
        }
        let (mut number, mut mask, mut to) = (0u64, self.mask, 0);
        while mask != 0 {
            number |= (page >> mask.trailing_zeros() & 1) << to;
            mask &= mask - 1;
            to += 1;
        }
        Some(number as u32)
    }

    /// The first guest physical address of a file; none where there is no such file.
    pub fn address_of(&self, file: u32) -> Option<Iova> {
        if u64::from(file) >= self.files() {
            return None;
        }
        let (mut page, mut mask, mut from) = (self.pattern & !self.mask, self.mask, file);
        while mask != 0 {
            page |= u64::from(from & 1) << mask.trailing_zeros();
            mask &= mask - 1;
            from >>= 1;
        }
        Some(Iova(page << PAGE_BITS))
    }
}

/// What an interrupt file of a guest is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MsiTarget {
    /// The interrupt file of the machine at this address, a multiple of 4 KiB (basic translate mode, 9.5.1).
    File(PhysAddr),
    /// A memory-resident interrupt file (MRIF mode, 9.5.2).
    Memory {
        /// Where it is: 512 bytes, aligned to as much.
        file: PhysAddr,
        /// The page that a notice is written to, a multiple of 4 KiB.
        notice: PhysAddr,
        /// What is written there: an interrupt identity of 11 bits.
        identity: u16,
    },
}

/// The entry that says so, or why there is none.
pub(super) fn encode(to: Option<MsiTarget>) -> Result<[u64; spec::WORDS], &'static str> {
    let mut words = [0; spec::WORDS];
    let (page, beyond) = ((1u64 << PAGE_BITS) - 1, 1u64 << 56);
    match to {
        None => {}
        Some(MsiTarget::File(at)) if at.0 & page == 0 && at.0 < beyond => {
            spec::V.set(&mut words, 1);
            spec::M.set(&mut words, mode::BASIC);
            spec::PPN.set(&mut words, at.0 >> PAGE_BITS);
        }
        Some(MsiTarget::File(_)) => return Err("an interrupt file that is no page"),
        Some(MsiTarget::Memory { file, .. }) if file.0 & (MRIF_BYTES - 1) != 0 || file.0 >= beyond => {
            return Err("a memory-resident interrupt file that is not aligned to 512 bytes");
        }
        Some(MsiTarget::Memory { notice, .. }) if notice.0 & page != 0 || notice.0 >= beyond => {
            return Err("a notice to what is no page");
        }
        Some(MsiTarget::Memory { identity, .. }) if identity >> 11 != 0 => {
            return Err("a notice with an identity of more than 11 bits");
        }
        Some(MsiTarget::Memory { file, notice, identity }) => {
            spec::V.set(&mut words, 1);
            spec::M.set(&mut words, mode::MRIF);
            spec::MRIF_ADDRESS.set(&mut words, file.0 / MRIF_BYTES);
            spec::NID.set(&mut words, identity.into());
            spec::NID_10.set(&mut words, u64::from(identity >> 10));
            spec::NPPN.set(&mut words, notice.0 >> PAGE_BITS);
        }
    }
    Ok(words)
}

fn decode(words: &[u64; spec::WORDS]) -> Option<MsiTarget> {
    if !spec::V.is_set(words) {
        return None;
    }
    Some(match spec::M.get(words) {
        mode::BASIC => MsiTarget::File(PhysAddr(spec::PPN.get(words) << PAGE_BITS)),
        _ => MsiTarget::Memory {
            file: PhysAddr(spec::MRIF_ADDRESS.get(words) * MRIF_BYTES),
            notice: PhysAddr(spec::NPPN.get(words) << PAGE_BITS),
            identity: (spec::NID_10.get(words) << 10 | spec::NID.get(words)) as u16,
        },
    })
}

/// What a device context says of an MSI page table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MsiPointer {
    pub ppn: u64,
    pub window: MsiWindow,
    /// The second stage that it belongs to.
    pub gscid: u32,
}

/// The MSI page table of one guest. Made by [`RiscVIommu::msi_table`](super::RiscVIommu::msi_table).
///
/// Dropping it leaks its memory: the IOMMU may still read it.
#[must_use]
pub struct MsiTable<P: Platform> {
    pub(super) iommu: IommuId,
    pub(super) memory: Shared<P>,
    pub(super) window: MsiWindow,
    pub(super) gscid: u32,
    /// That an entry was forgotten was not confirmed. Changed under the contexts' lock.
    pub(super) owed: AtomicBool,
}

impl<P: Platform> MsiTable<P> {
    pub(super) fn new(
        iommu: IommuId,
        platform: &P,
        reach: Reach,
        window: MsiWindow,
        gscid: u32,
    ) -> Result<Self, OutOfMemory> {
        // An entry is found by OR, so the table is aligned to its size (2.3.3).
        let memory = Shared::new(platform, reach, BYTES * window.files() as usize)?;
        Ok(Self { iommu, memory, window, gscid, owed: AtomicBool::new(false) })
    }

    /// Which guest pages are interrupt files.
    pub fn window(&self) -> MsiWindow {
        self.window
    }

    /// What a file is; none where messages to it are refused, or where there is no such file.
    pub fn target(&self, file: u32) -> Option<MsiTarget> {
        (u64::from(file) < self.window.files()).then(|| decode(&self.read(file)))?
    }

    pub(super) fn read(&self, file: u32) -> [u64; spec::WORDS] {
        let at = file as usize * BYTES;
        [self.memory.load(at), self.memory.load(at + 8)]
    }

    pub(super) fn store(&self, file: u32, word: usize, value: u64) {
        self.memory.store(file as usize * BYTES + 8 * word, value);
    }

    pub(super) fn pointer(&self) -> MsiPointer {
        MsiPointer { ppn: self.memory.ppn(), window: self.window, gscid: self.gscid }
    }
}

/// Whether a window can be one: bits of `bits` bits of guest physical address, and not too many files.
pub(super) fn check_window(window: MsiWindow, bits: u8) -> Result<(), &'static str> {
    let above = u64::MAX << (u32::from(bits) - PAGE_BITS);
    if (window.mask | window.pattern) & above != 0 {
        return Err("MSI address mask and pattern within guest physical addresses");
    }
    if window.mask.count_ones() > FILE_BITS {
        return Err("an MSI page table of more than 65536 interrupt files");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_number_and_an_address() {
        // The example of 2.3.3: x = abcdefgh, y = 10100110, extracted 0000acfg.
        let window = MsiWindow { mask: 0b1010_0110, pattern: 0b0100_0001 };
        assert_eq!(window.files(), 16);
        for file in 0..16 {
            let at = window.address_of(file).unwrap();
            assert_eq!(window.file_of(at), Some(file));
            assert_eq!(window.file_of(Iova(at.0 + 0xfff)), Some(file));
        }
        assert_eq!(window.address_of(16), None);
        assert_eq!(window.file_of(Iova(0b1110_0111 << 12)), Some(0b1111));
        assert_eq!(window.file_of(Iova(0b1100_0101 << 12)), Some(0b1010));
        assert_eq!(window.file_of(Iova(0b1110_0110 << 12)), None);
        assert_eq!(window.file_of(Iova(0b1_1110_0111 << 12)), None);
    }

    #[test]
    fn entries_are_what_the_figures_say() {
        let file = MsiTarget::File(PhysAddr(0x2800_5000));
        assert_eq!(encode(Some(file)), Ok([0x0a00_1407, 0]));
        let memory =
            MsiTarget::Memory { file: PhysAddr(0x8000_0e00), notice: PhysAddr(0x2800_1000), identity: 0x7f3 };
        assert_eq!(encode(Some(memory)), Ok([0x2000_0383, 1 << 60 | 0x0a00_0400 | 0x3f3]));
        for target in [None, Some(file), Some(memory)] {
            assert_eq!(decode(&encode(target).unwrap()), target);
        }
        for wrong in [
            MsiTarget::File(PhysAddr(0x800)),
            MsiTarget::File(PhysAddr(1 << 56)),
            MsiTarget::Memory { file: PhysAddr(0x100), notice: PhysAddr(0), identity: 1 },
            MsiTarget::Memory { file: PhysAddr(0x200), notice: PhysAddr(0x10), identity: 1 },
            MsiTarget::Memory { file: PhysAddr(0x200), notice: PhysAddr(0), identity: 0x800 },
        ] {
            assert!(encode(Some(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_window_lies_within_guest_addresses() {
        let window = |mask, pattern| check_window(MsiWindow { mask, pattern }, 41);
        assert!(window(0xff, 0x2_8000).is_ok());
        assert!(window(0xff, 1 << 28).is_ok() && window(0xff, 1 << 29).is_err());
        assert!(window(1 << 29, 0).is_err() && window(0x1_ffff, 0).is_err());
    }
}
