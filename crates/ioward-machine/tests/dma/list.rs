//! Lists: many buffers, one range of IOVAs, one flush; all or none.

use crate::{Bench, Neighbours, PAGE, counting, help};
use ioward::core::{Dma, FrameBuffer, MapError, MappedList, RawBytes, SegmentLimits, space::Failures};
use ioward::types::{Direction, Iova, PhysAddr, Span};
use ioward_machine::Rig;
use ioward_models::{DmaError, Maintained, SimPlatform};

type List<'d, B> = MappedList<SimPlatform, B, &'d Dma<SimPlatform>>;

fn lengths<B: ioward::core::ByteBuffer>(list: &List<'_, B>) -> Vec<u64> {
    list.segments().map(|segment| segment.bytes).collect()
}

#[test]
fn neighbours_become_one_segment_and_each_device_reads_what_was_given() {
    for bench in Bench::all() {
        let dma = &**bench.bound.dma();
        let flushes = dma.stats().flushes;
        // Ends with its page, whole pages, begins with its page; then one that follows nothing.
        let mut memory = Neighbours::new(&bench.rig, 9);
        let places = [(PAGE / 2, PAGE / 2), (2 * PAGE, 3 * PAGE), (6 * PAGE, 100), (7 * PAGE + 8, 200)];
        // SAFETY: nothing refers to the bytes, they do not overlap, and `memory` outlives the mapping.
        let mut raw = |(offset, bytes)| unsafe { RawBytes::new(memory.buffer(offset, bytes)) };
        let owners = places.map(&mut raw).into_iter().collect();
        let list: List<'_, _> = Dma::map_list(dma, owners, Direction::Both).map_err(|(e, _)| e).unwrap();
        assert_eq!(lengths(&list), [(PAGE / 2 + 3 * PAGE + 100) as u64, 200], "{bench}");
        for ((_, bytes), span) in places.iter().zip(list.spans()) {
            assert_eq!(bench.reads(span.start, *bytes).unwrap(), counting(*bytes), "{bench}");
            bench.nic.write(None, span.start, &vec![0x66; *bytes]).unwrap();
        }
        let all: Vec<Span<Iova>> = list.spans().to_vec();
        assert_eq!(dma.stats().live_mappings, 1, "{bench}");
        drop(list.unmap().unwrap());
        assert_eq!(dma.stats().flushes - flushes, 1, "{bench}");
        for ((offset, bytes), span) in places.iter().zip(all) {
            assert_eq!(memory.now(*offset, *bytes), vec![0x66; *bytes], "{bench}");
            assert_eq!(bench.reads(span.start, 1), Err(DmaError::Aborted(span.start)), "{bench}");
        }
        bench.rig.violations.assert_none();
    }
}

#[test]
fn segments_keep_what_the_device_says() {
    let mut rig = Rig::default();
    help::add(&mut rig, 0, help::Kind::Vtd);
    rig.start(0).unwrap();
    let nic = rig.device("nic", &[(0, 8)], false, |desc| {
        desc.segments = SegmentLimits::new(3 * PAGE as u64, Some(0x1_0000)).unwrap();
    });
    let bound = nic.device.bind().unwrap();
    let dma = &**bound.dma();
    let buffer = || FrameBuffer::new(&rig.platform, 5 * PAGE, PAGE).unwrap();
    let list = Dma::map_list(dma, (0..8).map(|_| buffer()).collect(), Direction::Both);
    let list: List<'_, _> = list.map_err(|(error, _)| error).unwrap();
    assert_eq!(list.bounced(), 0);
    let segments: Vec<Span<Iova>> = list.segments().collect();
    assert_eq!(segments.iter().map(|segment| segment.bytes).sum::<u64>(), 40 * PAGE as u64);
    for segment in &segments {
        assert!(segment.bytes <= 3 * PAGE as u64, "{segment}");
        assert_eq!(segment.start.0 >> 16, segment.last().0 >> 16, "{segment} crosses a boundary");
    }
    assert!(segments.len() < 40 / 3 + 2 + 3);
}

/// Failures come typed, everything is undone, the buffers come back, and each is counted where it belongs.
#[test]
fn a_list_that_cannot_be_mapped_leaves_nothing_behind() {
    for bench in Bench::all() {
        let dma = &**bench.bound.dma();
        let buffer = || FrameBuffer::new(&bench.rig.platform, 2 * PAGE, PAGE).unwrap();
        let held = bench.held().1;
        let failures = || dma.stats().failures;
        let refuse = |owners: Vec<Vec<u8>>| {
            let count = owners.len();
            let (error, back) = Dma::map_list(dma, owners, Direction::Both).map(drop).unwrap_err();
            assert_eq!(back.map(|back| back.len()), Some(count), "{bench}: {error}");
            error
        };
        assert!(matches!(refuse(vec![]), MapError::Empty(_)), "{bench}");
        assert!(matches!(refuse(vec![counting(9), vec![], counting(9)]), MapError::Empty(_)), "{bench}");
        assert_eq!(failures(), Failures { invalid: 2, ..Failures::default() }, "{bench}");

        // Memory ends in the middle: for bounce frames, then for tables.
        let mut failed = 0;
        for budget in 0..12 {
            bench.rig.memory.set_budget(Some(budget));
            let result = Dma::map_list(dma, vec![counting(40), counting(50), counting(60)], Direction::Both);
            bench.rig.memory.set_budget(None);
            match result.map(|list: List<'_, _>| drop(list)) {
                Ok(()) => break,
                Err((error, back)) => {
                    assert!(matches!(error, MapError::NoMemory(_) | MapError::Table(_)), "{bench}: {error}");
                    assert_eq!(back.map(|back| back.len()), Some(3), "{bench}");
                    failed += 1;
                }
            }
            assert_eq!((bench.held().1, dma.stats().live_mappings), (held, 0), "{bench}: after {budget}");
        }
        assert!((3..12).contains(&failed), "{bench}: {failed}");
        assert_eq!(failures().memory, failed, "{bench}");
        drop(buffer());
        bench.rig.violations.assert_none();
    }
}

#[test]
fn iovas_that_run_out_give_a_list_back_whole() {
    // Of what 32 bits of address reach, 16 pages are free.
    let taken = Span::inclusive(PhysAddr(0x1_0000), PhysAddr(0xffff_ffff)).unwrap();
    let kind = ioward::core::RegionKind::Forbidden;
    for bench in Bench::all_with(32, &[ioward::core::Region { span: taken, kind }]) {
        let dma = &**bench.bound.dma();
        let before = bench.held();
        let owners: Vec<Vec<u8>> = (0..17).map(|_| counting(10)).collect();
        let (error, back) = Dma::map_list(dma, owners, Direction::Both).map(drop).unwrap_err();
        assert!(matches!(error, MapError::Iova(_)), "{bench}: {error}");
        assert_eq!(back.unwrap().len(), 17, "{bench}");
        assert_eq!(bench.held(), before, "{bench}: frames and IOVAs");
        assert_eq!(dma.stats().failures, Failures { iova: 1, ..Failures::default() }, "{bench}");
    }
}

/// Buffers of a device that does not see the CPU's caches are cleaned for it and invalidated for the CPU; others are not.
#[test]
fn caches_are_maintained_for_whoever_does_not_snoop() {
    for snoops in [true, false] {
        let mut rig = Rig::default();
        help::add(&mut rig, 0, help::Kind::Smmu);
        rig.start(0).unwrap();
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.snoops = snoops);
        let bound = nic.device.bind().unwrap();
        let dma = &**bound.dma();
        let buffer = FrameBuffer::new(&rig.platform, 2 * PAGE, PAGE).unwrap();
        let at = ioward::core::DmaBuffer::span(&buffer);
        let told = |what: &[Maintained]| if snoops { vec![] } else { what.to_vec() };
        let clean = || rig.platform.maintained();
        clean();
        let mapping = Dma::map(dma, buffer, Direction::Both).map_err(|(error, _)| error).unwrap();
        assert_eq!(clean(), told(&[Maintained::Cleaned(at)]));
        mapping.sync_for_cpu();
        mapping.sync_for_device();
        assert_eq!(clean(), told(&[Maintained::Invalidated(at), Maintained::Cleaned(at)]));
        let buffer = mapping.unmap().unwrap();
        assert_eq!(clean(), told(&[Maintained::Invalidated(at)]));
        let list =
            Dma::map_list(dma, vec![buffer], Direction::FromDevice).map_err(|(error, _)| error).unwrap();
        assert_eq!(clean(), told(&[Maintained::Cleaned(at)]));
        drop(list);
        assert_eq!(clean(), told(&[Maintained::Invalidated(at)]));
        let ring = Dma::coherent(dma, PAGE, Direction::Both).map(drop);
        assert_eq!(ring, if snoops { Ok(()) } else { Err(MapError::DoesNotSnoop) });
    }
}
