//! A platform on the harness's pages, made of the instructions that a kernel would use.

use crate::abi::Services;
use ioward_types::{Nanos, OutOfMemory, PhysAddr, Platform, RawLock, Span};
use std::{
    cell::Cell,
    ffi::c_void,
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

const PAGE: usize = 4096;

/// A spin lock: one locked instruction to take it, a store to give it back.
pub struct Spin(AtomicBool);

// SAFETY: the flag goes from false to true in one holder at a time, with acquire and release.
unsafe impl RawLock for Spin {
    type Held = ();
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    #[inline]
    fn lock(&self) {
        while self.0.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
    }
    #[inline]
    unsafe fn unlock(&self, (): ()) {
        self.0.store(false, Ordering::Release);
    }
}

/// What pinning costs.
pub trait Pinning: Send + Sync + 'static {
    /// While it lives, the caller is pinned.
    type Pin;
    /// Pins.
    fn pin() -> Self::Pin;
    /// Which CPU the caller is; only pinned.
    #[inline(always)]
    fn cpu() -> usize {
        cpu::number()
    }
}

/// A pin that costs nothing: a platform whose code runs with migration and re-entry ruled out anyway. The harness binds
/// each thread to a CPU, and one thread to each.
#[derive(Clone, Copy, Debug)]
pub struct Free;

impl Pinning for Free {
    type Pin = ();
    #[inline(always)]
    fn pin() {}
}

/// As [`Free`], for threads of which nobody tells the CPU: they are numbered as they come. Who comes after the last CPU keeps
/// nothing.
#[derive(Clone, Copy, Debug)]
pub struct Counted;

impl Pinning for Counted {
    type Pin = ();
    #[inline(always)]
    fn pin() {}
    #[inline(always)]
    fn cpu() -> usize {
        const NONE: usize = usize::MAX;
        thread_local! { static NUMBER: Cell<usize> = const { Cell::new(NONE) }; }
        #[cold]
        fn next() -> usize {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            NUMBER.set(number);
            number
        }
        let number = NUMBER.get();
        if number == NONE { next() } else { number }
    }
}

/// A pin that saves the processor's flags and restores them, as a kernel does that keeps interrupts out.
///
/// A program may not change the interrupt flag, so what disables them is missing (`cli`, a few cycles); to make up for it
/// the restoring half is `popf`, which is what kernels used before they found it slow and put a test and `sti` there.
#[derive(Clone, Copy, Debug)]
pub struct Flags;

/// The flags as they were.
#[derive(Debug)]
pub struct SavedFlags {
    #[cfg(target_arch = "x86_64")]
    flags: u64,
    _not_send: PhantomData<*const ()>,
}

impl Pinning for Flags {
    type Pin = SavedFlags;
    #[inline(always)]
    fn pin() -> SavedFlags {
        #[cfg(target_arch = "x86_64")]
        {
            let flags;
            // SAFETY: reads the flags by way of the stack, which `nostack` does not claim to be unused.
            unsafe { std::arch::asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
            SavedFlags { flags, _not_send: PhantomData }
        }
        #[cfg(not(target_arch = "x86_64"))]
        SavedFlags { _not_send: PhantomData }
    }
}

impl Drop for SavedFlags {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: what was read a moment ago: no system flag differs.
        unsafe {
            std::arch::asm!("push {}", "popfq", in(reg) self.flags)
        };
    }
}

/// The harness's pages and CPUs.
///
/// [`Platform::clean`] does nothing: the harness flushes no cache for others either, so an incoherent table's figures are
/// what the engine does to call for cleans, and to call for each line once.
#[derive(Debug)]
pub struct Bench<P> {
    services: &'static Services,
    /// A copy, so that it is a register in a walk and not two loads.
    offset: u64,
    pinning: PhantomData<P>,
}

impl<P> Clone for Bench<P> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Bench<P> {}

impl<P: Pinning> Bench<P> {
    /// On these services, which stay.
    pub fn new(services: &'static Services) -> Self {
        Self { services, offset: services.virtual_offset, pinning: PhantomData }
    }

    /// Whether pages come from these services.
    pub fn is_on(&self, services: &'static Services) -> bool {
        ptr::eq(self.services, services)
    }

    fn page(&self) -> Result<PhysAddr, OutOfMemory> {
        let page = (self.services.alloc_page)();
        if page.is_null() { Err(OutOfMemory) } else { Ok(self.phys_of(page)) }
    }

    fn phys_of(&self, page: *mut c_void) -> PhysAddr {
        PhysAddr((page as u64).wrapping_sub(self.offset))
    }

    /// A root of several pages. The harness has single ones alone: they are taken until some are neighbours.
    #[cold]
    fn neighbours(&self, bytes: usize) -> Result<PhysAddr, OutOfMemory> {
        const MOST: usize = 1 << 14;
        let mut pages = std::collections::BTreeSet::new();
        let mut found = Err(OutOfMemory);
        while found.is_err() && pages.len() < MOST {
            let Ok(page) = self.page() else { break };
            pages.insert(page.0);
            let start = page.0 & !(bytes as u64 - 1);
            let mut all = (start..start + bytes as u64).step_by(PAGE);
            if all.all(|page| pages.contains(&page)) {
                found = Ok(PhysAddr(start));
            }
        }
        for page in pages {
            if found.is_ok_and(|start| (start.0..start.0 + bytes as u64).contains(&page)) {
                continue;
            }
            (self.services.free_page)(self.virt(PhysAddr(page)).as_ptr().cast());
        }
        found
    }
}

// SAFETY: pages come from the harness, zeroed, each to one owner; a thread is bound to the CPU whose number it has, and
// is the only one there. `synchronize` is called by nobody while another thread is at work.
unsafe impl<P: Pinning> Platform for Bench<P> {
    type Lock = Spin;
    type Pin = P::Pin;

    #[inline(always)]
    fn pin(&self) -> (P::Pin, usize) {
        (P::pin(), P::cpu())
    }
    fn cpus(&self) -> usize {
        2
    }
    fn synchronize(&self) {}
    #[inline]
    fn frames(&self, bytes: usize, _: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let found = if bytes == PAGE { self.page() } else { self.neighbours(bytes) }?;
        if found.0 < below.0 { Ok(found) } else { Err(OutOfMemory) }
    }
    #[inline]
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        for page in 0..bytes / PAGE {
            (self.services.free_page)(self.virt(PhysAddr(at.0 + (page * PAGE) as u64)).as_ptr().cast());
        }
    }
    #[inline(always)]
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        let at = at.0.wrapping_add(self.offset) as *mut u8;
        // SAFETY: pages of the harness are not at zero.
        unsafe { NonNull::new_unchecked(at) }
    }
    #[inline]
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(0)
    }
}

/// The number of the CPU that a thread is.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod cpu {
    use std::{arch::asm, cell::UnsafeCell};

    /// What is at the start of a thread's block. A kernel finds its CPU's number by one load through a segment register;
    /// programs leave that register alone, so it is here for the same use.
    #[repr(C)]
    struct Block {
        number: UnsafeCell<u64>,
    }

    thread_local! {
        static BLOCK: Block = const { Block { number: UnsafeCell::new(0) } };
    }

    const ARCH_SET_GS: u64 = 0x1001;
    const SYS_ARCH_PRCTL: u64 = 158;

    /// This thread is CPU `number` from now on.
    pub fn set(number: usize) {
        BLOCK.with(|block| {
            // SAFETY: this thread's own; nobody has a reference.
            unsafe { *block.number.get() = number as u64 };
            let result: i64;
            // SAFETY: the register has no other user in the program, and the block lives as long as the thread.
            unsafe {
                asm!("syscall", inlateout("rax") SYS_ARCH_PRCTL => result, in("rdi") ARCH_SET_GS,
                    in("rsi") std::ptr::from_ref(block), out("rcx") _, out("r11") _)
            };
            assert_eq!(result, 0, "the system call that sets GS");
        });
    }

    /// CPU 0, unless the thread has a number.
    pub fn set_if_none() {
        let mut base = 0u64;
        const ARCH_GET_GS: u64 = 0x1004;
        // SAFETY: the system call writes the base to where it is told to.
        unsafe {
            asm!("syscall", inlateout("rax") SYS_ARCH_PRCTL => _, in("rdi") ARCH_GET_GS,
                in("rsi") &raw mut base, out("rcx") _, out("r11") _)
        };
        if base == 0 {
            set(0);
        }
    }

    /// Which CPU this thread is. It must have been told.
    #[inline(always)]
    pub fn number() -> usize {
        let number: u64;
        // SAFETY: reads the first word of the thread's block.
        unsafe { asm!("mov {}, gs:[0]", out(reg) number, options(readonly, nostack, preserves_flags)) };
        number as usize
    }
}

/// The number of the CPU that a thread is.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub mod cpu {
    use std::cell::Cell;

    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }

    /// This thread is CPU `number` from now on.
    pub fn set(number: usize) {
        NUMBER.set(number);
    }

    /// CPU 0, unless the thread has a number.
    pub fn set_if_none() {}

    /// Which CPU this thread is.
    #[inline(always)]
    pub fn number() -> usize {
        NUMBER.get()
    }
}
