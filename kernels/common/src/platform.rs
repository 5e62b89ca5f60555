//! **What a kernel implements to use ioward**: one trait. Memory is mapped where it is, caches are coherent, there are few
//! CPUs and interrupts are off, so that most of it is one line.

use crate::{board, cpus, lock::Spin, memory};
use core::{
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering, fence},
};
use ioward::types::{Nanos, OutOfMemory, PhysAddr, Platform, Span};

/// This kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

/// For each CPU how many pins it holds, in the lower half; in the upper half how often it has held none since boot. Only
/// the CPU itself writes it.
static PINS: [AtomicUsize; cpus::MOST] = [const { AtomicUsize::new(0) }; cpus::MOST];
/// One in the upper half.
const ROUND: usize = 1 << (usize::BITS / 2);

/// Nothing moves code to another CPU here, so that a pin has nothing to hold on to: it only tells [`Kernel::synchronize`]
/// that it is there. Not `Send`: it belongs to its CPU.
pub struct Pin {
    cpu: usize,
    not_send: PhantomData<*const ()>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let pins = PINS[self.cpu].load(Ordering::Relaxed) - 1;
        let round = if pins.is_multiple_of(ROUND) { ROUND } else { 0 };
        // What was read under the pin has been read.
        PINS[self.cpu].store(pins.wrapping_add(round), Ordering::Release);
    }
}

// SAFETY: frames come zeroed and exclusive from `memory` and are mapped at their physical address for good. Nothing
// interrupts a CPU or takes code off it, so that a pin is its CPU's; `synchronize` waits until each other CPU has been seen
// without a pin.
unsafe impl Platform for Kernel {
    type Lock = Spin;
    type Pin = Pin;

    fn pin(&self) -> (Pin, usize) {
        let cpu = cpus::current();
        let pins = PINS[cpu].load(Ordering::Relaxed);
        PINS[cpu].store(pins + 1, Ordering::Relaxed);
        // What is read under the pin is read after others can see the pin.
        fence(Ordering::SeqCst);
        (Pin { cpu, not_send: PhantomData }, cpu)
    }
    fn cpus(&self) -> usize {
        cpus::MOST
    }
    fn synchronize(&self) {
        // What was published before is seen by whoever pins from here on.
        fence(Ordering::SeqCst);
        let own = cpus::current();
        for pins in PINS.iter().enumerate().filter(|(cpu, _)| *cpu != own).map(|(_, pins)| pins) {
            let entry = pins.load(Ordering::Acquire);
            let held = |now: usize| !now.is_multiple_of(ROUND) && now / ROUND == entry / ROUND;
            // Bounded: a pin is never held over a wait for hardware that is longer than a driver's bound.
            cpus::wait(|| !held(pins.load(Ordering::Acquire)), "a CPU keeps its pin");
        }
    }
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        memory::take(bytes, align, below)
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        // SAFETY: as promised by the caller.
        unsafe { memory::free(at, bytes) }
    }
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        NonNull::new(at.0 as *mut u8).expect("no frame is at address zero")
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(board::board().map_or(0, |board| (board.nanos)()))
    }
}
