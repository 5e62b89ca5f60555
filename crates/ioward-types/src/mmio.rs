//! Registers, real or simulated.

use crate::platform::barrier;
use core::{fmt, ptr::NonNull};

/// A block of registers. Offsets are in bytes from its start.
///
/// A write is ordered after every earlier store to memory that hardware reads, and a read before every later load.
/// Real registers, a model, a tracer and a fault injector all implement it. An offset outside the block reads as all
/// ones and writes nothing: no driver panics over a block that is shorter than it should be.
pub trait Mmio: Send + Sync {
    /// Reads 32 bits.
    fn read32(&self, at: usize) -> u32;
    /// Writes 32 bits.
    fn write32(&self, at: usize, value: u32);
    /// Reads 64 bits; as two halves, low first, where the bus has no 64-bit access.
    fn read64(&self, at: usize) -> u64;
    /// Writes 64 bits; as two halves, low first, where the bus has no 64-bit access.
    fn write64(&self, at: usize, value: u64);

    /// Reads 8 bits. The default reads the 32 bits around them, for blocks whose registers do nothing when read.
    fn read8(&self, at: usize) -> u8 {
        (self.read32(at & !3) >> (at % 4 * 8)) as u8
    }
    /// Reads 16 bits, as [`Mmio::read8`].
    fn read16(&self, at: usize) -> u16 {
        if at.is_multiple_of(2) { (self.read32(at & !3) >> (at % 4 * 8)) as u16 } else { u16::MAX }
    }
    /// Writes 8 bits. The default reads and writes the 32 bits around them, for blocks whose registers do nothing when
    /// they are written with what they hold.
    fn write8(&self, at: usize, value: u8) {
        let shift = at % 4 * 8;
        let rest = self.read32(at & !3) & !(0xff << shift);
        self.write32(at & !3, rest | u32::from(value) << shift);
    }
    /// Writes 16 bits, as [`Mmio::write8`].
    fn write16(&self, at: usize, value: u16) {
        if at.is_multiple_of(2) {
            let shift = at % 4 * 8;
            let rest = self.read32(at & !3) & !(0xffff << shift);
            self.write32(at & !3, rest | u32::from(value) << shift);
        }
    }
}

impl<M: Mmio + ?Sized> Mmio for &M {
    fn read32(&self, at: usize) -> u32 {
        (**self).read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        (**self).write32(at, value)
    }
    fn read64(&self, at: usize) -> u64 {
        (**self).read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        (**self).write64(at, value)
    }
    fn read8(&self, at: usize) -> u8 {
        (**self).read8(at)
    }
    fn read16(&self, at: usize) -> u16 {
        (**self).read16(at)
    }
    fn write8(&self, at: usize, value: u8) {
        (**self).write8(at, value)
    }
    fn write16(&self, at: usize, value: u16) {
        (**self).write16(at, value)
    }
}

/// Registers in this CPU's address space.
pub struct MmioPtr {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: device registers belong to no thread; every access is a single volatile instruction.
unsafe impl Send for MmioPtr {}
// SAFETY: as above.
unsafe impl Sync for MmioPtr {}

impl MmioPtr {
    /// # Safety
    /// `base` points at `bytes` bytes of device registers, mapped as device memory, aligned to 8, for as long as the
    /// value lives, and nobody else drives them.
    pub unsafe fn new(base: NonNull<u8>, bytes: usize) -> Self {
        Self { base, bytes }
    }

    fn at<T>(&self, at: usize) -> Option<*mut T> {
        let size = size_of::<T>();
        let fits = at.is_multiple_of(size) && at.checked_add(size).is_some_and(|end| end <= self.bytes);
        // SAFETY: the offset lies inside the block that `new` was promised.
        fits.then(|| unsafe { self.base.as_ptr().add(at).cast() })
    }
}

impl fmt::Debug for MmioPtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MmioPtr({:p}, {:#x} bytes)", self.base, self.bytes)
    }
}

impl Mmio for MmioPtr {
    fn read32(&self, at: usize) -> u32 {
        let Some(register) = self.at::<u32>(at) else { return u32::MAX };
        // SAFETY: `at` checked that it is one of the block's registers.
        let value = unsafe { register.read_volatile() };
        barrier::after_register_read();
        u32::from_le(value)
    }
    fn write32(&self, at: usize, value: u32) {
        let Some(register) = self.at::<u32>(at) else { return };
        barrier::before_register_write();
        // SAFETY: `at` checked that it is one of the block's registers.
        unsafe { register.write_volatile(value.to_le()) }
    }
    fn read64(&self, at: usize) -> u64 {
        let Some(register) = self.at::<u64>(at) else { return u64::MAX };
        // SAFETY: `at` checked that it is one of the block's registers.
        let value = unsafe { register.read_volatile() };
        barrier::after_register_read();
        u64::from_le(value)
    }
    fn write64(&self, at: usize, value: u64) {
        let Some(register) = self.at::<u64>(at) else { return };
        barrier::before_register_write();
        // SAFETY: `at` checked that it is one of the block's registers.
        unsafe { register.write_volatile(value.to_le()) }
    }
    fn read8(&self, at: usize) -> u8 {
        let Some(register) = self.at::<u8>(at) else { return u8::MAX };
        // SAFETY: `at` checked that it is one of the block's registers.
        let value = unsafe { register.read_volatile() };
        barrier::after_register_read();
        value
    }
    fn read16(&self, at: usize) -> u16 {
        let Some(register) = self.at::<u16>(at) else { return u16::MAX };
        // SAFETY: `at` checked that it is one of the block's registers.
        let value = unsafe { register.read_volatile() };
        barrier::after_register_read();
        u16::from_le(value)
    }
    fn write8(&self, at: usize, value: u8) {
        let Some(register) = self.at::<u8>(at) else { return };
        barrier::before_register_write();
        // SAFETY: `at` checked that it is one of the block's registers.
        unsafe { register.write_volatile(value) }
    }
    fn write16(&self, at: usize, value: u16) {
        let Some(register) = self.at::<u16>(at) else { return };
        barrier::before_register_write();
        // SAFETY: `at` checked that it is one of the block's registers.
        unsafe { register.write_volatile(value.to_le()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_the_block_reads_ones_and_writes_nothing() {
        let mut block = [0u64; 2];
        // SAFETY: the block outlives the registers; plain memory stands in for them.
        let registers = unsafe { MmioPtr::new(NonNull::from(&mut block).cast(), 16) };
        registers.write32(4, 7);
        assert_eq!(registers.read64(0), 7 << 32);
        registers.write64(16, 1);
        registers.write32(usize::MAX, 1);
        registers.write32(2, 1);
        assert_eq!(registers.read32(16), u32::MAX);
        assert_eq!(registers.read64(9), u64::MAX);
        assert_eq!(registers.read64(8), 0);
        registers.write8(13, 0xab);
        registers.write16(14, 0x1234);
        registers.write16(15, 0);
        registers.write8(16, 0);
        assert_eq!(registers.read64(8), 0x1234_ab00_0000_0000);
        assert_eq!((registers.read8(13), registers.read16(14)), (0xab, 0x1234));
        assert_eq!((registers.read8(16), registers.read16(15)), (u8::MAX, u16::MAX));
    }
}
