//! A device that does not stop when its mapping ends: what is on its way then is over before the memory is free.

use crate::{Bench, PAGE};
use ioward::core::{Dma, FrameBuffer};
use ioward::types::{Direction, Iova};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

const MAPPINGS: usize = 20_000;
/// How often a thread gives way to the device before it says that the device finds nothing.
const PATIENCE: usize = 10_000_000;

#[test]
fn what_a_device_does_meanwhile_reaches_nothing_that_is_free() {
    for bench in Bench::all() {
        let (at, over, reached) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
        let dma = &**bench.bound.dma();
        let found = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let at = Iova(at.load(Ordering::Relaxed));
                    let mapped_once = at.0 != 0;
                    let found = mapped_once && bench.nic.read(None, at, &mut [0; 8]).is_ok();
                    reached.fetch_add(u64::from(found), Ordering::Relaxed);
                }
            });
            let mut found = true;
            for number in 0..MAPPINGS {
                let frames = FrameBuffer::new(&bench.rig.platform, PAGE, PAGE).unwrap();
                let mapping = Dma::map(dma, frames, Direction::Both).map_err(|(error, _)| error).unwrap();
                at.store(mapping.iova().0, Ordering::Relaxed);
                // Now and then one lives until the device has found it, so that the device is known to be at work.
                let before = reached.load(Ordering::Relaxed);
                if number % 1000 == 0 {
                    found &= (0..PATIENCE).any(|_| {
                        thread::yield_now();
                        reached.load(Ordering::Relaxed) != before
                    });
                }
                mapping.release().unwrap();
            }
            over.store(true, Ordering::Relaxed);
            found
        });
        assert!(found, "{bench}: the device did not find a mapping that lived");
        bench.rig.violations.assert_none();
    }
}
