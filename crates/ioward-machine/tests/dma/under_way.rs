//! A device that does not stop when its mapping ends: what is on its way then is over before the memory is free.

use crate::{Bench, PAGE};
use ioward::core::{Dma, FrameBuffer};
use ioward::types::{Direction, Iova};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

const MAPPINGS: usize = 20_000;

#[test]
fn what_a_device_does_meanwhile_reaches_nothing_that_is_free() {
    for bench in Bench::all() {
        let (at, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let dma = &**bench.bound.dma();
        let reached = thread::scope(|scope| {
            let device = scope.spawn(|| {
                let mut reached = 0;
                while !over.load(Ordering::Relaxed) {
                    let at = Iova(at.load(Ordering::Relaxed));
                    let mapped_once = at.0 != 0;
                    reached += usize::from(mapped_once && bench.nic.read(None, at, &mut [0; 8]).is_ok());
                }
                reached
            });
            for _ in 0..MAPPINGS {
                let frames = FrameBuffer::new(&bench.rig.platform, PAGE, PAGE).unwrap();
                let mapping = Dma::map(dma, frames, Direction::Both).map_err(|(error, _)| error).unwrap();
                at.store(mapping.iova().0, Ordering::Relaxed);
                mapping.release().unwrap();
            }
            over.store(true, Ordering::Relaxed);
            device.join().unwrap()
        });
        assert_ne!(reached, 0, "{bench}: the device found no mapping alive");
        bench.rig.violations.assert_none();
    }
}
