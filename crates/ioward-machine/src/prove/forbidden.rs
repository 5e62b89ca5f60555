//! What a device may not do: use what is mapped for others, or for nobody.

use super::{
    MOST_ATTEMPTS, Progress,
    canaries::{Canaries, PAGE, check_reports},
};
use crate::{checks::Checks, running::Running};
use ioward::{
    core::{GroupId, fault::WINDOW},
    types::Iova,
};
use ioward_models::DmaEngine;

/// What a device writes where it must not.
pub const EVIL: &[u8; 16] = b"not yours at all";
/// Where nothing is mapped, unless the machine is odd.
const NOWHERE: [u64; 4] = [0x0123_4000, 0x1234_5000, 0x0765_4000, 0x5555_5000];

/// Every device tries what is every other group's, what is around its own, and what is nobody's.
pub fn check(running: &mut Running, canaries: &mut Canaries, progress: &mut dyn FnMut(Progress)) {
    let of = canaries.bound.len();
    let engines: usize = canaries.bound.iter().map(|(index, ..)| running.members[*index].engines.len()).sum();
    let stride = (engines * canaries.held.len()).div_ceil(MOST_ATTEMPTS).max(1);
    if stride > 1 {
        running.notes.push(format!(
            "{engines} sources and {} buffers make too many pairs: every {stride}th is tried",
            canaries.held.len()
        ));
    }
    for done in 0..of {
        progress(Progress { what: "what is not its own", done, of });
        let (index, group, _) = canaries.bound[done];
        let mut checks = std::mem::take(&mut running.checks);
        for number in 0..running.members[index].engines.len() {
            let engine = running.members[index].engines[number].clone();
            attributed(running, &mut checks, canaries, index, group, &engine);
            let from = (done + number) % stride;
            for other in (from..canaries.held.len()).step_by(stride) {
                if canaries.held[other].group != group {
                    others(running, &mut checks, canaries, (index, group), &engine, other);
                }
            }
            neighbours(running, &mut checks, canaries, index, group, &engine);
            check_reports(running, &mut checks, index, None);
        }
        running.checks = checks;
    }
}

/// One request to where nothing is mapped: it ends there, and is reported with device and address.
fn attributed(
    running: &Running,
    checks: &mut Checks,
    canaries: &Canaries,
    index: usize,
    group: GroupId,
    engine: &DmaEngine,
) {
    let name = &running.members[index].name;
    let nowhere = NOWHERE.map(Iova).into_iter().find(|at| !canaries.may_reach(running, group, *at));
    let Some(at) = nowhere else { return };
    // What was reported before, and how much of it, must not stand in the way.
    running.rig.platform.advance(WINDOW);
    running.rig.reports();
    let result = engine.write(None, at, EVIL);
    checks.expect("foreign", result.is_err(), || {
        format!("{name} writes at {at}, where nothing is mapped: {result:?}")
    });
    let found = check_reports(running, checks, index, Some(at));
    checks.expect("faults", found, || format!("{name} wrote at {at}, and no report says so"));
}

/// An IOVA and the physical address of another group's buffer.
fn others(
    running: &Running,
    checks: &mut Checks,
    canaries: &mut Canaries,
    (index, group): (usize, GroupId),
    engine: &DmaEngine,
    other: usize,
) {
    let name = &running.members[index].name;
    let memory = &running.rig.memory;
    let at = canaries.held[other].iova().start;
    let mut seen = [0; 16];
    match canaries.own(group, at) {
        Some(own) => {
            let offset = (at.0 - canaries.held[own].iova().start.0) as usize;
            let read = engine.read(None, at, &mut seen);
            let mine = &mut canaries.held[own];
            let is_mine = read.is_ok() && mine.expected.get(offset..offset + 16) == Some(&seen[..]);
            let write = engine.write(None, at, EVIL);
            if mine.writable
                && let Some(bytes) = mine.expected.get_mut(offset..offset + 16)
            {
                bytes.copy_from_slice(EVIL);
            }
            let arrived = write.is_ok() == mine.writable && mine.is_intact(memory, offset, 16);
            let untouched = canaries.held[other].is_intact(memory, 0, 64);
            checks.expect("equal", is_mine && arrived && untouched, || {
                let whose = &running.members[canaries.held[other].member].name;
                format!("{name} uses {at}, which {whose} has too: read {read:?}, write {write:?}")
            });
        }
        None if !canaries.may_reach(running, group, at) => {
            let read = engine.read(None, at, &mut seen);
            let write = engine.write(None, at, EVIL);
            let untouched = canaries.held[other].is_intact(memory, 0, 64);
            checks.expect("foreign", read.is_err() && write.is_err() && untouched, || {
                let whose = &running.members[canaries.held[other].member].name;
                format!("{name} uses {at}, which is {whose}'s: read {read:?}, write {write:?}")
            });
        }
        None => {}
    }
    let at = Iova(canaries.held[other].at.start.0);
    if !canaries.may_reach(running, group, at) {
        let read = engine.read(None, at, &mut seen);
        let write = engine.write(None, at, EVIL);
        let untouched = canaries.held[other].is_intact(memory, 0, 64);
        checks.expect("physical", read.is_err() && write.is_err() && untouched, || {
            let whose = &running.members[canaries.held[other].member].name;
            format!("{name} uses {at}, where {whose}'s memory is: read {read:?}, write {write:?}")
        });
    }
}

/// The pages before and after each buffer of the group's own.
fn neighbours(
    running: &Running,
    checks: &mut Checks,
    canaries: &Canaries,
    index: usize,
    group: GroupId,
    engine: &DmaEngine,
) {
    let name = &running.members[index].name;
    for held in canaries.held.iter().filter(|held| held.group == group) {
        let span = held.iova();
        let around = [span.start.0.checked_sub(PAGE), span.start.0.checked_add(span.bytes)];
        for at in around.into_iter().flatten().map(Iova) {
            if canaries.may_reach(running, group, at) {
                continue;
            }
            let read = engine.read(None, at, &mut [0; 16]);
            let write = engine.write(None, at, EVIL);
            checks.expect("neighbours", read.is_err() && write.is_err(), || {
                format!("{name} uses {at}, next to its own {span}: read {read:?}, write {write:?}")
            });
        }
    }
}
