//! The one trait that a kernel, hypervisor or VMM implements.

use crate::{Nanos, PhysAddr, Span};
use core::{fmt, ptr::NonNull};

/// No frames of the asked size, alignment and limit were to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}
impl core::error::Error for OutOfMemory {}

/// Mutual exclusion as the platform does it: interrupt-safe where drivers' interrupt handlers poll.
///
/// Not `lock_api`: interrupt state lives in `Held`, and `new` need not be const, so that loom can implement it.
///
/// # Implementation safety
/// Between a `lock` and its `unlock` no other `lock` of the same value returns, and what was written before `unlock` is
/// seen after the next `lock`.
///
/// # Safety
/// Implementing it asserts the above.
pub unsafe trait RawLock: Send + Sync {
    /// What `unlock` needs back, for example the interrupt state.
    type Held;
    /// An unlocked lock.
    fn new() -> Self;
    /// Waits until the lock is free and takes it.
    fn lock(&self) -> Self::Held;
    /// Gives the lock back.
    ///
    /// # Safety
    /// `held` comes from `lock` on this very lock and has not been given back.
    unsafe fn unlock(&self, held: Self::Held);
}

/// The one parameter that users name. Implement it for `&'static YourKernel`.
///
/// # Implementation safety
/// Frames that [`Platform::frames`] returns are zeroed, exclusive, and stay readable and writable at
/// [`Platform::virt`] until they are freed. What [`Platform::phys`] answers stays so until that memory is freed. While a
/// [`Platform::Pin`] lives, its CPU number is used by nobody else. [`Platform::synchronize`] returns only when every pin that was alive on entry is gone, and what is loaded under a pin
/// that it did not wait for is no older than what was stored before it was called. RCU has that; a platform that counts
/// pins needs a full fence between the count and what follows, on both sides.
///
/// # Safety
/// Implementing it asserts the above.
pub unsafe trait Platform: Clone + Send + Sync + 'static {
    /// An interrupt-safe lock.
    type Lock: RawLock;
    /// While held: no migration and no re-entry on this CPU. It should not be `Send`.
    type Pin;
    /// Whether [`Platform::stored`] wants to hear of every store to memory that hardware reads. Leave it `false`
    /// outside tests: the accessor then compiles to plain instructions.
    const TRACED: bool = false;

    /// Pins the caller to its CPU and tells the CPU's number. Who is pinned may pin again.
    fn pin(&self) -> (Self::Pin, usize);
    /// How many CPUs have things of their own: one more than the highest number that [`Platform::pin`] tells, or zero where
    /// nothing is to be kept for a CPU. Who has a greater number is served all the same, by way of a lock.
    fn cpus(&self) -> usize {
        0
    }
    /// Every pin alive on entry is gone on return (RCU, or one interrupt to each CPU). May sleep.
    fn synchronize(&self);
    /// `bytes` zeroed bytes, aligned to `align` (a power of two), wholly below `below`. May be called with a lock held.
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory>;
    /// Gives frames back.
    ///
    /// # Safety
    /// They come from [`Platform::frames`] with the same length, and neither a device nor a reference reaches them.
    unsafe fn free(&self, at: PhysAddr, bytes: usize);
    /// Where the CPU sees `at`: the same for as long as the frame is allocated. Inlined into walks.
    fn virt(&self, at: PhysAddr) -> NonNull<u8>;
    /// Where the memory system has the byte that the CPU sees at `at`, and how many bytes from there on, at most `bytes`, it
    /// has in one piece. `None` where that is not known, or is nothing that a device may be given: such a buffer is copied
    /// when it is mapped for a device, by way of frames. The default knows nothing.
    fn phys(&self, at: NonNull<u8>, bytes: u64) -> Option<Span<PhysAddr>> {
        let _ = (at, bytes);
        None
    }
    /// Cleans table memory to where a walker that does not snoop sees it.
    fn clean(&self, lines: Span<PhysAddr>);
    /// Cleans a buffer before a device that does not snoop reads it.
    ///
    /// It is called for devices that are said not to snoop. The default does nothing: for machines in which all do.
    fn clean_for_device(&self, lines: Span<PhysAddr>) {
        let _ = lines;
    }
    /// Invalidates a buffer before the CPU reads what a device that does not snoop wrote.
    /// Called and defaulted as [`Platform::clean_for_device`].
    fn invalidate_for_cpu(&self, lines: Span<PhysAddr>) {
        let _ = lines;
    }
    /// A monotonic clock. Bounds waits on hardware.
    fn now(&self) -> Nanos;

    /// Once a round of every bounded wait on hardware.
    fn relax(&self) {
        core::hint::spin_loop();
    }

    /// Publish: stores to memory before it are visible to hardware before stores after it.
    fn publish(&self) {
        barrier::publish();
    }
    /// Observe: loads before it (of an index that hardware wrote) are done before loads after it (of what it points at).
    fn observe(&self) {
        barrier::observe();
    }
    /// Everything before it is visible to everybody before everything after it.
    fn fence(&self) {
        barrier::fence();
    }
    /// A store of `bytes` bytes to memory that hardware reads has happened, if [`Platform::TRACED`]. `old` and `new`
    /// are numbers, not bytes: the least significant byte is at `at`.
    fn stored(&self, at: PhysAddr, bytes: usize, old: u128, new: u128) {
        let _ = (at, bytes, old, new);
    }
}

/// The architecture's barriers, as the defaults of [`Platform`] use them.
pub mod barrier {
    use core::sync::atomic::{Ordering, fence as atomic_fence};

    /// Stores before, stores after, as hardware sees them: `dmb oshst` on Arm, `fence w,w` on RISC-V, nothing on x86.
    #[inline(always)]
    pub fn publish() {
        atomic_fence(Ordering::Release);
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: a barrier touches no memory and no register.
        unsafe {
            core::arch::asm!("dmb oshst", options(nostack, preserves_flags))
        };
        #[cfg(all(target_arch = "riscv64", not(miri)))]
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("fence w, w", options(nostack, preserves_flags))
        };
    }

    /// Loads before, loads after, as hardware stored them: `dmb oshld` on Arm, `fence r,r` on RISC-V, nothing on x86.
    #[inline(always)]
    pub fn observe() {
        atomic_fence(Ordering::Acquire);
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: a barrier touches no memory and no register.
        unsafe {
            core::arch::asm!("dmb oshld", options(nostack, preserves_flags))
        };
        #[cfg(all(target_arch = "riscv64", not(miri)))]
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("fence r, r", options(nostack, preserves_flags))
        };
    }

    /// Everything before, everything after: `dmb osh` on Arm, `fence iorw,iorw` on RISC-V, `mfence` on x86.
    #[inline(always)]
    pub fn fence() {
        atomic_fence(Ordering::SeqCst);
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: a barrier touches no memory and no register.
        unsafe {
            core::arch::asm!("dmb osh", options(nostack, preserves_flags))
        };
        #[cfg(all(target_arch = "riscv64", not(miri)))]
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("fence iorw, iorw", options(nostack, preserves_flags))
        };
    }

    /// Memory before a register write: `dsb st` on Arm, `fence w,o` on RISC-V, nothing on x86. Rust's own fences do not
    /// order memory against I/O.
    #[inline(always)]
    pub fn before_register_write() {
        atomic_fence(Ordering::Release);
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: a barrier touches no memory and no register.
        unsafe {
            core::arch::asm!("dsb st", options(nostack, preserves_flags))
        };
        #[cfg(all(target_arch = "riscv64", not(miri)))]
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("fence w, o", options(nostack, preserves_flags))
        };
    }

    /// A register read before memory: `dmb oshld` on Arm, `fence i,r` on RISC-V, nothing on x86.
    #[inline(always)]
    pub fn after_register_read() {
        atomic_fence(Ordering::Acquire);
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: a barrier touches no memory and no register.
        unsafe {
            core::arch::asm!("dmb oshld", options(nostack, preserves_flags))
        };
        #[cfg(all(target_arch = "riscv64", not(miri)))]
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("fence i, r", options(nostack, preserves_flags))
        };
    }
}
