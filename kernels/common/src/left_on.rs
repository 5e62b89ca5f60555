//! The checks of IOMMUs that somebody has left on: firmware, or a kernel before this one. That one is played by the same
//! drivers, brought up and forgotten, with a page mapped for a device that goes on using it.
//!
//! The page is mapped at its physical address, so that the device hits it where nothing translates too.

use crate::{
    checks::Checks,
    direct::Direct,
    edu::Edu,
    iommus::{self, Wishes},
    platform::Kernel,
    say,
    script::{PAGE, Page, Side, Why},
    stage::Stage,
};
use alloc::{
    format,
    string::{String, ToString as _},
    sync::Arc,
    vec::Vec,
};
use core::mem;
use ioward::{
    core::driver::Driver,
    drivers::BringUp,
    types::{Attributes, IommuId, PhysAddr, SourceId},
};

/// No table lies beyond what the machines here have of memory.
const MEMORY: u64 = 4 << 30;

/// Runs all of it with the first DMA engine.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let mut stage = stage.again();
    let edu = Edu::all(stage.pci).next().ok_or("there is no DMA engine")?;
    let engine = stage.served(edu.function)?;
    stage.pci.bus_master(edu.function, true);
    let name = |what: &str| format!("{what}@{}", edu.function);
    let is = |kinds: &[&str]| stage.drivers.iter().any(|driver| kinds.contains(&driver.kind()));
    let resets = is(&["virtio-iommu"]);

    let page = leave(&mut stage, engine)?;
    if !resets {
        // Whoever takes it for cold is told, and nothing has changed.
        let cold = match take_over(&stage, BringUp::Cold) {
            Ok(_) => Err("it is taken for cold".to_string()),
            Err(why) => {
                say!("refused {why}");
                Ok(())
            }
        };
        checks.check(name("cold-is-refused"), cold);
        checks.check(name("goes-on-after-refusal"), arrives(&edu, &page));
    }
    if !resets {
        // Adopted, the device goes on, through the change itself too; once it is claimed it does not.
        page.fill(1);
        edu.begin_store(page.iova(), PAGE);
        stage.drivers = take_over(&stage, BringUp::Adopt(&read))?;
        let result = edu.finish(&Kernel).map_err(Why::from);
        let whole = if page.holds(1) { Err(Why::NotArrived) } else { Ok(()) };
        checks.check(name("adopted-while-it-runs"), result.and(whole));
        checks.check(name("adopted-goes-on"), arrives(&edu, &page));
        let side = Direct::new(driver(&stage, engine.0)?, engine.1, stage.bypass)?;
        checks.check(name("rogue-adopted-is-over-once-claimed"), reaches_nothing(&edu, &page));
        side.close()?;
        // Its page tables are this side's; the page of the one before may go now, as may all that it left.
        drop(page);
        let page = leave(&mut stage, engine)?;
        abort(&mut stage, checks, &edu, engine, &page)?;
        drop(page);
    } else {
        // A reset detaches every endpoint: there is one way only.
        abort(&mut stage, checks, &edu, engine, &page)?;
    }
    // And all is in order.
    let mut side = Direct::new(driver(&stage, engine.0)?, engine.1, false)?;
    let page = Page::new(0);
    side.map(page.iova(), page.phys(), Attributes::READ_WRITE)?;
    checks.check(name("works-after-all"), arrives(&edu, &page));
    side.unmap(page.iova())?;
    side.close()
}

/// Stops what is on its way.
fn abort(
    stage: &mut Stage,
    checks: &mut Checks,
    edu: &Edu,
    (iommu, source): (IommuId, SourceId),
    page: &Page,
) -> Result<(), String> {
    page.fill(2);
    edu.begin_store(page.iova(), PAGE);
    stage.drivers = take_over(stage, BringUp::Abort)?;
    let running = edu.runs();
    let through = if stage.bypass { Some(Direct::new(driver(stage, iommu)?, source, true)?) } else { None };
    let result = edu.finish(&Kernel).map_err(Why::from);
    let kept = if page.holds(2) { Ok(()) } else { Err(Why::Reached) };
    if running {
        checks.check(format_args!("rogue-aborted-while-it-runs@{}", edu.function), result.and(kept));
    } else if driver(stage, iommu)?.kind() == "AMD-Vi" {
        // Its table of 65536 entries takes longer to write than the transfer lasts.
        say!("the transfer was over before the IOMMU had been taken over");
    } else {
        checks.check(
            format_args!("rogue-aborted-while-it-runs@{}", edu.function),
            Err("the transfer was over too early: nothing was seen of it"),
        );
    }
    checks.check(format_args!("rogue-aborted@{}", edu.function), reaches_nothing(edu, page));
    through.map_or(Ok(()), Direct::close)
}

/// Leaves the machine as the one before would: a page mapped, and nobody there who knows of it.
fn leave(stage: &mut Stage, (iommu, source): (IommuId, SourceId)) -> Result<Page, String> {
    let mut side = Direct::new(driver(stage, iommu)?, source, false)?;
    let page = Page::new(0);
    side.map(page.iova(), page.phys(), Attributes::READ_WRITE)?;
    // Its memory stays as it is: it may be walked until the next one has taken over.
    mem::forget(side);
    mem::take(&mut stage.drivers).into_iter().for_each(mem::forget);
    Ok(page)
}

fn driver(stage: &Stage, iommu: IommuId) -> Result<Arc<dyn Driver>, String> {
    let found = stage.drivers.iter().find(|driver| driver.id() == iommu);
    found.cloned().ok_or_else(|| format!("IOMMU {iommu} has no driver"))
}

fn take_over(stage: &Stage, state: BringUp<'_>) -> Result<Vec<Arc<dyn Driver>>, String> {
    // SAFETY: whoever drove them has been forgotten, and what it made stays as it is.
    unsafe { iommus::take_over(&stage.machine, stage.pci, state, Wishes::default()) }
}

/// Eight bytes of memory that somebody else has left.
fn read(at: PhysAddr) -> Option<u64> {
    let there = at.0 != 0 && at.0.is_multiple_of(8) && at.0 < MEMORY;
    // SAFETY: the first 4 GiB are mapped where they are; what is not memory there reads as something.
    there.then(|| unsafe { (at.0 as *const u64).read_volatile() })
}

fn arrives(edu: &Edu, page: &Page) -> Result<(), Why> {
    page.fill(3);
    edu.store(&Kernel, page.iova(), PAGE)?;
    if page.holds(3) { Err(Why::NotArrived) } else { Ok(()) }
}

fn reaches_nothing(edu: &Edu, page: &Page) -> Result<(), Why> {
    page.fill(4);
    edu.store(&Kernel, page.iova(), PAGE)?;
    if page.holds(4) { Ok(()) } else { Err(Why::Reached) }
}
