//! The one accessor of memory that hardware reads: context structures, queues, page tables.
//!
//! Values are little-endian on every host. Nothing here makes a reference. With [`Platform::TRACED`] false each call is
//! one plain instruction; with it true, every store is told to [`Platform::stored`], which is what makes "hardware never
//! sees a half-written entry" a test.

mod data;

pub use data::{Word, copy_in, copy_out, load, store};

use crate::{OutOfMemory, PhysAddr, Platform, Span};
use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

#[inline(always)]
unsafe fn word<'a, P: Platform>(platform: &P, at: PhysAddr) -> &'a AtomicU64 {
    debug_assert!(at.0 & 7 == 0);
    // SAFETY: the caller owns frames that hold `at`; atomics may be shared with hardware. The reference does not
    // outlive the call that asked for it.
    unsafe { &*platform.virt(at).as_ptr().cast::<AtomicU64>() }
}

/// Loads 64 bits.
///
/// # Safety
/// `at` is a multiple of 8 in frames of `platform` that stay allocated during the call.
#[inline(always)]
pub unsafe fn load64<P: Platform>(platform: &P, at: PhysAddr) -> u64 {
    // SAFETY: as promised by the caller.
    u64::from_le(unsafe { word(platform, at) }.load(Ordering::Acquire))
}

/// Stores 64 bits at once.
///
/// # Safety
/// As [`load64`], and hardware may see the new value.
#[inline(always)]
pub unsafe fn store64<P: Platform>(platform: &P, at: PhysAddr, value: u64) {
    // SAFETY: as promised by the caller.
    let word = unsafe { word(platform, at) };
    if P::TRACED {
        let old = u64::from_le(word.swap(value.to_le(), Ordering::AcqRel));
        platform.stored(at, 8, old.into(), value.into());
    } else {
        word.store(value.to_le(), Ordering::Release);
    }
}

/// Stores `new` where `old` is; `Err` tells what is there instead.
///
/// # Safety
/// As [`store64`].
#[inline(always)]
pub unsafe fn cas64<P: Platform>(platform: &P, at: PhysAddr, old: u64, new: u64) -> Result<(), u64> {
    // SAFETY: as promised by the caller.
    let word = unsafe { word(platform, at) };
    match word.compare_exchange(old.to_le(), new.to_le(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            if P::TRACED {
                platform.stored(at, 8, old.into(), new.into());
            }
            Ok(())
        }
        Err(found) => Err(u64::from_le(found)),
    }
}

/// Stores `value` and tells what was there.
///
/// # Safety
/// As [`store64`].
#[inline(always)]
pub unsafe fn swap64<P: Platform>(platform: &P, at: PhysAddr, value: u64) -> u64 {
    // SAFETY: as promised by the caller.
    let old = u64::from_le(unsafe { word(platform, at) }.swap(value.to_le(), Ordering::AcqRel));
    if P::TRACED {
        platform.stored(at, 8, old.into(), value.into());
    }
    old
}

/// Clears every bit that is zero in `mask` and tells what was there.
///
/// # Safety
/// As [`store64`].
#[inline(always)]
pub unsafe fn and64<P: Platform>(platform: &P, at: PhysAddr, mask: u64) -> u64 {
    // SAFETY: as promised by the caller.
    let old = u64::from_le(unsafe { word(platform, at) }.fetch_and(mask.to_le(), Ordering::AcqRel));
    if P::TRACED {
        platform.stored(at, 8, old.into(), (old & mask).into());
    }
    old
}

/// This CPU has no store of 128 bits at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoAtomic128;

impl fmt::Display for NoAtomic128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this CPU cannot store 128 bits at once")
    }
}
impl core::error::Error for NoAtomic128 {}

/// Whether this CPU stores 128 bits at once: `cmpxchg16b` on x86-64, an exclusive pair on AArch64.
pub fn has_atomic128() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        // Leaf 1 exists on every x86-64 CPU; bit 13 of ECX is CMPXCHG16B (Intel SDM, CPUID).
        core::arch::x86_64::__cpuid(1).ecx & 1 << 13 != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        cfg!(target_arch = "aarch64")
    }
}

/// Stores 128 bits at once where `old` is: `Ok(Err(found))` where something else is.
///
/// # Safety
/// `at` is a multiple of 16 in frames of `platform` that stay allocated during the call; hardware may see `new`.
pub unsafe fn cas128<P: Platform>(
    platform: &P,
    at: PhysAddr,
    old: u128,
    new: u128,
) -> Result<Result<(), u128>, NoAtomic128> {
    debug_assert!(at.0 & 15 == 0);
    if !has_atomic128() {
        return Err(NoAtomic128);
    }
    // SAFETY: as promised by the caller; the CPU has the instruction.
    let found = unsafe { raw_cas128(platform.virt(at).as_ptr().cast(), old, new) };
    if found != old {
        return Ok(Err(found));
    }
    if P::TRACED {
        platform.stored(at, 16, old, new);
    }
    Ok(Ok(()))
}

/// Stores 128 bits at once.
///
/// # Safety
/// As [`cas128`].
pub unsafe fn store128<P: Platform>(platform: &P, at: PhysAddr, value: u128) -> Result<(), NoAtomic128> {
    // SAFETY: as promised by the caller. Both halves are read apart; a torn read only costs one more round.
    let mut old =
        unsafe { load64(platform, at) as u128 | (load64(platform, PhysAddr(at.0 + 8)) as u128) << 64 };
    // SAFETY: as promised by the caller.
    while let Err(found) = unsafe { cas128(platform, at, old, value) }? {
        old = found;
    }
    Ok(())
}

/// Returns what was at `at`; it has been replaced exactly when that equals `old`.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn raw_cas128(at: *mut u128, old: u128, new: u128) -> u128 {
    let (mut low, mut high) = (old as u64, (old >> 64) as u64);
    // SAFETY: the caller checked the CPU and owns the aligned memory. Not `core::arch`'s function: on targets whose widest
    // atomic is 64 bits it becomes a call of a library that bare metal does not have. RBX is the compiler's own and is put
    // back.
    unsafe {
        core::arch::asm!(
            "xchg rbx, rsi",
            "lock cmpxchg16b [rdi]",
            "mov rbx, rsi",
            in("rdi") at, inout("rsi") new as u64 => _, in("rcx") (new >> 64) as u64,
            inout("rax") low, inout("rdx") high,
            options(nostack)
        );
    }
    low as u128 | (high as u128) << 64
}

#[cfg(all(target_arch = "x86_64", miri))]
unsafe fn raw_cas128(at: *mut u128, old: u128, new: u128) -> u128 {
    // SAFETY: the caller checked the CPU and owns the aligned memory.
    unsafe { core::arch::x86_64::cmpxchg16b(at, old, new, Ordering::SeqCst, Ordering::SeqCst) }
}

#[cfg(target_arch = "aarch64")]
unsafe fn raw_cas128(at: *mut u128, old: u128, new: u128) -> u128 {
    let (old_low, old_high) = (old as u64, (old >> 64) as u64);
    let (new_low, new_high) = (new as u64, (new >> 64) as u64);
    let (low, high): (u64, u64);
    // SAFETY: the caller owns the aligned memory; an exclusive pair is single-copy atomic when its store succeeds. On a
    // mismatch the found value is stored back, without which the pair's load need not be atomic (Arm ARM B2.2.1).
    unsafe {
        core::arch::asm!(
            "2: ldaxp {low}, {high}, [{at}]",
            "cmp {low}, {old_low}",
            "ccmp {high}, {old_high}, #0, eq",
            "csel {put_low}, {new_low}, {low}, eq",
            "csel {put_high}, {new_high}, {high}, eq",
            "stlxp {fail:w}, {put_low}, {put_high}, [{at}]",
            "cbnz {fail:w}, 2b",
            at = in(reg) at, old_low = in(reg) old_low, old_high = in(reg) old_high,
            new_low = in(reg) new_low, new_high = in(reg) new_high,
            low = out(reg) low, high = out(reg) high,
            put_low = out(reg) _, put_high = out(reg) _, fail = out(reg) _,
            options(nostack)
        );
    }
    low as u128 | (high as u128) << 64
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn raw_cas128(_: *mut u128, _: u128, _: u128) -> u128 {
    unreachable!("has_atomic128 is false on this architecture")
}

/// Frames that one owner shares with hardware: a queue, a device table, a table of context descriptors.
///
/// Dropping it leaks the frames: hardware may still reach them, and only the owner knows when it no longer does. See
/// [`Frames::free`]. Offsets are in bytes and must lie inside; an offset outside is a mistake of the caller's and panics.
pub struct Frames<P: Platform> {
    platform: P,
    at: PhysAddr,
    bytes: usize,
}

impl<P: Platform> Frames<P> {
    /// `bytes` zeroed bytes, aligned to `align` and wholly below `below`.
    pub fn new(platform: &P, bytes: usize, align: usize, below: PhysAddr) -> Result<Self, OutOfMemory> {
        let at = platform.frames(bytes, align.max(16), below)?;
        Ok(Self { platform: platform.clone(), at, bytes })
    }

    /// Where hardware finds them.
    pub fn phys(&self) -> PhysAddr {
        self.at
    }

    /// How many bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn offset(&self, offset: usize, size: usize) -> PhysAddr {
        assert!(
            offset.is_multiple_of(size) && offset.checked_add(size).is_some_and(|end| end <= self.bytes),
            "offset outside frames"
        );
        PhysAddr(self.at.0 + offset as u64)
    }

    /// Loads 64 bits.
    pub fn load64(&self, offset: usize) -> u64 {
        // SAFETY: inside frames that this value owns.
        unsafe { load64(&self.platform, self.offset(offset, 8)) }
    }

    /// Stores 64 bits at once.
    pub fn store64(&self, offset: usize, value: u64) {
        // SAFETY: inside frames that this value owns; they hold nothing that Rust refers to.
        unsafe { store64(&self.platform, self.offset(offset, 8), value) }
    }

    /// Stores `new` where `old` is; `Err` tells what is there instead.
    pub fn cas64(&self, offset: usize, old: u64, new: u64) -> Result<(), u64> {
        // SAFETY: as for `store64`.
        unsafe { cas64(&self.platform, self.offset(offset, 8), old, new) }
    }

    /// Stores 64 bits and tells what was there.
    pub fn swap64(&self, offset: usize, value: u64) -> u64 {
        // SAFETY: as for `store64`.
        unsafe { swap64(&self.platform, self.offset(offset, 8), value) }
    }

    /// Stores 128 bits at once.
    pub fn store128(&self, offset: usize, value: u128) -> Result<(), NoAtomic128> {
        // SAFETY: as for `store64`.
        unsafe { store128(&self.platform, self.offset(offset, 16), value) }
    }

    /// Cleans `bytes` bytes from `offset` to where a walker that does not snoop sees them.
    pub fn clean(&self, offset: usize, bytes: usize) {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "range outside frames");
        if let Some(lines) = Span::new(PhysAddr(self.at.0 + offset as u64), bytes as u64) {
            self.platform.clean(lines);
        }
    }

    /// Gives the frames back.
    ///
    /// # Safety
    /// No hardware reaches them any more.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller; they came from this platform with this length.
        unsafe { self.platform.free(self.at, self.bytes) }
    }
}

impl<P: Platform> fmt::Debug for Frames<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames({}, {:#x} bytes)", self.at, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_128_bits_happens_whole_or_tells_what_is_there() {
        if !has_atomic128() {
            return;
        }
        let (old, new, other) = (1u128 << 127 | 3, 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00, 7u128);
        let mut place = old;
        // SAFETY: `u128` is aligned to 16 bytes and nobody else has it.
        let mut swap = |old, new| unsafe { raw_cas128(&raw mut place, old, new) };
        assert_eq!(swap(other, new), old);
        assert_eq!(swap(old, new), old);
        assert_eq!(swap(new, other), new);
        assert_eq!(place, other);
    }
}
