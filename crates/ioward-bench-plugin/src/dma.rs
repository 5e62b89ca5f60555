//! Whole mappings of the DMA API behind the interface of IOVA allocators: to allocate is to map a buffer of so many pages,
//! to free is to release the mapping. So a harness measures them in the same process, with the same loops, as it does IOVAs
//! and tables.
//!
//! The IOMMU is a [`Sink`]: no invalidation is measured. A driver has a place for each mapping beside its descriptor; here
//! it is found by the number of the first page.

use crate::{
    abi::{Iovas, Services},
    platform::{Bench, Flags, Free, Pinning, cpu},
    sink::{FOUR_LEVELS, Sink},
};
use ioward_core::{Bound, Device, DeviceDesc, Dma, DmaBuffer, FlushMode, Mapping, Policy, Subsystem};
use ioward_types::{Direction, IommuId, PhysAddr, SourceId, Span, control::Uncontrolled};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    cell::UnsafeCell,
    ffi::{CStr, c_char, c_uint, c_void},
    mem::MaybeUninit,
    ptr::{self, NonNull},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Pages from the host's allocator.
pub static PAGES: Services = {
    const PAGE: Layout = match Layout::from_size_align(4096, 4096) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    };
    extern "C" fn alloc_page() -> *mut c_void {
        // SAFETY: the layout is not empty.
        unsafe { alloc_zeroed(PAGE) }.cast()
    }
    extern "C" fn free_page(page: *mut c_void) {
        // SAFETY: it came from `alloc_page`.
        unsafe { dealloc(page.cast(), PAGE) }
    }
    Services { alloc_page, free_page, virtual_offset: 0 }
};

/// Memory that is nobody's: no device is there to reach it, and no CPU looks at it.
#[derive(Debug)]
pub struct Nowhere(pub Span<PhysAddr>);

// SAFETY: nobody reads or writes what is mapped here.
unsafe impl DmaBuffer for Nowhere {
    #[inline(always)]
    fn span(&self) -> Span<PhysAddr> {
        self.0
    }
}

/// A device behind a [`Sink`], and its driver.
#[derive(Debug)]
pub struct End<P: Pinning> {
    bound: Bound<Bench<P>>,
    _device: Device<Bench<P>>,
}

impl<P: Pinning> End<P> {
    /// What its driver maps with.
    pub fn dma(&self) -> &Arc<Dma<Bench<P>>> {
        self.bound.dma()
    }
}

/// Devices that reach so many bits each, in one group behind a [`Sink`].
pub fn ends<P: Pinning>(flush: FlushMode, devices: &[(&str, u8)]) -> Vec<End<P>> {
    cpu::set_if_none();
    let policy = Policy { flush, ..Policy::default() };
    let subsystem = Subsystem::with_policy(Bench::<P>::new(&PAGES), policy);
    subsystem.register(Arc::new(Sink(FOUR_LEVELS))).expect("it refuses nothing");
    let sources: Vec<_> = (0..devices.len() as u32).map(|n| (IommuId(0), SourceId(n))).collect();
    let add = |(n, (name, addr_bits)): (usize, &(&str, u8))| {
        let desc = DeviceDesc::new(name, &sources[n..=n], Arc::new(Uncontrolled));
        let device = subsystem.add(&DeviceDesc { addr_bits: *addr_bits, joins: &sources, ..desc });
        End { bound: device.bind().expect("it is served"), _device: device }
    };
    devices.iter().enumerate().map(add).collect()
}

type Mapped<P> = Mapping<Bench<P>, Nowhere, &'static Dma<Bench<P>>>;

/// Where a mapping is kept: that of the page with this number, if it is not zero. A cache line each.
#[repr(align(64))]
struct Place<P: Pinning> {
    page: AtomicU64,
    mapping: UnsafeCell<MaybeUninit<Mapped<P>>>,
}

/// More places than the harness has pages between its first IOVA and its last.
const PLACES: usize = 1 << 20;
const SHIFT: u32 = 12;
/// The number of the last page that there is.
const LAST: u64 = (1 << (48 - SHIFT)) - 1;
/// Where the memory is that is mapped: where no larger page begins.
const MEMORY: u64 = 0x30_0000_1000;

struct Domain<P: Pinning> {
    places: NonNull<Place<P>>,
    /// Of devices that reach 32 bits, and everything.
    low: &'static Dma<Bench<P>>,
    all: &'static Dma<Bench<P>>,
    /// What the two belong to; dropped after all mappings.
    ends: Vec<End<P>>,
}

impl<P: Pinning> Domain<P> {
    fn layout() -> Layout {
        Layout::array::<Place<P>>(PLACES).expect("it fits")
    }

    #[inline(always)]
    fn place(&self, page: u64) -> &Place<P> {
        // SAFETY: the index is below the number of places, which are zeroed: no mapping is there.
        unsafe { self.places.add(page as usize & (PLACES - 1)).as_ref() }
    }
}

impl<P: Pinning> Drop for Domain<P> {
    fn drop(&mut self) {
        // SAFETY: as many as were allocated; nobody else uses them any more.
        let places = unsafe { slice::from_raw_parts(self.places.as_ptr(), PLACES) };
        for place in places.iter().filter(|place| place.page.load(Ordering::Relaxed) != 0) {
            // SAFETY: the number says that there is one, and it is dropped once.
            unsafe { (*place.mapping.get()).assume_init_drop() };
        }
        self.ends.clear();
        // SAFETY: allocated so, by `create`.
        unsafe { dealloc(self.places.as_ptr().cast(), Self::layout()) };
    }
}

fn create<P: Pinning>(granule: u64, flush: FlushMode) -> *mut c_void {
    if granule != 1 << SHIFT {
        eprintln!("ioward: the granule is {:#x}, not {granule:#x}", 1 << SHIFT);
        return ptr::null_mut();
    }
    let ends = ends::<P>(flush, &[("narrow", 32), ("wide", 64)]);
    // SAFETY: whoever is bound owns what it points at, until the domain's own drop has ended all mappings.
    let dma = |n: usize| unsafe { &*Arc::as_ptr(ends[n].dma()) };
    let (low, all) = (dma(0), dma(1));
    assert_eq!(all.flush_mode(), flush);
    let layout = Domain::<P>::layout();
    // SAFETY: the layout is not empty.
    let Some(places) = NonNull::new(unsafe { alloc_zeroed(layout) }.cast()) else {
        handle_alloc_error(layout)
    };
    Box::into_raw(Box::new(Domain { places, low, all, ends })).cast()
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
    let domain = unsafe { of::<P>(domain) };
    let dma = if limit >= LAST { domain.all } else { domain.low };
    let buffer = Nowhere(Span { start: PhysAddr(MEMORY), bytes: pages << SHIFT });
    let Ok(mapping) = Dma::map(dma, buffer, Direction::Both) else { return 0 };
    let page = mapping.iova().0 >> SHIFT;
    let place = domain.place(page);
    if place.page.load(Ordering::Relaxed) != 0 {
        fail(c"two mappings for one place".as_ptr());
    }
    // SAFETY: it is empty, and the page's alone.
    unsafe { (*place.mapping.get()).write(mapping) };
    place.page.store(page, Ordering::Relaxed);
    page
}

extern "C-unwind" fn free<P: Pinning>(domain: *mut c_void, page: u64, _: u64) {
    // SAFETY: as in `alloc`.
    let place = unsafe { of::<P>(domain) }.place(page);
    if place.page.load(Ordering::Relaxed) != page {
        fail(c"a page is not mapped".as_ptr());
    }
    place.page.store(0, Ordering::Relaxed);
    // SAFETY: the number said that there is one, and it is taken once; the harness hands a page from thread to thread in
    // order.
    let mapping = unsafe { (*place.mapping.get()).assume_init_read() };
    if mapping.release().is_err() {
        fail(c"a flush that returns at once has hung".as_ptr());
    }
}

/// Does not unwind, so that nobody keeps a mapping in memory for it.
#[cold]
#[inline(never)]
extern "C" fn fail(why: *const c_char) -> ! {
    // SAFETY: the callers' literals.
    eprintln!("ioward: {}", unsafe { CStr::from_ptr(why) }.to_string_lossy());
    std::process::abort();
}

extern "C" fn destroy<P: Pinning>(domain: *mut c_void) {
    // SAFETY: the harness gives up what `create` gave.
    drop(unsafe { Box::from_raw(domain.cast::<Domain<P>>()) });
}

extern "C" fn thread_init(number: c_uint) {
    cpu::set(number as usize);
}

extern "C" fn create_strict<P: Pinning>(granule: u64, _: u64) -> *mut c_void {
    create::<P>(granule, FlushMode::Strict)
}

extern "C" fn create_lazy<P: Pinning>(granule: u64, _: u64) -> *mut c_void {
    create::<P>(granule, FlushMode::Lazy)
}

const fn entry<P: Pinning>(name: &'static CStr, create: extern "C" fn(u64, u64) -> *mut c_void) -> Iovas {
    Iovas {
        name: name.as_ptr(),
        create,
        alloc: alloc::<P>,
        free: free::<P>,
        destroy: destroy::<P>,
        thread_init: Some(thread_init),
    }
}

/// Each mode with a free pin, and with one that saves the processor's flags.
pub static ENTRIES: [Iovas; 4] = [
    entry::<Free>(c"ioward DMA strict, free pin", create_strict::<Free>),
    entry::<Free>(c"ioward DMA lazy, free pin", create_lazy::<Free>),
    entry::<Flags>(c"ioward DMA strict, flags saved", create_strict::<Flags>),
    entry::<Flags>(c"ioward DMA lazy, flags saved", create_lazy::<Flags>),
];
