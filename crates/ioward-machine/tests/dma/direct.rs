//! A device that an explicit policy lets through: nothing translates, and yet it reaches only what it can address.

use crate::{Bench, Neighbours, PAGE, counting, help};
use ioward::core::DefaultKind;
use ioward::core::{Dma, DmaBuffer as _, FrameBuffer, MapError, Policy, RawBytes};
use ioward::types::{Direction, Iova, PhysAddr};
use ioward_machine::Rig;

/// A device of 32 bits in a machine whose memory begins at `origin` and goes on beyond 4 GiB.
fn bench(origin: u64) -> Bench {
    let policy = Policy { trusted: DefaultKind::Identity, ..Policy::default() };
    let mut rig = Rig::with_memory(policy, PhysAddr(origin));
    help::add(&mut rig, 0, help::Kind::Smmu);
    rig.start(0).unwrap();
    let bench = Bench::over(rig, "identity".into(), 0, 32, &[]);
    assert!(!bench.bound.dma().is_translated());
    assert_eq!(bench.bound.dma().limit(), Iova(0xffff_ffff));
    bench
}

#[test]
fn what_it_can_address_is_in_place_and_what_it_cannot_is_copied() {
    let bench = bench(0xf000_0000);
    let dma = &**bench.bound.dma();
    let mut low = Neighbours::new(&bench.rig, 1);
    // SAFETY: nothing refers to the bytes, and `low` outlives the mapping.
    let raw = unsafe { RawBytes::new(low.buffer(100, 200)) };
    let mapping = Dma::map_bytes(dma, raw, Direction::Both).map_err(|(error, _)| error).unwrap();
    assert_eq!((mapping.iova().0, mapping.bounced()), (low.phys(100).0, 0));
    bench.nic.write(None, mapping.iova(), &[9; 200]).unwrap();
    mapping.unmap().unwrap();
    assert_eq!(low.now(100, 200), [9; 200]);

    // Aligned so, it lies beyond what the device can address.
    let mut high = FrameBuffer::new(&bench.rig.platform, PAGE, 0x2000_0000).unwrap();
    assert!(high.span().start.0 >= 1 << 32);
    assert!(high.write(0, &counting(PAGE)));
    let pointer = ioward::types::Platform::virt(&bench.rig.platform, high.span().start);
    let bytes = std::ptr::NonNull::slice_from_raw_parts(pointer, PAGE);
    // SAFETY: nothing refers to the bytes, and `high` outlives the mapping.
    let raw = unsafe { RawBytes::new(bytes) };
    let mapping = Dma::map_bytes(dma, raw, Direction::Both).map_err(|(error, _)| error).unwrap();
    assert!(mapping.span().last().0 < 1 << 32);
    assert_eq!(mapping.bounced(), PAGE);
    assert_eq!(bench.reads(mapping.iova(), PAGE).unwrap(), counting(PAGE));
    bench.nic.write(None, mapping.iova(), b"from below").unwrap();
    mapping.unmap().unwrap();
    let mut seen = [0; 10];
    assert!(high.read(0, &mut seen));
    assert_eq!(&seen, b"from below");

    let ring = Dma::coherent(dma, PAGE, Direction::Both).unwrap();
    assert!(ring.span().last().0 < 1 << 32);
    // Handed over whole it cannot be copied, so it is refused and comes back.
    let (error, back) = Dma::map(dma, high, Direction::Both).unwrap_err();
    assert!(matches!(error, MapError::Aperture(_)), "{error}");
    assert!(back.is_some());
    drop(ring);
    bench.rig.violations.assert_none();
}

#[test]
fn with_no_memory_that_it_can_address_it_gets_an_error() {
    let bench = bench(0x1_0000_0000);
    let dma = &**bench.bound.dma();
    let allocated = bench.rig.memory.allocated();
    let error = Dma::coherent(dma, PAGE, Direction::Both).map(drop).unwrap_err();
    assert!(matches!(error, MapError::NoMemory(_)), "{error}");
    let (error, back) = Dma::map_bytes(dma, counting(9), Direction::Both).map(drop).unwrap_err();
    assert!(matches!(error, MapError::NoMemory(_)), "{error}");
    assert_eq!(back, Some(counting(9)));
    assert_eq!(bench.rig.memory.allocated(), allocated);
}
