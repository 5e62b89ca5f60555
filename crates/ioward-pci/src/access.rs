//! Ways to reach configuration space.

use crate::{Bdf, regs};
use ioward_types::Mmio;

/// Configuration space of a machine, a doubleword at a time.
///
/// `offset` is in bytes and a multiple of 4. What is not there (an absent function, an offset beyond what the access
/// reaches, an unaligned offset) reads as all ones and takes no write: a bus answers so, and nobody may panic over it.
pub trait ConfigAccess {
    /// Reads a doubleword.
    fn read32(&self, function: Bdf, offset: u16) -> u32;
    /// Writes a doubleword.
    fn write32(&self, function: Bdf, offset: u16, value: u32);
    /// How many bytes of each function it reaches: 4096, or 256 for the ports at CF8h and CFCh.
    fn bytes(&self) -> u16 {
        regs::EXTENDED_BYTES
    }
}

impl<A: ConfigAccess + ?Sized> ConfigAccess for &A {
    fn read32(&self, function: Bdf, offset: u16) -> u32 {
        (**self).read32(function, offset)
    }
    fn write32(&self, function: Bdf, offset: u16, value: u32) {
        (**self).write32(function, offset, value)
    }
    fn bytes(&self) -> u16 {
        (**self).bytes()
    }
}

/// The enhanced access mechanism: 4096 bytes a function, one after the other (PCI Express Base 6.0, section 7.2.2).
#[derive(Clone, Copy, Debug)]
pub struct Ecam<M> {
    registers: M,
    segment: u32,
    first_bus: u8,
    last_bus: u8,
}

impl<M: Mmio> Ecam<M> {
    /// `registers` begins with function 0 of device 0 on `first_bus`; buses run to `last_bus`, included.
    ///
    /// An MCFG entry gives the address of bus 0 even if its first bus is another; map from `first_bus << 20` on.
    pub const fn new(registers: M, segment: u32, first_bus: u8, last_bus: u8) -> Self {
        Self { registers, segment, first_bus, last_bus }
    }

    /// The segment.
    pub const fn segment(&self) -> u32 {
        self.segment
    }

    /// The first bus.
    pub const fn first_bus(&self) -> u8 {
        self.first_bus
    }

    /// The last bus, included.
    pub const fn last_bus(&self) -> u8 {
        self.last_bus
    }

    fn at(&self, function: Bdf, offset: u16) -> Option<usize> {
        let here = function.segment == self.segment
            && (self.first_bus..=self.last_bus).contains(&function.bus)
            && offset < regs::EXTENDED_BYTES
            && offset.is_multiple_of(4);
        here.then(|| {
            usize::from(function.bus - self.first_bus) << 20
                | usize::from(function.devfn) << 12
                | usize::from(offset)
        })
    }
}

impl<M: Mmio> ConfigAccess for Ecam<M> {
    fn read32(&self, function: Bdf, offset: u16) -> u32 {
        self.at(function, offset).map_or(u32::MAX, |at| self.registers.read32(at))
    }
    fn write32(&self, function: Bdf, offset: u16, value: u32) {
        if let Some(at) = self.at(function, offset) {
            self.registers.write32(at, value)
        }
    }
}

/// Configuration space of one function, for reading.
pub trait ConfigSpace {
    /// The doubleword at `offset`, a multiple of 4; `None` where nobody could read it (a dump that was cut, an access
    /// that reaches 256 bytes only). Beyond 4096 bytes always `None`.
    fn read32(&self, offset: u16) -> Option<u32>;

    /// The 16 bits at `offset`, a multiple of 2.
    fn read16(&self, offset: u16) -> Option<u16> {
        Some((self.read32(offset & !3)? >> ((offset & 2) * 8)) as u16)
    }

    /// The byte at `offset`.
    fn read8(&self, offset: u16) -> Option<u8> {
        Some((self.read32(offset & !3)? >> ((offset & 3) * 8)) as u8)
    }
}

/// Bytes of a dump or of a file in sysfs, as many as there are.
impl ConfigSpace for [u8] {
    fn read32(&self, offset: u16) -> Option<u32> {
        let at = usize::from(offset);
        if offset >= regs::EXTENDED_BYTES || !offset.is_multiple_of(4) {
            return None;
        }
        let word = self.get(at..at + 4)?;
        Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    }
}

/// One function of a [`ConfigAccess`].
#[derive(Clone, Copy, Debug)]
pub struct FunctionSpace<'a, A: ?Sized> {
    /// How it is reached.
    pub access: &'a A,
    /// Which function.
    pub function: Bdf,
}

impl<A: ConfigAccess + ?Sized> ConfigSpace for FunctionSpace<'_, A> {
    fn read32(&self, offset: u16) -> Option<u32> {
        let reached = offset.is_multiple_of(4) && offset < self.access.bytes().min(regs::EXTENDED_BYTES);
        reached.then(|| self.access.read32(self.function, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering};

    /// Remembers the last offset that was read.
    struct Recorder(AtomicUsize);
    impl Mmio for Recorder {
        fn read32(&self, at: usize) -> u32 {
            self.0.store(at, Ordering::Relaxed);
            7
        }
        fn write32(&self, _: usize, _: u32) {}
        fn read64(&self, _: usize) -> u64 {
            0
        }
        fn write64(&self, _: usize, _: u64) {}
    }

    #[test]
    fn ecam_counts_from_its_first_bus_and_reaches_nothing_else() {
        let ecam = Ecam::new(Recorder(AtomicUsize::new(0)), 0, 0x40, 0x41);
        assert_eq!(ecam.read32(Bdf::new(0, 0x41, 2, 3), 0xffc), 7);
        assert_eq!(ecam.registers.0.load(Ordering::Relaxed), 0x11_3ffc);
        for (bus, segment, offset) in
            [(0x42, 0, 0), (0x3f, 0, 0), (0x40, 1, 0), (0x40, 0, 0x1000), (0x40, 0, 2)]
        {
            assert_eq!(ecam.read32(Bdf::new(segment, bus, 0, 0), offset), u32::MAX);
        }
        assert_eq!(ecam.registers.0.load(Ordering::Relaxed), 0x11_3ffc);
    }

    #[test]
    fn bytes_that_are_cut_say_so() {
        let bytes: &[u8] = &[1, 2, 3, 4, 5, 6];
        assert_eq!(bytes.read32(0), Some(0x0403_0201));
        assert_eq!(bytes.read16(2), Some(0x0403));
        assert_eq!(bytes.read8(1), Some(2));
        assert_eq!(bytes.read32(4), None);
        assert_eq!(bytes.read32(2), None);
    }
}
