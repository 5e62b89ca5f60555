//! The checks, by what they are about. Each makes fresh benches, and panics with what is wrong.
//!
//! | module | what |
//! | --- | --- |
//! | [`bring_up`], [`taken_over`] | from reset, from firmware, from a crashed kernel |
//! | [`sources`], [`install`], [`pasids`] | what an entry holds, and every way from one state to another |
//! | [`invalidation`], [`caches`], [`tags`], [`queue`] | what is forgotten, when, and by whom |
//! | [`faults`] | what is reported |
//! | [`hung`] | hardware that stops, loses, delays and leaves |
//! | [`under_core`] | the driver under the subsystem: gathers, targets that come and go, parked, pulled, torn down |
//! | [`interrupts`], [`requests`] | the optional halves of the driver seam |

pub mod bring_up;
pub mod caches;
pub mod faults;
pub mod hung;
pub mod install;
pub mod interrupts;
pub mod invalidation;
pub mod pasids;
pub mod queue;
pub mod requests;
mod scene;
pub mod sources;
pub mod tags;
pub mod taken_over;
pub mod under_core;

/// Where things are mapped: a multiple of 4 MiB that fits in 37 bits and that no IOMMU forbids.
pub(crate) const AT: u64 = 0x12_3440_0000;

/// Set when it is dropped, so that threads that wait for it end where a check fails, too.
pub(crate) struct Done<'a>(pub &'a std::sync::atomic::AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

/// All of `0..count`, or, where those are many, the first of them and some of the rest.
pub(crate) fn sampled(count: u64) -> Vec<u64> {
    const ALL: u64 = 40;
    if count <= ALL + 20 {
        return (0..count).collect();
    }
    let step = (count - ALL).div_ceil(20);
    (0..ALL).chain((ALL..count).step_by(step as usize)).chain([count - 1]).collect()
}
