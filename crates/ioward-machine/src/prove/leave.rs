//! Who is kept off, what is unmapped, who leaves, and what the hardware has to say.

use super::{
    Progress,
    canaries::{Canaries, Held, check_reports},
    forbidden::EVIL,
};
use crate::running::{Member, Running};
use ioward::{
    core::{Source, Status},
    types::{DeviceControl, Iova},
};
use ioward_models::{DmaEngine, DmaError};

/// How many buffers a device tries that must not reach any.
const TRIED: usize = 64;

/// Devices that are refused, waiting, blocked or unserved.
pub fn kept_off(running: &mut Running, canaries: &Canaries) {
    let Running { members, checks, rig, .. } = &mut *running;
    for (index, member) in members.iter().enumerate() {
        if canaries.bound.iter().any(|(bound, ..)| *bound == index) {
            continue;
        }
        let refuses = member.device.as_ref().is_none_or(|device| device.bind().is_err());
        checks.expect("kept-off", refuses, || format!("a driver can bind to {}", member.name));
        let status = member.status();
        if status == Some(Status::Unserved) {
            // Nothing is in its way: that no driver starts it is all that can be done.
            continue;
        }
        let mut attempt = |engines: &[DmaEngine], how: &str| {
            let tried = canaries.held.iter().take(TRIED);
            for (engine, held) in
                engines.iter().flat_map(|engine| tried.clone().map(move |held| (engine, held)))
            {
                for at in [held.iova().start, Iova(held.at.start.0)] {
                    if member.requires(at) {
                        continue;
                    }
                    let read = engine.read(None, at, &mut [0; 16]);
                    let write = engine.write(None, at, EVIL);
                    let intact = held.is_intact(&rig.memory, 0, 64);
                    checks.expect("kept-off", read.is_err() && write.is_err() && intact, || {
                        format!("{}{how} uses {at}: read {read:?}, write {write:?}", member.name)
                    });
                }
            }
        };
        attempt(&member.engines, "");
        if matches!(status, Some(Status::Refused(_))) {
            // It does not obey: then its own entry, or that it has none, stops it. What it shares with a device that is
            // served is that device's, and there bus mastering is all there is.
            let shared = |source: &Source| {
                canaries.bound.iter().any(|(bound, ..)| members[*bound].sources.contains(source))
            };
            let own = member.sources.iter().zip(&member.engines).filter(|(source, _)| !shared(source));
            let own: Vec<DmaEngine> = own.map(|(_, engine)| engine.clone()).collect();
            own.iter().for_each(|engine| engine.bus_master(true));
            attempt(&own, ", deaf to bus mastering,");
            own.iter().for_each(|engine| engine.bus_master(false));
        }
        rig.reports();
    }
}

/// Buffers are unmapped one by one, and their group tries each at once.
pub fn unmap(running: &mut Running, canaries: Canaries, progress: &mut dyn FnMut(Progress)) {
    let Canaries { bound, held } = canaries;
    let of = held.len();
    for (done, Held { member, group, mapping, at, expected, .. }) in held.into_iter().enumerate() {
        progress(Progress { what: "unmapped memory", done, of });
        let span = mapping.span();
        let name = running.members[member].name.clone();
        let buffer = match mapping.unmap() {
            Ok(buffer) => buffer,
            Err(hung) => {
                running.checks.expect("unmapped", false, || format!("{name}: {hung}"));
                continue;
            }
        };
        let mut checks = std::mem::take(&mut running.checks);
        for (index, ..) in bound.iter().filter(|(_, of, _)| *of == group) {
            let user = &running.members[*index];
            for (engine, to) in user
                .engines
                .iter()
                .flat_map(|engine| [span.start, Iova(span.last().0 - 15)].map(|to| (engine, to)))
            {
                let write = engine.write(None, to, EVIL);
                let read = engine.read(None, to, &mut [0; 16]);
                checks.expect("unmapped", read.is_err() && write.is_err(), || {
                    format!("{} still reaches {to}: read {read:?}, write {write:?}", user.name)
                });
            }
            check_reports(running, &mut checks, *index, None);
        }
        let mut seen = vec![0; expected.len()];
        let intact = buffer.read(0, &mut seen) && seen == expected;
        checks.expect("bytes", intact, || format!("the buffer of {name} at {at} changed as it was unmapped"));
        running.checks = checks;
    }
}

/// All devices are taken out, and then try what they were required to reach and what not.
pub fn remove(running: &mut Running) {
    let span = running.rig.memory.span();
    let Running { members, checks, rig, .. } = &mut *running;
    let mut gone = Vec::new();
    for (index, member) in members.iter_mut().enumerate() {
        let Some(device) = member.device.take() else { continue };
        let was_served = device.status() == Status::Served;
        let _: ioward::core::driver::Blocked = device.remove(false);
        gone.extend(was_served.then_some(index));
    }
    for Member { name, engines, regions, .. } in gone.into_iter().map(|index| &members[index]) {
        let places = regions.iter().map(|region| Iova(region.span.start.0));
        for at in places.chain([Iova(span.start.0), Iova(0x1000)]) {
            for engine in engines.iter() {
                engine.bus_master(true);
                let read = engine.read(None, at, &mut [0; 16]);
                engine.bus_master(false);
                let refused = matches!(read, Err(DmaError::Aborted(_) | DmaError::Interrupt(_)));
                checks.expect("removed", refused, || format!("{name} was removed and reads {at}: {read:?}"));
            }
        }
    }
    rig.reports();
}

/// What models and memory have seen.
pub fn hardware(running: &mut Running) {
    let Running { checks, rig, .. } = &mut *running;
    rig.models().for_each(|(_, model)| model.audit());
    let violations = rig.violations.take();
    for violation in &violations {
        checks.expect("hardware", false, || violation.to_string());
    }
    if violations.is_empty() {
        for _ in rig.models() {
            checks.expect("hardware", true, String::new);
        }
    }
}
