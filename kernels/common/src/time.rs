//! Bounded waits.

use crate::platform::Kernel;
use alloc::{format, string::String};
use ioward::types::{Nanos, Platform as _};

/// Waits until `done`; an error names what did not come about in the time.
pub fn within(limit: Nanos, what: &str, mut done: impl FnMut() -> bool) -> Result<(), String> {
    let start = Kernel.now().0;
    while !done() {
        if Kernel.now().0 - start > limit.0 {
            return Err(format!("{what} took longer than {limit}"));
        }
        Kernel.relax();
    }
    Ok(())
}

/// Lets time pass.
pub fn pause(time: Nanos) {
    let _ = within(time, "time", || false);
}
