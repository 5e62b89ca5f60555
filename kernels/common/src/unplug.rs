//! The check of a device that is pulled: its button is pressed, its slot goes dark, and only then the subsystem is told,
//! with mappings alive. Nothing waits for a device that is not there, and all memory comes back.

use crate::{
    checks::Checks, edu::Edu, hotplug::Slot, memory, platform::Kernel, say, script::PAGE, stage::Stage,
    time::within,
};
use alloc::string::{String, ToString as _};
use ioward::{
    core::{Dma, FrameBuffer, driver::Blocked},
    pci::{ConfigAccess as _, regs},
    types::{Direction, Nanos},
};

/// How long the button may take. It is pressed by way of QEMU's monitor, outside of the machine's time.
const LIMIT: Nanos = Nanos(120_000_000_000);

/// Runs it on the first DMA engine in a slot; another one must go on working.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let (pci, topology) = (stage.pci, stage.pci.scan());
    let slot_of = |edu: &Edu| {
        let above = topology.above(topology.find(edu.function)?)?;
        Slot::of(pci, topology.functions()[above].at).filter(Slot::occupied)
    };
    let victim = Edu::all(pci).find_map(|edu| Some((slot_of(&edu)?, edu)));
    let (slot, victim) = victim.ok_or("no DMA engine is in a slot")?;
    let other = Edu::all(pci).find(|edu| edu.function != victim.function).ok_or("one DMA engine only")?;
    for edu in [&victim, &other] {
        stage.served(edu.function)?;
        pci.bus_master(edu.function, true);
    }
    // What drivers make once for a source, they keep.
    drop(stage.add_all()?);
    let before = memory::lent();
    let name = victim.function;
    {
        let mut added = stage.add_all()?;
        let device = added.take(name)?;
        let bound = device.bind().map_err(|why| why.to_string())?;
        let buffer =
            FrameBuffer::new(&Kernel, PAGE as usize, PAGE as usize).map_err(|why| why.to_string())?;
        let dma: &Dma<Kernel> = bound.dma();
        let mapping = Dma::map(dma, buffer, Direction::Both).map_err(|(why, _)| why.to_string())?;
        // Whatever caches translations has this one when the device goes.
        let used = victim.store(&Kernel, mapping.iova(), PAGE).map_err(|why| alloc::format!("{why:?}"));
        checks.check(format_args!("used-before-unplug@{name}"), used);

        say!("monitor device_del victim");
        checks.check(format_args!("button-pressed@{name}"), within(LIMIT, "the button", || slot.pressed()));
        let dark = slot.power(false);
        let gone = within(LIMIT, "the slot to be empty", || {
            !slot.occupied() && pci.access().read32(name, regs::ID) == u32::MAX
        });
        checks.check(format_args!("unplugged@{name}"), dark.and(gone));
        let confirmed = match device.remove(true) {
            Blocked::Confirmed => Ok(()),
            Blocked::Unconfirmed(hung) => Err(hung.to_string()),
        };
        checks.check(format_args!("removed-as-gone@{name}"), confirmed);
        let unmapped = mapping.unmap().map(drop).map_err(|hung| hung.to_string());
        checks.check(format_args!("unmapped-after-unplug@{name}"), unmapped);
        drop(bound);

        let device = added.take(other.function)?;
        let works = device.bind().map_err(|why| why.to_string());
        let works = works.and_then(|bound| {
            let buffer =
                FrameBuffer::new(&Kernel, PAGE as usize, PAGE as usize).map_err(|why| why.to_string())?;
            let mapping = Dma::map(bound.dma().clone(), buffer, Direction::FromDevice)
                .map_err(|(why, _)| why.to_string())?;
            other.store(&Kernel, mapping.iova(), PAGE).map_err(|why| alloc::format!("{why:?}"))?;
            mapping.unmap().map(drop).map_err(|hung| hung.to_string())
        });
        checks.check(format_args!("works-after-unplug@{}", other.function), works);
    }
    let after = memory::lent();
    let same =
        if after == before { Ok(()) } else { Err(alloc::format!("{before} frames before, {after} after")) };
    checks.check(format_args!("memory-given-back@{name}"), same);
    Ok(())
}
