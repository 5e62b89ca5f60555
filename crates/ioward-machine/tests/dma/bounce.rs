//! Bytes that share their pages with others.

use crate::{Bench, Neighbours, PAGE, SECRET, counting};
use ioward::core::{AccessError, Dma, RawBytes};
use ioward::types::{Direction, Iova};
use ioward_models::DmaError;

/// Where a buffer lies in four pages, how long it is, and how much of it cannot be mapped where it is.
const PLACES: [(usize, usize, usize); 9] = [
    (0, PAGE, 0),
    (0, 3 * PAGE, 0),
    (0, 1, 1),
    (PAGE - 1, 2, 2),
    (100, 64, 64),
    (0, PAGE + 7, 7),
    (PAGE - 9, PAGE + 9, 9),
    (100, 3 * PAGE, PAGE),
    (PAGE / 2, PAGE, PAGE),
];

#[test]
fn no_device_sees_or_changes_a_neighbours_bytes() {
    for bench in Bench::all() {
        for (offset, bytes, bounced) in PLACES {
            let case = format!("{bench}: {bytes} bytes at {offset}");
            let mut memory = Neighbours::new(&bench.rig, 4);
            // SAFETY: nothing refers to the bytes, and `memory` outlives the mapping.
            let raw = unsafe { RawBytes::new(memory.buffer(offset, bytes)) };
            let mapping =
                Dma::map_bytes(&**bench.bound.dma(), raw, Direction::Both).map_err(|(e, _)| e).unwrap();
            assert_eq!(mapping.bounced(), bounced, "{case}");
            let skip = offset % PAGE;
            assert_eq!(mapping.iova().0 as usize % PAGE, skip, "{case}: its place in the page stays");
            let (first, whole) =
                (Iova(mapping.iova().0 - skip as u64), (skip + bytes).next_multiple_of(PAGE));

            let seen = bench.reads(first, whole).unwrap();
            assert_eq!(seen[skip..skip + bytes], counting(bytes), "{case}");
            assert!(
                seen[..skip].iter().chain(&seen[skip + bytes..]).all(|byte| *byte == 0),
                "{case}: a neighbour was seen"
            );
            for beyond in [first.0.wrapping_sub(1), first.0 + whole as u64] {
                assert_eq!(bench.reads(Iova(beyond), 1), Err(DmaError::Aborted(Iova(beyond))), "{case}");
            }

            bench.nic.write(None, first, &vec![0x77; whole]).unwrap();
            assert!(memory.are_untouched_but(offset, bytes), "{case}: a neighbour was changed");
            mapping.sync_for_cpu();
            assert_eq!(memory.now(offset, bytes), vec![0x77; bytes], "{case}");
            assert!(memory.are_untouched_but(offset, bytes), "{case}: a neighbour was changed by the copy");

            mapping.unmap().unwrap();
            bench.nic.write(None, first, &[1]).unwrap_err();
            assert_eq!(memory.now(offset, bytes), vec![0x77; bytes], "{case}");
            assert!(memory.are_untouched_but(offset, bytes), "{case}");
        }
        bench.rig.violations.assert_none();
    }
}

#[test]
fn an_owned_buffer_goes_out_and_comes_back() {
    for bench in Bench::all() {
        let before = bench.held().1;
        for bytes in [1, 5, PAGE, PAGE + 1, 5 * PAGE + 3] {
            let dma = || bench.bound.dma().clone();
            let mapping =
                Dma::map_bytes(dma(), counting(bytes), Direction::Both).map_err(|(e, _)| e).unwrap();
            assert_eq!(mapping.bounced(), bytes, "{bench}: what is not the machine's memory is copied");
            assert_eq!(bench.reads(mapping.iova(), bytes).unwrap(), counting(bytes), "{bench}");
            mapping.write(0, &[0xfe]).unwrap();
            assert_eq!(bench.reads(mapping.iova(), 1).unwrap(), [1], "{bench}: not before it is handed over");
            mapping.sync_for_device();
            assert_eq!(bench.reads(mapping.iova(), 1).unwrap(), [0xfe], "{bench}");
            bench.nic.write(None, Iova(mapping.span().last().0), &[0xfd]).unwrap();
            let mut last = [0];
            mapping.sync_for_cpu();
            mapping.read(bytes - 1, &mut last).unwrap();
            assert_eq!(last, [0xfd], "{bench}");
            let outside = AccessError::Outside { offset: bytes, bytes: 1, of: bytes };
            assert_eq!(mapping.read(bytes, &mut last), Err(outside), "{bench}");
            assert_eq!(mapping.write(bytes, &last), Err(outside), "{bench}");
            let back = mapping.unmap().unwrap();
            let mut expected = counting(bytes);
            expected[0] = 0xfe;
            expected[bytes - 1] = 0xfd;
            assert_eq!(back, expected, "{bench}");

            let boxed = counting(bytes).into_boxed_slice();
            let mapping = Dma::map_bytes(dma(), boxed, Direction::ToDevice).map_err(|(e, _)| e).unwrap();
            assert_eq!(bench.reads(mapping.iova(), bytes).unwrap(), counting(bytes), "{bench}");
            assert_eq!(*mapping.unmap().unwrap(), counting(bytes), "{bench}");
        }
        assert_eq!(bench.held().1, before, "{bench}");
        bench.rig.violations.assert_none();
    }
}

#[test]
fn a_direction_says_who_may_change_the_bytes() {
    for bench in Bench::all() {
        for offset in [0, 40] {
            let mut memory = Neighbours::new(&bench.rig, 2);
            let mut map = |direction| {
                // SAFETY: nothing refers to the bytes, and `memory` outlives every mapping.
                let raw = unsafe { RawBytes::new(memory.buffer(offset, PAGE)) };
                Dma::map_bytes(&**bench.bound.dma(), raw, direction).map_err(|(error, _)| error).unwrap()
            };
            let mapping = map(Direction::ToDevice);
            let at = mapping.iova();
            assert_eq!(bench.nic.write(None, at, b"no"), Err(DmaError::Aborted(at)), "{bench}");
            mapping.unmap().unwrap();

            let mapping = map(Direction::FromDevice);
            bench.nic.write(None, Iova(mapping.iova().0 + 1), b"short").unwrap();
            mapping.unmap().unwrap();
            let mut expected = counting(PAGE);
            expected[1..6].copy_from_slice(b"short");
            assert_eq!(
                memory.now(offset, PAGE),
                expected,
                "{bench}: what the device left alone is as it was"
            );
        }
    }
}

#[test]
fn dropped_it_gives_back_and_forgotten_it_is_leaked() {
    for bench in Bench::all() {
        let mut memory = Neighbours::new(&bench.rig, 2);
        // SAFETY: nothing refers to the bytes, and `memory` outlives the mapping.
        let raw = unsafe { RawBytes::new(memory.buffer(40, 80)) };
        let mapping =
            Dma::map_bytes(&**bench.bound.dma(), raw, Direction::FromDevice).map_err(|(e, _)| e).unwrap();
        let at = mapping.iova();
        let held = bench.held();
        bench.nic.write(None, at, b"before the drop").unwrap();
        drop(mapping);
        assert_eq!(memory.now(40, 15), b"before the drop", "{bench}");
        assert_eq!(bench.nic.write(None, at, b"after"), Err(DmaError::Aborted(at)), "{bench}");
        assert_eq!(bench.held(), (held.0 - PAGE as u64, held.1 - PAGE as u64), "{bench}");

        let mapping =
            Dma::map_bytes(bench.bound.dma().clone(), counting(80), Direction::Both).map_err(|(e, _)| e);
        let mapping = mapping.unwrap();
        let (at, held) = (mapping.iova(), bench.held());
        std::mem::forget(mapping);
        let other =
            Dma::map_bytes(bench.bound.dma().clone(), vec![SECRET; 80], Direction::Both).map_err(|(e, _)| e);
        assert_ne!(other.unwrap().iova().0 & !0xfff, at.0 & !0xfff, "{bench}");
        assert_eq!(bench.reads(at, 80).unwrap(), counting(80), "{bench}: still mapped");
        assert_eq!(bench.held(), held, "{bench}: and still held");
        bench.rig.violations.assert_none();
    }
}
