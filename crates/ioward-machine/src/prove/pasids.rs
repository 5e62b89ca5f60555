//! Address spaces behind PASIDs.

use super::{Progress, canaries::Canaries, canaries::PAGE, forbidden::EVIL};
use crate::{checks::Checks, running::Running};
use ioward::{
    core::{Bound, driver::Requirements},
    types::{Attributes, DeviceControl, Frames, Iova, Pasid, PhysAddr, Span},
};
use ioward_models::SimPlatform;

/// The PASID that is tried.
const PASID: Pasid = Pasid(1);

/// A device with PASIDs gets an address space behind one; a device without tries one all the same.
pub fn check(running: &mut Running, canaries: &Canaries, progress: &mut dyn FnMut(Progress)) {
    let of = canaries.bound.len();
    for (done, (index, _, bound)) in canaries.bound.iter().enumerate() {
        progress(Progress { what: "PASIDs", done, of });
        let mut checks = std::mem::take(&mut running.checks);
        match running.members[*index].pasid() {
            Ok(_) => granted(running, &mut checks, canaries, *index, bound),
            Err(_) => denied(running, &mut checks, canaries, *index),
        }
        running.rig.reports();
        running.checks = checks;
    }
}

fn granted(
    running: &Running,
    checks: &mut Checks,
    canaries: &Canaries,
    index: usize,
    bound: &Bound<SimPlatform>,
) {
    let member = &running.members[index];
    let Some(held) = canaries.held.iter().find(|held| held.member == index && held.writable) else { return };
    // The same IOVA means something else with the PASID and without.
    let at = held.iova().start;
    let attempt = || -> Result<bool, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let space = bound.make_space(&Requirements::default()).map_err(|error| text(&error))?;
        let page = Frames::new(&running.rig.platform, PAGE as usize, PAGE as usize, PhysAddr(u64::MAX))
            .map_err(|error| text(&error))?;
        let to = Span { start: page.phys(), bytes: PAGE };
        // SAFETY: the page is this function's alone, is reached through `Frames` only, and is freed after a gather for it
        // has finished; where anything fails before that it is leaked.
        unsafe { space.map(at, to, Attributes::READ_WRITE) }.map_err(|error| text(&error))?;
        bound.attach_pasid(PASID, &space).map_err(|error| text(&error))?;
        let mut good = true;
        for engine in &member.engines {
            page.store64(0, 0);
            good &= engine.write(Some(PASID), at, EVIL).is_ok();
            good &= page.load64(0).to_le_bytes() == EVIL[..8];
            good &= held.is_intact(&running.rig.memory, 0, held.expected.len());
            // Neither the next page nor another PASID leads anywhere.
            good &= engine.write(Some(PASID), Iova(at.0 + 8 * PAGE), EVIL).is_err();
            good &= engine.write(Some(Pasid(PASID.0 + 1)), at, EVIL).is_err();
        }
        bound.detach_pasid(PASID).map_err(|error| text(&error))?;
        for engine in &member.engines {
            good &= engine.write(Some(PASID), at, EVIL).is_err();
        }
        let span = Span { start: at, bytes: PAGE };
        // SAFETY: mapped above by hand, by nobody else.
        let gather = unsafe { space.unmap(span, ()) }.map_err(|(error, ())| text(&error))?;
        gather.finish().map_err(|error| text(&error))?;
        // SAFETY: nothing maps it any more, and that was confirmed.
        unsafe { page.free() };
        Ok(good)
    };
    let result = attempt();
    checks.expect("pasid", result == Ok(true), || match &result {
        Ok(_) => format!("{}: PASID {PASID} at {at} reaches something else than its own page", member.name),
        Err(why) => format!("{}: PASID {PASID} cannot be used: {why}", member.name),
    });
}

/// The device sends a PASID that nobody granted, as if it had been let to.
fn denied(running: &Running, checks: &mut Checks, canaries: &Canaries, index: usize) {
    let member = &running.members[index];
    let Some(held) = canaries.held.iter().find(|held| held.member == index) else { return };
    for engine in &member.engines {
        engine.pasid(Some(8));
        let write = engine.write(Some(PASID), held.iova().start, EVIL);
        engine.pasid(None);
        let intact = held.is_intact(&running.rig.memory, 0, 64);
        checks.expect("pasid", write.is_err() && intact, || {
            format!("{} has no PASIDs and uses {PASID}: {write:?}", member.name)
        });
    }
}
