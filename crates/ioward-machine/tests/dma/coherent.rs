//! Memory that device and CPU work on at the same time.

use crate::{Bench, PAGE};
use ioward::core::{AccessError, Dma, MapError};
use ioward::types::{Direction, Iova};
use ioward_models::{DmaError, Visibility};

#[test]
fn device_and_cpu_see_each_others_words_and_nothing_is_left_behind() {
    for bench in Bench::all() {
        let before = bench.held();
        let ring = Dma::coherent(bench.bound.dma().clone(), PAGE + 1, Direction::Both).unwrap();
        assert_eq!((ring.bytes(), ring.span().bytes), (2 * PAGE, 2 * PAGE as u64), "{bench}");
        assert_eq!(bench.reads(ring.iova(), 2 * PAGE).unwrap(), vec![0; 2 * PAGE], "{bench}: fresh and zero");
        ring.store(8, 0x1122_3344_5566_7788_u64).unwrap();
        ring.store(2, 0xaabb_u16).unwrap();
        ring.store(4, 0xccdd_eeff_u32).unwrap();
        ring.store(1, 0x99_u8).unwrap();
        ring.write(PAGE - 3, b"across pages").unwrap();
        ring.publish();
        let little =
            [0, 0x99, 0xbb, 0xaa, 0xff, 0xee, 0xdd, 0xcc, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
        assert_eq!(bench.reads(ring.iova(), 16).unwrap(), little, "{bench}");
        let across = Iova(ring.iova().0 + PAGE as u64 - 3);
        assert_eq!(bench.reads(across, 12).unwrap(), b"across pages", "{bench}");

        bench.nic.write(None, across, b"and the other way").unwrap();
        ring.observe();
        let mut seen = [0; 17];
        ring.read(PAGE - 3, &mut seen).unwrap();
        assert_eq!(&seen, b"and the other way", "{bench}");
        assert_eq!(ring.load::<u16>(PAGE).unwrap(), u16::from_le_bytes(*b" t"), "{bench}");

        let at = ring.iova();
        ring.unmap().unwrap();
        assert_eq!(bench.reads(at, 8), Err(DmaError::Aborted(at)), "{bench}");
        assert_eq!(bench.held().1, before.1, "{bench}");
        bench.rig.violations.assert_none();
    }
}

#[test]
fn a_device_sees_a_word_only_once_it_is_published() {
    for bench in Bench::all() {
        bench.rig.memory.set_visibility(Visibility::Held);
        let ring = Dma::coherent(&**bench.bound.dma(), PAGE, Direction::Both).unwrap();
        ring.store(0x10, 7_u32).unwrap();
        assert_eq!(bench.reads(ring.iova(), 0x14).unwrap()[0x10..], [0; 4], "{bench}: not yet");
        ring.publish();
        assert_eq!(bench.reads(ring.iova(), 0x14).unwrap()[0x10..], [7, 0, 0, 0], "{bench}");
        ring.store(0x10, 8_u32).unwrap();
        ring.fence();
        assert_eq!(bench.reads(ring.iova(), 0x14).unwrap()[0x10..], [8, 0, 0, 0], "{bench}");
    }
}

#[test]
fn a_direction_is_a_right() {
    for bench in Bench::all() {
        let ring = Dma::coherent(&**bench.bound.dma(), PAGE, Direction::ToDevice).unwrap();
        ring.store(0, 5_u64).unwrap();
        ring.publish();
        assert_eq!(
            bench.nic.write(None, ring.iova(), &[9; 8]),
            Err(DmaError::Aborted(ring.iova())),
            "{bench}"
        );
        assert_eq!(ring.load::<u64>(0).unwrap(), 5, "{bench}");
    }
}

#[test]
fn an_access_outside_is_an_error_that_says_where() {
    let bench = Bench::all().remove(0);
    let dma = &**bench.bound.dma();
    let ring = Dma::coherent(dma, PAGE, Direction::Both).unwrap();
    assert_eq!(ring.load::<u64>(PAGE - 8).unwrap(), 0);
    let outside = |offset, bytes| AccessError::Outside { offset, bytes, of: PAGE };
    assert_eq!(ring.load::<u64>(PAGE), Err(outside(PAGE, 8)));
    assert_eq!(ring.store(usize::MAX - 7, 0_u64), Err(outside(usize::MAX - 7, 8)));
    assert_eq!(ring.load::<u32>(6), Err(AccessError::Misaligned { offset: 6, bytes: 4 }));
    assert_eq!(ring.write(PAGE - 1, &[1, 2]), Err(outside(PAGE - 1, 2)));
    assert_eq!(ring.read(1, &mut [0; PAGE]), Err(outside(1, PAGE)));
    assert_eq!(ring.load::<u8>(PAGE - 1).unwrap(), 0, "nothing of what did not fit was written");
    assert!(matches!(Dma::coherent(dma, 0, Direction::Both), Err(MapError::Empty(_))));
    assert!(matches!(Dma::coherent(dma, usize::MAX, Direction::Both), Err(MapError::Empty(_))));
}

#[test]
fn dropped_it_is_taken_away_and_forgotten_it_is_leaked() {
    for bench in Bench::all() {
        let dma = || bench.bound.dma().clone();
        let ring = Dma::coherent(dma(), PAGE, Direction::Both).unwrap();
        let at = ring.iova();
        let held = bench.held();
        drop(ring);
        assert_eq!(bench.reads(at, 8), Err(DmaError::Aborted(at)), "{bench}");
        assert_eq!(bench.held(), (held.0 - PAGE as u64, held.1 - PAGE as u64), "{bench}");

        let ring = Dma::coherent(dma(), PAGE, Direction::Both).unwrap();
        let at = ring.iova();
        let held = bench.held();
        std::mem::forget(ring);
        let other = Dma::coherent(dma(), PAGE, Direction::Both).unwrap();
        assert_ne!(other.iova(), at, "{bench}");
        drop(other);
        bench.nic.write(None, at, b"still mine").unwrap();
        assert_eq!(bench.held(), held, "{bench}: never reused");
        bench.rig.violations.assert_none();
    }
}
