//! **What a kernel implements to use ioward**: one trait. Memory is mapped where it is, caches are coherent, there is
//! one CPU and interrupts are off, so that most of it is one line.

use crate::{board, lock::Spin, memory};
use core::{marker::PhantomData, ptr::NonNull};
use ioward::types::{Nanos, OutOfMemory, PhysAddr, Platform, Span};

/// This kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

/// Not `Send`: a pin belongs to its CPU.
pub struct Pin(PhantomData<*const ()>);

// SAFETY: frames come zeroed and exclusive from `memory` and are mapped at their physical address for good. There is one
// CPU and nothing interrupts it: a pin is alone, and whoever calls `synchronize` holds none.
unsafe impl Platform for Kernel {
    type Lock = Spin;
    type Pin = Pin;

    fn pin(&self) -> (Pin, usize) {
        (Pin(PhantomData), 0)
    }
    fn synchronize(&self) {}
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
    fn phys(&self, at: NonNull<u8>, bytes: u64) -> Option<Span<PhysAddr>> {
        Span::new(PhysAddr(at.addr().get() as u64), bytes)
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(board::board().map_or(0, |board| (board.nanos)()))
    }
}
