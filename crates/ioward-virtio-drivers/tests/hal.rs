//! A `Hal` over the DMA API of a device behind an IOMMU's model, used as drivers of `virtio_drivers` use it.

use ioward_core::MapError;
use ioward_machine::{Endpoint, Rig};
use ioward_models::{DmaError, SimPlatform, platform::SimLock, smmuv3::Features};
use ioward_types::{IommuId, Iova, PhysAddr, RawLock as _, Span};
use ioward_virtio_drivers::{HalOf, NotEmpty, Occupied, Shelf, VirtioDevice};
use std::{ptr::NonNull, sync::OnceLock};
use virtio_drivers::{BufferDirection::*, Hal};

/// A type for one device: each test has its own, as tests run beside each other.
macro_rules! device {
    ($name:ident) => {
        enum $name {}
        // SAFETY: one static; there are no registers here.
        unsafe impl VirtioDevice for $name {
            type Platform = SimPlatform;
            fn shelf() -> &'static Shelf<SimPlatform> {
                static SHELF: OnceLock<Shelf<SimPlatform>> = OnceLock::new();
                SHELF.get_or_init(|| Shelf::new(SimLock::new()))
            }
            unsafe fn registers(_: PhysAddr, _: usize) -> NonNull<u8> {
                NonNull::dangling()
            }
        }
    };
}

fn rig() -> (Rig, Endpoint) {
    let mut rig = Rig::default();
    rig.smmu(0, Features::default());
    rig.start(0).unwrap();
    let disk = rig.device("disk", &[(0, 8)], false, |_| {});
    (rig, disk)
}

#[test]
fn a_device_reaches_what_its_driver_shares_and_only_while_it_does() {
    device!(Disk);
    type H = HalOf<Disk>;
    let (rig, disk) = rig();
    let bound = disk.device.bind().unwrap();
    Disk::shelf().fill(bound.dma().clone()).unwrap();
    assert_eq!(Disk::shelf().fill(bound.dma().clone()), Err(Occupied));

    let (ring, memory) = H::dma_alloc(2, Both);
    assert_ne!(ring, 0);
    // SAFETY: two pages that are this test's until it gives them back.
    unsafe { memory.add(4096).write_volatile(7) };
    let mut seen = [1; 2];
    disk.read(None, Iova(ring + 4095), &mut seen).unwrap();
    assert_eq!(seen, [0, 7]);

    let mut neighbours = [0xa5; 4096];
    let buffer = &mut neighbours[100..612];
    // SAFETY: the buffer is left alone until it is taken back.
    let at = unsafe { H::share(buffer.into(), DeviceToDriver) };
    disk.write(None, Iova(at), &[3; 512]).unwrap();
    assert_eq!(Disk::shelf().empty().map(drop), Err(NotEmpty { rings: 1, buffers: 1 }));
    // SAFETY: as above.
    unsafe { H::unshare(at, buffer.into(), DeviceToDriver) };
    assert!(buffer.iter().all(|byte| *byte == 3));
    assert_eq!(disk.write(None, Iova(at), &[4]), Err(DmaError::Aborted(Iova(at))));
    assert!(neighbours[..100].iter().chain(&neighbours[612..]).all(|byte| *byte == 0xa5));

    // SAFETY: allocated above.
    assert_eq!(unsafe { H::dma_dealloc(ring, memory, 2) }, 0);
    assert_eq!(disk.write(None, Iova(ring), &[4]), Err(DmaError::Aborted(Iova(ring))));
    assert_eq!(bound.dma().stats().iova_in_use, 0);
    assert!(Disk::shelf().empty().unwrap().is_some());
    rig.violations.assert_none();
}

#[test]
fn what_cannot_be_mapped_is_nowhere_and_the_reason_is_kept() {
    device!(Disk);
    type H = HalOf<Disk>;
    let mut bytes = [5; 64];
    // Nobody has filled the shelf.
    assert_eq!(H::dma_alloc(1, Both).0, 0);
    let (rig, disk) = rig();
    // SAFETY: the buffer is left alone until it is taken back, as all below.
    let at = unsafe { H::share((&mut bytes[..]).into(), Both) };
    assert!(disk.read(None, Iova(at), &mut [0]).is_err());

    let bound = disk.device.bind().unwrap();
    Disk::shelf().fill(bound.dma().clone()).unwrap();
    assert_eq!(Disk::shelf().refused(), None);
    rig.memory.set_budget(Some(0));
    assert_eq!(H::dma_alloc(1, Both).0, 0);
    assert!(matches!(Disk::shelf().refused(), Some(MapError::NoMemory(_))));
    // SAFETY: as above.
    let at = unsafe { H::share((&mut bytes[..]).into(), Both) };
    rig.memory.set_budget(None);
    assert!(matches!(Disk::shelf().refused(), Some(MapError::NoMemory(_))));
    assert_eq!(Disk::shelf().refused(), None, "told once");
    assert_eq!(disk.write(None, Iova(at), &[6]), Err(DmaError::Aborted(Iova(at))));
    // SAFETY: as above.
    unsafe { H::unshare(at, (&mut bytes[..]).into(), Both) };
    assert_eq!(bytes, [5; 64]);
    assert_eq!(H::dma_alloc(usize::MAX, Both).0, 0);
}

#[test]
fn buffers_can_be_taken_back_from_a_device_that_does_not_answer() {
    device!(Disk);
    type H = HalOf<Disk>;
    let (rig, disk) = rig();
    let bound = disk.device.bind().unwrap();
    Disk::shelf().fill(bound.dma().clone()).unwrap();
    let mut bytes = [5; 64];
    // SAFETY: the buffer is left alone until it is taken back.
    let at = unsafe { H::share((&mut bytes[..]).into(), DeviceToDriver) };
    disk.write(None, Iova(at), &[6]).unwrap();
    assert_eq!(Disk::shelf().revoke_buffers(), [Span { start: Iova(at), bytes: 64 }]);
    assert_eq!(disk.write(None, Iova(at), &[7; 64]), Err(DmaError::Aborted(Iova(at))));
    // SAFETY: as above.
    unsafe { H::unshare(at, (&mut bytes[..]).into(), DeviceToDriver) };
    assert_eq!(bytes, [5; 64], "nothing is copied to bytes that were taken back");
    assert!(Disk::shelf().empty().is_ok());
    rig.violations.assert_none();
}

#[test]
fn an_iommu_that_hangs_leaves_the_callers_bytes_to_the_caller() {
    device!(Disk);
    type H = HalOf<Disk>;
    let (rig, disk) = rig();
    let bound = disk.device.bind().unwrap();
    Disk::shelf().fill(bound.dma().clone()).unwrap();
    let mut bytes = [5; 64];
    // SAFETY: the buffer is left alone until it is taken back, as all below.
    let at = unsafe { H::share((&mut bytes[..]).into(), Both) };
    disk.write(None, Iova(at), &[6]).unwrap();
    rig.model(IommuId(0)).unwrap().set_hung(true);
    // SAFETY: as above.
    unsafe { H::unshare(at, (&mut bytes[..]).into(), Both) };
    assert_eq!(bytes, [5; 64], "what the device may write still is not read");
    assert!(matches!(Disk::shelf().refused(), Some(MapError::Hung(_))));
    rig.model(IommuId(0)).unwrap().set_hung(false);
    // SAFETY: as above.
    assert_eq!(unsafe { H::share((&mut bytes[..]).into(), Both) }, 1 << 63);
    assert!(matches!(Disk::shelf().refused(), Some(MapError::Hung(_))));
}
