//! `cargo xtask soak`: mappings made and ended at random for as long as is asked for.

use crate::{sanitize::count, shell::cargo, tally::Tally};

/// Runs it for so many seconds, shared by every IOMMU with tables and by strict and lazy domains.
pub fn run(tally: &mut Tally, seconds: u64) {
    let mut command = cargo();
    command.args(["test", "--release", "-p", "ioward-machine", "--test", "soak", "--", "--nocapture"]);
    command.env("IOWARD_SOAK_SECONDS", seconds.to_string());
    count(tally, &mut command, "soak");
}
