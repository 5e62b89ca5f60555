//! What a device may raise: its own interrupts, as its own entries say, and nobody else's.

use super::canaries::Canaries;
use crate::running::Running;
use ioward::{
    core::{
        Source,
        driver::{ApicTarget, InterruptFrom, InterruptTo, RemapInterrupts},
    },
    types::Iova,
};
use ioward_models::{IommuModel, MessageOutcome};

/// Where messages are written on x86.
const WINDOW: u64 = 0xfee0_0000;
/// The first vector that is free for devices.
const VECTOR: u8 = 0x40;

/// Every served source whose IOMMU remaps interrupts.
pub fn check(running: &mut Running, canaries: &Canaries) {
    let mut checks = std::mem::take(&mut running.checks);
    let drivers = running.rig.subsystem.iommus();
    let mut sources: Vec<(Source, usize)> = Vec::new();
    for (index, ..) in &canaries.bound {
        for source in &running.members[*index].sources {
            if !sources.iter().any(|(known, _)| known == source) {
                sources.push((*source, *index));
            }
        }
    }
    for (number, (source, index)) in sources.iter().enumerate() {
        let driver = drivers.iter().find(|driver| driver.id() == source.0);
        let remapping = driver.and_then(|driver| driver.interrupts());
        let model = running.rig.model(source.0);
        let (Some(remapping), Some(model)) = (remapping, model) else { continue };
        let other = sources.iter().find(|(other, _)| other.0 == source.0 && other.1 != source.1);
        let vector = VECTOR + (number % 0x80) as u8;
        let result = raise(remapping, &*model.iommu(), *source, other.map(|(other, _)| *other), vector);
        checks.expect("interrupts", result.is_ok(), || {
            format!("{}: {}", running.members[*index].name, result.unwrap_err())
        });
    }
    running.checks = checks;
    // What was blocked was reported.
    running.rig.reports();
}

fn raise(
    remapping: &dyn RemapInterrupts,
    model: &dyn IommuModel,
    source: Source,
    other: Option<Source>,
    vector: u8,
) -> Result<(), String> {
    // As any device can: a vector of its own choice, to any processor.
    let plain = model.message(source.1, Iova(WINDOW), vector.into());
    if plain != MessageOutcome::Aborted {
        return Err(format!("a message that no entry names is {plain:?}"));
    }
    let entries = remapping.reserve(InterruptFrom::Source(source.1), 1).map_err(|why| why.to_string())?;
    let to = InterruptTo::Apic(ApicTarget { vector, destination: 2, ..ApicTarget::default() });
    let result = remapping.remap(&entries, 0, &to).map_err(|why| why.to_string()).and_then(|message| {
        let at = Iova(message.address);
        let own = model.message(source.1, at, message.data);
        let right =
            matches!(own, MessageOutcome::Delivered { vector: seen, destination: 2, .. } if seen == vector);
        if !right {
            return Err(format!("its own message is {own:?}, not vector {vector:#x} to processor 2"));
        }
        let stolen = other.map(|other| (other, model.message(other.1, at, message.data)));
        if let Some((other, outcome)) = stolen
            && outcome == own
        {
            return Err(format!("source {} raises it too", other.1));
        }
        remapping.mask(&entries, 0).map_err(|hung| hung.to_string())?;
        match model.message(source.1, at, message.data) {
            MessageOutcome::Aborted => Ok(()),
            outcome => Err(format!("a masked message is {outcome:?}")),
        }
    });
    let released = remapping.release(entries).map_err(|hung| hung.to_string());
    result.and(released)
}
