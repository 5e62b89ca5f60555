//! What is checked, one line each: `check NAME ok` or `check NAME FAILED why`, and `done N passed M failed` last.

use crate::say;
use core::fmt;

/// Counts.
#[derive(Default)]
pub struct Checks {
    passed: u32,
    failed: u32,
}

impl Checks {
    /// Says one line.
    pub fn check(&mut self, name: impl fmt::Display, result: Result<(), impl fmt::Debug>) {
        match result {
            Ok(()) => {
                say!("check {name} ok");
                self.passed += 1;
            }
            Err(why) => {
                say!("check {name} FAILED {why:?}");
                self.failed += 1;
            }
        }
    }

    /// Says the last line.
    pub fn done(self) {
        say!("done {} passed {} failed", self.passed, self.failed);
    }
}
