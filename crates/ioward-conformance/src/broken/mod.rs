//! Drivers that are wrong on purpose, one mistake each: what shows that a check can fail.
//!
//! A broken driver is a sound one behind a wrapper that makes the mistake, so any driver can be broken: [`Broken`] wraps a
//! [`Bench`], and [`catches`] tells whether a check turns red over it.

mod bench;
mod driver;
mod interrupts;
mod mistake;
mod requests;

pub use bench::Broken;
pub use mistake::Mistake;

use crate::{Bench, suite::all};
use std::panic::{self, AssertUnwindSafe};

/// Whether the check of this name turns red over a driver with this mistake; none where there is no such check.
pub fn catches<B: Bench>(make: &dyn Fn() -> B, mistake: Mistake, check: &str) -> Option<bool> {
    let run = all::<Broken<B>>().into_iter().find(|(name, _)| *name == check)?.1;
    let broken = || Broken::new(make(), mistake);
    Some(panic::catch_unwind(AssertUnwindSafe(|| run(&broken))).is_err())
}
