//! The load whose instructions are counted, for a comparison: the same requests as those of `linux/`, which is a program for
//! Linux.
//!
//! This kernel polls where another one sleeps: what it runs while it looks in vain for the end of a request is counted
//! apart.

use super::{Controller, Load, NvmeError, Region, Settings, spec};
use crate::{board::board, checks::Checks, say, stage::Stage};
use alloc::string::{String, ToString as _};

/// Requests under way at a time, bytes per request, and how many.
const CASES: [(u16, usize, u64); 4] =
    [(1, 4 << 10, 512), (1, 64 << 10, 512), (32, 4 << 10, 2048), (32, 64 << 10, 1024)];
/// How often each is measured.
const ROUNDS: u32 = 5;

/// Measures on the first controller; with the word `bypass`, without translation.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let function = stage.pci.with_class(spec::CLASS).next().ok_or("no NVM Express controller is there")?;
    let added = stage.add_all()?;
    stage.served(function)?;
    let bound = added.device(function)?.bind().map_err(|why| why.to_string())?;
    let registers = stage.pci.registers(function, 0).ok_or("a controller without registers")?;
    stage.pci.bus_master(function, true);
    let measured = || -> Result<(), NvmeError> {
        let mut controller = Controller::start(bound.dma(), &registers, Settings::default())?;
        let namespace = controller.namespace(1)?.ok_or(NvmeError::Registers("namespace 1", 0))?;
        for (depth, bytes, count) in CASES {
            let mut queue = controller.queue(depth)?;
            for (name, write) in [("write", true), ("read", false)] {
                let sizes = [bytes];
                let mut load = Load::new(bound.dma(), namespace, &mut queue, &sizes, 0)?;
                let region = |count| Region { start: 0, bytes: count * bytes as u64 };
                // Once before, for whatever is done for the first time.
                load.touch(region(count), write)?;
                // How requests and their ends meet differs: the round that took the least counts.
                let mut least = (u64::MAX, 0);
                for _ in 0..ROUNDS {
                    let (before, polled) = (instructions(), load.polled());
                    load.touch(region(count), write)?;
                    let all = instructions().wrapping_sub(before);
                    let polled = load.polled() - polled;
                    if all == 0 {
                        return Err(NvmeError::Registers("the count of instructions", 0));
                    }
                    // More can only be where the one count has wrapped and the other has not.
                    let worked = u64::from(all).checked_sub(polled).ok_or(NvmeError::Registers(
                        "the count of instructions, less than while polling,",
                        all.into(),
                    ))?;
                    least = least.min((worked, polled));
                }
                say!("measured {name} {bytes} {depth} {count} {} {}", least.0, least.1);
            }
        }
        controller.stop()
    };
    checks.check(format_args!("measured@{function}"), measured());
    Ok(())
}

/// What the CPU has run, modulo 2^32.
pub(super) fn instructions() -> u32 {
    board().map_or(0, |board| (board.instructions)())
}
