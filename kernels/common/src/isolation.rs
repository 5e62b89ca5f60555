//! The checks of isolation: DMA engines that try what they may and what they may not, on both rungs of adopting ioward.

use crate::{
    checks::Checks,
    direct::Direct,
    edu::Edu,
    neighbours, say,
    script::{Page, Reports, Script, Side},
    stage::Stage,
    system::{Owned, SafeDma},
    together::{self, Pair},
};
use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use ioward::types::{Attributes, IommuId, SourceId};

/// Runs all of it on every DMA engine of the machine.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let mut engines = Vec::new();
    for edu in Edu::all(stage.pci) {
        checks.check(format_args!("identify@{}", edu.function), edu.identify());
        let (iommu, source) = stage.served(edu.function)?;
        stage.pci.bus_master(edu.function, true);
        engines.push((edu, iommu, source));
    }
    drive(stage, checks, &engines)?;
    subsystem(stage, checks, &engines)
}

/// What is played with: the device, its IOMMU, and as what that sees it.
type Engine = (Edu, IommuId, SourceId);

/// The first rung: the driver alone.
fn drive(stage: &Stage, checks: &mut Checks, engines: &[Engine]) -> Result<(), String> {
    let (drivers, mut sides) = (&stage.drivers, Vec::new());
    for (edu, iommu, source) in engines {
        let driver = drivers.iter().find(|driver| driver.id() == *iommu).ok_or("no driver")?;
        let side = Direct::new(driver.clone(), *source, stage.bypass)?;
        say!("driver {} {} {}", edu.function, driver.kind(), side.shape());
        sides.push(side);
    }
    scripts(Reports::of(drivers), checks, engines, &mut sides, "driver")?;
    sides.into_iter().try_for_each(Direct::close)
}

/// The second rung: the subsystem, first with groups taken, then through the DMA API.
fn subsystem(stage: &Stage, checks: &mut Checks, engines: &[Engine]) -> Result<(), String> {
    let (drivers, mut added) = (&stage.drivers[..], stage.add_all()?);
    let subsystem = &added.subsystem;
    let mut sides = Vec::new();
    for (edu, _, _) in engines {
        sides.push(Owned::take(subsystem, drivers, added.device(edu.function)?, stage.bypass)?);
    }
    scripts(Reports::of(drivers), checks, engines, &mut sides, "owner")?;
    drop(sides);
    for (edu, _, _) in engines {
        let bound = added.device(edu.function)?.bind().map_err(|why| why.to_string())?;
        SafeDma { subsystem, drivers, bound: &bound, edu, reports: Reports::of(drivers) }.run(checks);
        neighbours::run(checks, edu, bound.dma());
    }
    if stage.bypass {
        // What follows shows that things work, which they do with translation bypassed too or not at all.
        return Ok(());
    }
    if let [(first, _, _), (second, _, _), ..] = engines {
        let (first, second) =
            ((first, added.device(first.function)?), (second, added.device(second.function)?));
        Pair { subsystem, first, second }.run(checks)?;
        together::reset(checks, first.0, first.1)?;
        let bound = first.1.bind().map_err(|why| why.to_string())?;
        SafeDma { subsystem, drivers, bound: &bound, edu: first.0, reports: Reports::of(drivers) }
            .again(checks);
    }
    for (edu, _, _) in engines {
        together::remove(checks, edu, added.take(edu.function)?)?;
    }
    Ok(())
}

/// Runs the script on every device, each with the next one as its neighbour.
fn scripts<S: Side>(
    reports: Reports,
    checks: &mut Checks,
    engines: &[Engine],
    sides: &mut [S],
    way: &'static str,
) -> Result<(), String> {
    for (index, (edu, _, source)) in engines.iter().enumerate() {
        let next = (index + 1) % engines.len();
        let neighbour = &Page::new(9);
        sides[next].map(neighbour.iova(), neighbour.phys(), Attributes::READ_WRITE)?;
        let side = &mut sides[index];
        Script { checks, edu, source: *source, side, neighbour, neighbour_seed: 9, reports, way }.run();
        sides[next].unmap(neighbour.iova())?;
    }
    Ok(())
}
