//! What a driver shares with its device: words of every size, and runs of bytes.
//!
//! As everything in [`super`], without references. Words are little-endian; runs of bytes are bytes.

use super::{cas64, load64};
use crate::{PhysAddr, Platform};
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
};

/// An integer that CPUs load and store at once: `u8`, `u16`, `u32` or `u64`.
pub trait Word: Copy + sealed::Sealed {
    /// As a number of 64 bits.
    fn widen(self) -> u64;
    /// The low bits of a number.
    fn narrow(wide: u64) -> Self;
    /// Loads one at once; later loads come after it.
    ///
    /// # Safety
    /// `at` is aligned to the word's size and valid during the call.
    unsafe fn load_at(at: *mut u8) -> Self;
    /// Stores one at once; earlier stores come before it.
    ///
    /// # Safety
    /// As [`Word::load_at`].
    unsafe fn store_at(self, at: *mut u8);
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! words {
    ($($word:ty = $atomic:ty;)*) => { $(
        impl sealed::Sealed for $word {}
        impl Word for $word {
            fn widen(self) -> u64 {
                self.into()
            }
            fn narrow(wide: u64) -> Self {
                wide as Self
            }
            #[inline(always)]
            unsafe fn load_at(at: *mut u8) -> Self {
                // SAFETY: as promised by the caller; atomics may be shared with hardware.
                Self::from_le(unsafe { &*at.cast::<$atomic>() }.load(Ordering::Acquire))
            }
            #[inline(always)]
            unsafe fn store_at(self, at: *mut u8) {
                // SAFETY: as for `load_at`.
                unsafe { &*at.cast::<$atomic>() }.store(self.to_le(), Ordering::Release)
            }
        }
    )* };
}
words! { u8 = AtomicU8; u16 = AtomicU16; u32 = AtomicU32; u64 = AtomicU64; }

/// Loads a word.
///
/// # Safety
/// `at` is aligned to the word's size, in frames of `platform` that stay allocated during the call.
#[inline(always)]
pub unsafe fn load<W: Word, P: Platform>(platform: &P, at: PhysAddr) -> W {
    debug_assert!(at.0.is_multiple_of(size_of::<W>() as u64));
    // SAFETY: as promised by the caller.
    unsafe { W::load_at(platform.virt(at).as_ptr()) }
}

/// Stores a word at once.
///
/// # Safety
/// As [`load`], and hardware may see the new value.
#[inline(always)]
pub unsafe fn store<W: Word, P: Platform>(platform: &P, at: PhysAddr, value: W) {
    debug_assert!(at.0.is_multiple_of(size_of::<W>() as u64));
    if !P::TRACED {
        // SAFETY: as promised by the caller.
        return unsafe { value.store_at(platform.virt(at).as_ptr()) };
    }
    // A trace is of 64-bit words: the one around it.
    let (around, shift) = (PhysAddr(at.0 & !7), (at.0 & 7) * 8);
    let mask = (u64::MAX >> (64 - 8 * size_of::<W>())) << shift;
    // SAFETY: frames are whole words of 64 bits.
    let mut old = unsafe { load64(platform, around) };
    loop {
        // SAFETY: as above.
        match unsafe { cas64(platform, around, old, old & !mask | value.widen() << shift) } {
            Ok(()) => return,
            Err(found) => old = found,
        }
    }
}

/// How many bytes from `at` on come before a multiple of 8, at most `bytes`.
fn before_words(at: NonNull<u8>, bytes: usize) -> usize {
    (at.addr().get().wrapping_neg() & 7).min(bytes)
}

/// Copies out what is at `from`, each byte once, in no order that counts.
///
/// # Safety
/// `into.len()` bytes from `from` on are initialised and stay valid during the call. Hardware may be writing them; no other
/// CPU is.
pub unsafe fn copy_out(from: NonNull<u8>, into: &mut [u8]) {
    let (head, rest) = into.split_at_mut(before_words(from, into.len()));
    let (words, tail) = rest.as_chunks_mut::<8>();
    let (words_at, tail_at) = (head.len(), head.len() + words.len() * 8);
    for (n, byte) in head.iter_mut().enumerate() {
        // SAFETY: inside what the caller promised, as all below. Volatile: hardware may be writing.
        *byte = unsafe { from.add(n).read_volatile() };
    }
    for (n, word) in words.iter_mut().enumerate() {
        // SAFETY: as above; the head ends at a multiple of 8.
        *word = unsafe { from.add(words_at + n * 8).cast::<u64>().read_volatile() }.to_ne_bytes();
    }
    for (n, byte) in tail.iter_mut().enumerate() {
        // SAFETY: as above.
        *byte = unsafe { from.add(tail_at + n).read_volatile() };
    }
}

/// Copies `from` to `to`, each byte once, in no order that counts. It is not told to [`Platform::stored`]: bytes are data,
/// and a barrier comes between them and the word that says that they are there.
///
/// # Safety
/// `from.len()` bytes from `to` on stay valid during the call. Hardware may be using them; no other CPU is.
pub unsafe fn copy_in(to: NonNull<u8>, from: &[u8]) {
    let (head, rest) = from.split_at(before_words(to, from.len()));
    let (words, tail) = rest.as_chunks::<8>();
    let (words_at, tail_at) = (head.len(), head.len() + words.len() * 8);
    for (n, byte) in head.iter().enumerate() {
        // SAFETY: inside what the caller promised, as all below. Volatile: hardware may be reading.
        unsafe { to.add(n).write_volatile(*byte) }
    }
    for (n, word) in words.iter().enumerate() {
        // SAFETY: as above; the head ends at a multiple of 8.
        unsafe { to.add(words_at + n * 8).cast::<u64>().write_volatile(u64::from_ne_bytes(*word)) }
    }
    for (n, byte) in tail.iter().enumerate() {
        // SAFETY: as above.
        unsafe { to.add(tail_at + n).write_volatile(*byte) }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn bytes_are_copied_whole_and_nothing_beside_them() {
        for start in 0..9 {
            for length in 0..20 {
                let mut memory: Vec<u8> = (0..40).collect();
                let at = NonNull::new(memory.as_mut_ptr().wrapping_add(start)).unwrap();
                let mut out = std::vec![0xff; length];
                // SAFETY: at most 28 of 40 bytes that nobody else has.
                unsafe { copy_out(at, &mut out) };
                assert!(out.iter().enumerate().all(|(n, byte)| usize::from(*byte) == start + n));
                let new: Vec<u8> = (100..100 + length as u8).collect();
                // SAFETY: as above.
                unsafe { copy_in(at, &new) };
                let mut expected: Vec<u8> = (0..40).collect();
                expected[start..start + length].copy_from_slice(&new);
                assert_eq!(memory, expected, "{length} bytes from {start}");
            }
        }
    }
}
