//! The IOVA allocator, once with each kind of pin.

use crate::{
    abi::{Iovas, List, Services},
    dma,
    platform::{Bench, Flags, Free, Pinning, cpu},
};
use ioward_iova::IovaAllocator;
use ioward_types::{Iova, Platform, Span};
use std::{
    ffi::{CStr, c_uint, c_void},
    ptr,
};

/// An allocator takes no pages.
static NO_PAGES: Services = {
    extern "C" fn none() -> *mut c_void {
        ptr::null_mut()
    }
    extern "C" fn nothing(_: *mut c_void) {}
    Services { alloc_page: none, free_page: nothing, virtual_offset: 0 }
};

/// IOVAs of 48 bits: what an IOMMU with four levels translates.
const APERTURE: u64 = 1 << 48;

/// The harness asks for this granule alone. A constant: who calls the allocator counts in bytes, and it is the harness's
/// page numbers that have to be turned into them.
const SHIFT: u32 = 12;

struct Domain<P: Pinning> {
    allocator: IovaAllocator<Bench<P>>,
    platform: Bench<P>,
}

extern "C" fn create<P: Pinning>(granule: u64, first: u64) -> *mut c_void {
    cpu::set_if_none();
    if granule != 1 << SHIFT {
        eprintln!("ioward: the granule is {:#x}, not {granule:#x}", 1 << SHIFT);
        return ptr::null_mut();
    }
    let aperture = Span { start: Iova(first * granule), bytes: APERTURE - first * granule };
    let platform = Bench::<P>::new(&NO_PAGES);
    match IovaAllocator::new(platform, aperture, granule) {
        Ok(allocator) => Box::into_raw(Box::new(Domain { allocator, platform })).cast(),
        Err(error) => {
            eprintln!("ioward: IOVAs with a granule of {granule:#x}: {error}");
            ptr::null_mut()
        }
    }
}

/// # Safety
/// `domain` comes from `create` with the same pin and has not been destroyed.
#[inline(always)]
unsafe fn of<'a, P: Pinning>(domain: *mut c_void) -> &'a Domain<P> {
    // SAFETY: as promised by the caller.
    unsafe { &*domain.cast::<Domain<P>>() }
}

extern "C-unwind" fn alloc<P: Pinning>(domain: *mut c_void, pages: u64, limit: u64) -> u64 {
    // SAFETY: the harness hands in what `create` gave.
    let Domain { allocator, platform } = unsafe { of::<P>(domain) };
    let limit = Iova((limit << SHIFT) | ((1 << SHIFT) - 1));
    let bytes = pages << SHIFT;
    // As an address space asks: under a pin that it has anyway, and where nothing is at hand as everybody does.
    let (pin, cpu) = platform.pin();
    // SAFETY: the allocator's platform.
    if let Some(span) = unsafe { allocator.alloc_pinned(&pin, cpu, bytes, limit) } {
        return span.start.0 >> SHIFT;
    }
    drop(pin);
    alloc_anyhow(allocator, bytes, limit)
}

#[cold]
#[inline(never)]
fn alloc_anyhow<P: Platform>(allocator: &IovaAllocator<P>, bytes: u64, limit: Iova) -> u64 {
    allocator.alloc(bytes, 1 << SHIFT, limit).map_or(0, |span| span.start.0 >> SHIFT)
}

extern "C-unwind" fn free<P: Pinning>(domain: *mut c_void, page: u64, pages: u64) {
    // SAFETY: as in `alloc`.
    let Domain { allocator, platform } = unsafe { of::<P>(domain) };
    let span = Span { start: Iova(page << SHIFT), bytes: pages << SHIFT };
    let (pin, cpu) = platform.pin();
    // SAFETY: the allocator's platform.
    if !unsafe { allocator.free_pinned(&pin, cpu, span) } {
        drop(pin);
        free_anyhow(allocator, span);
    }
}

#[cold]
#[inline(never)]
fn free_anyhow<P: Platform>(allocator: &IovaAllocator<P>, span: Span<Iova>) {
    if allocator.free(span).is_err() {
        give_up();
    }
}

#[cold]
#[inline(never)]
fn give_up() -> ! {
    eprintln!("ioward: what is freed was not allocated");
    std::process::abort();
}

extern "C" fn destroy<P: Pinning>(domain: *mut c_void) {
    // SAFETY: the harness gives up what `create` gave.
    drop(unsafe { Box::from_raw(domain.cast::<Domain<P>>()) });
}

extern "C" fn thread_init(number: c_uint) {
    cpu::set(number as usize);
}

const fn entry<P: Pinning>(name: &'static CStr) -> Iovas {
    Iovas {
        name: name.as_ptr(),
        create: create::<P>,
        alloc: alloc::<P>,
        free: free::<P>,
        destroy: destroy::<P>,
        thread_init: Some(thread_init),
    }
}

static FREE: Iovas = entry::<Free>(c"ioward IOVA, free pin");
static FLAGS: Iovas = entry::<Flags>(c"ioward IOVA, flags saved");
static LIST: List<Iovas, 7> = List([
    &raw const FREE,
    &raw const FLAGS,
    &raw const dma::ENTRIES[0],
    &raw const dma::ENTRIES[1],
    &raw const dma::ENTRIES[2],
    &raw const dma::ENTRIES[3],
    ptr::null(),
]);

/// Every entry, those of the DMA API among them: a list that ends with null.
#[unsafe(no_mangle)]
pub extern "C" fn iova_bench_plugin() -> *const *const Iovas {
    LIST.0.as_ptr()
}

/// The entries, for tests of our own.
pub fn entries() -> [&'static Iovas; 2] {
    [&FREE, &FLAGS]
}
