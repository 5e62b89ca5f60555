//! The proof of isolation: every claim is put to the test by devices that do what they must not.
//!
//! Every device that is served gets buffers through its own DMA API; all of their bytes are canaries, of which a copy is
//! kept here. Devices then use what is theirs and try what is not, and each attempt is judged by what the device was
//! told *and* by what memory holds, read past every IOMMU.
//!
//! | check | what is tried |
//! | --- | --- |
//! | `own` | read and write through its own mappings |
//! | `read-only` | write where only reading is mapped |
//! | `equal` | every IOVA of another group that is one of its own too: it must mean its own bytes |
//! | `foreign` | every IOVA of another group that is none of its own |
//! | `physical` | the physical address of another group's memory |
//! | `neighbours` | the pages before and after its own |
//! | `pasid` | an address space behind a PASID, and PASIDs that were not granted |
//! | `regions` | what firmware requires it to reach, from the first instant |
//! | `interrupts` | messages: its own, made-up ones, other devices' |
//! | `kept-off` | everything, by devices that are refused, waiting or blocked |
//! | `faults` | that a forbidden request is reported with its device and address |
//! | `bytes` | at the end of it, every byte of every buffer |
//! | `unmapped` | what was unmapped an instant ago |
//! | `removed` | everything, by devices that were taken out |
//! | `hardware` | that no model and no memory saw what its specification leaves undefined |

mod canaries;
mod forbidden;
mod interrupts;
mod leave;
mod own;
mod pasids;

use crate::{checks::Checks, running::Running};
use canaries::Canaries;

/// The most attempts of one kind on what is another group's. A machine with more takes an even sample of all pairs.
pub const MOST_ATTEMPTS: usize = 60_000;

/// What the proof is at, for whoever waits.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being tried.
    pub what: &'static str,
    /// How many devices are done.
    pub done: usize,
    /// Of how many.
    pub of: usize,
}

/// Every claim, in the order of the report.
const CLAIMS: [(&str, &str); 15] = [
    ("own", "a device reads and writes its own memory"),
    ("read-only", "a device cannot write what is mapped for reading"),
    ("equal", "another group's IOVA that is its own too means its own bytes"),
    ("foreign", "another group's IOVA that is none of its own leads nowhere"),
    ("physical", "another group's physical address leads nowhere"),
    ("neighbours", "the pages around its own lead nowhere"),
    ("pasid", "a PASID reaches its own address space and nothing else"),
    ("regions", "a region that firmware requires is reached from the first instant"),
    ("interrupts", "where interrupts are remapped, a device raises its own and nobody else's"),
    ("kept-off", "a refused, waiting, blocked or unserved device gets nothing"),
    ("faults", "a forbidden request is reported with its device and address"),
    ("bytes", "every byte of every group's memory is as its own devices left it"),
    ("unmapped", "what is unmapped is out of reach at once"),
    ("removed", "a device that was taken out reaches nothing"),
    ("hardware", "no model and no memory saw anything its specification forbids"),
];

/// Declares every claim.
pub fn declare(checks: &mut Checks) {
    CLAIMS.iter().for_each(|(id, claim)| checks.declare(id, claim));
}

/// Proves isolation on a machine, and takes its devices out in the end. What was checked is in [`Running::checks`].
pub fn prove(running: &mut Running, progress: &mut dyn FnMut(Progress)) {
    let mut canaries = Canaries::plant(running);
    own::check(running, &mut canaries, progress);
    forbidden::check(running, &mut canaries, progress);
    pasids::check(running, &canaries, progress);
    interrupts::check(running, &canaries);
    leave::kept_off(running, &canaries);
    for index in 0..running.members.len() {
        running.check_regions(index, "while everybody runs");
    }
    canaries.check_all(running);
    leave::unmap(running, canaries, progress);
    leave::remove(running);
    leave::hardware(running);
}
