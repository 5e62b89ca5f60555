//! `Hal` over the DMA API.
//!
//! A `Hal` has no `self`: its functions are told neither which device they are for nor where to keep anything. So each device
//! has a type of its own, and each type a [`Shelf`] in a static, on which lies the device's DMA API and everything that its
//! driver has out. What makes that sound:
//! * a shelf is behind a lock, and is filled by one device's DMA API at a time;
//! * everything on it is owned as anywhere else: rings are [`Coherent`], buffers [`MappedBytes`], keyed by the address that
//!   the driver was given;
//! * a device is given copies of the bytes of requests. Those are borrowed, and come back to safe code when `unshare`
//!   returns, also where an IOMMU hung and its device may use for ever what it was given: that is a copy, and leaked;
//! * it is emptied only when the driver has given back everything, so that no ring is freed under its driver.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::{fmt, marker::PhantomData, ptr::NonNull};
use ioward_core::{Coherent, Dma, MapError, MappedBytes, driver::Hung};
use ioward_types::{Direction, Iova, Mutex, PhysAddr, Platform, Span};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE};

/// Where a buffer is that could not be mapped: above what any IOMMU maps for anybody, and where no memory is. The device's
/// access fails there, since `Hal::share` cannot.
const NOWHERE: u64 = 1 << 63;

type Rings<P> = BTreeMap<u64, Coherent<P, Arc<Dma<P>>>>;
type Buffers<P> = BTreeMap<u64, MappedBytes<P, Vec<u8>, Arc<Dma<P>>>>;

/// What the drivers of `virtio_drivers` have out for one device. For a static.
pub struct Shelf<P: Platform>(Mutex<P::Lock, On<P>>);

struct On<P: Platform> {
    dma: Option<Arc<Dma<P>>>,
    rings: Rings<P>,
    buffers: Buffers<P>,
    refused: Option<MapError>,
    /// Nothing is shared after this.
    hung: Option<Hung>,
}

/// The shelf is another device's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupied;

impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another device is using this type's place")
    }
}
impl core::error::Error for Occupied {}

/// The driver has not given everything back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotEmpty {
    /// Pieces of memory that it shares with its device for good.
    pub rings: usize,
    /// Buffers of requests.
    pub buffers: usize,
}

impl fmt::Display for NotEmpty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the driver still has {} rings and {} buffers out", self.rings, self.buffers)
    }
}
impl core::error::Error for NotEmpty {}

impl<P: Platform> Shelf<P> {
    /// An empty one, behind a lock that exists already and is unlocked.
    pub const fn new(lock: P::Lock) -> Self {
        let on =
            On { dma: None, rings: BTreeMap::new(), buffers: BTreeMap::new(), refused: None, hung: None };
        Self(Mutex::from_raw(lock, on))
    }

    /// Puts a device's DMA API on it: the device can be driven now.
    pub fn fill(&self, dma: Arc<Dma<P>>) -> Result<(), Occupied> {
        let mut on = self.0.lock();
        if on.dma.is_some() {
            return Err(Occupied);
        }
        on.dma = Some(dma);
        on.hung = None;
        Ok(())
    }

    /// Takes the device's DMA API off again, once its driver has been dropped; `Ok(None)` where there was none.
    pub fn empty(&self) -> Result<Option<Arc<Dma<P>>>, NotEmpty> {
        let mut on = self.0.lock();
        let out = NotEmpty { rings: on.rings.len(), buffers: on.buffers.len() };
        if out.rings != 0 || out.buffers != 0 {
            return Err(out);
        }
        Ok(on.dma.take())
    }

    /// Takes every buffer back from the device, though its driver has not asked for it: what the device does with them after
    /// this is a fault. For a device that does not answer. Tells where they were.
    ///
    /// The buffers of the driver's callers are left as they were when they were shared: what the device wrote is lost.
    pub fn revoke_buffers(&self) -> Vec<Span<Iova>> {
        // Unmapped outside of the lock.
        let buffers = core::mem::take(&mut self.0.lock().buffers);
        let each = buffers.into_values().map(|buffer| {
            let span = buffer.span();
            drop(self.unmap(buffer));
            span
        });
        each.collect()
    }

    /// Why something could last not be mapped or unmapped, which `Hal` has no way to tell. It is told once. After
    /// [`MapError::Hung`] nothing is shared any more until the shelf is filled anew.
    pub fn refused(&self) -> Option<MapError> {
        self.0.lock().refused.take()
    }

    /// Mapping happens outside of the lock.
    fn with<T>(&self, map: impl FnOnce(Arc<Dma<P>>) -> Result<T, MapError>) -> Option<T> {
        let (dma, hung) = {
            let on = self.0.lock();
            (on.dma.clone()?, on.hung)
        };
        let mapped = match hung {
            Some(hung) => Err(MapError::Hung(hung)),
            None => map(dma),
        };
        mapped.map_err(|error| self.refuse(error)).ok()
    }

    /// The copy, with what the device wrote; `None` where an IOMMU hung, and the copy is leaked.
    fn unmap(&self, buffer: MappedBytes<P, Vec<u8>, Arc<Dma<P>>>) -> Option<Vec<u8>> {
        buffer.unmap().map_err(|hung| self.refuse(MapError::Hung(hung))).ok()
    }

    fn refuse(&self, error: MapError) {
        let mut on = self.0.lock();
        on.refused = Some(error);
        if let MapError::Hung(hung) = error {
            on.hung = Some(hung);
        }
    }
}

impl<P: Platform> fmt::Debug for Shelf<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = self.0.lock();
        write!(f, "Shelf({} rings, {} buffers)", on.rings.len(), on.buffers.len())
    }
}

/// A type that stands for one device of the machine.
///
/// # Implementation safety
/// [`VirtioDevice::shelf`] answers the same shelf always. [`VirtioDevice::registers`] answers a pointer that is valid for
/// `bytes` bytes of device registers and that nothing else uses.
///
/// # Safety
/// Implementing it asserts the above.
pub unsafe trait VirtioDevice: 'static {
    /// What it runs on.
    type Platform: Platform;
    /// The static that is this device's.
    fn shelf() -> &'static Shelf<Self::Platform>;
    /// Where the CPU sees registers.
    ///
    /// # Safety
    /// `bytes` bytes from `at` on are registers of the device, behind one of its base address registers.
    unsafe fn registers(at: PhysAddr, bytes: usize) -> NonNull<u8>;
}

/// The `Hal` of one device. Buffers of requests are copied, and the copies mapped for their time and for the bytes that they
/// have: see [`Dma::map_bytes`].
///
/// What cannot be mapped is told by [`Shelf::refused`] alone: ask it after each request. The blocking calls of the drivers
/// spin for ever on a device that does not answer, as it does not where its IOMMU hung or its buffer could not be mapped;
/// whoever needs an end to that uses the calls that do not block.
#[derive(Debug)]
pub struct HalOf<T>(PhantomData<T>);

fn direction(direction: BufferDirection) -> Direction {
    match direction {
        BufferDirection::DriverToDevice => Direction::ToDevice,
        BufferDirection::DeviceToDriver => Direction::FromDevice,
        BufferDirection::Both => Direction::Both,
    }
}

// SAFETY: rings are whole zeroed pages that a `Coherent` owns until they are given back; registers are as the device's type
// promises.
unsafe impl<T: VirtioDevice> Hal for HalOf<T> {
    fn dma_alloc(pages: usize, how: BufferDirection) -> (u64, NonNull<u8>) {
        // Its drivers take zero for failure.
        const FAILED: (u64, NonNull<u8>) = (0, NonNull::dangling());
        let Some(bytes) = pages.checked_mul(PAGE_SIZE) else { return FAILED };
        let ring = T::shelf().with(|dma| Dma::coherent(dma, bytes, direction(how)));
        let Some(ring) = ring else { return FAILED };
        let (at, memory) = (ring.iova().0, ring.as_ptr().cast());
        T::shelf().0.lock().rings.insert(at, ring);
        (at, memory)
    }

    unsafe fn dma_dealloc(at: u64, _: NonNull<u8>, _: usize) -> i32 {
        // Dropped outside of the lock. Its drivers panic over failure, and there is none to tell: an IOMMU that hung has been
        // counted and its devices silenced.
        let ring = T::shelf().0.lock().rings.remove(&at);
        drop(ring);
        0
    }

    unsafe fn mmio_phys_to_virt(at: u64, bytes: usize) -> NonNull<u8> {
        // SAFETY: as promised by the caller.
        unsafe { T::registers(PhysAddr(at), bytes) }
    }

    unsafe fn share(bytes: NonNull<[u8]>, how: BufferDirection) -> u64 {
        // SAFETY: valid, and nobody else's during the call, as promised by the caller.
        let copy = unsafe { bytes.as_ref() }.to_vec();
        let mapped =
            T::shelf().with(|dma| Dma::map_bytes(dma, copy, direction(how)).map_err(|(error, _)| error));
        let Some(mapped) = mapped else { return NOWHERE };
        let at = mapped.iova().0;
        T::shelf().0.lock().buffers.insert(at, mapped);
        at
    }

    unsafe fn unshare(at: u64, mut bytes: NonNull<[u8]>, how: BufferDirection) {
        let Some(mapped) = T::shelf().0.lock().buffers.remove(&at) else { return };
        // Outside of the lock.
        let Some(copy) = T::shelf().unmap(mapped) else { return };
        if how != BufferDirection::DriverToDevice && copy.len() == bytes.len() {
            // SAFETY: valid, and nobody else's during the call, as promised by the caller.
            unsafe { bytes.as_mut() }.copy_from_slice(&copy);
        }
    }
}
