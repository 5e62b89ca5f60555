//! Memory of another device, and where messages go.

use crate::{Bench, PAGE};
use ioward::core::{Dma, MapError, PeerMemory, Region, RegionKind};
use ioward::types::{Direction, Iova, PhysAddr, Platform as _, Span};
use ioward_models::DmaError;
use std::sync::Arc;

#[test]
fn a_device_reaches_a_peers_memory_while_it_is_mapped_and_the_peer_is_kept() {
    for bench in Bench::all() {
        // Frames stand for the card's memory: the models have one address space for both.
        let frames = bench.rig.platform.frames(2 * PAGE, PAGE, PhysAddr(u64::MAX)).unwrap();
        let span = Span { start: frames, bytes: 2 * PAGE as u64 };
        let card = Arc::new(());
        // SAFETY: nobody else uses the frames, which are never freed.
        let memory = unsafe { PeerMemory::new(span, card.clone()) };
        let dma = || bench.bound.dma().clone();
        let mapping = Dma::map_peer(dma(), memory, Direction::Both).map_err(|(error, _)| error).unwrap();
        let at = mapping.span().start;
        bench.nic.write(None, at, b"peer").unwrap();
        assert_eq!(bench.reads(at, 4).unwrap(), b"peer", "{bench}");
        let memory = mapping.unmap().unwrap();
        assert_eq!(bench.reads(at, 4), Err(DmaError::Aborted(at)), "{bench}");
        let mapping = Dma::map_peer(dma(), memory, Direction::ToDevice).map_err(|(error, _)| error).unwrap();
        let at = mapping.span().start;
        assert_eq!(bench.nic.write(None, at, b"no"), Err(DmaError::Aborted(at)), "{bench}");
        assert_eq!(Arc::strong_count(&card), 2, "{bench}");
        drop(mapping);
        assert_eq!(Arc::strong_count(&card), 1, "{bench}");

        let odd = Span { start: PhysAddr(frames.0 + 8), bytes: 64 };
        // SAFETY: as above.
        let odd = unsafe { PeerMemory::new(odd, card.clone()) };
        let (error, back) = Dma::map_peer(dma(), odd, Direction::Both).map(drop).unwrap_err();
        assert!(matches!(error, MapError::Misaligned { .. }) && back.is_some(), "{bench}: {error}");
        bench.rig.violations.assert_none();
    }
}

#[test]
fn messages_go_to_doorbells_of_the_domain_and_nowhere_else() {
    let doorbell = Span { start: PhysAddr(0x4000_0000), bytes: PAGE as u64 };
    let region = Region { span: doorbell, kind: RegionKind::Doorbell };
    for bench in Bench::all_with(64, &[region]) {
        let dma = bench.bound.dma();
        let inside = PhysAddr(doorbell.start.0 + 0x40);
        assert_eq!(dma.message_address(inside), Some(Iova(inside.0)), "{bench}");
        assert_eq!(dma.message_address(PhysAddr(doorbell.last().0 - 2)), None, "{bench}: a part is outside");
        assert_eq!(dma.message_address(PhysAddr(0x5000_0000)), None, "{bench}");
    }
}
