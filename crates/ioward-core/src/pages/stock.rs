//! The stacks of all CPUs, and the stop in which somebody has them all.

use super::stack::{SHIFTS, Stack};
use alloc::boxed::Box;
use core::{array, ptr};
use ioward_types::{
    PhysAddr, Platform,
    cell::{AtomicBool, AtomicPtr, Ordering},
};

/// What belongs to a CPU, some cache lines apart from what belongs to others: a stack of each size. From null to a stack
/// once, by its CPU.
#[repr(align(128))]
struct Slot([AtomicPtr<Stack>; SHIFTS.len()]);

/// Free table pages, by CPU.
pub struct Stock<P: Platform> {
    platform: P,
    /// None of a platform that wants to see every page come and go, or announces no CPUs.
    slots: Box<[Slot]>,
    /// Somebody has all stacks, or is about to. It is looked at under the pin: who found it false is waited for.
    stopped: AtomicBool,
}

/// Which stack pages of so many bytes belong to; none of those that are not kept.
#[inline]
fn class(bytes: usize) -> Option<usize> {
    SHIFTS.iter().position(|shift| bytes == 1 << shift)
}

impl<P: Platform> Stock<P> {
    pub fn new(platform: P) -> Self {
        let cpus = if P::TRACED { 0 } else { platform.cpus() };
        let none = || Slot(array::from_fn(|_| AtomicPtr::new(ptr::null_mut())));
        Self { platform, slots: (0..cpus).map(|_| none()).collect(), stopped: AtomicBool::new(false) }
    }

    /// A page of `bytes` bytes, aligned to them, that is wholly below `below`. What is in it nobody knows.
    #[inline]
    pub fn take(&self, bytes: usize, below: PhysAddr) -> Option<PhysAddr> {
        let class = class(bytes).filter(|_| !self.slots.is_empty())?;
        let last = PhysAddr(below.0.checked_sub(bytes as u64)?);
        let (pin, cpu) = self.platform.pin();
        let place = &self.mine(&pin, cpu)?.0[class];
        // SAFETY: it came from a Box that is given up when the stock is dropped.
        match unsafe { place.load(Ordering::Acquire).as_ref() } {
            // SAFETY: `mine` gives the slot to this CPU alone while it is pinned.
            Some(stack) => unsafe { stack.pop(last) },
            None => {
                // Here, where memory is asked for anyway, and never where some is given back.
                if let Some(stack) = Stack::new() {
                    place.store(Box::into_raw(stack), Ordering::Release);
                }
                None
            }
        }
    }

    /// Keeps pages of `bytes` bytes each, from the first one on, as long as this CPU has room. Tells how many.
    ///
    /// # Safety
    /// As for [`Platform::free`]; what is kept is the stock's.
    #[inline]
    pub unsafe fn put(&self, pages: &[PhysAddr], bytes: usize) -> usize {
        let Some(class) = class(bytes).filter(|_| !self.slots.is_empty()) else { return 0 };
        let (pin, cpu) = self.platform.pin();
        let Some(slot) = self.mine(&pin, cpu) else { return 0 };
        // SAFETY: as in `take`.
        let stack = unsafe { slot.0[class].load(Ordering::Acquire).as_ref() };
        // SAFETY: `mine` gives the slot to this CPU alone while it is pinned.
        stack.map_or(0, |stack| unsafe { stack.push(pages, SHIFTS[class]) })
    }

    /// This CPU's slot; none of a CPU beyond those that were announced, or while all are stopped.
    #[inline]
    fn mine<'a>(&'a self, _pin: &'a P::Pin, cpu: usize) -> Option<&'a Slot> {
        let slot = self.slots.get(cpu)?;
        // Acquire: what was taken out of the stack meanwhile is seen.
        (!self.stopped.load(Ordering::Acquire)).then_some(slot)
    }

    /// Gives what this CPU has to the platform. Tells whether that was anything.
    #[cold]
    pub fn give_up_mine(&self) -> bool {
        let (pin, cpu) = self.platform.pin();
        // SAFETY: `mine` gives the slot to this CPU alone while it is pinned.
        self.mine(&pin, cpu).is_some_and(|slot| unsafe { self.give_up(slot) })
    }

    /// Gives what all CPUs have to the platform. Waits for whoever is pinned, so it may sleep; one caller at a time, the
    /// others wait.
    pub fn trim(&self) {
        if self.slots.is_empty() {
            return;
        }
        while self.stopped.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.platform.relax();
        }
        // Who was pinned may have looked before; who is pinned from now on finds it stopped.
        self.platform.synchronize();
        for slot in &self.slots {
            // SAFETY: everybody is stopped, and this is the only one who stopped them.
            unsafe { self.give_up(slot) };
        }
        self.stopped.store(false, Ordering::Release);
    }

    /// Gives what is in a slot to the platform. Tells whether that was anything.
    ///
    /// # Safety
    /// As for [`Stack::pop`].
    unsafe fn give_up(&self, slot: &Slot) -> bool {
        let mut some = false;
        for (place, shift) in slot.0.iter().zip(SHIFTS) {
            // SAFETY: as in `take`.
            let Some(stack) = (unsafe { place.load(Ordering::Acquire).as_ref() }) else { continue };
            // SAFETY: as promised by the caller.
            while let Some(page) = unsafe { stack.pop(PhysAddr(u64::MAX)) } {
                some = true;
                // SAFETY: it was given to `put` with these bytes, and nobody has had it since.
                unsafe { self.platform.free(page, 1 << shift) };
            }
        }
        some
    }

    /// Bytes that are at hand; a moment ago, if other CPUs are at work.
    pub fn kept(&self) -> u64 {
        let of_slot = |slot: &Slot| -> u64 {
            let of_size = |(place, shift): (&AtomicPtr<Stack>, u32)| {
                // SAFETY: as in `take`.
                unsafe { place.load(Ordering::Acquire).as_ref() }
                    .map_or(0, |stack| (stack.len() as u64) << shift)
            };
            slot.0.iter().zip(SHIFTS).map(of_size).sum()
        };
        self.slots.iter().map(of_slot).sum()
    }
}

impl<P: Platform> Drop for Stock<P> {
    fn drop(&mut self) {
        for slot in &self.slots {
            // SAFETY: nobody uses a stock that is being dropped.
            unsafe { self.give_up(slot) };
            for place in &slot.0 {
                let stack = place.load(Ordering::Acquire);
                if !stack.is_null() {
                    // SAFETY: it came from a Box, and nobody has a reference any more.
                    drop(unsafe { Box::from_raw(stack) });
                }
            }
        }
    }
}
