//! Ranges that are kept: the ring of a driver, linked, synced and unlinked run by run.

use crate::{Bench, PAGE};
use ioward::core::{Dma, FrameBuffer, MapError, Reserved};
use ioward::types::{Direction, IommuId};
use ioward_models::{DmaError, SimPlatform};

const SLOTS: usize = 32;

type Ring<'d> = Reserved<SimPlatform, FrameBuffer<SimPlatform>, &'d Dma<SimPlatform>>;

fn ring(bench: &Bench) -> Ring<'_> {
    Dma::reserve(&**bench.bound.dma(), SLOTS, 2 * PAGE as u64).unwrap()
}

fn buffer(bench: &Bench, text: u8) -> FrameBuffer<SimPlatform> {
    let mut buffer = FrameBuffer::new(&bench.rig.platform, 2 * PAGE, PAGE).unwrap();
    assert!(buffer.write(0, &[text; 8]));
    buffer
}

#[test]
fn a_run_of_slots_costs_one_flush_and_neighbours_stay() {
    for bench in Bench::all() {
        let before = bench.held().1;
        let mut ring = ring(&bench);
        let stats = || bench.bound.dma().stats();
        let mut places = Vec::new();
        for slot in 0..SLOTS {
            let at =
                ring.link(slot, buffer(&bench, slot as u8), Direction::Both).map_err(|(e, _)| e).unwrap();
            places.push(at.start);
        }
        ring.sync().unwrap();
        assert!(places.windows(2).all(|two| two[1].0 - two[0].0 == 2 * PAGE as u64), "{bench}");
        let read = |slot: usize| bench.reads(places[slot], 8);
        for round in 0..3_u8 {
            for run in (0..SLOTS).step_by(8) {
                let flushes = stats().flushes;
                (0..SLOTS).for_each(|slot| assert!(read(slot).is_ok(), "{bench}"));
                let mut back = Vec::new();
                ring.unlink(run..run + 8, |slot, buffer| back.push((slot, buffer))).unwrap();
                assert_eq!((stats().flushes - flushes, back.len()), (1, 8), "{bench}");
                for (slot, place) in places.iter().enumerate() {
                    let gone = (run..run + 8).contains(&slot);
                    let expected = if gone {
                        Err(DmaError::Aborted(*place))
                    } else {
                        Ok([slot_text(slot, run, round); 8].to_vec())
                    };
                    assert_eq!(read(slot), expected, "{bench}: slot {slot}");
                    assert_eq!(ring.linked(slot).is_none(), gone, "{bench}");
                }
                for (slot, mut buffer) in back {
                    assert!(buffer.write(0, &[0x80 | round; 8]));
                    let at = ring.link(slot, buffer, Direction::Both).map_err(|(e, _)| e).unwrap();
                    assert_eq!(at.start, places[slot], "{bench}: its IOVA stays");
                }
                ring.sync().unwrap();
                assert_eq!(read(run).unwrap(), [0x80 | round; 8], "{bench}");
            }
        }
        assert_eq!(stats().live_mappings, SLOTS as u64, "{bench}");
        drop(ring);
        assert_eq!((stats().live_mappings, bench.held().1), (0, before), "{bench}");
        (0..SLOTS).for_each(|slot| assert!(read(slot).is_err(), "{bench}"));
        bench.rig.violations.assert_none();
    }
}

#[test]
fn what_cannot_be_linked_comes_back() {
    for bench in Bench::all() {
        let dma = &**bench.bound.dma();
        let page = PAGE as u64;
        assert!(matches!(Dma::reserve(dma, 0, page).map(drop_ring), Err(MapError::Empty(_))));
        assert!(matches!(Dma::reserve(dma, 3, 0).map(drop_ring), Err(MapError::Empty(_))));
        assert!(matches!(Dma::reserve(dma, usize::MAX, page).map(drop_ring), Err(MapError::Empty(_))));
        assert!(matches!(Dma::reserve(dma, 3, 100).map(drop_ring), Err(MapError::Misaligned { .. })));
        let mut ring = ring(&bench);
        let mut refuse = |slot, buffer| {
            let (error, back) = ring.link(slot, buffer, Direction::Both).map(drop).unwrap_err();
            assert!(back.is_some(), "{bench}: {error}");
            error
        };
        assert_eq!(refuse(SLOTS, buffer(&bench, 0)), MapError::NoSlot { slot: SLOTS, of: SLOTS });
        let long = FrameBuffer::new(&bench.rig.platform, 3 * PAGE, PAGE).unwrap();
        assert_eq!(refuse(0, long), MapError::TooLong { bytes: 3 * page, slot: 2 * page });
        let at = ring.link(5, buffer(&bench, 5), Direction::Both).map_err(|(error, _)| error).unwrap();
        let (error, back) = ring.link(5, buffer(&bench, 6), Direction::Both).map(drop).unwrap_err();
        assert_eq!((error, back.is_some()), (MapError::Exists(at.start), true), "{bench}");
        assert_eq!(dma.stats().failures.invalid, 7, "{bench}");
        // Nothing in the run, and slots that are none.
        ring.unlink(10..20, |_, _| panic!("nothing is linked there")).unwrap();
        ring.unlink(SLOTS..usize::MAX, |_, _| panic!("there are no such slots")).unwrap();
    }
}

/// What a slot holds when the run that begins at `run` is out, in a round: earlier runs have been written anew.
fn slot_text(slot: usize, run: usize, round: u8) -> u8 {
    match (slot < run, round) {
        (true, round) => 0x80 | round,
        (false, 0) => slot as u8,
        (false, round) => 0x80 | (round - 1),
    }
}

fn drop_ring(ring: Ring<'_>) {
    drop(ring);
}

#[test]
fn a_run_that_is_not_confirmed_is_withheld_and_so_are_its_iovas() {
    let bench = Bench::all().remove(0);
    let mut ring = ring(&bench);
    for slot in 0..4 {
        ring.link(slot, buffer(&bench, 1), Direction::Both).map_err(|(error, _)| error).unwrap();
    }
    let held = bench.held();
    bench.rig.model(IommuId(0)).unwrap().set_hung(true);
    assert!(ring.unlink(0..2, |_, _| panic!("it is not confirmed")).is_err());
    assert!(ring.unlink(2..4, |_, _| panic!("it is not confirmed")).is_err());
    let (error, back) = ring.link(9, buffer(&bench, 1), Direction::Both).map(drop).unwrap_err();
    assert_eq!((error, back.is_some()), (MapError::NoCarrier, true));
    drop((ring, back));
    assert_eq!(bench.held(), held, "neither memory nor IOVAs are reused");
    assert!(bench.bound.dma().stats().quarantined >= 8 * PAGE as u64);
}
