//! What cannot be mapped leaves no trace, and what is not confirmed to be unmapped is never reused.

use crate::{Bench, Neighbours, PAGE, counting};
use ioward::core::{ByteBuffer, Dma, DmaRef, MapError, MappedBytes, RawBytes, Region, RegionKind};
use ioward::types::{Direction, IommuId, PhysAddr, Span};
use ioward_models::SimPlatform;

const FREE: u64 = 1 << 20;

/// How many pages hold the bytes of a mapping.
fn pages<B: ByteBuffer, D: DmaRef<SimPlatform>>(mapping: &MappedBytes<SimPlatform, B, D>) -> usize {
    let whole = mapping.span().align_outward(PAGE as u64).unwrap();
    whole.bytes as usize / PAGE
}

#[test]
fn a_device_with_fewer_address_bits_gets_no_address_beyond_them() {
    // Of what 32 bits of address reach, one megabyte is free.
    let taken = Span::inclusive(PhysAddr(FREE), PhysAddr(0xffff_ffff)).unwrap();
    let region = Region { span: taken, kind: RegionKind::Forbidden };
    for bench in Bench::all_with(32, &[region]) {
        let dma = &**bench.bound.dma();
        let before = bench.held().1;
        let mut mappings = Vec::new();
        let error = loop {
            let mapping = Dma::map_bytes(dma, counting(2 * PAGE), Direction::Both);
            match mapping {
                Ok(mapping) => {
                    assert!(mapping.span().last().0 < FREE, "{bench}");
                    bench.nic.write(None, mapping.iova(), b"reached").unwrap();
                    mappings.push(mapping);
                }
                Err((error, back)) => {
                    assert_eq!(back, Some(counting(2 * PAGE)), "{bench}: the buffer comes back");
                    break error;
                }
            }
        };
        assert!(matches!(error, MapError::Iova(_)), "{bench}: {error}");
        let pages: usize = mappings.iter().map(pages).sum();
        // Three pages of IOVA are taken as four.
        let all = FREE as usize / PAGE;
        assert!((all * 3 / 4 - 8..all).contains(&pages), "{bench}: {pages}");
        let held = bench.held();
        let big = Dma::coherent(dma, 4 * PAGE, Direction::Both).map(drop).unwrap_err();
        assert!(matches!(big, MapError::Iova(_)), "{bench}: {big}");
        assert_eq!(bench.held(), held, "{bench}: nothing was kept of what failed");
        drop(mappings);
        assert_eq!(bench.held().1, before, "{bench}");
        bench.rig.violations.assert_none();
    }
}

#[test]
fn memory_that_runs_out_on_the_way_undoes_what_was_done() {
    for bench in Bench::all() {
        let dma = &**bench.bound.dma();
        let mut memory = Neighbours::new(&bench.rig, 4);
        let bytes = memory.buffer(100, 3 * PAGE);
        let mut failures = 0;
        for budget in 0..20 {
            let held = bench.held();
            bench.rig.memory.set_budget(Some(budget));
            // SAFETY: nothing refers to the bytes, and `memory` outlives the mapping.
            let raw = unsafe { RawBytes::new(bytes) };
            let result = Dma::map_bytes(dma, raw, Direction::Both);
            bench.rig.memory.set_budget(None);
            match result {
                Ok(mapping) => {
                    mapping.unmap().unwrap();
                    break;
                }
                Err((error, back)) => {
                    assert!(matches!(error, MapError::NoMemory(_) | MapError::Table(_)), "{bench}: {error}");
                    assert!(back.is_some(), "{bench}");
                    assert_eq!(
                        bench.held().1,
                        held.1,
                        "{bench}: IOVAs of what failed, after {budget} allocations"
                    );
                    failures += 1;
                }
            }
        }
        assert!((1..20).contains(&failures), "{bench}: {failures}");
        // Tables stay for the next that maps there; what is given back is given back now.
        assert!(memory.are_untouched_but(100, 3 * PAGE), "{bench}");
        bench.rig.violations.assert_none();
    }
}

#[test]
fn nothing_is_no_length() {
    let bench = Bench::all().remove(0);
    let (error, back) =
        Dma::map_bytes(&**bench.bound.dma(), Vec::new(), Direction::Both).map(drop).unwrap_err();
    assert!(matches!(error, MapError::Empty(_)), "{error}");
    assert_eq!(back, Some(Vec::new()));
}

#[test]
fn hung_hardware_withholds_memory_for_ever() {
    // One format of each IOMMU: what hangs is its queue.
    for bench in Bench::all().into_iter().step_by(2) {
        let dma = || bench.bound.dma().clone();
        let ring = Dma::coherent(dma(), PAGE, Direction::Both).unwrap();
        let bytes =
            Dma::map_bytes(dma(), counting(PAGE), Direction::Both).map_err(|(error, _)| error).unwrap();
        let withheld = (1 + pages(&bytes)) * PAGE;
        let held = bench.held();
        bench.rig.model(IommuId(0)).unwrap().set_hung(true);
        assert!(bytes.unmap().is_err(), "{bench}");
        drop(ring);
        assert!(!bench.nic.engines[0].is_bus_master(), "{bench}: silenced");
        assert_eq!(bench.held(), held, "{bench}: nothing is reused");
        assert_eq!(bench.bound.dma().stats().quarantined, withheld as u64, "{bench}");
    }
}
